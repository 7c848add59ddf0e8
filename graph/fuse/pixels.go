package fuse

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
)

var _ = register(&Pass{
	Name:     "pixels",
	Doc:      "fold the normalisation of pixels into the first convolution, which then takes bytes",
	Patterns: []Pattern{foldPixels},
})

// foldPixels: conv((x scale - mean) / std) is a convolution of x with weights scaled by input channel and another bias. It
// holds where no padding mixes zeros in, which mean another value before than after.
func foldPixels(m *Matcher, n *graph.Node) *graph.Node {
	conv, ok := is[graph.Conv](n)
	if !ok || conv.Pad != [4]int{} || conv.Same || conv.Groups != 1 {
		return nil
	}
	layout := n.In[0]
	if op, ok := is[graph.Rearrange](layout); !ok || op.Pattern != "b c h w -> b h w c" || !m.Single(layout) {
		return nil
	}
	norm := layout.In[0]
	op, ok := is[graph.Normalize](norm)
	if !ok || len(m.Users(norm)) != 1 || m.g.IsOutput(norm) || len(op.Mean) == 0 {
		return nil
	}
	input := norm.In[0]
	if _, ok := is[graph.Input](input); !ok || len(m.Users(input)) != 1 {
		return nil
	}
	w, bias := n.Param(0), n.Param(1)
	gain, shift := pixelAffine(op.Normalize)
	if w.Shape().Last() != len(gain) {
		return nil
	}
	positions := w.Shape()[1] * w.Shape()[2]
	moved := graph.MatVecExpr(w.Expr, repeated(shift, positions))
	// Pixels are not centred any more: what rounding does to the sum of a kernel would shift its output.
	var mean []float32
	for range positions {
		for i := range gain {
			mean = append(mean, -shift[i]/gain[i])
		}
	}
	folded := m.Changed(w, graph.ScaleColumnsExpr(w.Expr, graph.Values("scale/std", gain, len(gain))), mean)
	n.Params = []*graph.Weight{folded, m.Bias(folded, bias, graph.AddExpr(expr(bias), moved))}
	conv.Unsigned = true
	n.Op = conv
	layout.In[0] = input

	// Whoever has normalised pixels can still feed them.
	names := norm.Names
	m.g.Forget(norm)
	given := &graph.Node{Op: input.Op}
	for _, name := range names {
		if m.g.SetName(given, name) != nil {
			return nil // cannot be: the name was just given up
		}
	}
	for _, name := range input.Names {
		m.g.Alternates[name] = &graph.Node{Op: graph.Denormalize(op), In: []*graph.Node{given}}
	}
	return n
}

// pixelAffine returns scale/std and -mean/std by channel.
func pixelAffine(n pipeline.Normalize) (gain, shift []float32) {
	for i, mean := range n.Mean {
		gain = append(gain, float32(n.Scale()/n.Std[i]))
		shift = append(shift, float32(-mean/n.Std[i]))
	}
	return gain, shift
}

// repeated is a vector of channels, n times over: what every position of a kernel sees.
func repeated(v []float32, n int) graph.Expr {
	out := make([]float32, 0, n*len(v))
	for range n {
		out = append(out, v...)
	}
	return graph.Values("-mean/std", out, len(out))
}
