package models

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/kernels"
)

// SEW: Squeezed and Efficient Wav2vec (Wu et al., arXiv:2109.06870): the encoder runs on averages of a few frames, and its output is
// brought back to their number. Source: huggingface/transformers models/sew/modeling_sew.py.

var _ = Register(&System{
	Name: "sew", Title: "SEW",
	ModelTypes: []string{"sew"},
	Namings: []Naming{{Name: "huggingface", Looked: "config.json with model_type sew", Recognise: func(im *Import) bool {
		return im.ModelType() == "sew"
	}}},
	Build: func(im *Import) (*graph.Model, error) {
		c := struct {
			hubertConfig
			Squeeze int `json:"squeeze_factor"`
		}{hubertConfig: *defaultHubert(), Squeeze: 2}
		c.ConvDim = []int{64, 128, 128, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512}
		c.ConvStride = []int{5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1}
		c.ConvKernel = []int{10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1}
		if err := im.Config(&c); err != nil {
			return nil, err
		}
		if err := checkSizes("config", size{"squeeze_factor", c.Squeeze}); err != nil {
			return nil, err
		}
		c.noProjection = len(c.ConvDim) > 0 && c.ConvDim[len(c.ConvDim)-1] == c.Dim
		c.projection = [2]string{"layer_norm", "feature_projection"}
		n, d := c.Squeeze, c.Dim
		var whole *graph.Node // the frames before
		// every keeps the i-th of each n frames; of the last ones there are as many as averages.
		every := func(b *graph.Builder, x *graph.Node, i int) *graph.Node {
			return b.Op(graph.Slice{Axis: 1, Start: i, Step: n}, nil, x)
		}
		as := func(b *graph.Builder, x, like *graph.Node) *graph.Node {
			return b.Op(graph.TakeLike{Axis: 1, LikeAxis: 1}, nil, x, like)
		}
		c.placed = func(b *graph.Builder, x *graph.Node, act kernels.Activation) *graph.Node {
			whole = x
			last := every(b, x, n-1)
			sum := last
			for i := range n - 1 {
				sum = b.Add(sum, as(b, every(b, x, i), last))
			}
			c.posStride = n
			return b.Add(b.Scale(sum, 1/float32(n)), as(b, c.positions(b, x, act), last))
		}
		c.stack = func(b *graph.Builder, x, frames *graph.Node, act kernels.Activation) *block.Tower {
			t := c.layers(b, x, block.With{Bias: block.HideKeys(b, every(b, frames, n-1))}, act, nil)
			y := b.Act(b.Linear(t.Last, "encoder.upsample.projection", d, n*d), kernels.ActGELU)
			y = b.Rearrange(y, "b t (n d) -> b (t n) d", "n", n)
			// Frames that make no average are zeros in the end.
			t.Last = as(b, b.Concat(1, y, b.Op(graph.FillLike{}, nil, whole)), whole)
			return t
		}
		return im.speechModel(&c.hubertConfig, "sew")
	},
})
