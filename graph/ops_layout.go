package graph

import "fmt"

var _ = register(Rearrange{}, Concat{}, Slice{}, Expand{}, FillLike{}, TakeLike{}, Select{}, Pad{}, Roll{})

// Rearrange reorders axes by a pattern in the notation of einops (Rogozhnikov 2022): "b (h p) (w q) c -> (b h w) (p q) c".
// Sizes gives those axes that the input's shape does not determine.
type Rearrange struct {
	Pattern string
	Sizes   map[string]int `json:",omitempty"`
}

// Infer solves the pattern for the input's shape.
func (o Rearrange) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	p, err := o.Solve(in[0])
	if err != nil {
		return nil, err
	}
	return p.Out, nil
}

// Concat joins values along an axis.
type Concat struct {
	Axis int
}

// Infer adds the sizes up.
func (o Concat) Infer(in, _ []Shape) (Shape, error) {
	if len(in) == 0 {
		return nil, fmt.Errorf("nothing to join")
	}
	a, err := in[0].Axis(o.Axis)
	if err != nil {
		return nil, err
	}
	out := in[0].With(a, 0)
	for _, s := range in {
		if len(s) != len(out) || !s.With(a, 0).Equal(out.With(a, 0)) {
			return nil, fmt.Errorf("%v do not join along axis %d", in, a)
		}
		out[a] += s[a]
	}
	return out, nil
}

// Slice keeps Start, Start+Step, … of an axis, up to but not including End. Negative Start and End count from the end; End
// = 0 means the end itself; Step 0 means 1.
type Slice struct {
	Axis  int
	Start int `json:",omitempty"`
	End   int `json:",omitempty"`
	Step  int `json:",omitempty"`
}

// Range returns the bounds and the step for an axis of that size.
func (o Slice) Range(size int) (start, end, step int, err error) {
	start, end, step = o.Start, o.End, max(o.Step, 1)
	if start < 0 {
		start += size
	}
	if end <= 0 {
		end += size
	}
	if start < 0 || end > size || start > end || o.Step < 0 {
		return 0, 0, 0, fmt.Errorf("slice %d:%d of an axis of %d", o.Start, o.End, size)
	}
	return start, end, step, nil
}

// Infer applies the range.
func (o Slice) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	a, err := in[0].Axis(o.Axis)
	if err != nil {
		return nil, err
	}
	start, end, step, err := o.Range(in[0][a])
	if err != nil {
		return nil, err
	}
	return in[0].With(a, (end-start+step-1)/step), nil
}

// Expand repeats x along its axis Axis, of size 1, to the size of that axis in like: a class token for each sample. In:
// x, like.
type Expand struct {
	Axis int
}

// Infer takes the size over.
func (o Expand) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	if o.Axis < 0 || o.Axis >= len(in[0]) || o.Axis >= len(in[1]) || in[0][o.Axis] != 1 {
		return nil, fmt.Errorf("axis %d of %v does not expand to that of %v", o.Axis, in[0], in[1])
	}
	return in[0].With(o.Axis, in[1][o.Axis]), nil
}

// FillLike is a constant in the shape of its input, or of the first Axes axes of it: what stands for an optional input that
// is not given.
type FillLike struct {
	Value float32
	Axes  int `json:",omitempty"` // 0: all
}

// Infer keeps the axes.
func (o FillLike) Infer(in, _ []Shape) (Shape, error) {
	s, err := same(in)
	switch {
	case err != nil || o.Axes == 0:
		return s, err
	case o.Axes < 0 || o.Axes > len(s):
		return nil, fmt.Errorf("input %v does not have %d axes", s, o.Axes)
	}
	return s[:o.Axes], nil
}

// TakeLike keeps the first elements of x's axis Axis, as many as like has along its axis LikeAxis, from Offset on: the
// positions of a sequence. With Past, the size of axis 1 of a third input is added to Offset: positions behind a cache.
// In: x, like[, past].
type TakeLike struct {
	Axis, LikeAxis int
	Offset         int `json:",omitempty"`
}

// Start returns the first element that is kept.
func (o TakeLike) Start(in []Shape) int {
	if len(in) == 3 {
		return o.Offset + in[2][1]
	}
	return o.Offset
}

// Infer takes the size over.
func (o TakeLike) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 2, 3); err != nil {
		return nil, err
	}
	if o.Axis < 0 || o.Axis >= len(in[0]) || o.LikeAxis < 0 || o.LikeAxis >= len(in[1]) || len(in) == 3 && len(in[2]) < 2 {
		return nil, fmt.Errorf("axis %d of %v, %d of %v: there is none", o.Axis, in[0], o.LikeAxis, in[1])
	}
	n := in[1][o.LikeAxis]
	if s := o.Start(in); s < 0 || s+n > in[0][o.Axis] {
		return nil, fmt.Errorf("%d positions from %d on are more than the table's %d: shorten the input", n, s, in[0][o.Axis])
	}
	return in[0].With(o.Axis, n), nil
}

// Select picks one position of each sample: x[b, index[b]]. In: x [B, S, ...], index [B].
type Select struct{}

// Infer drops the axis of positions.
func (o Select) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	x, i := in[0], in[1]
	if len(x) < 2 || len(i) != 1 || i[0] != x[0] {
		return nil, fmt.Errorf("index %v does not fit %v", i, x)
	}
	return append(Shape{x[0]}, x[2:]...), nil
}

// Pad extends an axis by constants.
type Pad struct {
	Axis          int
	Before, After int
	Value         float32 `json:",omitempty"`
}

// Infer adds the sizes.
func (o Pad) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	a, err := in[0].Axis(o.Axis)
	if err != nil {
		return nil, err
	}
	if o.Before < 0 || o.After < 0 {
		return nil, fmt.Errorf("padding by %d and %d", o.Before, o.After)
	}
	return in[0].With(a, in[0][a]+o.Before+o.After), nil
}

// Roll shifts an axis cyclically: element i goes to i + Shift (Swin's shifted windows).
type Roll struct {
	Axis, Shift int
}

// Infer keeps the shape.
func (o Roll) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	_, err := in[0].Axis(o.Axis)
	return in[0], err
}
