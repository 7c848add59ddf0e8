package models

import (
	"fmt"
	"math"
	"slices"

	"github.com/mmconv/mmconv/graph"
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
	window, shift := h.Window, 0
	if min(height, width) <= window {
		window = min(height, width)
	} else if shifted {
		shift = window / 2
	}
	if dim%heads != 0 {
		b.Fail(fmt.Errorf("config: %d channels do not divide into %d heads", dim, heads))
		return x
	}
	// Maps that windows do not fill are padded below and on the right.
	fill := func(n int) int { return (window - n%window) % window }
	full := [2]int{height + fill(height), width + fill(width)}
	t := b.LayerNorm(x, name+".layernorm_before", dim, h.Eps)
	if full != [2]int{height, width} {
		t = b.Rearrange(t, "b (h w) c -> b h w c", "h", height, "w", width)
		t = b.Op(graph.Pad{Axis: 2, After: fill(width)}, nil, b.Op(graph.Pad{Axis: 1, After: fill(height)}, nil, t))
		t = b.Rearrange(t, "b h w c -> b (h w) c")
	}
	cut := graph.Windows{H: full[0], W: full[1], Size: window, Shift: shift}
	t = b.Op(cut, nil, t)
	project := func(which string) *graph.Node {
		return b.LinearIf(h.QKVBias, t, name+".attention.self."+which, dim, dim)
	}
	q, k, v := project("query"), project("key"), project("value")
	bias := h.bias(b, name, window, heads)
	if shift > 0 {
		bias = h.masked(b, bias, cut, x)
	}
	t = b.Attention(q, k, v, graph.AttentionSpec{Heads: heads, HeadDim: dim / heads, Bias: bias})
	t = b.Linear(t, name+".attention.output.dense", dim, dim)
	cut.Join = true
	t = b.Op(cut, nil, t)
	if full != [2]int{height, width} {
		t = b.Rearrange(t, "b (h w) c -> b h w c", "h", full[0], "w", full[1])
		t = b.Rearrange(b.Slice(b.Slice(t, 1, 0, height), 2, 0, width), "b h w c -> b (h w) c")
	}
	x = b.Add(x, t)
	hidden := int(h.MLPRatio * float64(dim))
	t = b.LayerNorm(x, name+".layernorm_after", dim, h.Eps)
	t = b.Act(b.Linear(t, name+".intermediate.dense", dim, hidden), h.Act)
	return b.Add(x, b.Linear(t, name+".output.dense", hidden, dim))
}

// bias is the relative position bias [1, heads, N, N] of the N = window^2 tokens of a window.
func (h *htsat) bias(b *graph.Builder, name string, window, heads int) *graph.Node {
	side := 2*window - 1
	table := b.Tensor(name+".attention.self.relative_position_bias_table", side*side, heads)
	return b.Value(b.Derived(graph.Position, name+".relative_position_bias", graph.Apply(relativePositions{window}, table)))
}

var _ = graph.RegisterExpr(relativePositions{}, windowMask{})

// relativePositions looks up, for each pair of the N = Window^2 tokens of a window, the bias of their distance in both
// directions (Liu et al. 2021, Swin Transformer, section 3.2). Arguments: table [(2 Window - 1)^2, heads]. The value is
// [1, heads, N, N].
type relativePositions struct{ Window int }

func (o relativePositions) Infer(args []graph.Shape) (graph.Shape, error) {
	const most = 1 << 12
	side := 2*o.Window - 1
	if o.Window < 1 || o.Window > most || len(args) != 1 || len(args[0]) != 2 || args[0][0] != side*side {
		return nil, fmt.Errorf("the table is not one of windows of %d", o.Window)
	}
	n := o.Window * o.Window
	return graph.Shape{1, args[0][1], n, n}, nil
}

func (o relativePositions) Eval(args []*graph.Tensor) ([]float32, error) {
	table, heads := args[0].Data, args[0].Shape[1]
	n, side := o.Window*o.Window, 2*o.Window-1
	out := make([]float32, heads*n*n)
	for i := range n {
		for j := range n {
			row := (i/o.Window-j/o.Window+o.Window-1)*side + i%o.Window - j%o.Window + o.Window - 1
			for head := range heads {
				out[(head*n+i)*n+j] = table[row*heads+head]
			}
		}
	}
	return out, nil
}

// masked adds to the bias what keeps tokens from attending to those that the shift has wrapped in from the other end of the
// map, -100 as the originals have it: [B*windows, heads, N, N].
func (h *htsat) masked(b *graph.Builder, bias *graph.Node, cut graph.Windows, like *graph.Node) *graph.Node {
	name := fmt.Sprintf("window_mask[%dx%d,%d,%d]", cut.H, cut.W, cut.Size, cut.Shift)
	sum := b.Add(bias, b.Value(b.Derived(graph.Position, name, graph.Apply(windowMask{cut}))))
	sum = b.Op(graph.Expand{Axis: 0}, nil, b.Rearrange(sum, "w h q k -> 1 w h q k"), like)
	return b.Rearrange(sum, "b w h q k -> (b w) h q k")
}

// windowMask is -100 where two tokens of a window come from different ends of the map, [windows, 1, N, N].
type windowMask struct{ graph.Windows }

func (o windowMask) Infer(args []graph.Shape) (graph.Shape, error) {
	if len(args) != 0 {
		return nil, fmt.Errorf("takes no arguments")
	}
	n := o.Size * o.Size
	if _, err := o.Windows.Infer([]graph.Shape{{1, o.H * o.W, 1}}, nil); err != nil {
		return nil, err
	}
	return graph.Shape{o.Count(), 1, n, n}, nil
}

func (o windowMask) Eval([]*graph.Tensor) ([]float32, error) {
	cut := o.Windows
	n := cut.Size * cut.Size
	region := func(at, size int) int {
		switch {
		case at < size-cut.Size:
			return 0
		case at < size-cut.Shift:
			return 1
		}
		return 2
	}
	mask := make([]float32, cut.Count()*n*n)
	across := cut.W / cut.Size
	for w := range cut.Count() {
		regions := make([]int, n)
		for i := range n {
			regions[i] = 3*region(w/across*cut.Size+i/cut.Size, cut.H) + region(w%across*cut.Size+i%cut.Size, cut.W)
		}
		for i := range n {
			for j := range n {
				if regions[i] != regions[j] {
					mask[(w*n+i)*n+j] = -100
				}
			}
		}
	}
	return mask, nil
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

// htsatFromTensors reads from the tensors' shapes what they tell, for projects that keep their sizes in code. stem is the
// tower's prefix.
func (im *Import) htsatFromTensors(stem string) *htsat {
	h := &htsat{SpecSize: 256, Window: 8, MLPRatio: 4, QKVBias: true, Eps: 1e-5, Act: kernels.ActGELU, PatchNorm: true, FusionReduction: 4, InChannels: 1}
	h.MelBins = im.Dim(stem+"bn0.weight", 0)
	h.Dim = im.Dim(stem+"patch_embed.proj.weight", 0)
	h.Patch = [2]int{im.Dim(stem+"patch_embed.proj.weight", 2), im.Dim(stem+"patch_embed.proj.weight", 3)}
	h.Stride = h.Patch
	for i := range im.Count(stem + "layers.#.blocks.0.norm1.weight") {
		h.Depths = append(h.Depths, im.Count(fmt.Sprintf("%slayers.%d.blocks.#.norm1.weight", stem, i)))
		table := fmt.Sprintf("%slayers.%d.blocks.0.attn.relative_position_bias_table", stem, i)
		h.Heads = append(h.Heads, im.Dim(table, 1))
		if i == 0 {
			h.Window = int(math.Round(math.Sqrt(float64(im.Dim(table, 0))))+1) / 2
		}
	}
	if hidden := im.Dim(stem+"layers.0.blocks.0.mlp.fc1.weight", 0); h.Dim > 0 {
		h.MLPRatio = float64(hidden) / float64(h.Dim)
	}
	switch {
	case im.HasTensor(stem + "mel_conv1d.0.weight"):
		h.Fusion = fusionOf(im, stem+"fusion_model", "_1d")
	case im.HasTensor(stem + "patch_embed.mel_conv2d.weight"):
		h.Fusion = fusionOf(im, stem+"patch_embed.fusion_model", "_2d")
	case im.Dim(stem+"patch_embed.proj.weight", 1) == 4:
		h.Fusion = "channel_map"
	}
	return h
}

func fusionOf(im *Import, stem, kind string) string {
	switch {
	case im.HasAny(stem + ".local_att2.*"):
		return "iaff" + kind
	case im.HasAny(stem + ".local_att.*"):
		return "aff" + kind
	}
	return "daf" + kind
}

// fusions are the ways to fuse that are known.
var fusions = []string{"daf_1d", "aff_1d", "iaff_1d", "daf_2d", "aff_2d", "iaff_2d", "channel_map"}

func knownFusion(name string) error {
	if slices.Contains(fusions, name) {
		return nil
	}
	return fmt.Errorf("config: fusion_type is %q; expected one of %v", name, fusions)
}

// htsatNames translates transformers' names of the tower to those of the original projects.
func htsatNames(stem string) Names {
	return Names{
		{audioEncoder + "batch_norm.*", stem + "bn0.*"},
		{audioEncoder + "layers.#.blocks.#.layernorm_before.*", stem + "layers.#.blocks.#.norm1.*"},
		{audioEncoder + "layers.#.blocks.#.layernorm_after.*", stem + "layers.#.blocks.#.norm2.*"},
		{audioEncoder + "layers.#.blocks.#.attention.self.query.*", stem + "layers.#.blocks.#.attn.qkv.*[0/3]"},
		{audioEncoder + "layers.#.blocks.#.attention.self.key.*", stem + "layers.#.blocks.#.attn.qkv.*[1/3]"},
		{audioEncoder + "layers.#.blocks.#.attention.self.value.*", stem + "layers.#.blocks.#.attn.qkv.*[2/3]"},
		{audioEncoder + "layers.#.blocks.#.attention.self.relative_position_bias_table", stem + "layers.#.blocks.#.attn.relative_position_bias_table"},
		{audioEncoder + "layers.#.blocks.#.attention.output.dense.*", stem + "layers.#.blocks.#.attn.proj.*"},
		{audioEncoder + "layers.#.blocks.#.intermediate.dense.*", stem + "layers.#.blocks.#.mlp.fc1.*"},
		{audioEncoder + "layers.#.blocks.#.output.dense.*", stem + "layers.#.blocks.#.mlp.fc2.*"},
		{audioEncoder + "*", stem + "*"},
	}
}

// ignoreHTSAT leaves out what the original projects store beside the weights that are used.
func (im *Import) ignoreHTSAT(stem string) {
	im.Ignore(stem+"*.relative_position_index", "a buffer that the window gives")
	im.Ignore(stem+"*.attn_mask", "a buffer that the window gives")
	im.Ignore(stem+"tscam_conv.*", "the head of audio tagging")
	im.Ignore(stem+"head.*", "the head of audio tagging")
	im.Ignore(stem+"*fusion_model.global_att2.*", "a part of iAFF that the original does not use")
	im.Ignore("*.num_batches_tracked", "a counter of training")
}
