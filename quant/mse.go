package quant

import (
	"math"

	"github.com/mmconv/mmconv/kernels"
)

var _ = register(mse{})

// mse chooses for each group the scale, and the zero point, that make the sum of squared errors small. A smaller scale
// clips the largest values and stores all others more finely.
//
// For a candidate scale the stored values q are the rounded ones, and the best scale for these q is Σwq/Σq², with which the
// error is Σw² - (Σwq)²/Σq². So candidates need only be near: each is scored by the scale that it leads to. They form a
// geometric row from the whole range inwards, which ends where the error has not fallen for a while. (The refit is that of
// Lloyd's algorithm; llama.cpp's make_qx_quants in ggml-quants.c scores candidates in the same way.)
//
// Symmetric int4 has one value more below zero than above. A negative scale lends it to the side where the group's largest
// value is.
//
// The result is held against round-to-nearest with the scale as it will be stored, and is never worse.
type mse struct{}

func (mse) Name() string  { return "mse" }
func (mse) About() string { return "clip each group where the squared error of its weights is least" }
func (mse) Needs() Needs  { return 0 }

// The candidates: each is smaller than the one before by a factor, until so many in a row were no better than the best.
const (
	mseStep     = 1 / 1.05
	mseMost     = 40 // down to about a seventh of the range
	msePatience = 4
)

func (mse) Begin(t Target, _ *Statistics) (Rows, error) {
	plain, err := rtn{}.Begin(t, nil)
	if err != nil {
		return nil, err
	}
	lo, hi := t.Scheme.Range()
	lopsided := t.Scheme.Asymmetric || -(lo-t.Scheme.Zero()) != hi-t.Scheme.Zero()
	return func(q *kernels.Quantized, w []float32) {
		plain(q, w)
		var low, high []float32
		if lopsided {
			low, high = make([]float32, len(q.Scales)), make([]float32, len(q.Scales))
			kernels.RowMinMax(low, high, w, t.K, t.Scheme.Group)
		}
		t.eachGroup(w, func(i int, x []float32) {
			switch {
			case q.Scales[i] == 0:
			case t.Scheme.Asymmetric:
				t.bestSpread(q, i, x, low[i], high[i])
			case lopsided:
				t.bestScale(q, i, x, high[i] >= -low[i])
			default:
				t.bestScale(q, i, x, false)
			}
		})
		kernels.QuantizeRTN(q, 0, w)
	}, nil
}

// bestScale replaces the round-to-nearest scale i of a symmetric q where a better one is found for x.
func (t *Target) bestScale(q *kernels.Quantized, i int, x []float32, negative bool) {
	lo, hi := q.Range()
	start := float64(q.Scales[i])
	if negative {
		start = -start
	}
	best := searchScale(x, start, lo-q.Zero(), hi-q.Zero())
	t.keepBetter(q, i, x, t.storable(best.scale()), 0)
}

// bestSpread replaces the round-to-nearest scale and zero point i of an asymmetric q where better ones are found for x,
// whose values reach from low to high.
func (t *Target) bestSpread(q *kernels.Quantized, i int, x []float32, low, high float32) {
	_, top := q.Range()
	low, high = min(low, 0), max(high, 0)
	// For each zero point there is a scale with which the range just covers both ends, and a row of smaller ones. Moving the
	// zero point from where round-to-nearest has it clips one side more than the other.
	try := func(z int) fit {
		whole := 0.0
		if z > 0 {
			whole = -float64(low) / float64(z)
		}
		if z < top {
			whole = max(whole, float64(high)/float64(top-z))
		}
		return searchScale(x, whole, -z, top-z)
	}
	z0 := int(q.Zeros[i])
	best, zero := try(z0), z0
	for step := max(top/16, 1); step > 0; step /= 2 {
		for _, direction := range [2]int{-step, step} {
			for z := zero + direction; z >= 0 && z <= top; z += direction {
				f := try(z)
				if !(f.gain() > best.gain()) {
					break
				}
				best, zero = f, z
			}
		}
	}
	t.keepBetter(q, i, x, t.storable(best.scale()), uint8(zero))
}

// keepBetter stores a scale and a zero point if they make the error less than those that are stored.
func (t *Target) keepBetter(q *kernels.Quantized, i int, x []float32, scale float32, zero uint8) {
	lo, hi := q.Range()
	z, oldZ := q.Zero(), q.Zero()
	if q.Asymmetric {
		z, oldZ = int(zero), int(q.Zeros[i])
	}
	if !(fitScale(x, scale, lo-z, hi-z).error(scale) < fitScale(x, q.Scales[i], lo-oldZ, hi-oldZ).error(q.Scales[i])) {
		return
	}
	q.Scales[i] = scale
	if q.Asymmetric {
		q.Zeros[i] = zero
	}
}

// fit is what a group's values x and their stored values q amount to: Σxq and Σq².
type fit struct{ xq, qq float64 }

// scale is the one that suits the stored values best.
func (f fit) scale() float64 {
	if f.qq == 0 {
		return 0
	}
	return f.xq / f.qq
}

// gain is the part of Σx² that is not error.
func (f fit) gain() float64 {
	if f.qq == 0 {
		return 0
	}
	return f.xq * f.xq / f.qq
}

// error is Σ(x - scale q)² less Σx², which is the same for all fits of a group.
func (f fit) error(scale float32) float64 {
	s := float64(scale)
	return float64(float64(s*s)*f.qq) - float64(2*s*f.xq)
}

// searchScale tries scales from start towards zero and returns the best fit.
func searchScale(x []float32, start float64, lo, hi int) fit {
	var best fit
	waited := 0
	for range mseMost {
		f := fitScale(x, float32(start), lo, hi)
		if f.gain() > best.gain() {
			best, waited = f, 0
		} else if waited++; waited == msePatience {
			break
		}
		start *= mseStep
	}
	// Rounding with the refitted scale can only be better.
	for range 2 {
		f := fitScale(x, float32(best.scale()), lo, hi)
		if !(f.gain() > best.gain()) {
			break
		}
		best = f
	}
	return best
}

// fitScale rounds x to multiples of a scale.
func fitScale(x []float32, scale float32, lo, hi int) fit {
	inv := 1 / scale
	if math.IsInf(float64(inv), 0) {
		inv = 0 // as kernels.QuantizeRTN has it
	}
	var f fit
	f.xq, f.qq = kernels.Fit(x, inv, lo, hi)
	return f
}
