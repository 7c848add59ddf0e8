package block

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// RegNet is a stage of RegNet's bottlenecks (Radosavovic et al., arXiv:2003.13678) at stride 1, in the stems of timm's
// models/regnet.py: b1.conv1.conv, b1.conv1.bn, b1.se.fc1, b1.downsample.conv …. Maps are channels-last; the norms are layer
// norms over the channels (timm's LayerNormAct2d, whose eps is 1e-5), as in C-Abstractor.
type RegNet struct {
	Depth   int
	In, Out int                // channels of the input, and of each block
	Group   int                // channels of a group of the 3x3 convolution; 0: 1
	SERatio float64            // of the SE's inner channels to the block's input; 0: no SE
	Act     kernels.Activation // of the SE too
	Eps     float64
}

// Apply runs [B, H, W, In] through the blocks and returns the output of each, [B, H, W, Out].
func (r *RegNet) Apply(b *graph.Builder, x *graph.Node, at string) []*graph.Node {
	var out []*graph.Node
	in := r.In
	for i := range b.Layers(r.Depth) {
		x = r.bottleneck(b, x, join(at, fmt.Sprintf("b%d", i+1)), in)
		out = append(out, x)
		in = r.Out
	}
	return out
}

func (r *RegNet) bottleneck(b *graph.Builder, x *graph.Node, at string, in int) *graph.Node {
	conv := func(x *graph.Node, own string, spec graph.ConvSpec) *graph.Node {
		own, spec.NoBias = join(at, own), true
		return b.LayerNorm(b.Conv(x, own+".conv", spec), own+".bn", spec.Out, r.Eps)
	}
	h := b.Act(conv(x, "conv1", graph.ConvSpec{In: in, Out: r.Out, KH: 1, KW: 1}), r.Act)
	h = b.Act(conv(h, "conv2", graph.ConvSpec{In: r.Out, Out: r.Out, KH: 3, KW: 3, Pad: graph.Pad2(1, 1), Groups: r.Out / max(r.Group, 1)}), r.Act)
	if r.SERatio > 0 {
		se := SE{Dim: r.Out, Hidden: int(math.RoundToEven(float64(in) * r.SERatio)), FC1: Projection{Stem: "fc1"}, FC2: Projection{Stem: "fc2"}, Act: r.Act}
		h = se.Apply(b, h, join(at, "se"))
	}
	h = conv(h, "conv3", graph.ConvSpec{In: r.Out, Out: r.Out, KH: 1, KW: 1})
	if in != r.Out {
		x = conv(x, "downsample", graph.ConvSpec{In: in, Out: r.Out, KH: 1, KW: 1})
	}
	return b.Act(b.Add(h, x), r.Act)
}
