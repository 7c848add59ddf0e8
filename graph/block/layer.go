package block

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// Order is where the norm of a branch stands.
type Order int

// The orders of norm, branch f and sum.
const (
	PreNorm    Order = iota // x + f(norm(x)) (Xiong et al. 2020)
	PostNorm                // norm(x + f(x)) (Vaswani et al. 2017)
	BranchNorm              // x + norm(f(x)) (Liu et al. 2022, Swin Transformer V2)
)

// Branch holds the stems of what stands around a part of a layer: its norm, and what its output is scaled by before it is
// added.
type Branch struct {
	Norm  string
	Scale string // a tensor [Dim] (layer scale, Touvron et al. 2021); "" for none
	Gate  string // a tensor [1] whose tanh it is (Alayrac et al. 2022, Flamingo); "" for none
}

// Layer is a transformer layer: self-attention, attention to other tokens where CrossAttention is set, MLP, each with its
// norm and added to its input.
type Layer struct {
	Dim   int
	Order Order
	Norm  Norm // of what kind the layer's norms are

	Self, Cross, Feed Branch

	Attention      Attention
	CrossAttention *Attention
	MLP            MLP
}

// The layers of projects whose names others follow: to be copied, sized and changed. Those of transformers' CLIP are the
// canonical ones of CLIP-like systems.
var (
	// CLIPLayer has the names of transformers' CLIP, SigLIP and their kin.
	CLIPLayer = Layer{
		Norm: Norm{Eps: 1e-5}, Self: Branch{Norm: "layer_norm1"}, Feed: Branch{Norm: "layer_norm2"},
		Attention: Attention{Q: Projection{Stem: "self_attn.q_proj"}, K: Projection{Stem: "self_attn.k_proj"},
			V: Projection{Stem: "self_attn.v_proj"}, Out: Projection{Stem: "self_attn.out_proj"}},
		MLP: MLP{Act: kernels.ActGELU, FC1: Projection{Stem: "mlp.fc1"}, FC2: Projection{Stem: "mlp.fc2"}},
	}
	// TimmLayer has the names of timm's vision transformers: projections in one, or apart.
	TimmLayer = Layer{
		Norm: Norm{Eps: 1e-6}, Self: Branch{Norm: "norm1"}, Feed: Branch{Norm: "norm2"},
		Attention: Attention{QKV: Projection{Stem: "attn.qkv", Bias: Stored}, Q: Projection{Stem: "attn.q_proj", Bias: Stored},
			K: Projection{Stem: "attn.k_proj", Bias: Stored}, V: Projection{Stem: "attn.v_proj", Bias: Stored}, Out: Projection{Stem: "attn.proj", Bias: Stored}},
		MLP: MLP{Act: kernels.ActGELU, FC1: Projection{Stem: "mlp.fc1", Bias: Stored}, FC2: Projection{Stem: "mlp.fc2", Bias: Stored}},
	}
	// BERTLayer has the names of transformers' BERT, whose norms stand behind the sums.
	BERTLayer = Layer{
		Order: PostNorm, Norm: Norm{Eps: 1e-12}, Self: Branch{Norm: "attention.output.LayerNorm"},
		Cross: Branch{Norm: "crossattention.output.LayerNorm"}, Feed: Branch{Norm: "output.LayerNorm"},
		Attention: Attention{Q: Projection{Stem: "attention.self.query"}, K: Projection{Stem: "attention.self.key"},
			V: Projection{Stem: "attention.self.value"}, Out: Projection{Stem: "attention.output.dense"}},
		MLP: MLP{Act: kernels.ActGELU, FC1: Projection{Stem: "intermediate.dense"}, FC2: Projection{Stem: "output.dense"}},
	}
	// BERTCross is the cross-attention of a BERTLayer.
	BERTCross = Attention{Q: Projection{Stem: "crossattention.self.query"}, K: Projection{Stem: "crossattention.self.key"},
		V: Projection{Stem: "crossattention.self.value"}, Out: Projection{Stem: "crossattention.output.dense"}}
	// ViTLayer has the names of transformers' ViT and its kin, which are BERT's with the norms before the branches.
	ViTLayer = Layer{
		Norm: Norm{Eps: 1e-12}, Self: Branch{Norm: "layernorm_before"}, Feed: Branch{Norm: "layernorm_after"},
		Attention: Attention{Q: Projection{Stem: "attention.attention.query", Bias: Stored}, K: Projection{Stem: "attention.attention.key", Bias: Stored},
			V: Projection{Stem: "attention.attention.value", Bias: Stored}, Out: Projection{Stem: "attention.output.dense"}},
		MLP: MLP{Act: kernels.ActGELU, FC1: Projection{Stem: "intermediate.dense"}, FC2: Projection{Stem: "output.dense"}},
	}
	// BARTLayer has the names of transformers' BART, Whisper and their kin, their norms before the branches as Whisper's are.
	BARTLayer = Layer{
		Norm: Norm{Eps: 1e-5}, Self: Branch{Norm: "self_attn_layer_norm"}, Cross: Branch{Norm: "encoder_attn_layer_norm"},
		Feed: Branch{Norm: "final_layer_norm"}, Attention: CLIPLayer.Attention,
		MLP: MLP{Act: kernels.ActGELU, FC1: Projection{Stem: "fc1"}, FC2: Projection{Stem: "fc2"}},
	}
	// BARTCross is the attention of a BARTLayer to the encoder.
	BARTCross = Attention{Q: Projection{Stem: "encoder_attn.q_proj"}, K: Projection{Stem: "encoder_attn.k_proj"},
		V: Projection{Stem: "encoder_attn.v_proj"}, Out: Projection{Stem: "encoder_attn.out_proj"}}
	// Wav2Vec2Layer has the names of transformers' wav2vec 2.0, HuBERT and their kin.
	Wav2Vec2Layer = Layer{
		Order: PostNorm, Norm: Norm{Eps: 1e-5}, Self: Branch{Norm: "layer_norm"}, Feed: Branch{Norm: "final_layer_norm"},
		Attention: Attention{Q: Projection{Stem: "attention.q_proj"}, K: Projection{Stem: "attention.k_proj"},
			V: Projection{Stem: "attention.v_proj"}, Out: Projection{Stem: "attention.out_proj"}},
		MLP: MLP{Act: kernels.ActGELU, FC1: Projection{Stem: "feed_forward.intermediate_dense"}, FC2: Projection{Stem: "feed_forward.output_dense"}},
	}
	// LLaMALayer has the names of transformers' LLaMA: no biases, RMSNorm, a gated MLP.
	LLaMALayer = Layer{
		Norm: Norm{Kind: RMSNorm, Eps: 1e-6}, Self: Branch{Norm: "input_layernorm"}, Feed: Branch{Norm: "post_attention_layernorm"},
		Attention: Attention{Q: Projection{Stem: "self_attn.q_proj", Bias: Absent}, K: Projection{Stem: "self_attn.k_proj", Bias: Absent},
			V: Projection{Stem: "self_attn.v_proj", Bias: Absent}, Out: Projection{Stem: "self_attn.o_proj", Bias: Absent}},
		MLP: MLP{Act: kernels.ActSiLU, Gate: Projection{Stem: "mlp.gate_proj", Bias: Absent}, FC1: Projection{Stem: "mlp.up_proj", Bias: Absent},
			FC2: Projection{Stem: "mlp.down_proj", Bias: Absent}},
	}
)

// Sized returns a copy of the given width, heads and width inside of the MLP.
func (l Layer) Sized(dim, heads, hidden int) Layer {
	l.Dim, l.Attention.Dim, l.Attention.Heads, l.MLP.Dim, l.MLP.Hidden = dim, dim, heads, dim, hidden
	return l
}

// WithCross returns a copy that attends to other tokens of width kv behind its self-attention, in as many heads.
func (l Layer) WithCross(a Attention, kv int) Layer {
	a.Dim, a.KVDim, a.Heads = l.Dim, kv, l.Attention.Heads
	l.CrossAttention = &a
	return l
}

// Apply maps [B, S, Dim] to the same shape. at is the layer's stem.
func (l *Layer) Apply(b *graph.Builder, x *graph.Node, at string, self, cross With) *graph.Node {
	x = l.Attend(b, x, at, self)
	if l.CrossAttention != nil {
		x = l.AttendTo(b, x, at, cross)
	}
	return l.FeedForward(b, x, at)
}

// Attend is the layer's first part alone: self-attention with its norm, added to x.
func (l *Layer) Attend(b *graph.Builder, x *graph.Node, at string, with With) *graph.Node {
	return l.Add(b, x, at, l.Self, func(h *graph.Node) *graph.Node { return l.Attention.Apply(b, h, at, with) })
}

// AttendTo is the layer's second part alone: attention to with.KV, added to x.
func (l *Layer) AttendTo(b *graph.Builder, x *graph.Node, at string, with With) *graph.Node {
	return l.Add(b, x, at, l.Cross, func(h *graph.Node) *graph.Node { return l.CrossAttention.Apply(b, h, at, with) })
}

// FeedForward is the layer's last part alone: the MLP with its norm, added to x.
func (l *Layer) FeedForward(b *graph.Builder, x *graph.Node, at string) *graph.Node {
	return l.Add(b, x, at, l.Feed, func(h *graph.Node) *graph.Node { return l.MLP.Apply(b, h, at) })
}

// Add adds a branch to its input in the layer's order of norm and sum: parts that only some layers have, such as
// convolutions and adapters, are built with it.
func (l *Layer) Add(b *graph.Builder, x *graph.Node, at string, br Branch, f func(h *graph.Node) *graph.Node) *graph.Node {
	norm := func(h *graph.Node) *graph.Node { return l.Norm.Apply(b, h, join(at, br.Norm), l.Dim) }
	h := x
	if l.Order == PreNorm {
		h = norm(h)
	}
	h = f(h)
	if l.Order == BranchNorm {
		h = norm(h)
	}
	if br.Scale != "" {
		h = b.Affine(h, b.Weight(graph.Norm, join(at, br.Scale), l.Dim), nil)
	}
	if br.Gate != "" {
		h = b.Mul(h, b.Act(b.Parameter(graph.Scalar, join(at, br.Gate), 1), kernels.ActTanh))
	}
	h = b.Add(x, h)
	if l.Order == PostNorm {
		h = norm(h)
	}
	return h
}

// Tower is what a stack of layers computed. The caller names what its system is compared by.
type Tower struct {
	Embeddings *graph.Node   // what was made of the input
	Hidden     []*graph.Node // what the first layer gets, then the output of each layer
	Last       *graph.Node   // the last output, behind the stack's own norm where there is one
	Pooled     *graph.Node   // [B, Dim]; nil where nothing pools
}

// newTower returns a tower of no layers yet over what its first layer gets.
func newTower(x *graph.Node) *Tower {
	return &Tower{Embeddings: x, Hidden: []*graph.Node{x}, Last: x}
}

// Failed records an error and returns a tower of x alone, with which a builder goes on to its end.
func Failed(b *graph.Builder, err error, x *graph.Node) *Tower {
	b.Fail(err)
	t := newTower(x)
	t.Pooled = x
	return t
}

// NameStates names the hidden states by a format for their number: 0 is what the first layer gets.
func (t *Tower) NameStates(b *graph.Builder, format string) {
	for i, x := range t.Hidden {
		b.Namef(x, format, i)
	}
}

// NameLayers names the layers' outputs by a format for the layer's number: 0 is the first layer's.
func (t *Tower) NameLayers(b *graph.Builder, format string) {
	for i, x := range t.Hidden[1:] {
		b.Namef(x, format, i)
	}
}

// State returns a hidden state by its number; -1 is the last. A number that is out of range fails: configurations choose
// them.
func (t *Tower) State(b *graph.Builder, i int) *graph.Node {
	n := i
	if n < 0 {
		n += len(t.Hidden)
	}
	if n < 0 || n >= len(t.Hidden) {
		b.Fail(fmt.Errorf("config: hidden state %d is asked for of a tower of %d layers", i, len(t.Hidden)-1))
		n = 0
	}
	return t.Hidden[n]
}

// Transformer is a stack of like layers.
type Transformer struct {
	Layer  Layer
	Stem   string // of layer i, as a format: "encoder.layers.%d"
	Layers int
	Norm   string // stem of the norm behind the last layer; "" for none
	// Each, if given, changes layer i and what it attends with, where layers differ: windows, scales, rotations, caches.
	Each func(i int, l *Layer, self, cross *With)
	// After, if given, follows each layer, which is at a stem, and belongs to it: adapters.
	After func(at string, x *graph.Node) *graph.Node
}

// Apply runs x [B, S, Dim] through the layers.
func (t *Transformer) Apply(b *graph.Builder, x *graph.Node, self, cross With) *Tower {
	out := newTower(x)
	for i := range b.Layers(t.Layers) {
		l, s, c := t.Layer, self, cross
		if t.Each != nil {
			t.Each(i, &l, &s, &c)
		}
		at := fmt.Sprintf(t.Stem, i)
		if x = l.Apply(b, x, at, s, c); t.After != nil {
			x = t.After(at, x)
		}
		out.Hidden = append(out.Hidden, x)
	}
	if out.Last = x; t.Norm != "" {
		out.Last = t.Layer.Norm.Apply(b, x, t.Norm, t.Layer.Dim)
	}
	return out
}
