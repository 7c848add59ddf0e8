package graph

import "fmt"

var _ = register(DeformableAttention{})

// DeformableAttention reads maps of several scales at a few fractional places for each query and head, and sums what it
// finds there: sum over levels l and points p of weight * value_l(reference * size_l + offset - 1/2), bilinearly, zeros
// outside. In: value [B, sum of H*W, Heads*D], the maps of all levels one after another; reference [1 or B, Q, 2], (x, y)
// in 0..1 of every map; offsets [B, Q, Heads*L*Points*2], (x, y) in places of the level's map; weights
// [B, Q, Heads, L*Points]. The value is [B, Q, Heads*D]. (Zhu et al., arXiv:2010.04159, equation 3 without its projections.)
type DeformableAttention struct {
	Heads, Points int
	Levels        [][2]int // height and width of each map
}

// Infer applies the rule above.
func (o DeformableAttention) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 4, 4); err != nil {
		return nil, err
	}
	if o.Heads < 1 || o.Points < 1 || len(o.Levels) == 0 {
		return nil, fmt.Errorf("%d heads of %d points in %d levels make no attention", o.Heads, o.Points, len(o.Levels))
	}
	places := 0
	for _, l := range o.Levels {
		if min(l[0], l[1]) < 1 {
			return nil, fmt.Errorf("a map of %d x %d places: expected at least 1 x 1", l[0], l[1])
		}
		places += l[0] * l[1]
	}
	value, reference, offsets, weights := in[0], in[1], in[2], in[3]
	if len(value) != 3 || value[1] != places || value[2]%o.Heads != 0 {
		return nil, fmt.Errorf("value %v does not fit %d heads and maps of %v", value, o.Heads, o.Levels)
	}
	points := len(o.Levels) * o.Points
	if len(offsets) != 3 || offsets[0] != value[0] || offsets[2] != 2*o.Heads*points ||
		!weights.Equal(Shape{offsets[0], offsets[1], o.Heads, points}) ||
		len(reference) != 3 || reference[0] != 1 && reference[0] != value[0] || reference[1] != offsets[1] || reference[2] != 2 {
		return nil, fmt.Errorf("reference %v, offsets %v and weights %v do not fit value %v, %d heads of %d points", reference, offsets, weights,
			value, o.Heads, points)
	}
	return Shape{value[0], offsets[1], value[2]}, nil
}
