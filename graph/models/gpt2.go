package models

import (
	"math"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
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

// tower builds the model of input_ids [B, S] under a stem and names its values behind a prefix. Last is behind the final norm.
func (t *gpt2Text) tower(b *graph.Builder, stem, prefix string) *block.Tower {
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
		return block.Failed(b, err, ids)
	}
	d := t.Dim
	mask := b.OptionalInput("attention_mask", ids, 1, -1, -2)
	x := block.TextPositions(b, b.Embedding(ids, stem+"wte", t.VocabSize, d), stem+"wpe.weight", t.Positions, d)
	stored := func(stem string) block.Projection { return block.Projection{Stem: stem, Transposed: true} }
	layer := block.Layer{
		Norm: block.Norm{Eps: t.Eps}, Self: block.Branch{Norm: "ln_1"}, Feed: block.Branch{Norm: "ln_2"},
		Attention: block.Attention{Causal: true, QKV: stored("attn.c_attn"), Q: stored("attn.c_attn[0/3]"), K: stored("attn.c_attn[1/3]"),
			V: stored("attn.c_attn[2/3]"), Out: stored("attn.c_proj")},
		MLP: block.MLP{Act: act, FC1: stored("mlp.c_fc"), FC2: stored("mlp.c_proj")},
	}
	stack := block.Transformer{Layer: layer.Sized(d, t.Heads, hidden), Stem: stem + "h.%d", Layers: t.Layers, Norm: stem + "ln_f",
		Each: func(i int, l *block.Layer, _, _ *block.With) {
			scale := 1.0
			if t.Scaled {
				scale /= math.Sqrt(float64(d / t.Heads))
			}
			if t.ByLayer {
				scale /= float64(i + 1)
			}
			l.Attention.Scale = scale
		}}
	tower := stack.Apply(b, x, block.With{Bias: block.HideKeys(b, mask)}, block.With{})
	b.Name(x, prefix+"embeddings")
	tower.NameLayers(b, prefix+"layer_%d")
	b.Name(tower.Last, prefix+"last_hidden_state")
	return tower
}
