package fuse

import (
	"fmt"
	"math"
	"slices"

	"github.com/mmconv/mmconv/graph"
)

var _ = register(&Pass{
	Name:     "norm convolution",
	Doc:      "fold the gain and bias of a norm into the convolutions that read it, where padding lets them",
	After:    []string{"affine", "pixels"},
	Patterns: []Pattern{foldNormIntoConvolutions},
})

// foldNormIntoConvolutions: a convolution of g x + b without padding is one of x with weights scaled by input channel and
// another bias. With padding, whose zeros are no g x + b, the bias has to stay, and the gain with it as far as it is like the
// other channels': what stands out, which the convolution undoes, would else go through its activations.
func foldNormIntoConvolutions(m *Matcher, n *graph.Node) *graph.Node {
	switch n.Op.(type) {
	case graph.LayerNorm, graph.RMSNorm:
	default:
		return nil
	}
	gain, shift := n.Param(0), n.Param(1)
	users := m.Users(n)
	if gain == nil && shift == nil || m.done[n] || m.g.IsOutput(n) || m.isAlternate(n) || len(users) == 0 {
		return nil
	}
	padded := false
	for _, u := range users {
		op, ok := is[graph.Conv](u)
		if !ok || op.Groups != 1 || u.In[0] != n || slices.Contains(u.In[1:], n) || u.Param(0).Kind != graph.Kernel || m.Shared(u.Param(0)) {
			return nil
		}
		padded = padded || op.Same || op.Pad != [4]int{}
	}
	if padded && gain == nil {
		return nil
	}
	for _, u := range users {
		w, bias := u.Param(0), expr(u.Param(1))
		scaled := w.Expr
		switch {
		case padded:
			scaled = graph.ScaleColumnsExpr(scaled, graph.Apply(excess{}, gain.Expr))
		case gain != nil:
			scaled = graph.ScaleColumnsExpr(scaled, gain.Expr)
		}
		if shift != nil && !padded {
			everywhere := slices.Repeat([]graph.Expr{shift.Expr}, w.Shape()[1]*w.Shape()[2])
			bias = graph.AddExpr(bias, graph.MatVecExpr(w.Expr, graph.ConcatExpr(everywhere...)))
		}
		changed := m.Changed(w, scaled, nil)
		u.Params = []*graph.Weight{changed, m.Bias(changed, u.Param(1), bias)}
	}
	m.g.Forget(n)
	if !padded {
		n.Params = nil
		return n
	}
	m.done[n] = true
	less := graph.Apply(excess{Inverse: true}, gain.Expr)
	n.Params = slices.Clone(n.Params)
	n.Params[0] = m.Changed(gain, graph.MulExpr(gain.Expr, less), nil)
	if shift != nil {
		n.Params[1] = m.Changed(shift, graph.MulExpr(shift.Expr, less), nil)
	}
	return n
}

var _ = graph.RegisterExpr(excess{})

// excess is how many times the median magnitude each element has, at least 1; or the inverse of that.
type excess struct {
	Inverse bool `json:",omitempty"`
}

func (o excess) Infer(args []graph.Shape) (graph.Shape, error) {
	if len(args) != 1 || args[0].Len() == 0 {
		return nil, fmt.Errorf("takes one argument with elements")
	}
	return args[0], nil
}

func (o excess) Eval(args []*graph.Tensor) ([]float32, error) {
	out := make([]float32, len(args[0].Data))
	for i, x := range args[0].Data {
		out[i] = float32(math.Abs(float64(x)))
	}
	median := slices.Sorted(slices.Values(out))[len(out)/2]
	for i, x := range out {
		switch out[i] = 1; {
		case !(x > median && median > 0):
		case o.Inverse:
			out[i] = median / x
		default:
			out[i] = x / median
		}
	}
	return out, nil
}
