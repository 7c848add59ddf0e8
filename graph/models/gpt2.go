package models

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph"
)

// gpt2Text is GPT-2 as a text encoder in transformers' names (Radford et al. 2019; huggingface/transformers
// models/gpt2/modeling_gpt2.py). Its matrices are stored as [in, out].
type gpt2Text struct {
	VocabSize int     `json:"vocab_size"`
	Positions int     `json:"n_positions"`
	Dim       int     `json:"n_embd"`
	Layers    int     `json:"n_layer"`
	Heads     int     `json:"n_head"`
	Inner     *int    `json:"n_inner"`
	Act       string  `json:"activation_function"`
	Eps       float64 `json:"layer_norm_epsilon"`
	Scaled    bool    `json:"scale_attn_weights"`
	ByLayer   bool    `json:"scale_attn_by_inverse_layer_idx"`
}

// build makes the model of input_ids [B, S] under a stem; names get the prefix. The value is the last hidden state
// [B, S, dim] behind the final norm.
func (t *gpt2Text) build(b *graph.Builder, stem, prefix string) *graph.Node {
	ids := b.Input("input_ids", -1, -2)
	hidden := 4 * t.Dim
	if t.Inner != nil {
		hidden = *t.Inner
	}
	act, err := activation("activation_function", t.Act)
	if err == nil {
		err = checkSizes("text_config", size{"n_embd", t.Dim}, size{"n_head", t.Heads}, size{"n_inner", hidden}, size{"n_positions", t.Positions},
			size{"vocab_size", t.VocabSize})
	}
	if err != nil {
		b.Fail(err)
		return ids
	}
	d := t.Dim
	mask := b.OptionalInput("attention_mask", ids, 1, -1, -2)
	positions := b.Parameter(graph.Position, stem+"wpe.weight", t.Positions, d)
	x := b.Add(b.Embedding(ids, stem+"wte", t.VocabSize, d), b.Op(graph.TakeLike{Axis: 0, LikeAxis: 1}, nil, positions, ids))
	b.Name(x, prefix+"embeddings")
	bias := b.Op(graph.KeyMask{Value: -math.MaxFloat32}, nil, mask)
	// linear is part i of n of a product whose matrix is stored as [in, n out].
	linear := func(x *graph.Node, name string, in, out, i, n int) *graph.Node {
		part := ""
		if n > 1 {
			part = fmt.Sprintf("[%d/%d]", i, n)
		}
		w := graph.SliceExpr(graph.TransposeExpr(b.Tensor(name+".weight", in, n*out)), i*out, (i+1)*out)
		c := graph.SliceExpr(b.Tensor(name+".bias", n*out), i*out, (i+1)*out)
		return b.Op(graph.Linear{}, []*graph.Weight{b.Derived(graph.Matrix, name+part+".weight", w), b.Derived(graph.Bias, name+part+".bias", c)}, x)
	}
	for i := range b.Layers(t.Layers) {
		name := fmt.Sprintf("%sh.%d", stem, i)
		scale := 1.0
		if t.Scaled {
			scale /= math.Sqrt(float64(d / t.Heads))
		}
		if t.ByLayer {
			scale /= float64(i + 1)
		}
		h := b.LayerNorm(x, name+".ln_1", d, t.Eps)
		h = b.Attention(linear(h, name+".attn.c_attn", d, d, 0, 3), linear(h, name+".attn.c_attn", d, d, 1, 3), linear(h, name+".attn.c_attn", d, d, 2, 3),
			graph.AttentionSpec{Heads: t.Heads, Scale: scale, Causal: true, Bias: bias})
		x = b.Add(x, linear(h, name+".attn.c_proj", d, d, 0, 1))
		h = b.LayerNorm(x, name+".ln_2", d, t.Eps)
		h = linear(b.Act(linear(h, name+".mlp.c_fc", d, hidden, 0, 1), act), name+".mlp.c_proj", hidden, d, 0, 1)
		x = b.Namef(b.Add(x, h), "%slayer_%d", prefix, i)
	}
	return b.Name(b.LayerNorm(x, stem+"ln_f", d, t.Eps), prefix+"last_hidden_state")
}
