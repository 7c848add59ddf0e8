package fuse

import (
	"strings"

	"github.com/mmconv/mmconv/graph"
)

var _ = register(&Pass{
	Name:     "shortcut",
	Doc:      "fold the gain and bias of a norm into the linear layers that read it where a residual sum reads it too, which is scaled by itself",
	After:    []string{"norm"},
	Patterns: []Pattern{normBesideShortcut, affineBehindSlice, foldPooled},
})

// normBesideShortcut: where linear layers and others read g x + b, the layers' weights take the gain and the bias and read x.
// In a transformer whose norms stand behind the sums, nearly every layer reads a norm's output, and so does the sum behind
// it. Their gains have outliers, which the layers that read them would else have in their quantized activations (Wei et al.
// 2022, Outlier Suppression: Pushing the Limit of Low-bit Transformer Language Models, section 4.1, Gamma Migration).
func normBesideShortcut(m *Matcher, n *graph.Node) *graph.Node {
	switch n.Op.(type) {
	case graph.LayerNorm, graph.RMSNorm:
	default:
		return nil
	}
	if n.Param(0) == nil && n.Param(1) == nil {
		return nil
	}
	bare := &graph.Node{Op: n.Op, In: n.In}
	folded := false
	for _, u := range m.Users(n) {
		if u.In[0] == n && m.foldable(u, n) {
			fold(m, u, n.Param(0), n.Param(1))
			u.In[0] = bare
			folded = true
		}
	}
	if !folded {
		return nil
	}
	return &graph.Node{Op: graph.Affine{}, Params: []*graph.Weight{n.Param(0), n.Param(1)}, In: []*graph.Node{bare}}
}

// affineBehindSlice: what is chosen of g x + b is g times what is chosen of x, plus b: the first token that a pooler reads.
func affineBehindSlice(m *Matcher, n *graph.Node) *graph.Node {
	switch op := n.Op.(type) {
	case graph.Slice:
		if rank := len(m.shapes[n]); rank == 0 || op.Axis == rank-1 || op.Axis == -1 {
			return nil
		}
	case graph.Rearrange:
		from, to, _ := strings.Cut(op.Pattern, "->")
		in, out := strings.Fields(from), strings.Fields(to)
		if len(in) == 0 || len(out) == 0 || in[len(in)-1] != out[len(out)-1] || strings.HasSuffix(in[len(in)-1], ")") {
			return nil
		}
	default:
		return nil
	}
	affine := n.In[0]
	if _, ok := is[graph.Affine](affine); !ok {
		return nil
	}
	return &graph.Node{Op: affine.Op, Params: affine.Params, In: []*graph.Node{{Op: n.Op, In: affine.In}}}
}
