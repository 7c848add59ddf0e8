package fuse

import (
	"strings"

	"github.com/mmconv/mmconv/graph"
)

var _ = register(&Pass{
	Name:     "qkv",
	Doc:      "compute the projections of queries, keys and values that read the same input by one product",
	After:    []string{"attention", "norm", "shortcut", "scale"},
	Patterns: []Pattern{joinProjections},
})

// joinProjections: [Wq x, Wk x, Wv x] is [Wq; Wk; Wv] x, of which the attention reads slices in place. In cross-attention
// keys and values are joined. An absent bias among present ones is zero. Keys and values may stand behind a cache.
func joinProjections(m *Matcher, n *graph.Node) *graph.Node {
	if _, ok := is[graph.Attention](n); !ok {
		return nil
	}
	for _, from := range []int{0, 1} { // q, k and v; or k and v
		if by := joinInputs(m, n, from); by != nil {
			return by
		}
	}
	return nil
}

func joinInputs(m *Matcher, n *graph.Node, from int) *graph.Node {
	x := (*graph.Node)(nil)
	biased := false
	var parts []*graph.Node
	var slots []**graph.Node // where the parts are read
	for i := from; i < 3; i++ {
		slot := &n.In[i]
		if cat, ok := is[graph.Concat](*slot); ok && cat.Axis == 1 {
			slot = &(*slot).In[len((*slot).In)-1]
		}
		p := *slot
		op, ok := is[graph.Linear](p)
		if !ok || op.Act != 0 || op.Gated || len(p.In) != 1 || !m.Single(p) || m.Shared(p.Param(0)) {
			return nil
		}
		if x != nil && p.In[0] != x {
			return nil
		}
		x = p.In[0]
		biased = biased || p.Param(1) != nil
		parts, slots = append(parts, p), append(slots, slot)
	}
	var weights, biases []graph.Expr
	var names []string
	for _, p := range parts {
		w := p.Param(0)
		weights = append(weights, w.Expr)
		if b := p.Param(1); b != nil {
			biases = append(biases, b.Expr)
		} else {
			biases = append(biases, graph.Values("0", make([]float32, w.Shape()[0]), w.Shape()[0]))
		}
		names = append(names, w.Name)
	}
	w := m.Derived(graph.Matrix, joinedName(names), graph.ConcatExpr(weights...))
	joined := &graph.Node{Op: graph.Linear{}, In: []*graph.Node{x}, Params: []*graph.Weight{w, nil}}
	if biased {
		joined.Params[1] = m.Bias(w, nil, graph.ConcatExpr(biases...))
	}
	at := 0
	for i, p := range parts {
		size := p.Param(0).Shape()[0]
		slice := &graph.Node{Op: graph.Slice{Axis: 2, Start: at, End: at + size}, In: []*graph.Node{joined}}
		m.g.Replace(p, slice, m.users) // names stay: keys and values of an encoder are fed again
		*slots[i] = slice
		at += size
	}
	return n
}

// joinedName is the common part of weights' names with what differs: layer.self_attn.(q_proj+k_proj+v_proj).weight.
func joinedName(names []string) string {
	prefix, suffix := names[0], names[0]
	for _, n := range names[1:] {
		for !strings.HasPrefix(n, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
		for !strings.HasSuffix(n, suffix) {
			suffix = suffix[1:]
		}
	}
	// Whole words only.
	prefix = prefix[:strings.LastIndexAny(prefix, ".")+1]
	if i := strings.IndexByte(suffix, '.'); i >= 0 {
		suffix = suffix[i:]
	} else {
		suffix = ""
	}
	var middle []string
	for _, n := range names {
		middle = append(middle, strings.TrimSuffix(strings.TrimPrefix(n, prefix), suffix))
	}
	return prefix + "(" + strings.Join(middle, "+") + ")" + suffix
}
