package block

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// FastViT is the hybrid of convolutions and attention of Vasu et al. 2023 (arXiv:2303.14189) with its training branches folded, in
// timm's names (huggingface/pytorch-image-models timm/models/fastvit.py): RepMixer stages, stages of attention behind a
// convolution that stands for positions, and FastViTHD's and MobileCLIP's variants of them. Which part a stage has, its tensors
// show.
type FastViT struct {
	Channels, Stages int
	HeadDim          int
	Eps              float64 // of the norms before attention
	Height, Width    int     // of the image
	// Dim returns the size of a tensor's axis, 0 where it is missing.
	Dim func(name string, axis int) int
}

// conv applies a folded convolution whose padding keeps the size at stride 1.
func (f *FastViT) conv(b *graph.Builder, x *graph.Node, at string, in, stride int) (*graph.Node, int) {
	out, perGroup, k := f.Dim(at+".weight", 0), f.Dim(at+".weight", 1), f.Dim(at+".weight", 2)
	if out < 1 || perGroup < 1 || k < 1 || in%perGroup != 0 || out%(in/perGroup) != 0 {
		b.Fail(fmt.Errorf("tensor %s.weight: expected a folded convolution of %d channels; unfolded branches are to be folded first", at, in))
		return x, in
	}
	spec := graph.ConvSpec{In: in, Out: out, KH: k, KW: k, Stride: [2]int{stride, stride}, Pad: graph.Pad2(k/2, k/2), Groups: in / perGroup, NoBias: f.Dim(at+".bias", 0) == 0}
	return b.Conv(x, at, spec), out
}

// unit is a MobileOne block: convolution, squeeze and excitation where there is one, GELU.
func (f *FastViT) unit(b *graph.Builder, x *graph.Node, at string, in, stride int) (*graph.Node, int) {
	x, out := f.conv(b, x, at+".reparam_conv", in, stride)
	if hidden := f.Dim(at+".se.fc1.weight", 0); hidden > 0 {
		se := SE{Dim: out, Hidden: hidden, FC1: Projection{Stem: "fc1"}, FC2: Projection{Stem: "fc2"}, Act: kernels.ActReLU}
		x = se.Apply(b, x, at+".se")
	}
	return b.Act(x, kernels.ActGELU), out
}

// Apply maps [B, H, W, Channels] to the stem's output, those of the stages, and that of the last convolution.
func (f *FastViT) Apply(b *graph.Builder, x *graph.Node, at string) (stem *graph.Node, stages []*graph.Node, last *graph.Node) {
	d := f.Channels
	height, width := f.Height, f.Width
	halve := func() { height, width = (height+1)/2, (width+1)/2 }
	for i, stride := range []int{2, 2, 1} {
		x, d = f.unit(b, x, join(at, fmt.Sprintf("stem.%d", i)), d, stride)
		if stride == 2 {
			halve()
		}
	}
	stem = x
	for i := range b.Layers(f.Stages) {
		stage := join(at, fmt.Sprintf("stages.%d", i))
		if down := stage + ".downsample.proj"; f.Dim(down+".0.reparam_conv.weight", 0) > 0 {
			halve()
			x, d = f.unit(b, x, down+".0", d, 2)
			x, d = f.unit(b, x, down+".1", d, 1)
		}
		if f.Dim(stage+".pos_emb.reparam_conv.weight", 0) > 0 {
			x, d = f.conv(b, x, stage+".pos_emb.reparam_conv", d, 1)
		}
		for j := 0; f.Dim(fmt.Sprintf("%s.blocks.%d.mlp.fc1.weight", stage, j), 0) > 0; j++ {
			x = f.block(b, x, fmt.Sprintf("%s.blocks.%d", stage, j), d, height, width)
		}
		stages = append(stages, x)
	}
	last, _ = f.unit(b, x, join(at, "final_conv"), d, 1)
	return stem, stages, last
}

// block mixes places, then channels.
func (f *FastViT) block(b *graph.Builder, x *graph.Node, at string, d, height, width int) *graph.Node {
	gain := func(h *graph.Node, stem string) *graph.Node {
		if f.Dim(at+stem+".gamma", 0) == 0 {
			return h
		}
		return b.Affine(h, b.Weight(graph.Norm, at+stem+".gamma", d), nil)
	}
	scale := ".layer_scale"
	if f.Dim(at+".token_mixer.qkv.weight", 0) > 0 {
		scale = ".layer_scale_2"
		if f.HeadDim < 1 || d%f.HeadDim != 0 {
			b.Fail(fmt.Errorf("tensor %s.token_mixer.qkv.weight: %d channels do not split into heads of %d", at, d, f.HeadDim))
			return x
		}
		h := b.LayerNorm(x, at+".norm", d, f.Eps)
		a := Attention{Dim: d, Heads: d / f.HeadDim, QKV: Projection{Stem: "qkv", Bias: Stored}, Q: Projection{Stem: "q", Bias: Stored}, K: Projection{Stem: "k", Bias: Stored},
			V: Projection{Stem: "v", Bias: Stored}, Out: Projection{Stem: "proj", Bias: Stored}}
		h = a.Apply(b, b.Rearrange(h, "b h w c -> b (h w) c"), at+".token_mixer", With{})
		h = b.Rearrange(h, "b (h w) c -> b h w c", "h", height, "w", width)
		x = b.Add(x, gain(h, ".layer_scale_1"))
	} else {
		x, _ = f.conv(b, x, at+".token_mixer.reparam_conv", d, 1) // the sum with its input is folded into it
	}
	h, _ := f.conv(b, x, at+".mlp.conv.conv", d, 1)
	h = b.BatchNorm(h, at+".mlp.conv.bn", d, 1e-5)
	hidden := f.Dim(at+".mlp.fc1.weight", 0)
	h = b.Linear(b.Act(b.Linear(h, at+".mlp.fc1", d, hidden), kernels.ActGELU), at+".mlp.fc2", hidden, d)
	return b.Add(x, gain(h, scale))
}
