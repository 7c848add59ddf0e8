package fuse

import "github.com/mmconv/mmconv/graph"

var _ = register(&Pass{
	Name:     "affine",
	Doc:      "fold batch norms and layer scales into the convolution or linear layer before them",
	After:    []string{"pixels"},
	Patterns: []Pattern{foldAffine},
})

// foldAffine: (W x + b) s + t is (s W) x + (s b + t).
func foldAffine(m *Matcher, n *graph.Node) *graph.Node {
	if _, ok := is[graph.Affine](n); !ok {
		return nil
	}
	p := n.In[0]
	if !product(p) || activated(p) || len(p.In) != 1 || !m.Single(p) {
		return nil
	}
	w, bias := p.Param(0), expr(p.Param(1))
	scale, shift := n.Param(0), expr(n.Param(1))
	if scale != nil && m.Shared(w) {
		return nil
	}
	if scale != nil {
		w = m.Changed(w, graph.ScaleRowsExpr(w.Expr, scale.Expr), w.InputMean)
		if bias != nil {
			bias = graph.MulExpr(bias, scale.Expr)
		}
	}
	params := []*graph.Weight{w, m.Bias(w, p.Param(1), graph.AddExpr(bias, shift))}
	m.g.Forget(p)
	return &graph.Node{Op: p.Op, Params: params, In: p.In}
}
