package fuse

import "github.com/mmconv/mmconv/graph"

var _ = register(&Pass{
	Name:     "scale",
	Doc:      "fold the scale of attention into the projection of the queries",
	After:    []string{"attention", "norm", "shortcut"},
	Patterns: []Pattern{foldScale},
})

// foldScale: softmax(s (W x + b) k^T) is softmax((s W x + s b) k^T).
func foldScale(m *Matcher, n *graph.Node) *graph.Node {
	at, ok := is[graph.Attention](n)
	if !ok || at.Scale == 1 {
		return nil
	}
	q := n.In[0]
	if op, ok := is[graph.Linear](q); !ok || op.Act != 0 || op.Gated || len(q.In) != 1 || !m.Single(q) || m.Shared(q.Param(0)) {
		return nil
	}
	w, bias := q.Param(0), q.Param(1)
	var shift graph.Expr
	if bias != nil {
		shift = graph.ScaleExpr(bias.Expr, at.Scale)
	}
	w = m.Changed(w, graph.ScaleExpr(w.Expr, at.Scale), w.InputMean)
	params := []*graph.Weight{w, m.Bias(w, bias, shift)}
	m.g.Forget(q)
	q.Params = params
	at.Scale = 1
	n.Op = at
	return n
}
