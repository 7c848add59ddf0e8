package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// data2vec's audio encoder (Baevski et al., arXiv:2202.03555): wav2vec 2.0's with several small convolutions for positions. Source:
// huggingface/transformers models/data2vec/modeling_data2vec_audio.py.

var _ = Register(&System{
	Name: "data2vec-audio", Title: "data2vec audio",
	ModelTypes: []string{"data2vec-audio"},
	Namings: []Naming{{Name: "huggingface", Looked: "config.json with model_type data2vec-audio", Recognise: func(im *Import) bool {
		return im.ModelType() == "data2vec-audio"
	}}},
	Build: func(im *Import) (*graph.Model, error) {
		c := struct {
			hubertConfig
			PosLayers int `json:"num_conv_pos_embeddings"`
			Kernel    int `json:"conv_pos_kernel_size"`
		}{hubertConfig: *defaultHubert(), PosLayers: 5, Kernel: 19}
		if err := im.Config(&c); err != nil {
			return nil, err
		}
		c.ConvNorm, c.PosKernel = "layer", c.Kernel
		c.placed = func(b *graph.Builder, x *graph.Node, act kernels.Activation) *graph.Node {
			if c.Dim%c.PosGroups != 0 {
				b.Fail(fmt.Errorf("config: hidden_size %d does not divide into %d groups of the positional convolution", c.Dim, c.PosGroups))
				return x
			}
			h := x
			for i := range b.Layers(c.PosLayers) {
				h = b.Conv1d(h, fmt.Sprintf("encoder.pos_conv_embed.layers.%d.conv", i), graph.ConvSpec{In: c.Dim, Out: c.Dim, KH: 1, KW: c.PosKernel,
					Pad: [4]int{0, c.PosKernel / 2, 0, (c.PosKernel - 1) / 2}, Groups: c.PosGroups})
				h = b.Act(b.Op(graph.LayerNorm{Eps: 1e-5}, nil, h), act)
			}
			return b.Add(x, b.Name(h, "pos_conv"))
		}
		return im.speechModel(&c.hubertConfig, "data2vec_audio")
	},
})
