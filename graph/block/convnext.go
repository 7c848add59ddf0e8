package block

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// ConvNeXt is the network of Liu et al. 2022 (A ConvNet for the 2020s, arXiv:2201.03545), in the names of transformers'
// DINOv3 ConvNeXt: stages of a downsampling (a norm and a convolution; the first the other way round) and of blocks of a
// depthwise convolution, a norm and two linear maps.
type ConvNeXt struct {
	Channels     int // of the image
	Dims, Depths []int
	Act          kernels.Activation
	Eps          float64
	LayerScale   bool
}

// Apply maps [B, H, W, Channels] to the output of each stage, [B, H/4, W/4, Dims[0]] and on.
func (c ConvNeXt) Apply(b *graph.Builder, x *graph.Node, at string) ([]*graph.Node, error) {
	var out []*graph.Node
	in := c.Channels
	for i, d := range c.Dims {
		if c.Depths[i] < 0 || c.Depths[i] > 1<<10 {
			return nil, fmt.Errorf("config: depths[%d] is %d; expected 0 to %d", i, c.Depths[i], 1<<10)
		}
		stage := join(at, fmt.Sprintf("stages.%d", i))
		norm, conv, patch := stage+".downsample_layers.0", stage+".downsample_layers.1", 2
		if i == 0 {
			norm, conv, patch = conv, norm, 4
		} else {
			x = b.LayerNorm(x, norm, in, c.Eps)
		}
		x = b.Conv(x, conv, graph.ConvSpec{In: in, Out: d, KH: patch, KW: patch, Stride: [2]int{patch, patch}})
		if i == 0 {
			x = b.LayerNorm(x, norm, d, c.Eps)
		}
		for j := range b.Layers(c.Depths[i]) {
			layer := fmt.Sprintf("%s.layers.%d", stage, j)
			h := b.Conv(x, layer+".depthwise_conv", graph.ConvSpec{In: d, Out: d, KH: 7, KW: 7, Pad: graph.Pad2(3, 3), Groups: d})
			h = b.LayerNorm(h, layer+".layer_norm", d, c.Eps)
			h = b.Linear(b.Act(b.Linear(h, layer+".pointwise_conv1", d, 4*d), c.Act), layer+".pointwise_conv2", 4*d, d)
			if c.LayerScale {
				h = b.Affine(h, b.Weight(graph.Norm, layer+".gamma", d), nil)
			}
			x = b.Add(x, h)
		}
		out, in = append(out, x), d
	}
	return out, nil
}
