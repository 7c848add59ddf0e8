package fuse

import "github.com/mmconv/mmconv/graph"

var _ = register(&Pass{
	Name:     "pool",
	Doc:      "move the gain and bias of a norm behind the mean over positions, and fold them into the linear layers that read it",
	After:    []string{"affine", "norm"},
	Patterns: []Pattern{normBehindMean, foldPooled},
})

// normBehindMean: mean(g x + b) over positions is g mean(x) + b. A gain with outliers, which the next layer undoes, would
// else go through the activations of that layer.
func normBehindMean(m *Matcher, n *graph.Node) *graph.Node {
	op, ok := is[graph.Reduce](n)
	if !ok || op.Kind != graph.Mean {
		return nil
	}
	norm := n.In[0]
	switch norm.Op.(type) {
	case graph.LayerNorm, graph.RMSNorm:
	default:
		return nil
	}
	axis, rank := op.Axis, len(m.shapes[norm])
	if rank == 0 || axis == rank-1 || axis == -1 || norm.Param(0) == nil && norm.Param(1) == nil || !m.Single(norm) {
		return nil
	}
	m.g.Forget(norm)
	bare := &graph.Node{Op: norm.Op, In: norm.In}
	mean := &graph.Node{Op: op, In: []*graph.Node{bare}}
	return &graph.Node{Op: graph.Affine{}, Params: []*graph.Weight{norm.Param(0), norm.Param(1)}, In: []*graph.Node{mean}}
}

// foldPooled: W (g x + b) + c is (W diag(g)) x + (W b + c).
func foldPooled(m *Matcher, n *graph.Node) *graph.Node {
	if _, ok := is[graph.Affine](n); !ok || !foldIntoReaders(m, n) {
		return nil
	}
	m.g.Forget(n)
	return n.In[0]
}
