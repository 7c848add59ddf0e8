package simd

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Map computes a function of each lane; its constants are set up when it is made.
type Map func(x reg.VecVirtual) reg.VecVirtual

// The polynomials below are minimax fits (Lawson's algorithm, float64) made for this project; the figure is the largest
// relative error of the polynomial in exact arithmetic.

// Exp is e^x = 2^n (1 + r + r^2 Q(r)), r = x - n ln 2 in two steps (Cody and Waite). Q: 3.3e-9.
func (m *ISA) Exp() Map {
	highest, lowest := m.ConstReg(89), m.ConstReg(-104)
	log2e, hi, lo := m.Const(1.44269504088896341), m.Const(0.693359375), m.Const(-2.12194440e-4)
	q := m.Consts(1, 1, 0.499999931, 0.166665148, 0.0416684568, 0.00836941904, 0.00138131424)
	scale := m.Scaler()
	return func(x reg.VecVirtual) reg.VecVirtual {
		// The second operand is what MIN and MAX return for a NaN.
		r := m.Do(VMINPS, x, highest)
		r = m.Do(VMAXPS, r, lowest)
		n := m.Round(m.Do(VMULPS, log2e, r))
		VFNMADD231PS(hi, n, r)
		VFNMADD231PS(lo, n, r)
		p := m.Horner(r, q)
		scale(p, n)
		return p
	}
}

// exp2Coefficients give 2^r for |r| <= 1/2: 2e-9.
var exp2Coefficients = []float64{1, 0.693147204, 0.240226477, 0.0555032935, 0.00961844997, 0.00134001706, 0.00015352316}

// exp2Short are one fewer: 1e-7.
var exp2Short = []float64{1, 0.693146965, 0.240222256, 0.0555074681, 0.00967258116, 0.00132633543}

// Exp2 is 2^x for x <= 127, without care for infinities and NaN.
func (m *ISA) Exp2(short bool) Map {
	c := exp2Coefficients
	if short {
		c = exp2Short
	}
	q := m.Consts(c...)
	scale := m.Scaler()
	return func(x reg.VecVirtual) reg.VecVirtual {
		n := m.Round(x)
		p := m.Horner(m.Do(VSUBPS, n, x), q)
		scale(p, n)
		return p
	}
}

// upperTail is Phi(-t), the normal distribution's tail, for 0 <= t <= 100: 2^(-1 + t P(t)), relative error 1e-6 up to
// t = 5.6, absolute error of t Phi(-t) 1.1e-8.
func (m *ISA) upperTail() Map {
	q := m.Consts(-1, -1.15110473, -0.459215724, -0.0524573194, 0.00697063462, -1.90301831e-05, -0.000270827651,
		7.40261621e-05, -1.05790536e-05, 8.25825694e-07, -2.76895063e-08)
	exp2 := m.Exp2(false)
	return func(t reg.VecVirtual) reg.VecVirtual { return exp2(m.Horner(t, q)) }
}

// abs returns min(|x|, limit), NaN for NaN.
func (m *ISA) abs(limit float64) Map {
	bits, top := m.ConstBits(0x7fffffff), m.ConstReg(limit)
	return func(x reg.VecVirtual) reg.VecVirtual {
		return m.Do(VMINPS, m.Do(VANDPS, bits, x), top)
	}
}

// GELU is max(x, 0) - |x| Phi(-|x|).
func (m *ISA) GELU() Map {
	abs, tail, zero := m.abs(100), m.upperTail(), m.Zero()
	return func(x reg.VecVirtual) reg.VecVirtual {
		t := abs(x)
		p := tail(t)
		r := m.Do(VMAXPS, x, zero)
		VFNMADD231PS(t, p, r)
		return r
	}
}

// Erf is x P(x^2) for |x| < 1 (4e-8) and 1 - 2 Phi(-sqrt(2) |x|) with the sign of x elsewhere.
func (m *ISA) Erf() Map {
	abs, tail := m.abs(70), m.upperTail()
	p := m.Consts(1.12837912, -0.376123262, 0.112801801, -0.0267113106, 0.00491755061, -0.0005631419)
	root2, minus2, one, sign := m.Const(1.41421356237309505), m.Const(-2), m.Const(1), m.ConstBits(1<<31)
	return func(x reg.VecVirtual) reg.VecVirtual {
		t := abs(x)
		big := tail(m.Do(VMULPS, root2, t))
		VFMADD213PS(one, m.Copy(minus2), big)
		big = m.Do(VORPS, m.Do(VANDPS, sign, x), big)
		small := m.Do(VMULPS, x, m.Horner(m.Do(VMULPS, x, x), p))
		return m.Select(Less, t, one, small, big)
	}
}

// Tanh is x P(x^2)/Q(x^2) for |x| <= 9.02, where it becomes 1: 6e-8.
func (m *ISA) Tanh() Map {
	low, high := m.ConstReg(-9.02), m.ConstReg(9.02)
	p := m.Consts(0.99999994, 0.129179996, 0.00291944045, 9.25537103e-06, -1.27444577e-08, 1.81638705e-11)
	q := m.Consts(1, 0.462512826, 0.0237577598, 0.00022791757)
	one, minusOne := m.ConstReg(1), m.ConstReg(-1)
	return func(x reg.VecVirtual) reg.VecVirtual {
		x = m.Do(VMINPS, x, high)
		x = m.Do(VMAXPS, x, low)
		s := m.Do(VMULPS, x, x)
		r := m.Do(VMULPS, x, m.Horner(s, p))
		r = m.Do(VDIVPS, m.Horner(s, q), r)
		r = m.Do(VMINPS, r, one)
		return m.Do(VMAXPS, r, minusOne)
	}
}

// logistic returns x / (1 + e^u).
func (m *ISA) logistic() func(x Op, u reg.VecVirtual) reg.VecVirtual {
	exp, one := m.Exp(), m.Const(1)
	return func(x Op, u reg.VecVirtual) reg.VecVirtual {
		return m.Do(VDIVPS, m.Do(VADDPS, one, exp(u)), x)
	}
}

// Swish is x sigmoid(slope x).
func (m *ISA) Swish(slope float64) Map {
	logistic, s := m.logistic(), m.Const(-slope)
	return func(x reg.VecVirtual) reg.VecVirtual { return logistic(x, m.Do(VMULPS, s, x)) }
}

// Sigmoid is 1 / (1 + e^-x).
func (m *ISA) Sigmoid() Map {
	logistic, one, minus := m.logistic(), m.ConstReg(1), m.Const(-1)
	return func(x reg.VecVirtual) reg.VecVirtual { return logistic(one, m.Do(VMULPS, minus, x)) }
}

// GELUTanh is x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3).
func (m *ISA) GELUTanh() Map {
	logistic := m.logistic()
	a, b := m.Const(-2*0.7978845608028654), m.Const(-2*0.7978845608028654*0.044715)
	return func(x reg.VecVirtual) reg.VecVirtual {
		u := m.Do(VMULPS, b, m.Do(VMULPS, x, x))
		u = m.Do(VADDPS, a, u)
		return logistic(x, m.Do(VMULPS, u, x))
	}
}

// clamp returns x limited to [low, high], NaN for NaN.
func (m *ISA) clamp(low, high float64) Map {
	l, h := m.ConstReg(low), m.ConstReg(high)
	return func(x reg.VecVirtual) reg.VecVirtual { return m.Do(VMINPS, m.Do(VMAXPS, x, l), h) }
}

// ReLU is max(x, 0).
func (m *ISA) ReLU() Map {
	zero := m.Zero()
	return func(x reg.VecVirtual) reg.VecVirtual { return m.Do(VMAXPS, x, zero) }
}

// SquaredReLU is max(x, 0)^2.
func (m *ISA) SquaredReLU() Map {
	relu := m.ReLU()
	return func(x reg.VecVirtual) reg.VecVirtual {
		r := relu(x)
		return m.Do(VMULPS, r, r)
	}
}

// ReLU6 is min(max(x, 0), 6).
func (m *ISA) ReLU6() Map { return m.clamp(0, 6) }

// Hardsigmoid is min(max(x+3, 0), 6)/6.
func (m *ISA) Hardsigmoid() Map {
	clamp, three, sixth := m.clamp(0, 6), m.Const(3), m.Const(1.0/6)
	return func(x reg.VecVirtual) reg.VecVirtual {
		return m.Do(VMULPS, sixth, clamp(m.Do(VADDPS, three, x)))
	}
}

// Hardswish is x min(max(x+3, 0), 6)/6.
func (m *ISA) Hardswish() Map {
	clamp, three, sixth := m.clamp(0, 6), m.Const(3), m.Const(1.0/6)
	return func(x reg.VecVirtual) reg.VecVirtual {
		return m.Do(VMULPS, x, m.Do(VMULPS, sixth, clamp(m.Do(VADDPS, three, x))))
	}
}

// ELU is x for x > 0 and e^x - 1 elsewhere.
func (m *ISA) ELU() Map {
	exp, one, zero := m.Exp(), m.Const(1), m.Zero()
	return func(x reg.VecVirtual) reg.VecVirtual {
		e := m.Do(VSUBPS, one, exp(x))
		return m.Select(Less, zero, x, x, e)
	}
}

// LeakyReLU is x for x > 0 and x/100 elsewhere.
func (m *ISA) LeakyReLU() Map {
	slope, zero := m.Const(0.01), m.Zero()
	return func(x reg.VecVirtual) reg.VecVirtual {
		return m.Select(Less, zero, x, x, m.Do(VMULPS, slope, x))
	}
}
