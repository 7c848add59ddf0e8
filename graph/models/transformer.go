package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// encoderBlock describes a pre-norm transformer encoder (Vaswani et al. 2017 with the norms moved as in Xiong et al. 2020),
// in the tensor names of transformers' CLIPEncoderLayer, which are the canonical ones of CLIP-like systems.
type encoderBlock struct {
	Dim, Heads, Hidden int
	Eps                float64
	Act                kernels.Activation
	Causal             bool
	LayerScale         bool // ls_1.gamma and ls_2.gamma scale the branches
}

// layer builds one layer under the given name. bias, which may be nil, is added to the attention's scores.
func (t *encoderBlock) layer(b *graph.Builder, x, bias *graph.Node, name string) *graph.Node {
	if t.Dim%t.Heads != 0 {
		b.Fail(fmt.Errorf("config: hidden_size %d does not split into %d heads", t.Dim, t.Heads))
		return x
	}
	h := b.LayerNorm(x, name+".layer_norm1", t.Dim, t.Eps)
	h = b.Attention(
		b.Linear(h, name+".self_attn.q_proj", t.Dim, t.Dim),
		b.Linear(h, name+".self_attn.k_proj", t.Dim, t.Dim),
		b.Linear(h, name+".self_attn.v_proj", t.Dim, t.Dim),
		graph.AttentionSpec{Heads: t.Heads, HeadDim: t.Dim / t.Heads, Causal: t.Causal, Bias: bias})
	h = b.Linear(h, name+".self_attn.out_proj", t.Dim, t.Dim)
	x = b.Add(x, t.scaled(b, h, name+".ls_1.gamma"))

	h = b.LayerNorm(x, name+".layer_norm2", t.Dim, t.Eps)
	h = b.Act(b.Linear(h, name+".mlp.fc1", t.Dim, t.Hidden), t.Act)
	h = b.Linear(h, name+".mlp.fc2", t.Hidden, t.Dim)
	return b.Add(x, t.scaled(b, h, name+".ls_2.gamma"))
}

func (t *encoderBlock) scaled(b *graph.Builder, x *graph.Node, name string) *graph.Node {
	if !t.LayerScale {
		return x
	}
	return b.Affine(x, b.Weight(graph.Norm, name, t.Dim), nil)
}
