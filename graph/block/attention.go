package block

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// Attention is softmax attention by heads with its projections (Vaswani et al. 2017, section 3.2).
type Attention struct {
	Dim     int // width of the input, that queries are made of
	KVDim   int // width of what keys and values are made of; 0: Dim
	OutDim  int // width of the output; 0: Dim
	Heads   int
	KVHeads int // heads of keys and values; 0: Heads
	HeadDim int // 0: Dim / Heads
	Scale   float64
	Causal  bool // query i sees keys up to i + Sk - Sq

	Q, K, V Projection
	// QKV, with a stem, holds the three projections one behind the other, where the checkpoint has no Q apart. KV likewise
	// holds keys and values. Their parts are called as Q, K and V are.
	QKV, KV Projection
	// ByHead says that QKV holds q, k and v of one head after the other's.
	ByHead bool
	// QBias, KBias and VBias are tensors that hold biases by themselves, beside a projection that has none (EVA, BEiT: those of
	// queries and values). Used where they are stored; "" for none.
	QBias, KBias, VBias string

	// QNorm and KNorm are stems of norms over each head's channels, with AllHeads over those of all heads; "" for none.
	QNorm, KNorm string
	AllHeads     bool
	SubNorm      string // stem of a norm before Out; "" for none
	Norm         Norm   // of what kind these norms are

	Gate Projection // with a stem: what goes into Out is multiplied by sigmoid(Gate x)
	Out  Projection // without a stem: none
}

// With is what an attention depends on besides its input and its weights. All of it is optional.
type With struct {
	KV *graph.Node // what keys and values are made of, [B, Sk, KVDim]; nil: the input
	V  *graph.Node // what values are made of, where that is not KV

	Bias   *graph.Node                               // is added to the scores; broadcasts to [B, heads, Sq, Sk]
	BiasOf func(x *graph.Node) *graph.Node           // makes it of the input (gated relative positions); instead of Bias
	Rotate func(q, k *graph.Node) (_, _ *graph.Node) // turns [B, S, heads, head dim] by positions
	Cache  func(k, v *graph.Node) (_, _ *graph.Node) // puts earlier keys and values before these, [B, S, KVHeads * head dim]

	// Cut lays tokens out for the attention, as windows are, and Join lays its output back.
	Cut, Join func(x *graph.Node) *graph.Node
}

// sized fills in the sizes that follow from others.
func (a Attention) sized() (Attention, error) {
	or := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	or(&a.KVDim, a.Dim)
	or(&a.OutDim, a.Dim)
	or(&a.KVHeads, a.Heads)
	if a.Heads < 1 || a.KVHeads < 1 || a.Heads%a.KVHeads != 0 {
		return a, fmt.Errorf("config: %d heads of queries do not share %d heads of keys and values", a.Heads, a.KVHeads)
	}
	if a.HeadDim == 0 {
		if a.Dim%a.Heads != 0 {
			return a, fmt.Errorf("config: %d channels do not split into %d heads", a.Dim, a.Heads)
		}
		a.HeadDim = a.Dim / a.Heads
	}
	return a, nil
}

// Apply attends from x [B, Sq, Dim] to itself, or to what with says: [B, Sq, OutDim].
func (a Attention) Apply(b *graph.Builder, x *graph.Node, at string, with With) *graph.Node {
	a, err := a.sized()
	if err != nil {
		b.Fail(err)
		return x
	}
	if with.Cut != nil {
		x = with.Cut(x)
	}
	q, k, v := a.project(b, x, at, with)
	h := a.attend(b, x, q, k, v, with)
	h = a.output(b, x, h, at)
	if with.Join != nil {
		h = with.Join(h)
	}
	return h
}

// project makes queries, keys and values, [B, S, heads * head dim].
func (a *Attention) project(b *graph.Builder, x *graph.Node, at string, with With) (q, k, v *graph.Node) {
	q = a.query(b, x, at)
	k, v = a.keysValues(b, x, at, with)
	if with.Rotate != nil {
		q, k = with.Rotate(split(b, q, a.Heads), split(b, k, a.KVHeads))
		q, k = merge(b, q), merge(b, k)
	}
	if with.Cache != nil {
		k, v = with.Cache(k, v)
	}
	return q, k, v
}

func (a *Attention) query(b *graph.Builder, x *graph.Node, at string) *graph.Node {
	return a.normed(b, b.Op(graph.Linear{}, a.weights(b, at, 0), x), at, a.QNorm, a.Heads)
}

func (a *Attention) keysValues(b *graph.Builder, x *graph.Node, at string, with With) (k, v *graph.Node) {
	if with.KV != nil {
		x = with.KV
	}
	k = a.normed(b, b.Op(graph.Linear{}, a.weights(b, at, 1), x), at, a.KNorm, a.KVHeads)
	if with.V != nil {
		x = with.V
	}
	return k, b.Op(graph.Linear{}, a.weights(b, at, 2), x)
}

// weights returns those of queries (0), keys (1) or values (2): of their own, or a part of a joined projection's.
func (a *Attention) weights(b *graph.Builder, at string, i int) []*graph.Weight {
	own := []Projection{a.Q, a.K, a.V}[i]
	in := []int{a.Dim, a.KVDim, a.KVDim}[i]
	sizes := []int{a.Heads * a.HeadDim, a.KVHeads * a.HeadDim, a.KVHeads * a.HeadDim}
	joined, first := Projection{}, 0
	switch stored := b.Params.Has(own.tensor(at, "weight")); {
	case own.Stem != "" && stored:
	case a.QKV.Stem != "":
		joined = a.QKV
	case a.KV.Stem != "" && i > 0:
		joined, first = a.KV, 1
	}
	var w []*graph.Weight
	if joined.Stem != "" {
		before, whole := 0, 0
		for j := first; j < 3; j++ {
			if j < i {
				before += sizes[j]
			}
			whole += sizes[j]
		}
		cut := func(e graph.Expr) graph.Expr { return graph.SliceExpr(e, before, before+sizes[i]) }
		if a.ByHead {
			if a.KVHeads != a.Heads {
				b.Fail(fmt.Errorf("config: %d heads of queries are not joined head by head with %d of keys and values", a.Heads, a.KVHeads))
				return make([]*graph.Weight, 2)
			}
			cut = func(e graph.Expr) graph.Expr {
				pattern := "(h n d) -> n (h d)"
				if len(e.Shape()) > 1 {
					pattern = "(h n d) i -> n (h d) i"
				}
				e = graph.RearrangeExpr(e, pattern, map[string]int{"h": a.Heads, "n": 3 - first})
				return graph.ReshapeExpr(graph.SliceExpr(e, i-first, i-first+1), e.Shape()[1:]...)
			}
		}
		w = joined.part(b, own, at, in, whole, cut)
	} else {
		w = own.weights(b, at, in, sizes[i])
	}
	if apart := []string{a.QBias, a.KBias, a.VBias}[i]; w[1] == nil && apart != "" && b.Params.Has(join(at, apart)) {
		w[1] = b.Derived(graph.Bias, own.tensor(at, "bias"), b.Tensor(join(at, apart), sizes[i]))
	}
	return w
}

// split and merge go between [B, S, heads * head dim] and [B, S, heads, head dim], which are views of one another.
func split(b *graph.Builder, x *graph.Node, heads int) *graph.Node {
	return b.Rearrange(x, "b s (h d) -> b s h d", "h", heads)
}

func merge(b *graph.Builder, x *graph.Node) *graph.Node {
	return b.Rearrange(x, "b s h d -> b s (h d)")
}

// normed applies the norm of queries or keys.
func (a *Attention) normed(b *graph.Builder, x *graph.Node, at, stem string, heads int) *graph.Node {
	if stem == "" {
		return x
	}
	if a.AllHeads {
		return a.Norm.Apply(b, x, join(at, stem), heads*a.HeadDim)
	}
	return merge(b, a.Norm.Apply(b, split(b, x, heads), join(at, stem), a.HeadDim))
}

// attend mixes the values, [B, Sq, heads * head dim].
func (a *Attention) attend(b *graph.Builder, x, q, k, v *graph.Node, with With) *graph.Node {
	bias := with.Bias
	if with.BiasOf != nil {
		bias = with.BiasOf(x)
	}
	return b.Attention(q, k, v, graph.AttentionSpec{Heads: a.Heads, KVHeads: a.KVHeads, HeadDim: a.HeadDim, Scale: a.Scale, Causal: a.Causal, Bias: bias})
}

// output projects what was attended to.
func (a *Attention) output(b *graph.Builder, x, h *graph.Node, at string) *graph.Node {
	width := a.Heads * a.HeadDim
	if a.SubNorm != "" {
		h = a.Norm.Apply(b, h, join(at, a.SubNorm), width)
	}
	if a.Gate.Stem != "" {
		h = b.Mul(h, b.Act(a.Gate.Apply(b, x, at, a.Dim, width), kernels.ActSigmoid))
	}
	if a.Out.Stem == "" {
		return h
	}
	return a.Out.Apply(b, h, at, width, a.OutDim)
}
