package models

import (
	"encoding/json"
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// MM1: Methods, Analysis & Insights from Multimodal LLM Pre-training (McKinzie et al., arXiv:2403.09611), section 3.1, VL
// connector. No code or weights were published; this is a reading of the paper, with names of our own:
//
//   - average pooling: the grid of patches is averaged to n x n places (n = 8 or 12) and projected by one linear layer;
//   - attention pooling: k learned queries (64 or 144) attend to the patches by heads, and the projection behind the heads leads
//     to the language model's width;
//   - convolutional mapping: Honeybee's C-Abstractor.
//
// Tensors: connector.proj.*; connector.queries [1, k, width], connector.{q,k,v,out}_proj.*, and where a checkpoint holds them
// norms of the queries and of the patches, connector.norm_q.* and connector.norm_kv.*; C-Abstractor's behind connector.
// A CLIP tower may lie beside them, vision_tower.vision_model.*.

var _ = Register(&System{
	Name: "mm1", Title: "MM1 abstractors", Row: 9,
	ModelTypes: []string{"mm1"},
	Namings: []Naming{
		{Name: "mmconv", Looked: "config.json with model_type mm1 and connector, tensors connector.*", Recognise: func(im *Import) bool {
			return im.ModelType() == "mm1" && im.HasConfig("connector") && im.HasAny("connector.*")
		}},
	},
	Build: buildMM1,
})

func buildMM1(im *Import) (*graph.Model, error) {
	c := struct {
		Connector struct {
			Type   string `json:"type"`
			Tokens int    `json:"tokens"`
			Heads  int    `json:"num_attention_heads"`
			honeybeeProjector
		} `json:"connector"`
		Width        int             `json:"mm_hidden_size"`
		Hidden       int             `json:"hidden_size"`
		FeatureLayer json.RawMessage `json:"vision_feature_layer"`
	}{FeatureLayer: []byte("-1")}
	k := &c.Connector
	k.Heads, k.Depth, k.MLPDepth = 8, 3, 2
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	layers, err := featureLayers(c.FeatureLayer)
	if err != nil {
		return nil, err
	}
	im.languageModel("language_model.*")
	params := im.Params(Names{{"vision_model.*", "vision_tower.vision_model.*"}}, "")
	b := graph.NewBuilder(params)
	pipe := &pipeline.Pipeline{}
	var x *graph.Node
	if im.hasTower() {
		tower, err := im.llavaTower()
		if err != nil {
			return nil, err
		}
		if pipe.Image, err = im.imagePipeline(tower.image); err != nil {
			return nil, err
		}
		tower.build(b, im.pixels(b, pipe.Image, tower.channels, tower.size))
		x = selectFeatures(b, layers, tower.depth, !tower.classToken)
		c.Width = len(layers) * tower.width
	}
	if err := checkSizes("config", size{"mm_hidden_size", c.Width}, size{"hidden_size", c.Hidden}, size{"connector.tokens", k.Tokens},
		size{"connector.num_attention_heads", k.Heads}); err != nil {
		return nil, err
	}
	if x == nil {
		x = visionFeatures(b, c.Width)
	}
	side := block.SquareGrid(k.Tokens)[0]
	if side == 0 && k.Type != "attention_pool" {
		return nil, fmt.Errorf("config: connector.tokens is %d; expected a square number, the places that patches are averaged to", k.Tokens)
	}
	switch k.Type {
	case "average_pool":
		x = b.Op(graph.AdaptivePool{H: side, W: side}, nil, b.Op(graph.SquareGrid{}, nil, x))
		x = b.Name(b.Rearrange(x, "b h w c -> b (h w) c"), "pooled")
		x = b.Linear(x, "connector.proj", c.Width, c.Hidden)
	case "attention_pool":
		own := func(name string) block.Projection { return block.Projection{Stem: name, Bias: block.Stored} }
		attention := block.Attention{Dim: c.Width, OutDim: c.Hidden, Heads: k.Heads, Q: own("q_proj"), K: own("k_proj"), V: own("v_proj"), Out: own("out_proj")}
		queries := b.Parameter(graph.Position, "connector.queries", 1, k.Tokens, c.Width)
		norm := func(x *graph.Node, name string) *graph.Node {
			if !params.Has(name + ".weight") {
				return x
			}
			return b.LayerNorm(x, name, c.Width, 1e-5)
		}
		patches := norm(x, "connector.norm_kv")
		queries = b.Op(graph.Expand{}, nil, norm(queries, "connector.norm_q"), patches)
		x = attention.Apply(b, queries, "connector", block.With{KV: patches})
	case "c-abstractor":
		p := k.honeybeeProjector
		p.Queries, p.EncoderWidth, p.OutputWidth = k.Tokens, c.Width, c.Hidden
		b.Params = im.Params(Names{{"*", "connector.*"}}, "")
		x = p.cAbstractor(b, x)
	default:
		return nil, fmt.Errorf("config: connector.type is %q; expected average_pool, attention_pool or c-abstractor", k.Type)
	}
	b.Output(x, graph.Projector, "visual_tokens")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: pipe}, err
}
