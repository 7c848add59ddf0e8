package models

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// VisualBERT: A Simple and Performant Baseline for Vision and Language (Li et al., arXiv:1908.03557). Source:
// huggingface/transformers models/visual_bert/modeling_visual_bert.py.

var _ = Register(&System{
	Name: "visualbert", Title: "VisualBERT",
	ModelTypes: []string{"visual_bert"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type visual_bert, tensors visual_bert.embeddings.visual_projection.*", Recognise: func(im *Import) bool {
			_, ok := im.prefixOf("embeddings.visual_projection.weight", "visual_bert.", "")
			return ok && im.ModelType() == "visual_bert"
		}},
	},
	Build: buildVisualBERT,
})

type visualBERTConfig struct {
	bertConfig
	FeatureSize int      `json:"visual_embedding_dim"`
	Bypass      bool     `json:"bypass_transformer"`
	Classes     []string `json:"architectures"`
}

func buildVisualBERT(im *Import) (*graph.Model, error) {
	c := visualBERTConfig{bertConfig: bertConfig{VocabSize: 30522, Dim: 768, Layers: 12, Heads: 12, Hidden: 3072, Act: "gelu", MaxPositions: 512,
		TokenTypes: 2, Eps: 1e-12}, FeatureSize: 512}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	table := Names{}
	if prefix, _ := im.prefixOf("embeddings.visual_projection.weight", "visual_bert.", ""); prefix == "" {
		table = Names{{"visual_bert.*", "*"}}
	}
	im.Ignore("*embeddings.position_ids", "a buffer of consecutive numbers")
	p := im.Params(table, "")
	b := graph.NewBuilder(p)
	if err := c.build(b, p); err != nil {
		return nil, err
	}
	text, err := im.textPipeline("BertTokenizer", c.MaxPositions, c.VocabSize)
	if err != nil {
		return nil, err
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Text: text}, Advice: bertAdvice}, err
}

func (c *visualBERTConfig) build(b *graph.Builder, p *NamedParams) error {
	bert, err := c.bert("config")
	if err == nil {
		err = checkSizes("config", size{"visual_embedding_dim", c.FeatureSize})
	}
	if err == nil && c.Bypass {
		err = fmt.Errorf("config: bypass_transformer is true, with which transformers itself runs no region; expected false")
	}
	if err != nil {
		return err
	}
	d := c.Dim
	in := newBERTText(b)
	features := b.Input("visual_embeds", -1, -3, c.FeatureSize)
	vMask := b.OptionalInput("visual_attention_mask", features, 1, -1, -3)
	embeddings := func(name string) string { return "visual_bert.embeddings." + name }

	// Text and regions share the norm.
	words := *bert
	words.NoNorm = true
	t := words.Embed(b, "visual_bert.embeddings", in.inputs())
	v := b.Linear(features, embeddings("visual_projection"), c.FeatureSize, d)
	places := b.Slice(b.Parameter(graph.Position, embeddings("visual_position_embeddings.weight"), c.MaxPositions, d), 0, 0, 1)
	v = b.Add(v, places)
	v = b.Add(v, c.alignment(b, features))
	types := b.OptionalInput("visual_token_type_ids", features, 1, -1, -3)
	v = b.Add(v, b.Embedding(types, embeddings("visual_token_type_embeddings"), c.TokenTypes, d))
	x := b.Name(bert.Layer.Norm.Apply(b, b.Concat(1, t, v), embeddings("LayerNorm"), d), "embeddings")

	tower := bert.Encode(b, x, "visual_bert.encoder.layer.%d", block.BERTPass{Self: block.With{Bias: block.HideKeys(b, b.Concat(1, in.mask, vMask))}})
	tower.NameLayers(b, "layer%d")
	last := tower.Last
	b.Output(last, graph.Joint, "last_hidden_state")
	pooled := b.Output(bert.Pool(b, last, "visual_bert.pooler"), graph.Joint, "pooled_output")
	return c.heads(b, p, bert, in, vMask, last, pooled)
}

// alignment is the mean position of the words that a region is said to show; -1 stands for none.
func (c *visualBERTConfig) alignment(b *graph.Builder, features *graph.Node) *graph.Node {
	none := b.Rearrange(b.Op(graph.FillLike{Value: -1, Axes: 2}, nil, features), "b r -> b r 1")
	words := b.InputOr("image_text_alignment", none, -1, -3, -4)
	table := b.Weight(graph.Position, "visual_bert.embeddings.position_embeddings.weight", c.MaxPositions, c.Dim)
	return b.Op(graph.EmbeddingMean{}, []*graph.Weight{table}, words)
}

// heads adds those of the class that the model was saved from.
func (c *visualBERTConfig) heads(b *graph.Builder, p *NamedParams, bert *block.BERT, in bertText, vMask, last, pooled *graph.Node) error {
	if words := p.maskedLM(b, bert, last, "cls.predictions", "visual_bert.embeddings.word_embeddings.weight"); words != nil {
		b.Output(words, graph.Joint, "prediction_logits")
	}
	if p.Has("cls.seq_relationship.weight") {
		b.Output(p.linear(b, pooled, "cls.seq_relationship"), graph.Joint, "seq_relationship_logits")
	}
	if p.Has("attention.query.weight") {
		c.phrases(b, last, in.ids, vMask)
	}
	if !p.Has("cls.weight") {
		return nil
	}
	class := ""
	if len(c.Classes) > 0 {
		class = c.Classes[0]
	}
	switch class {
	case "VisualBertForQuestionAnswering":
		// The answer is read at the last but one of the text's tokens, which counts those that the mask shows.
		count := b.Op(graph.Reduce{Kind: graph.Sum, Axis: 1}, nil, in.mask)
		pooled = b.Op(graph.Select{}, nil, last, b.Op(graph.Scale{Mul: 1, Add: -2}, nil, count))
	case "VisualBertForVisualReasoning", "VisualBertForMultipleChoice":
	default:
		return fmt.Errorf("config: architectures is %v, and the head cls may read another token in each class; expected VisualBertForQuestionAnswering, "+
			"VisualBertForVisualReasoning or VisualBertForMultipleChoice", c.Classes)
	}
	b.Output(p.linear(b, pooled, "cls"), graph.Joint, "logits")
	return nil
}

// phrases scores regions for the words at given positions (VisualBertForRegionToPhraseAlignment): attention of one head
// without values. Positions below zero count as zero.
func (c *visualBERTConfig) phrases(b *graph.Builder, last, ids, vMask *graph.Node) {
	positions := b.Input("region_to_phrase_position", -1, -5)
	words := b.Op(graph.SelectEach{}, nil, last, b.Act(positions, kernels.ActReLU))
	regions := b.Op(graph.TakeLike{Axis: 1, LikeAxis: 1}, nil, last, vMask, ids)
	scores := b.MatMulT(b.Linear(words, "attention.query", c.Dim, c.Dim), b.Linear(regions, "attention.key", c.Dim, c.Dim))
	scores = b.Scale(scores, float32(1/math.Sqrt(float64(c.Dim))))
	hidden := b.Rearrange(block.HideKeys(b, vMask), "b 1 1 r -> b 1 r")
	b.Output(b.Add(scores, hidden), graph.Joint, "logits")
}
