package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/kernels"
)

// WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing (Chen et al., arXiv:2110.13900): HuBERT with a
// relative position bias that each layer gates by its input. Source: huggingface/transformers models/wavlm/modeling_wavlm.py.

var _ = Register(&System{
	Name: "wavlm", Title: "WavLM",
	ModelTypes: []string{"wavlm"},
	Namings: []Naming{{Name: "huggingface", Looked: "config.json with model_type wavlm", Recognise: func(im *Import) bool {
		return im.ModelType() == "wavlm"
	}}},
	Build: func(im *Import) (*graph.Model, error) {
		c := struct {
			hubertConfig
			Buckets     int `json:"num_buckets"`
			MaxDistance int `json:"max_bucket_distance"`
		}{hubertConfig: *defaultHubert(), Buckets: 320, MaxDistance: 800}
		if err := im.Config(&c); err != nil {
			return nil, err
		}
		if err := checkSizes("config", size{"num_buckets", c.Buckets}, size{"max_bucket_distance", c.MaxDistance}); err != nil {
			return nil, err
		}
		c.stack = func(b *graph.Builder, x, frames *graph.Node, act kernels.Activation) *block.Tower {
			d := c.Dim / c.Heads
			hidden := block.HideKeys(b, frames)
			rows := b.Op(graph.RelativePositions{Buckets: c.Buckets, MaxDistance: c.MaxDistance}, nil, x, x)
			bias := b.Rearrange(b.Embedding(rows, "encoder.layers.0.attention.rel_attn_embed", c.Buckets, c.Heads), "q k h -> 1 h q k")
			return c.layers(b, x, block.With{}, act, func(i int, self *block.With) {
				at := fmt.Sprintf("encoder.layers.%d.attention.", i)
				self.BiasOf = func(x *graph.Node) *graph.Node {
					// Both gates of a query come from eight numbers, four summed up for each.
					g := b.Linear(b.Rearrange(x, "b s (h d) -> b h s d", "h", c.Heads), at+"gru_rel_pos_linear", d, 8)
					g = b.Act(b.Scale(b.Op(graph.Reduce{Kind: graph.Mean, Axis: 4}, nil, b.Rearrange(g, "b h s (g n) -> b h s g n", "g", 2)), 4), kernels.ActSigmoid)
					first, second := b.Slice(g, 3, 0, 1), b.Slice(g, 3, 1, 2)
					second = b.Mul(second, b.Parameter(graph.Scalar, at+"gru_rel_pos_const", 1, c.Heads, 1, 1))
					gate := b.Op(graph.Scale{Mul: 1, Add: 2}, nil, b.Mul(first, b.Op(graph.Scale{Mul: 1, Add: -1}, nil, second)))
					return b.Add(b.Mul(gate, bias), hidden)
				}
			})
		}
		return im.speechModel(&c.hubertConfig, "wavlm")
	},
})
