package fuse

import "github.com/mmconv/mmconv/graph"

var _ = register(&Pass{
	Name:     "attention",
	Doc:      "make one blocked operation of softmax attention",
	Patterns: []Pattern{fuseAttention},
})

// fuseAttention recognises merge(softmax(mask(alpha split(q) split(k)^T + bias)) split(v)), as [graph.Builder.Attention]
// writes it, the mask and the bias being optional.
func fuseAttention(m *Matcher, n *graph.Node) *graph.Node {
	merge, ok := is[graph.Rearrange](n)
	grouped := merge.Pattern == "b g r s d -> b s (g r d)"
	if !ok || merge.Pattern != "b h s d -> b s (h d)" && !grouped {
		return nil
	}
	mix := n.In[0]
	if op, ok := is[graph.MatMul](mix); !ok || op.TransposeB || op.Alpha != 1 || !m.Single(mix) {
		return nil
	}
	soft := mix.In[0]
	if op, ok := is[graph.Softmax](soft); !ok || op.Log || !m.Single(soft) {
		return nil
	}
	at := graph.Attention{}
	scores := soft.In[0]
	if _, ok := is[graph.CausalMask](scores); ok && m.Single(scores) {
		at.Causal = true
		scores = scores.In[0]
	}
	var bias *graph.Node
	if op, ok := is[graph.Binary](scores); ok && op.Kind == graph.Add && m.Single(scores) {
		bias, scores = scores.In[1], scores.In[0]
	}
	op, ok := is[graph.MatMul](scores)
	if !ok || !op.TransposeB || !m.Single(scores) {
		return nil
	}
	at.Scale = op.Alpha
	q, heads := headsOf(m, scores.In[0])
	k, kvHeads := headsOf(m, scores.In[1])
	v, vHeads := headsOf(m, mix.In[1])
	if q == nil || k == nil || v == nil || kvHeads != vHeads {
		return nil
	}
	at.Heads, at.KVHeads = heads, kvHeads
	if grouped && bias != nil {
		// The bias was given an axis for the groups' members.
		if op, ok := is[graph.Rearrange](bias); !ok || op.Pattern != "b 1 q k -> b 1 1 q k" {
			return nil
		}
		bias = bias.In[0]
	}
	in := []*graph.Node{q, k, v}
	if bias != nil {
		in = append(in, bias)
	}
	return &graph.Node{Op: at, In: in}
}

// headsOf undoes the split of a value into heads.
func headsOf(m *Matcher, n *graph.Node) (*graph.Node, int) {
	op, ok := is[graph.Rearrange](n)
	if !ok || m.g.IsOutput(n) {
		return nil, 0
	}
	switch op.Pattern {
	case "b s (h d) -> b h s d":
		return n.In[0], op.Sizes["h"]
	case "b s (g r d) -> b g r s d":
		return n.In[0], op.Sizes["g"] * op.Sizes["r"]
	case "b s (g d) -> b g 1 s d":
		return n.In[0], op.Sizes["g"]
	}
	return nil, 0
}
