package kernels

import (
	"fmt"
	"math"
)

// Activation is an elementwise nonlinearity, as it stands in a GEMM's epilogue or on its own.
type Activation uint8

// The activations of vision, text and audio encoders.
const (
	// ActNone is the identity.
	ActNone Activation = iota
	// ActGELU is x Phi(x) with the normal distribution's exact Phi (Hendrycks and Gimpel, arXiv:1606.08415).
	ActGELU
	// ActGELUTanh is the tanh approximation of GELU (same paper, section 2), "gelu_new" and "gelu_pytorch_tanh" elsewhere.
	ActGELUTanh
	// ActQuickGELU is x sigmoid(1.702 x), as openai/CLIP computes it.
	ActQuickGELU
	// ActSiLU is x sigmoid(x), also called swish.
	ActSiLU
	// ActReLU is max(x, 0).
	ActReLU
	// ActSigmoid is 1/(1+exp(-x)).
	ActSigmoid
	// ActTanh is the hyperbolic tangent.
	ActTanh
	// ActHardswish is x min(max(x+3, 0), 6)/6 (MobileNetV3, arXiv:1905.02244, section 5.2).
	ActHardswish
	// ActHardsigmoid is min(max(x+3, 0), 6)/6.
	ActHardsigmoid
	// ActReLU6 is min(max(x, 0), 6).
	ActReLU6
	// ActSquaredReLU is max(x, 0) squared (Primer, arXiv:2109.08668).
	ActSquaredReLU
	// ActELU is x for x > 0 and exp(x)-1 elsewhere.
	ActELU
	// ActLeakyReLU is x for x > 0 and 0.01 x elsewhere.
	ActLeakyReLU
	// ActExp is exp(x).
	ActExp
	// ActErf is the error function.
	ActErf
)

var activationNames = [...]string{
	"none", "gelu", "gelu_tanh", "quick_gelu", "silu", "relu", "sigmoid", "tanh", "hardswish", "hardsigmoid", "relu6",
	"squared_relu", "elu", "leaky_relu", "exp", "erf",
}

// String returns the activation's name.
func (a Activation) String() string {
	if int(a) < len(activationNames) {
		return activationNames[a]
	}
	return fmt.Sprintf("Activation(%d)", uint8(a))
}

// Activations lists every activation.
func Activations() []Activation {
	all := make([]Activation, len(activationNames))
	for i := range all {
		all[i] = Activation(i)
	}
	return all
}

// Activate writes act(src[i]) to dst[i]; dst may be src. dst must be at least as long as src. A NaN stays a NaN.
//
// Portable results are correctly rounded. The vectorised ones are within these units in the last place, plus an absolute
// error where given: exp 1.5, erf 2 (+3e-8), GELU 2.5 (+3e-8), its tanh form 3.5 (+4e-8), quick-GELU and SiLU 3 (+2e-8),
// sigmoid 3 (0 below 2^-126), tanh 5, ELU 1 (+6e-8).
func Activate(act Activation, dst, src []float32) {
	if len(src) == 0 {
		return
	}
	dst = dst[:len(src)]
	if !activateVector(act, dst, src) {
		activateGeneric(act, dst, src)
	}
}

// activateGeneric rounds a float64 result once, except where plain float32 arithmetic is exact enough.
func activateGeneric(act Activation, dst, src []float32) {
	switch act {
	case ActNone:
		copy(dst, src)
	case ActGELU:
		for i, x := range src {
			v := float64(x)
			// The complementary error function keeps the relative accuracy of the negative tail.
			dst[i] = float32(0.5 * v * math.Erfc(-v*(1/math.Sqrt2)))
		}
	case ActGELUTanh:
		for i, x := range src {
			v := float64(x)
			u := geluTanhScale * (v + geluTanhCubic*v*v*v)
			dst[i] = float32(v / (1 + math.Exp(-2*u)))
		}
	case ActQuickGELU:
		for i, x := range src {
			dst[i] = float32(float64(x) / (1 + math.Exp(-quickGELUScale*float64(x))))
		}
	case ActSiLU:
		for i, x := range src {
			dst[i] = float32(float64(x) / (1 + math.Exp(-float64(x))))
		}
	case ActReLU:
		for i, x := range src {
			dst[i] = max(x, 0)
		}
	case ActSigmoid:
		for i, x := range src {
			dst[i] = float32(1 / (1 + math.Exp(-float64(x))))
		}
	case ActTanh:
		for i, x := range src {
			dst[i] = float32(math.Tanh(float64(x)))
		}
	case ActHardswish:
		for i, x := range src {
			dst[i] = x * (min(max(x+3, 0), 6) * (1.0 / 6))
		}
	case ActHardsigmoid:
		for i, x := range src {
			dst[i] = min(max(x+3, 0), 6) * (1.0 / 6)
		}
	case ActReLU6:
		for i, x := range src {
			dst[i] = min(max(x, 0), 6)
		}
	case ActSquaredReLU:
		for i, x := range src {
			r := max(x, 0)
			dst[i] = r * r
		}
	case ActELU:
		for i, x := range src {
			if !(x > 0) {
				x = float32(math.Expm1(float64(x)))
			}
			dst[i] = x
		}
	case ActLeakyReLU:
		for i, x := range src {
			if !(x > 0) {
				x *= leakyReLUSlope
			}
			dst[i] = x
		}
	case ActExp:
		for i, x := range src {
			dst[i] = float32(math.Exp(float64(x)))
		}
	case ActErf:
		for i, x := range src {
			dst[i] = float32(math.Erf(float64(x)))
		}
	default:
		panic("kernels: no such activation: " + act.String())
	}
}

const (
	geluTanhScale  = 0.7978845608028654 // sqrt(2/pi)
	geluTanhCubic  = 0.044715
	quickGELUScale = 1.702
	leakyReLUSlope = 0.01
)

// MultiplyActivated writes act(gate[i]) * up[i] to dst[i], the gated pair of SwiGLU and GEGLU (Shazeer, arXiv:2002.05202).
// dst may be gate, but not up. All have the length of gate.
func MultiplyActivated(act Activation, dst, gate, up []float32) {
	Activate(act, dst, gate)
	dst = dst[:len(gate)]
	Mul(dst, dst, up)
}
