package fuse

import "github.com/mmconv/mmconv/graph"

var _ = register(&Pass{
	Name:     "epilogue",
	Doc:      "compute activations, gated pairs and residual sums where products are stored",
	After:    []string{"attention", "qkv", "affine", "norm", "shortcut", "scale", "constants"},
	Patterns: []Pattern{fuseActivation, fuseGate, fuseResidual},
})

// fuseActivation: act(W x + b).
func fuseActivation(m *Matcher, n *graph.Node) *graph.Node {
	op, ok := is[graph.Unary](n)
	if !ok {
		return nil
	}
	p := n.In[0]
	if !product(p) || activated(p) || len(p.In) != 1 || !m.Single(p) {
		return nil
	}
	by := &graph.Node{Params: p.Params, In: p.In}
	switch o := p.Op.(type) {
	case graph.Linear:
		o.Act = op.Act
		by.Op = o
	case graph.Conv:
		o.Act = op.Act
		by.Op = o
	}
	m.g.Forget(p)
	return by
}

// fuseGate: act(Wg x + bg) * (Wu x + bu), the gate being the operand with the activation.
func fuseGate(m *Matcher, n *graph.Node) *graph.Node {
	if op, ok := is[graph.Binary](n); !ok || op.Kind != graph.Mul {
		return nil
	}
	gate, up := n.In[0], n.In[1]
	if g, ok := is[graph.Linear](gate); !ok || g.Act == 0 {
		gate, up = up, gate
	}
	g, ok := is[graph.Linear](gate)
	u, ok2 := is[graph.Linear](up)
	if !ok || !ok2 || g.Act == 0 || g.Gated || u.Act != 0 || u.Gated || len(gate.In) != 1 || len(up.In) != 1 ||
		gate.In[0] != up.In[0] || !m.Single(gate) || !m.Single(up) || m.Shared(gate.Param(0)) || m.Shared(up.Param(0)) ||
		!gate.Param(0).Shape().Equal(up.Param(0).Shape()) || (gate.Param(1) == nil) != (up.Param(1) == nil) {
		return nil
	}
	wg, wu := gate.Param(0), up.Param(0)
	w := m.Derived(graph.Matrix, joinedName([]string{wg.Name, wu.Name}), graph.ConcatExpr(wg.Expr, wu.Expr))
	params := []*graph.Weight{w, nil}
	if gate.Param(1) != nil {
		params[1] = m.Bias(w, nil, graph.ConcatExpr(gate.Param(1).Expr, up.Param(1).Expr))
	}
	m.g.Forget(gate)
	m.g.Forget(up)
	return &graph.Node{Op: graph.Linear{Act: g.Act, Gated: true}, Params: params, In: gate.In}
}

// fuseResidual: x + act(W y + b), where both always have the same shape.
func fuseResidual(m *Matcher, n *graph.Node) *graph.Node {
	if op, ok := is[graph.Binary](n); !ok || op.Kind != graph.Add {
		return nil
	}
	for i, p := range n.In {
		other := n.In[1-i]
		isProduct := product(p)
		if op, ok := is[graph.Linear](p); ok && op.Gated {
			isProduct = true
		}
		if !isProduct || len(p.In) != 1 || !m.Single(p) || !m.SameShape(p, other) || constant(other) != nil {
			continue
		}
		m.g.Forget(p)
		return &graph.Node{Op: p.Op, Params: p.Params, In: []*graph.Node{p.In[0], other}}
	}
	return nil
}
