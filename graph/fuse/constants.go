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
func constantRearrange(_ *Matcher, n *graph.Node) *graph.Node {
	op, ok := is[graph.Rearrange](n)
	if !ok {
		return nil
	}
	w := constant(n.In[0])
	if w == nil {
		return nil
	}
	return parameter(derived(w, w.Name+"["+op.Pattern+"]", graph.RearrangeExpr(w.Expr, op.Pattern, op.Sizes)))
}

// constantSlice: a part of a weight's outermost axis is a weight.
func constantSlice(_ *Matcher, n *graph.Node) *graph.Node {
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
	return parameter(derived(w, fmt.Sprintf("%s[%d:%d]", w.Name, start, end), graph.SliceExpr(w.Expr, start, end)))
}

// constantLinear: W x + b of a learned query x is a weight.
func constantLinear(_ *Matcher, n *graph.Node) *graph.Node {
	op, ok := is[graph.Linear](n)
	if !ok || op.Act != 0 || op.Gated || len(n.In) != 1 {
		return nil
	}
	x := constant(n.In[0])
	if x == nil {
		return nil
	}
	w := n.Param(0)
	out, in := w.Shape()[0], w.Shape()[1]
	rows := x.Shape().Rows()
	args := []graph.Expr{w.Expr, x.Expr}
	if b := n.Param(1); b != nil {
		args = append(args, b.Expr)
	}
	shape := x.Shape().With(len(x.Shape())-1, out)
	return parameter(derived(x, w.Name+"("+x.Name+")", graph.Func("linear", shape, func(v [][]float32) ([]float32, error) {
		y := make([]float32, rows*out)
		for r := range rows {
			for o := range out {
				sum := 0.0
				for i, a := range v[0][o*in:][:in] {
					sum += float64(a) * float64(v[1][r*in+i])
				}
				if len(v) == 3 {
					sum += float64(v[2][o])
				}
				y[r*out+o] = float32(sum)
			}
		}
		return y, nil
	}, args...)))
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
	moved := parameter(derived(class, class.Name+"+position", graph.AddExpr(class.Expr, first)))
	rest := parameter(derived(table, fmt.Sprintf("%s[%d:%d]", table.Name, tokens, all), graph.SliceExpr(table.Expr, tokens, all)))
	sum := &graph.Node{Op: graph.Binary{Kind: graph.Add}, In: []*graph.Node{patches, rest}}
	m.g.Forget(joined)
	return &graph.Node{Op: cat, In: []*graph.Node{
		{Op: expand.Op, In: []*graph.Node{moved, expand.In[1]}}, sum,
	}}
}
