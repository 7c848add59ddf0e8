package fuse

import "github.com/mmconv/mmconv/graph"

var _ = register(&Pass{
	Name:     "norm",
	Doc:      "fold the gain and bias of a norm into the linear layers that read it",
	After:    []string{"affine"},
	Patterns: []Pattern{foldNorm},
})

// foldNorm: W (g x + b) + c is (W diag(g)) x + (W b + c), if every reader is a linear layer.
func foldNorm(m *Matcher, n *graph.Node) *graph.Node {
	switch n.Op.(type) {
	case graph.LayerNorm, graph.RMSNorm:
	default:
		return nil
	}
	if !foldIntoReaders(m, n) {
		return nil
	}
	m.g.Forget(n)
	n.Params = nil
	return n
}

// foldIntoReaders takes the gain and the shift of a value, its first two parameters, into the linear layers that read it. It
// does nothing and reports false where another operation reads it.
func foldIntoReaders(m *Matcher, n *graph.Node) bool {
	gain, shift := n.Param(0), n.Param(1)
	users := m.Users(n)
	if gain == nil && shift == nil || m.g.IsOutput(n) || m.isAlternate(n) || len(users) == 0 {
		return false
	}
	for _, u := range users {
		if !m.foldable(u, n) {
			return false
		}
	}
	for _, u := range users {
		fold(m, u, gain, shift)
	}
	return true
}

// foldable reports whether a node is a linear layer of x into whose weights a gain of x can go. A weight that others share
// would have to be stored twice.
func (m *Matcher) foldable(u, x *graph.Node) bool {
	if _, ok := is[graph.Linear](u); !ok || u.In[0] != x || len(u.In) > 1 && u.In[1] == x {
		return false
	}
	w := u.Param(0)
	return w.Kind == graph.Matrix && !m.Shared(w)
}

// fold takes a gain and a shift of its input into the weights of a linear layer.
func fold(m *Matcher, u *graph.Node, gain, shift *graph.Weight) {
	w, bias := u.Param(0), expr(u.Param(1))
	scaled := w.Expr
	if gain != nil {
		scaled = graph.ScaleColumnsExpr(w.Expr, gain.Expr)
	}
	if shift != nil {
		bias = graph.AddExpr(bias, graph.MatVecExpr(w.Expr, shift.Expr))
	}
	scaledWeight := m.Changed(w, scaled, nil)
	u.Params = []*graph.Weight{scaledWeight, m.Bias(scaledWeight, u.Param(1), bias)}
}
