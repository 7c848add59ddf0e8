package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
)

// BEiT (Bao et al., arXiv:2106.08254) and data2vec's image encoder (Baevski et al., arXiv:2202.03555), which has its layers.
// Source: huggingface/transformers models/{beit,data2vec}/modeling_*.py.

var _ = Register(&System{
	Name: "beit", Title: "BEiT and data2vec vision",
	ModelTypes: []string{"beit", "data2vec-vision"},
	Namings: []Naming{{Name: "huggingface", Looked: "config.json with model_type beit or data2vec-vision, tensors encoder.layer.#.attention.attention.query.weight", Recognise: func(im *Import) bool {
		return (im.ModelType() == "beit" || im.ModelType() == "data2vec-vision") && im.hasViT("beit.", "data2vec_vision.")
	}}},
	Build: buildBEiT,
})

func buildBEiT(im *Import) (*graph.Model, error) {
	c := struct {
		hfViT
		Absolute   bool    `json:"use_absolute_position_embeddings"`
		Relative   bool    `json:"use_relative_position_bias"`
		Shared     bool    `json:"use_shared_relative_position_bias"`
		LayerScale float64 `json:"layer_scale_init_value"`
		MeanPool   bool    `json:"use_mean_pooling"`
	}{hfViT: defaultHFViT(), LayerScale: 0.1, MeanPool: true}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	im.Ignore("*.relative_position_index", "a buffer that the window's size gives")
	c.noPositions = !c.Absolute
	c.layer.Attention.Q.Bias, c.layer.Attention.K.Bias, c.layer.Attention.V.Bias = block.Required, block.Absent, block.Required
	if c.LayerScale > 0 {
		c.layer.Self.Scale, c.layer.Feed.Scale = "lambda_1", "lambda_2"
	}
	if c.MeanPool {
		c.norm = ""
	}
	c.each = func(b *graph.Builder, grid [2]int) func(int, *block.Layer, *block.With, *block.With) {
		stored := [2]int{c.ImageSize[0] / c.PatchSize[0], c.ImageSize[1] / c.PatchSize[1]}
		table := func(stem string) *graph.Node {
			return block.ClassRelativeBias(b, stem+"relative_position_bias.relative_position_bias_table", stored, grid, c.Heads)
		}
		var shared *graph.Node
		if c.Shared {
			shared = table("encoder.")
		}
		return func(i int, _ *block.Layer, self, _ *block.With) {
			self.Bias = shared
			if c.Relative {
				if own := table(fmt.Sprintf("encoder.layer.%d.attention.attention.", i)); shared != nil {
					self.Bias = b.Add(own, shared)
				} else {
					self.Bias = own
				}
			}
		}
	}
	im.Ignore("lm_head.*", "names the tokens of masked patches in pre-training")
	if im.HasTensor("beit.embeddings.cls_token") {
		im.Ignore("layernorm.*", "the norm before the head of masked pre-training")
	}
	for _, head := range []string{"decode_head.*", "auxiliary_head.*", "fpn#.*"} {
		im.Ignore(head, "a head of segmentation")
	}
	b, t, p, err := c.open(im, "BeitImageProcessor", "beit.", "data2vec_vision.")
	if err != nil {
		return nil, err
	}
	b.Output(t.Last, graph.Vision, "last_hidden_state")
	pooled := b.Token(t.Last, 0)
	if c.MeanPool {
		pooled = block.Mean(b, b.Slice(t.Last, 1, 1, 0))
		if b.Params.Has("pooler.layernorm.weight") {
			pooled = b.LayerNorm(pooled, "pooler.layernorm", c.Dim, c.Eps)
		}
	}
	b.Output(pooled, graph.Vision, "pooler_output")
	if b.Params.Has("classifier.weight") {
		b.Output(b.Linear(pooled, "classifier", c.Dim, im.Dim("classifier.weight", 0)), graph.Vision, "logits")
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: p}, err
}
