package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/kernels"
)

// htsat is the audio tower of CLAP: a Swin transformer over log-mel spectrograms folded into squares. HTS-AT: A Hierarchical
// Token-Semantic Audio Transformer (Chen et al., arXiv:2202.00874), and its feature fusion (Wu et al., arXiv:2211.06687,
// section 2.3; Dai et al., Attentional Feature Fusion, arXiv:2009.14082). Canonical names are those of transformers'
// ClapAudioModel behind audio_model.audio_encoder.
type htsat struct {
	SpecSize, MelBins int
	Patch, Stride     [2]int
	InChannels        int
	Dim               int // of the patch embeddings
	Depths, Heads     []int
	Window            int
	MLPRatio          float64
	QKVBias           bool
	Eps               float64
	Act               kernels.Activation
	PatchNorm         bool
	Fusion            string // "" for none; daf, aff, iaff with _2d or _1d, channel_map
	FusionReduction   int
	Frames            int // of the spectrogram that comes in
}

const audioEncoder = "audio_model.audio_encoder."

func (h *htsat) check() error {
	n := len(h.Depths)
	if n == 0 || n > 8 || n != len(h.Heads) {
		return fmt.Errorf("config: depths %v and num_attention_heads %v: expected as many of each, 1 to 8", h.Depths, h.Heads)
	}
	sizes := []size{{"spec_size", h.SpecSize}, {"num_mel_bins", h.MelBins}, {"patch_size", min(h.Patch[0], h.Patch[1])}, {"patch_stride", min(h.Stride[0], h.Stride[1])},
		{"patch_embeds_hidden_size", h.Dim}, {"window_size", h.Window}, {"aff_block_r", h.FusionReduction}, {"patch_embed_input_channels", h.InChannels}}
	for i := range h.Depths {
		sizes = append(sizes, size{"depths", h.Depths[i]}, size{"num_attention_heads", h.Heads[i]})
	}
	if err := checkSizes("audio_config", sizes...); err != nil {
		return err
	}
	switch {
	case h.SpecSize%h.MelBins != 0:
		return fmt.Errorf("config: spec_size %d is no multiple of num_mel_bins %d", h.SpecSize, h.MelBins)
	case h.Frames > h.SpecSize*(h.SpecSize/h.MelBins):
		return fmt.Errorf("config: clips of %d frames are longer than the %d that fit an image of %d", h.Frames, h.SpecSize*(h.SpecSize/h.MelBins), h.SpecSize)
	case h.grid(0)>>(n-1) < h.SpecSize/h.MelBins || h.grid(1)>>(n-1) < 1:
		return fmt.Errorf("config: %d stages leave too little of %d x %d patches", n, h.grid(0), h.grid(1))
	}
	return nil
}

func (h *htsat) grid(axis int) int { return h.SpecSize / h.Stride[axis] }

// features is the dimension of the last stage.
func (h *htsat) features() int { return h.Dim << (len(h.Depths) - 1) }

// build makes the tower from log-mel frames x [B, 1 or 4, frames, bins]; longer [B, 1] says which clips are fused. The value
// is the mean of the last stage [B, features].
func (h *htsat) build(b *graph.Builder, x, longer *graph.Node) *graph.Node {
	x = b.BatchNorm(x, audioEncoder+"batch_norm", h.MelBins, 1e-5)
	switch h.Fusion {
	case "daf_1d", "aff_1d", "iaff_1d":
		x = h.fuseFrames(b, x, longer)
	}
	image := b.Name(h.fold(b, x), "audio.image")
	x = b.Name(h.embed(b, image, longer), "audio.embeddings")
	height, width, dim := h.grid(0), h.grid(1), h.Dim
	for i, depth := range h.Depths {
		stem := fmt.Sprintf("%slayers.%d", audioEncoder, i)
		for j := range b.Layers(depth) {
			x = b.Namef(h.block(b, x, fmt.Sprintf("%s.blocks.%d", stem, j), height, width, dim, h.Heads[i], j%2 == 1), "audio.stage_%d.block_%d", i, j)
		}
		if i < len(h.Depths)-1 {
			x = h.merge(b, x, stem+".downsample", height, width, dim)
			height, width, dim = (height+1)/2, (width+1)/2, 2*dim
		}
		b.Namef(x, "audio.stage_%d", i)
	}
	x = b.LayerNorm(x, audioEncoder+"norm", dim, 1e-5)
	groups := h.SpecSize / h.MelBins
	b.Name(b.Rearrange(x, "b (g k t) c -> b c k (g t)", "t", width, "k", height/groups), "audio.last_hidden_state")
	return b.Op(graph.Reduce{Kind: graph.Mean, Axis: 1}, nil, x)
}

// fold stretches the frames to as many as fit the image and lays them in strips one below the other: [B, C, T, F] ->
// [B, C, size, size].
func (h *htsat) fold(b *graph.Builder, x *graph.Node) *graph.Node {
	strips := h.SpecSize / h.MelBins
	frames, bins := h.SpecSize*strips, h.SpecSize/strips
	x = b.Rearrange(x, "b c t f -> b t f c")
	if h.Frames < frames {
		x = b.Op(graph.Resize{H: frames, W: h.MelBins, Mode: "bicubic", AlignCorners: true}, nil, x)
	}
	if h.MelBins < bins {
		x = b.Op(graph.Resize{H: frames, W: bins, Mode: "bicubic", AlignCorners: true}, nil, x)
	}
	return b.Rearrange(x, "b (r t) f c -> b c (r f) t", "r", strips)
}

// embed cuts the image [B, C, size, size] into patches [B, patches, dim].
func (h *htsat) embed(b *graph.Builder, image, longer *graph.Node) *graph.Node {
	stem := audioEncoder + "patch_embed"
	conv := func(x *graph.Node, name string, in, wide int) *graph.Node {
		k := [2]int{h.Patch[0], h.Patch[1] * wide}
		// A first layer of few weights, as Whisper's.
		b.Derived(graph.Stem, name+".weight", graph.RearrangeExpr(b.Tensor(name+".weight", h.Dim, in, k[0], k[1]), "o i h w -> o h w i", nil))
		return b.Conv(x, name, graph.ConvSpec{In: in, Out: h.Dim, KH: k[0], KW: k[1], Stride: [2]int{h.Stride[0], h.Stride[1] * wide},
			Pad: graph.Pad2((h.Patch[0]-h.Stride[0])/2, (h.Patch[1]-h.Stride[1])/2)})
	}
	layout := func(x *graph.Node) *graph.Node { return b.Rearrange(x, "b c h w -> b h w c") }
	var x *graph.Node
	switch h.Fusion {
	case "channel_map":
		x = conv(layout(image), stem+".proj", 4*h.InChannels, 1)
	case "daf_2d", "aff_2d", "iaff_2d":
		x = conv(layout(b.Slice(image, 1, 0, 1)), stem+".proj", h.InChannels, 1)
		local := b.Rearrange(b.Slice(image, 1, 1, 0), "b c h w -> (b c) h w 1")
		local = b.Rearrange(conv(local, stem+".mel_conv2d", h.InChannels, 3), "(b n) h w c -> b h (n w) c", "n", 3)
		// The crops cover as many columns as fit, less or more than the whole clip has.
		columns := 3 * ((h.SpecSize+2*((h.Patch[1]-h.Stride[1])/2)-3*h.Patch[1])/(3*h.Stride[1]) + 1)
		width := (h.SpecSize+2*((h.Patch[1]-h.Stride[1])/2)-h.Patch[1])/h.Stride[1] + 1
		if columns < width {
			local = b.Op(graph.Pad{Axis: 2, After: width - columns}, nil, local)
		} else if columns > width {
			local = b.Slice(local, 2, 0, width)
		}
		x = h.fuseWhereLonger(b, x, local, longer, stem+".fusion_model", h.Dim)
	default:
		x = conv(layout(image), stem+".proj", h.InChannels, 1)
	}
	x = b.Rearrange(x, "b h w c -> b (h w) c")
	if h.PatchNorm {
		x = b.LayerNorm(x, stem+".norm", h.Dim, 1e-5)
	}
	return x
}

// fuseFrames fuses the crops with the shrunk clip before they become an image (fusion types ending in _1d).
func (h *htsat) fuseFrames(b *graph.Builder, x, longer *graph.Node) *graph.Node {
	whole := b.Slice(x, 1, 0, 1)
	local := b.Rearrange(b.Slice(x, 1, 1, 0), "b n t f -> (b n) t f")
	local = b.Conv1d(local, audioEncoder+"mel_conv1d.0", graph.ConvSpec{In: h.MelBins, Out: h.MelBins, KH: 1, KW: 5, Stride: [2]int{1, 3}, Pad: graph.Pad2(0, 2)})
	local = b.BatchNorm(local, audioEncoder+"mel_conv1d.1", h.MelBins, 1e-5)
	local = b.Rearrange(local, "(b n) t f -> b 1 (n t) f", "n", 3)
	if columns := 3 * ((h.Frames-1)/3 + 1); columns > h.Frames {
		local = b.Slice(local, 2, 0, h.Frames)
	} else if columns < h.Frames {
		local = b.Op(graph.Pad{Axis: 2, After: h.Frames - columns}, nil, local)
	}
	return h.fuseWhereLonger(b, whole, local, longer, audioEncoder+"fusion_model", h.MelBins)
}

// fuseWhereLonger is the fusion of x and local [B, H, W, C] in those samples whose clips are longer than the window, and x
// in the others.
func (h *htsat) fuseWhereLonger(b *graph.Builder, x, local, longer *graph.Node, stem string, dim int) *graph.Node {
	var fused *graph.Node
	switch h.Fusion {
	case "daf_1d", "daf_2d":
		fused = b.Add(x, local)
	case "aff_1d", "aff_2d":
		w := h.attend(b, b.Add(x, local), stem, "local_att", "global_att", dim)
		fused = b.Add(b.Mul(b.Scale(x, 2), w), b.Mul(b.Scale(local, 2), complement(b, w)))
	default:
		w := h.attend(b, b.Add(x, local), stem, "local_att", "global_att", dim)
		mixed := b.Add(b.Mul(x, w), b.Mul(local, complement(b, w)))
		// The original's second round uses the first round's global attention again.
		w = h.attend(b, mixed, stem, "local_att2", "global_att", dim)
		fused = b.Add(b.Mul(x, w), b.Mul(local, complement(b, w)))
	}
	mask := b.Rearrange(longer, "b 1 -> b 1 1 1")
	return b.Add(b.Mul(fused, mask), b.Mul(x, complement(b, mask)))
}

func complement(b *graph.Builder, x *graph.Node) *graph.Node {
	return b.Op(graph.Scale{Mul: -1, Add: 1}, nil, x)
}

// attend gives the weights of an attentional fusion: a bottleneck over each place, and one over the mean of all.
func (h *htsat) attend(b *graph.Builder, x *graph.Node, stem, local, global string, dim int) *graph.Node {
	inner := dim / h.FusionReduction
	bottleneck := func(x *graph.Node, name string, first int) *graph.Node {
		at := func(i int) string { return fmt.Sprintf("%s.%s.%d", stem, name, first+i) }
		x = b.Conv(x, at(0), graph.ConvSpec{In: dim, Out: inner, KH: 1, KW: 1})
		x = b.Act(b.BatchNorm(x, at(1), inner, 1e-5), kernels.ActReLU)
		x = b.Conv(x, at(3), graph.ConvSpec{In: inner, Out: dim, KH: 1, KW: 1})
		return b.BatchNorm(x, at(4), dim, 1e-5)
	}
	mean := b.Op(graph.AdaptivePool{H: 1, W: 1}, nil, x)
	return b.Act(b.Add(bottleneck(x, local, 0), bottleneck(mean, global, 1)), kernels.ActSigmoid)
}

// block is a Swin block over height x width tokens, its windows shifted by half where shifted.
func (h *htsat) block(b *graph.Builder, x *graph.Node, name string, height, width, dim, heads int, shifted bool) *graph.Node {
	// Maps no larger than a window are one.
	cut := block.Windows{Height: height, Width: width, Size: min(h.Window, height, width)}
	if shifted && min(height, width) > h.Window {
		cut.Shift = cut.Size / 2
	}
	l := htsatLayer.Sized(dim, heads, int(h.MLPRatio*float64(dim)))
	l.Norm.Eps, l.MLP.Act = h.Eps, h.Act
	if !h.QKVBias {
		l.Attention.Q.Bias, l.Attention.K.Bias, l.Attention.V.Bias = block.Absent, block.Absent, block.Absent
	}
	bias := block.RelativeBias(b, name+".relative_position_bias", name+".attention.self.relative_position_bias_table", cut.Size, heads)
	return l.Apply(b, x, name, cut.With(b, bias, x), block.With{})
}

// htsatLayer has the names of transformers' Swin layers.
var htsatLayer = block.Layer{
	Self: block.Branch{Norm: "layernorm_before"}, Feed: block.Branch{Norm: "layernorm_after"},
	Attention: block.BERTLayer.Attention, MLP: block.BERTLayer.MLP,
}

// merge joins 2 x 2 tokens and halves their channels.
func (h *htsat) merge(b *graph.Builder, x *graph.Node, name string, height, width, dim int) *graph.Node {
	x = b.Rearrange(x, "b (h w) c -> b h w c", "h", height, "w", width)
	if height%2 == 1 {
		x = b.Op(graph.Pad{Axis: 1, After: 1}, nil, x)
	}
	if width%2 == 1 {
		x = b.Op(graph.Pad{Axis: 2, After: 1}, nil, x)
	}
	x = b.Rearrange(x, "b (h p) (w q) c -> b (h w) (q p c)", "p", 2, "q", 2)
	return b.LinearNoBias(b.LayerNorm(x, name+".norm", 4*dim, 1e-5), name+".reduction", 4*dim, 2*dim)
}
