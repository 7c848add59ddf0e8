package fuse

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
)

var _ = register(&Pass{
	Name: "constants",
	Doc:  "compute at conversion what depends on weights alone: position tables, class tokens, projected queries",
	Patterns: []Pattern{
		constantRearrange, constantSlice, constantLinear, classPosition,
	},
})

// constant returns the weight that a value is, nil if it is computed.
func constant(n *graph.Node) *graph.Weight {
	if _, ok := is[graph.Parameter](n); ok {
		return n.Params[0]
	}
	return nil
}

func parameter(w *graph.Weight) *graph.Node {
	return &graph.Node{Op: graph.Parameter{}, Params: []*graph.Weight{w}}
}

// constantRearrange: a reordered weight is a weight.
func constantRearrange(m *Matcher, n *graph.Node) *graph.Node {
	op, ok := is[graph.Rearrange](n)
	if !ok {
		return nil
	}
	w := constant(n.In[0])
	if w == nil {
		return nil
	}
	return parameter(m.Derived(w.Kind, w.Name+"["+op.String()+"]", graph.RearrangeExpr(w.Expr, op.Pattern, op.Sizes)))
}

// constantSlice: a part of a weight's outermost axis is a weight.
func constantSlice(m *Matcher, n *graph.Node) *graph.Node {
	op, ok := is[graph.Slice](n)
	if !ok {
		return nil
	}
	w := constant(n.In[0])
	if w == nil || op.Axis != 0 {
		return nil
	}
	start, end, step, err := op.Range(w.Shape()[0])
	if err != nil || step != 1 {
		return nil
	}
	return parameter(m.Derived(w.Kind, fmt.Sprintf("%s[%d:%d]", w.Name, start, end), graph.SliceExpr(w.Expr, start, end)))
}

// constantLinear: W x + b of a learned query x is a weight.
func constantLinear(m *Matcher, n *graph.Node) *graph.Node {
	op, ok := is[graph.Linear](n)
	if !ok || op.Act != 0 || op.Gated || len(n.In) != 1 {
		return nil
	}
	x := constant(n.In[0])
	if x == nil {
		return nil
	}
	w := n.Param(0)
	return parameter(m.Derived(x.Kind, w.Name+"("+x.Name+")", graph.LinearExpr(w.Expr, x.Expr, expr(n.Param(1)))))
}

// classPosition: concat(class, patches) + positions is concat(class + positions[0], patches + positions[1:]); the first
// sum is a weight.
func classPosition(m *Matcher, n *graph.Node) *graph.Node {
	if op, ok := is[graph.Binary](n); !ok || op.Kind != graph.Add {
		return nil
	}
	joined, table := n.In[0], constant(n.In[1])
	cat, ok := is[graph.Concat](joined)
	if !ok || table == nil || cat.Axis != 1 || len(joined.In) != 2 || !m.Single(joined) || len(table.Shape()) != 2 {
		return nil
	}
	expand, patches := joined.In[0], joined.In[1]
	if _, ok := is[graph.Expand](expand); !ok || !m.Single(expand) {
		return nil
	}
	class := constant(expand.In[0])
	if class == nil || len(class.Shape()) != 3 {
		return nil
	}
	tokens := class.Shape()[1]
	all, d := table.Shape()[0], table.Shape()[1]
	if class.Shape()[0] != 1 || class.Shape()[2] != d || tokens >= all {
		return nil
	}
	first := graph.ReshapeExpr(graph.SliceExpr(table.Expr, 0, tokens), 1, tokens, d)
	moved := parameter(m.Derived(class.Kind, class.Name+"+position", graph.AddExpr(class.Expr, first)))
	rest := parameter(m.Derived(table.Kind, fmt.Sprintf("%s[%d:%d]", table.Name, tokens, all), graph.SliceExpr(table.Expr, tokens, all)))
	sum := &graph.Node{Op: graph.Binary{Kind: graph.Add}, In: []*graph.Node{patches, rest}}
	m.g.Forget(joined)
	return &graph.Node{Op: cat, In: []*graph.Node{
		{Op: expand.Op, In: []*graph.Node{moved, expand.In[1]}}, sum,
	}}
}
