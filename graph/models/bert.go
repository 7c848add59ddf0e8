package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/kernels"
)

// bertConfig is the configuration of a BERT or RoBERTa encoder, in transformers' names (Devlin et al., arXiv:1810.04805; Liu et al.,
// arXiv:1907.11692; huggingface/transformers models/{bert/modeling_bert,roberta/modeling_roberta,clap/modeling_clap}.py).
type bertConfig struct {
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

	fromPad bool // RoBERTa: positions count from the padding token's id on, without padding
}

// tower builds the encoder of input_ids [B, S] under a stem ("text_model.") and names its values behind a prefix.
func (t *bertConfig) tower(b *graph.Builder, stem, prefix string) *block.Tower {
	m, err := t.bert("text_config")
	ids := b.Input("input_ids", -1, -2)
	if err != nil {
		return block.Failed(b, err, ids)
	}
	mask := b.OptionalInput("attention_mask", ids, 1, -1, -2)
	types := b.OptionalInput("token_type_ids", ids, 0, -1, -2)
	x := m.Embed(b, stem+"embeddings", block.BERTInputs{IDs: ids, Types: types})
	tower := m.Encode(b, x, stem+"encoder.layer.%d", block.BERTPass{Self: block.With{Bias: block.HideKeys(b, mask)}})
	b.Name(x, prefix+"embeddings")
	tower.NameLayers(b, prefix+"layer_%d")
	b.Name(tower.Last, prefix+"last_hidden_state")
	return tower
}

// bert checks the sizes, which stand in a section of the configuration, and returns the encoder.
func (t *bertConfig) bert(section string) (*block.BERT, error) {
	act, err := activation("hidden_act", t.Act)
	if err == nil {
		err = checkSizes(section, size{"hidden_size", t.Dim}, size{"num_attention_heads", t.Heads}, size{"intermediate_size", t.Hidden},
			size{"max_position_embeddings", t.MaxPositions}, size{"vocab_size", t.VocabSize}, size{"type_vocab_size", t.TokenTypes})
	}
	if err == nil && t.Positions != "" && t.Positions != "absolute" {
		err = fmt.Errorf("config: position_embedding_type is %q; expected absolute", t.Positions)
	}
	if err != nil {
		return nil, err
	}
	return t.model(act), nil
}

// model is the architecture that the configuration describes.
func (t *bertConfig) model(act kernels.Activation) *block.BERT {
	m := block.NewBERT(t.Layers, t.Dim, t.Heads, t.Hidden)
	m.Layer.Norm.Eps, m.Layer.MLP.Act = t.Eps, act
	m.Vocabulary, m.MaxPositions, m.TokenTypes = t.VocabSize, t.MaxPositions, t.TokenTypes
	m.FromPad, m.Pad = t.fromPad, t.Pad
	return m
}

// pooled is the tanh pooler over the first token, [B, dim].
func (t *bertConfig) pooled(b *graph.Builder, tower *block.Tower, stem, prefix string) *graph.Node {
	return b.Name(t.model(kernels.ActNone).Pool(b, tower.Last, stem+"pooler"), prefix+"pooler_output")
}
