package ref

import "math"

// Activations are the activation functions by name.
var Activations = map[string]func(x float64) float64{
	"none":         func(x float64) float64 { return x },
	"gelu":         func(x float64) float64 { return x * phi(x) },
	"gelu_tanh":    func(x float64) float64 { return x * sigmoid(2*math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)) },
	"quick_gelu":   func(x float64) float64 { return x * sigmoid(1.702*x) },
	"silu":         func(x float64) float64 { return x * sigmoid(x) },
	"relu":         func(x float64) float64 { return max(x, 0) },
	"sigmoid":      sigmoid,
	"tanh":         math.Tanh,
	"hardswish":    func(x float64) float64 { return x * hardsigmoid(x) },
	"hardsigmoid":  hardsigmoid,
	"relu6":        func(x float64) float64 { return min(max(x, 0), 6) },
	"squared_relu": func(x float64) float64 { return max(x, 0) * max(x, 0) },
	"elu": func(x float64) float64 {
		if x > 0 {
			return x
		}
		return math.Expm1(x)
	},
	"leaky_relu": func(x float64) float64 {
		if x > 0 {
			return x
		}
		return 0.01 * x
	},
	"exp": math.Exp,
	"erf": math.Erf,
}

func phi(x float64) float64         { return 0.5 * math.Erfc(-x/math.Sqrt2) }
func sigmoid(x float64) float64     { return 1 / (1 + math.Exp(-x)) }
func hardsigmoid(x float64) float64 { return min(max(x+3, 0), 6) / 6 }
