package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
)

// The Q-Former: BLIP-2: Bootstrapping Language-Image Pre-training with Frozen Image Encoders and Large Language Models (Li et
// al., arXiv:2301.12597, section 3.1). Sources: salesforce/LAVIS lavis/models/blip2_models/Qformer.py, whose tensor names are
// the canonical ones; huggingface/transformers models/{blip_2/modeling_blip_2.py, instructblip/modeling_instructblip.py}.

// qformerStem stands before the tensors of LAVIS's Q-Former.
const qformerStem = "Qformer.bert."

// qformerConfig is a qformer_config of transformers.
type qformerConfig struct {
	HiddenSize       int     `json:"hidden_size"`
	IntermediateSize int     `json:"intermediate_size"`
	Layers           int     `json:"num_hidden_layers"`
	Heads            int     `json:"num_attention_heads"`
	EncoderHidden    int     `json:"encoder_hidden_size"`
	VocabSize        int     `json:"vocab_size"`
	MaxPositions     int     `json:"max_position_embeddings"`
	HiddenAct        string  `json:"hidden_act"`
	Eps              float64 `json:"layer_norm_eps"`
	Positions        string  `json:"position_embedding_type"`
}

// defaultQFormer has the defaults of transformers, which are BERT's.
func defaultQFormer() qformerConfig {
	return qformerConfig{HiddenSize: 768, IntermediateSize: 3072, Layers: 12, Heads: 12, EncoderHidden: 1408, VocabSize: 30522, MaxPositions: 512,
		HiddenAct: "gelu", Eps: 1e-12, Positions: "absolute"}
}

// qformerOf has what the tensors of a Q-Former behind a stem show; heads are 64 wide, as BERT's.
func qformerOf(p *NamedParams, stem string) qformerConfig {
	c := defaultQFormer()
	const layer0 = "encoder.layer.0."
	c.HiddenSize = p.dim(stem+layer0+"attention.self.query.weight", 0)
	c.Heads = c.HiddenSize / 64
	c.Layers = p.layers(stem + "encoder.layer.%d.attention.self.query.weight")
	c.EncoderHidden = p.dim(stem+layer0+"crossattention.self.key.weight", 1)
	if c.IntermediateSize = p.dim(stem+layer0+"intermediate_query.dense.weight", 0); c.IntermediateSize == 0 {
		c.IntermediateSize = p.dim(stem+layer0+"intermediate.dense.weight", 0)
	}
	c.VocabSize, c.MaxPositions = p.dim(stem+"embeddings.word_embeddings.weight", 0), p.dim(stem+"embeddings.position_embeddings.weight", 0)
	return c
}

// qformer is a Q-Former whose tensors stand behind a stem, "Qformer.bert." usually.
type qformer struct {
	qformerConfig
	bert *block.BERT
	stem string
}

// newQFormer checks a configuration. Layers that the checkpoint holds the tensors of have cross-attention, and queries an MLP of
// their own.
func newQFormer(b *graph.Builder, stem string, c qformerConfig) (*qformer, error) {
	err := checkSizes("qformer_config", size{"hidden_size", c.HiddenSize}, size{"num_hidden_layers", c.Layers}, size{"num_attention_heads", c.Heads},
		size{"intermediate_size", c.IntermediateSize}, size{"encoder_hidden_size", c.EncoderHidden})
	if err != nil {
		return nil, err
	}
	if c.Positions != "absolute" {
		return nil, fmt.Errorf("config: qformer_config.position_embedding_type is %q; expected absolute", c.Positions)
	}
	act, err := activation("qformer_config.hidden_act", c.HiddenAct)
	if err != nil {
		return nil, err
	}
	q := &qformer{qformerConfig: c, bert: block.NewBERT(c.Layers, c.HiddenSize, c.Heads, c.IntermediateSize), stem: stem}
	q.bert.Layer.Norm.Eps, q.bert.Layer.MLP.Act = c.Eps, act
	q.bert.TokenTypes, q.bert.Vocabulary, q.bert.MaxPositions = 0, c.VocabSize, c.MaxPositions
	q.bert.CrossAttend(c.EncoderHidden, func(i int) bool {
		return b.Params.Has(fmt.Sprintf("%sencoder.layer.%d.crossattention.self.query.weight", stem, i))
	})
	if b.Params.Has(stem + "encoder.layer.0.intermediate_query.dense.weight") {
		q.bert.QueryFeedForward()
	}
	return q, nil
}

// readsText reports whether the checkpoint holds what the Q-Former needs to read text.
func (q *qformer) readsText(b *graph.Builder) bool {
	return b.Params.Has(q.stem + "embeddings.word_embeddings.weight")
}

// qformerText is text that queries attend to beside the image.
type qformerText struct {
	IDs, Mask *graph.Node // [B, L]; 1 where there is text
}

// textInputs adds the inputs of the Q-Former's text under these names.
func textInputs(b *graph.Builder, ids, mask string) *qformerText {
	t := &qformerText{IDs: b.Input(ids, -1, -2)}
	t.Mask = b.OptionalInput(mask, t.IDs, 1, -1, -2)
	return t
}

// qformerSees is what the queries look at: the tokens of an encoder [B, S, EncoderHidden], with a mask [B, S] of those that are
// there if it is not nil, and a text if that is not nil.
type qformerSees struct {
	Tokens, Mask *graph.Node
	Text         *qformerText
}

// apply lets the learned queries of a tensor [1, count, hidden] look. The hidden states are [B, count + L, hidden].
func (q *qformer) apply(b *graph.Builder, queries string, count int, see qformerSees) *block.Tower {
	before := b.Op(graph.Expand{}, nil, b.Parameter(graph.Position, queries, 1, count, q.HiddenSize), see.Tokens)
	in, pass := block.BERTInputs{Before: before}, block.BERTPass{Cross: block.With{KV: see.Tokens}, Queries: count}
	if see.Mask != nil {
		pass.Cross.Bias = hideFromQueries(b, see.Mask)
	}
	if see.Text != nil {
		in.IDs, pass.Text = see.Text.IDs, true
		pass.Self.Bias = b.Op(graph.Pad{Axis: 3, Before: count}, nil, hideFromQueries(b, see.Text.Mask)) // queries are always seen
	}
	return q.bert.Encode(b, q.bert.Embed(b, q.stem+"embeddings", in), q.stem+"encoder.layer.%d", pass)
}

// hideFromQueries is what is added to scores: -10000 where a mask is 0, as the originals have it.
func hideFromQueries(b *graph.Builder, mask *graph.Node) *graph.Node {
	return b.Op(graph.KeyMask{Value: -10000}, nil, mask)
}
