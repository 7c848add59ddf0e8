package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// OSCAR: Object-Semantics Aligned Pre-training for Vision-Language Tasks (Li et al., arXiv:2004.06165), and OSCAR+ of VinVL:
// Revisiting Visual Representations in Vision-Language Models (Zhang et al., arXiv:2101.00529). Source: microsoft/Oscar
// oscar/modeling/modeling_bert.py.

var _ = Register(&System{
	Name: "oscar", Title: "OSCAR, VinVL", Row: 17,
	Namings: []Naming{
		{Name: "oscar", Looked: "tensors bert.img_embedding.* and bert.encoder.layer.#.*", Recognise: func(im *Import) bool {
			_, ok := im.prefixOf("img_embedding.weight", "bert.", "")
			return ok
		}},
	},
	Build: buildOSCAR,
})

type oscarConfig struct {
	bertConfig
	FeatureSize int     `json:"img_feature_dim"`
	FeatureType string  `json:"img_feature_type"`
	ImageNorm   any     `json:"use_img_layernorm"` // true, or 1
	ImageEps    float64 `json:"img_layer_norm_eps"`
}

func buildOSCAR(im *Import) (*graph.Model, error) {
	table := Names{}
	if prefix, _ := im.prefixOf("img_embedding.weight", "bert.", ""); prefix == "" {
		table = Names{{"bert.*", "*"}}
	}
	p := im.Params(table, "")
	c := oscarConfig{bertConfig: p.bertSizes("bert.embeddings", "bert.encoder.layer.%d"), FeatureSize: p.dim("bert.img_embedding.weight", 1),
		ImageNorm: p.Has("bert.LayerNorm.weight"), ImageEps: 1e-12}
	if len(im.config) > 0 {
		if err := im.Config(&c); err != nil {
			return nil, err
		}
	}
	if im.HasAny("*code_embeddings.weight") {
		return nil, fmt.Errorf("config: img_feature_type is %q: features are codes of a discrete vocabulary, of which no model was published; expected faster_r-cnn", c.FeatureType)
	}
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

func (c *oscarConfig) build(b *graph.Builder, p *NamedParams) error {
	bert, err := c.bert("config")
	if err == nil {
		err = checkSizes("config", size{"img_feature_dim", c.FeatureSize})
	}
	if err != nil {
		return err
	}
	in := newBERTText(b)
	features := b.Input("img_feats", -1, -3, c.FeatureSize)
	t := b.Name(bert.Embed(b, "bert.embeddings", in.inputs()), "text_embeddings")
	v := b.Name(b.Linear(features, "bert.img_embedding", c.FeatureSize, c.Dim), "img_embedding")
	if c.ImageNorm != nil && c.ImageNorm != false && c.ImageNorm != 0. {
		v = b.Name(b.LayerNorm(v, "bert.LayerNorm", c.Dim, c.ImageEps), "img_layernorm")
	}
	tower := bert.Encode(b, b.Concat(1, t, v), "bert.encoder.layer.%d", block.BERTPass{Self: hideKeys(b, joinedMask(b, in.mask, features))})
	tower.NameLayers(b, "layer%d")
	pooled := b.Output(bert.Pool(b, tower.Last, "bert.pooler"), graph.Joint, "pooled_output")
	if words := p.maskedLM(b, bert, tower.Last, "cls.predictions", "bert.embeddings.word_embeddings.weight"); words != nil {
		b.Output(words, graph.Joint, "prediction_scores")
	}
	if p.Has("cls.seq_relationship.weight") {
		b.Output(p.linear(b, pooled, "cls.seq_relationship"), graph.Joint, "seq_relationship_score")
	}
	first := "classifier"
	if !p.Has("classifier.weight") {
		first = "classifier.0"
	}
	if !p.Has(first + ".weight") {
		return nil
	}
	// Of several choices, each a sample, the classifier reads all poolers at once.
	if choices := p.dim(first+".weight", 1) / c.Dim; choices > 1 {
		pooled = b.Op(graph.JoinRows{Count: choices}, nil, pooled)
	}
	logits := pooled
	switch {
	case first == "classifier":
		logits = p.linear(b, pooled, first)
	case p.Has("classifier.3.weight"):
		logits = perceptron{FC1: first, Norm: "classifier.2", FC2: "classifier.3", Act: kernels.ActReLU, Eps: c.Eps}.apply(b, p, pooled)
	default:
		logits = perceptron{FC1: first, FC2: "classifier.2", Act: kernels.ActReLU}.apply(b, p, pooled)
	}
	b.Output(logits, graph.Joint, "logits")
	return nil
}
