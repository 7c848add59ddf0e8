package graph

import "fmt"

var _ = register(SlidingWindows{}, SplitLike{})

// SlidingWindows cuts a sequence [B, T, ...] into windows of Size elements, one starting at every Stride-th element:
// [B, W, Size, ...] with W = T / Stride, rounded up. What lies behind the end is zero.
type SlidingWindows struct {
	Size, Stride int
}

// Infer applies the rule above.
func (o SlidingWindows) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	x := in[0]
	if len(x) < 2 || o.Size < 1 || o.Stride < 1 {
		return nil, fmt.Errorf("windows of %d at every %d elements of %v", o.Size, o.Stride, x)
	}
	windows := (x[1] + o.Stride - 1) / o.Stride
	return append(Shape{x[0], windows, o.Size}, x[2:]...), nil
}

// SplitLike splits the outermost axis of x, which two axes were joined to, into these: [(A B), ...] to [A, B, ...]. In: x, like
// [A, B, ...].
type SplitLike struct{}

// Infer takes the sizes over.
func (o SplitLike) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	x, like := in[0], in[1]
	if len(x) < 1 || len(like) < 2 || x[0] != like[0]*like[1] {
		return nil, fmt.Errorf("the outermost axis of %v does not split as %v says", x, like)
	}
	return append(Shape{like[0], like[1]}, x[1:]...), nil
}
