package models

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// robertaText is a BERT or RoBERTa encoder in transformers' names (Devlin et al., arXiv:1810.04805; Liu et al.,
// arXiv:1907.11692; huggingface/transformers models/{bert/modeling_bert,roberta/modeling_roberta,clap/modeling_clap}.py).
type robertaText struct {
	ModelType    string  `json:"model_type"`
	VocabSize    int     `json:"vocab_size"`
	Dim          int     `json:"hidden_size"`
	Layers       int     `json:"num_hidden_layers"`
	Heads        int     `json:"num_attention_heads"`
	Hidden       int     `json:"intermediate_size"`
	Act          string  `json:"hidden_act"`
	MaxPositions int     `json:"max_position_embeddings"`
	TokenTypes   int     `json:"type_vocab_size"`
	Eps          float64 `json:"layer_norm_eps"`
	Pad          int     `json:"pad_token_id"`
	Positions    string  `json:"position_embedding_type"`

	plainPositions bool // BERT: positions count from 0, padding included
}

// build makes the encoder of input_ids [B, S] under a stem ("text_model."); names get the prefix. The value is the last
// hidden state [B, S, dim].
func (t *robertaText) build(b *graph.Builder, stem, prefix string) *graph.Node {
	act, err := activation("hidden_act", t.Act)
	if err == nil {
		err = checkSizes("text_config", size{"hidden_size", t.Dim}, size{"num_attention_heads", t.Heads}, size{"intermediate_size", t.Hidden},
			size{"max_position_embeddings", t.MaxPositions}, size{"vocab_size", t.VocabSize}, size{"type_vocab_size", t.TokenTypes})
	}
	if err == nil && t.Positions != "" && t.Positions != "absolute" {
		err = fmt.Errorf("config: position_embedding_type is %q; expected absolute", t.Positions)
	}
	ids := b.Input("input_ids", -1, -2)
	if err != nil {
		b.Fail(err)
		return ids
	}
	d := t.Dim
	norm := func(x *graph.Node, name string) *graph.Node { return b.LayerNorm(x, stem+name, d, t.Eps) }
	mask := b.OptionalInput("attention_mask", ids, 1, -1, -2)
	types := b.OptionalInput("token_type_ids", ids, 0, -1, -2)
	x := b.Add(b.Embedding(ids, stem+"embeddings.word_embeddings", t.VocabSize, d),
		b.Embedding(types, stem+"embeddings.token_type_embeddings", t.TokenTypes, d))
	if t.plainPositions {
		table := b.Parameter(graph.Position, stem+"embeddings.position_embeddings.weight", t.MaxPositions, d)
		x = b.Add(x, b.Op(graph.TakeLike{Axis: 0, LikeAxis: 1}, nil, table, ids))
	} else {
		x = b.Add(x, b.Embedding(b.Op(graph.TokenPositions{Pad: t.Pad}, nil, ids), stem+"embeddings.position_embeddings", t.MaxPositions, d))
	}
	x = b.Name(norm(x, "embeddings.LayerNorm"), prefix+"embeddings")
	bias := b.Op(graph.KeyMask{Value: -math.MaxFloat32}, nil, mask)
	for i := range b.Layers(t.Layers) {
		x = b.Namef(t.layer(b, x, bias, fmt.Sprintf("%sencoder.layer.%d", stem, i), act), "%slayer_%d", prefix, i)
	}
	return b.Name(x, prefix+"last_hidden_state")
}

// layer is a post-norm transformer layer.
func (t *robertaText) layer(b *graph.Builder, x, bias *graph.Node, name string, act kernels.Activation) *graph.Node {
	d := t.Dim
	self := name + ".attention.self."
	h := b.Attention(b.Linear(x, self+"query", d, d), b.Linear(x, self+"key", d, d), b.Linear(x, self+"value", d, d),
		graph.AttentionSpec{Heads: t.Heads, HeadDim: d / t.Heads, Bias: bias})
	h = b.Linear(h, name+".attention.output.dense", d, d)
	x = b.LayerNorm(b.Add(h, x), name+".attention.output.LayerNorm", d, t.Eps)
	h = b.Act(b.Linear(x, name+".intermediate.dense", d, t.Hidden), act)
	h = b.Linear(h, name+".output.dense", t.Hidden, d)
	return b.LayerNorm(b.Add(h, x), name+".output.LayerNorm", d, t.Eps)
}

// pooled is the tanh pooler over the first token, [B, dim].
func (t *robertaText) pooled(b *graph.Builder, x *graph.Node, stem, prefix string) *graph.Node {
	x = b.Act(b.Linear(b.Token(x, 0), stem+"pooler.dense", t.Dim, t.Dim), kernels.ActTanh)
	return b.Name(x, prefix+"pooler_output")
}
