package quant

import (
	"math"

	"github.com/mmconv/mmconv/kernels"
)

var _ = register(rtn{})

// rtn is round-to-nearest over the whole range: a symmetric group's greatest magnitude becomes the greatest stored one; an
// asymmetric group's least and greatest value (zero counted in, so that it stays exact) become the ends of the range.
type rtn struct{}

func (rtn) Name() string  { return "rtn" }
func (rtn) About() string { return "round to nearest, over the whole range of each group" }
func (rtn) Needs() Needs  { return 0 }

func (rtn) Begin(t Target, _ *Statistics) (Rows, error) {
	return func(q *kernels.Quantized, w []float32) {
		if t.Scheme.Asymmetric {
			highs := make([]float32, len(q.Scales))
			kernels.RowMinMax(q.Scales, highs, w, t.K, t.Scheme.Group)
			for i, hi := range highs {
				q.Scales[i], q.Zeros[i] = t.spread(q.Scales[i], hi)
			}
		} else {
			kernels.RowAbsMax(q.Scales, w, t.K, t.Scheme.Group)
			for i, m := range q.Scales {
				q.Scales[i] = t.storable(float64(m) / levels(t.Scheme))
			}
		}
		kernels.QuantizeRTN(q, 0, w)
	}, nil
}

// spread returns the scale and the zero point by which the range of an asymmetric scheme reaches from lo to hi.
func (t *Target) spread(lo, hi float32) (scale float32, zero uint8) {
	top := levels(t.Scheme)
	l, h := min(float64(lo), 0), max(float64(hi), 0)
	scale = t.storable((h - l) / top)
	if scale == 0 {
		return 0, 0
	}
	return scale, uint8(min(max(math.RoundToEven(-l/float64(scale)), 0), top))
}
