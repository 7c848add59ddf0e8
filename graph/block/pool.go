package block

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// AttentionPool is multihead attention pooling: learned queries attend to all tokens, an MLP follows (Lee et al. 2019, Set
// Transformer, section 3.1; Zhai et al. 2022, Scaling Vision Transformers, section 3.2: a MAP head). timm's
// AttentionPoolLatent is another.
type AttentionPool struct {
	Queries   int        // of them; 0: 1
	Probe     Projection // the tensor of the queries, [1, Queries, Dim]: its stem alone counts
	Attention Attention
	SubNorm   string // stem of the norm before the MLP; "" for none
	Norm      Norm
	MLP       MLP
}

// SigLIPPool has the stems of transformers' SigLIP, whose attention is torch's MultiheadAttention; its projections are called
// attention.q_proj … where they are taken out of the joined one.
var SigLIPPool = AttentionPool{
	Probe: Projection{Stem: "probe"}, SubNorm: "layernorm", Norm: Norm{Eps: 1e-6},
	Attention: Attention{QKV: Projection{Stem: "attention.in_proj_"}, Q: Projection{Stem: "attention.q_proj"}, K: Projection{Stem: "attention.k_proj"},
		V: Projection{Stem: "attention.v_proj"}, Out: Projection{Stem: "attention.out_proj"}},
	MLP: MLP{Act: kernels.ActGELUTanh, FC1: Projection{Stem: "mlp.fc1"}, FC2: Projection{Stem: "mlp.fc2"}},
}

// TimmPool has the stems of timm's AttentionPoolLatent.
var TimmPool = AttentionPool{
	Probe: Projection{Stem: "latent"}, SubNorm: "norm", Norm: Norm{Eps: 1e-6},
	Attention: Attention{Q: Projection{Stem: "q", Bias: Stored}, KV: Projection{Stem: "kv", Bias: Stored}, K: Projection{Stem: "k"}, V: Projection{Stem: "v"},
		Out: Projection{Stem: "proj"}},
	MLP: MLP{Act: kernels.ActGELU, FC1: Projection{Stem: "mlp.fc1"}, FC2: Projection{Stem: "mlp.fc2"}},
}

// Sized returns a copy of the given width, heads and width inside of the MLP.
func (p AttentionPool) Sized(dim, heads, hidden int) AttentionPool {
	p.Attention.Dim, p.Attention.Heads, p.MLP.Dim, p.MLP.Hidden = dim, heads, dim, hidden
	return p
}

// Apply pools x [B, S, Dim] to [B, Queries, Dim]: what the queries attend to, and that behind the MLP.
func (p *AttentionPool) Apply(b *graph.Builder, x *graph.Node, at string, with With) (attended, pooled *graph.Node) {
	a, err := p.Attention.sized()
	if err != nil {
		b.Fail(err)
		return x, x
	}
	probe := b.Parameter(graph.Position, join(at, p.Probe.Stem), 1, max(p.Queries, 1), a.Dim)
	// The projected queries depend on weights alone, and are the same for each sample.
	q := b.Op(graph.Expand{}, nil, a.query(b, probe, at), x)
	k, v := a.keysValues(b, x, at, with)
	attended = a.output(b, q, a.attend(b, q, q, k, v, with), at)
	h := attended
	if p.SubNorm != "" {
		h = p.Norm.Apply(b, h, join(at, p.SubNorm), a.Dim)
	}
	return attended, b.Add(attended, p.MLP.Apply(b, h, at))
}

// Mean averages tokens [B, S, D] to [B, D].
func Mean(b *graph.Builder, x *graph.Node) *graph.Node {
	return b.Op(graph.Reduce{Kind: graph.Mean, Axis: 1}, nil, x)
}

// LastToken returns the last token of [B, S, D] as [B, D].
func LastToken(b *graph.Builder, x *graph.Node) *graph.Node {
	return b.Rearrange(b.Slice(x, 1, -1, 0), "b 1 d -> b d")
}
