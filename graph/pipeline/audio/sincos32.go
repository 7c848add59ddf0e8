package audio

import "math"

// The sine and cosine that torch computes for float32 tensors on a CPU are those of SLEEF within 1.0 ulp (Shibata and
// Petrogalli, SLEEF: a portable vectorized library of C standard mathematical functions, 2020; functions xsinf_u1 and
// xcosf_u1). They differ from the correctly rounded values in some last bits, and those bits decide what a log-mel at the
// floor of a resampled clip shows. So the same steps are taken here: the argument reduced by multiples of pi in two
// float32, the series to the 9th power in two float32.

// twofold is a number as the unevaluated sum of two float32.
type twofold struct{ hi, lo float32 }

// fma32 is a*b + c rounded once: the product is exact in float64.
func fma32(a, b, c float32) float32 { return float32(float64(a)*float64(b) + float64(c)) }

// twoSum is a + b exactly.
func twoSum(a, b float32) twofold {
	s := a + b
	t := s - a
	return twofold{s, (a - (s - t)) + (b - t)}
}

// quickSum is a + b exactly where |a| >= |b|.
func quickSum(a, b float32) twofold {
	s := a + b
	return twofold{s, (a - s) + b}
}

func (x twofold) times(y twofold) twofold {
	p := float32(x.hi * y.hi)
	return twofold{p, fma32(x.hi, y.lo, fma32(x.lo, y.hi, fma32(x.hi, y.hi, -p)))}
}

func (x twofold) square() twofold {
	p := float32(x.hi * x.hi)
	return twofold{p, fma32(x.hi+x.hi, x.lo, fma32(x.hi, x.hi, -p))}
}

// Pi in three parts, the first two short enough for exact multiples.
const (
	piHigh = 3.1414794921875
	piMid  = 0.00011315941810607910156
	piLow  = 1.9841872589410058936e-09
)

// beyondReduction is from where on the parts of pi no longer suffice.
const beyondReduction = 125

func sin32(x float32) float32 {
	if !(x > -beyondReduction && x < beyondReduction) {
		return float32(math.Sin(float64(x)))
	}
	n := float32(math.RoundToEven(float64(float32(x * float32(1/math.Pi)))))
	r := twoSum(fma32(n, -piHigh, x), float32(n*-piMid))
	hi := quickSum(r.hi, float32(n*-piLow))
	y := sinSeries(twofold{hi.hi, hi.lo + r.lo})
	if int(n)&1 != 0 {
		return -y
	}
	return y
}

func cos32(x float32) float32 {
	if !(x > -beyondReduction && x < beyondReduction) {
		return float32(math.Cos(float64(x)))
	}
	n := fma32(float32(math.RoundToEven(float64(fma32(x, float32(1/math.Pi), -0.5)))), 2, 1)
	r := twoSum(x, float32(n*(-piHigh*0.5)))
	for _, part := range [2]float32{-piMid * 0.5, -piLow * 0.5} {
		s := twoSum(r.hi, float32(n*part))
		r = twofold{s.hi, s.lo + r.lo}
	}
	y := sinSeries(r)
	if int(n)&2 == 0 {
		return -y
	}
	return y
}

// sinSeries is sin r for |r| <= pi/2.
func sinSeries(r twofold) float32 {
	q := r.square()
	u := float32(2.6083159809786593541503e-06)
	u = fma32(u, q.hi, -0.0001981069071916863322258)
	u = fma32(u, q.hi, 0.00833307858556509017944336)
	t := quickSum(-0.166666597127914428710938, float32(u*q.hi)).times(q)
	s := quickSum(1, t.hi)
	s.lo += t.lo
	return fma32(r.hi, s.hi, fma32(r.lo, s.hi, float32(r.hi*s.lo)))
}
