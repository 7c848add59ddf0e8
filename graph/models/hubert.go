package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units (Hsu et al., arXiv:2106.07447)
// and wav2vec 2.0 (Baevski et al., arXiv:2006.11477), which share their architecture. Sources: huggingface/transformers
// models/hubert/modeling_hubert.py and models/wav2vec2/modeling_wav2vec2.py; pytorch/audio torchaudio/models/wav2vec2/
// {model,components}.py; facebookresearch/fairseq fairseq/models/{hubert/hubert,wav2vec/wav2vec2}.py.

var _ = Register(&System{
	Name: "hubert", Title: "HuBERT and wav2vec 2.0", Row: 14,
	ModelTypes: []string{"hubert", "wav2vec2"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type hubert or wav2vec2, tensors feature_extractor.conv_layers.#.conv.*", Recognise: func(im *Import) bool {
			t := im.ModelType()
			return (t == "hubert" || t == "wav2vec2") && (im.HasTensor("feature_extractor.conv_layers.0.conv.weight") ||
				im.HasTensor(t+".feature_extractor.conv_layers.0.conv.weight"))
		}},
		{Name: "torchaudio", Looked: "tensors feature_extractor.conv_layers.#.conv.* and encoder.transformer.*", Recognise: func(im *Import) bool {
			return im.HasTensor("feature_extractor.conv_layers.0.conv.weight") && im.HasAny("encoder.transformer.layers.#.attention.q_proj.weight")
		}},
		{Name: "fairseq", Looked: "tensors feature_extractor.conv_layers.#.0.* and encoder.layers.#.self_attn.*", Recognise: func(im *Import) bool {
			return im.HasAny("*feature_extractor.conv_layers.0.0.weight") && im.HasAny("*encoder.layers.#.self_attn.k_proj.weight")
		}},
	},
	Build: buildHubert,
})

// hubertConfig is the config.json of transformers' Hubert and Wav2Vec2.
type hubertConfig struct {
	Dim             int     `json:"hidden_size"`
	Layers          int     `json:"num_hidden_layers"`
	Heads           int     `json:"num_attention_heads"`
	Hidden          int     `json:"intermediate_size"`
	Act             string  `json:"hidden_act"`
	ConvAct         string  `json:"feat_extract_activation"`
	ConvNorm        string  `json:"feat_extract_norm"` // group: on the first layer alone; layer: on all
	ConvDim         []int   `json:"conv_dim"`
	ConvStride      []int   `json:"conv_stride"`
	ConvKernel      []int   `json:"conv_kernel"`
	ConvBias        bool    `json:"conv_bias"`
	PosKernel       int     `json:"num_conv_pos_embeddings"`
	PosGroups       int     `json:"num_conv_pos_embedding_groups"`
	PosBatchNorm    bool    `json:"conv_pos_batch_norm"`
	ProjectNorm     bool    `json:"feat_proj_layer_norm"`
	StableLayerNorm bool    `json:"do_stable_layer_norm"`
	Eps             float64 `json:"layer_norm_eps"`
	VocabSize       int     `json:"vocab_size"`

	// Adapters of wav2vec 2.0: convolutions behind the encoder, and bottlenecks in its layers.
	AddAdapter       bool `json:"add_adapter"`
	AdapterKernel    int  `json:"adapter_kernel_size"`
	AdapterStride    int  `json:"adapter_stride"`
	AdapterLayers    int  `json:"num_adapter_layers"`
	OutputSize       int  `json:"output_hidden_size"`
	AttentionAdapter int  `json:"adapter_attn_dim"`

	// What kin do in another way: how frames know their place, and what the layers are.
	placed func(b *graph.Builder, x *graph.Node, act kernels.Activation) *graph.Node
	stack  func(b *graph.Builder, x, frames *graph.Node, act kernels.Activation) *block.Tower

	noProjection bool      // fairseq: the features have the encoder's width already
	projection   [2]string // stems of the features' norm and projection; empty: those of wav2vec 2.0
	posStride    int       // of the positional convolution; 0: 1
	framesFirst  bool      // the recorded features are (clips, frames, channels)
}

func defaultHubert() *hubertConfig {
	return &hubertConfig{
		Dim: 768, Layers: 12, Heads: 12, Hidden: 3072, Act: "gelu", ConvAct: "gelu", ConvNorm: "group",
		ConvDim: []int{512, 512, 512, 512, 512, 512, 512}, ConvStride: []int{5, 2, 2, 2, 2, 2, 2}, ConvKernel: []int{10, 3, 3, 3, 3, 2, 2},
		PosKernel: 128, PosGroups: 16, ProjectNorm: true, Eps: 1e-5, VocabSize: 32,
		AdapterKernel: 3, AdapterStride: 2, AdapterLayers: 3,
	}
}

func buildHubert(im *Import) (*graph.Model, error) {
	switch im.Naming {
	case "torchaudio":
		return buildTorchaudio(im)
	case "fairseq":
		return buildFairseq(im)
	}
	c := defaultHubert()
	c.ProjectNorm = true
	if err := im.Config(c); err != nil {
		return nil, err
	}
	return im.speechModel(c, im.ModelType())
}

// speechModel builds what a configuration of HuBERT's kin describes, whose tensors stand behind stem where there is a head.
func (im *Import) speechModel(c *hubertConfig, stem string) (*graph.Model, error) {
	if c.OutputSize == 0 {
		c.OutputSize = c.Dim
	}
	var table Names
	if im.HasTensor(stem + ".feature_extractor.conv_layers.0.conv.weight") {
		table = Names{{"lm_head.*", "lm_head.*"}, {"*", stem + ".*"}}
		im.Ignore(stem+".masked_spec_embed", "used in training only")
	}
	im.Ignore("masked_spec_embed", "used in training only")
	for _, part := range []string{"quantizer.*", "project_q.*", "project_hid.*", "speaker_proj.*", "label_embeddings_concat", "layer_norm_for_extract.*"} {
		im.Ignore(part, "part of the pre-training objective")
	}
	for _, part := range []string{"projector.*", "classifier.*", "layer_weights"} {
		im.Ignore(part, "the head of audio classification")
	}
	own := &pipeline.Audio{SampleRate: 16000, Input: "input_values", Normalize: true, Epsilon: 1e-7, Mask: c.ConvNorm == "layer"}
	audio, err := im.audioPipeline("Wav2Vec2FeatureExtractor", own)
	if err != nil {
		return nil, err
	}
	p := &pipeline.Pipeline{Audio: audio}
	if im.HasTensor("lm_head.weight") {
		if p.Text, err = im.textPipeline("Wav2Vec2CTCTokenizer", 0, c.VocabSize); err != nil {
			return nil, err
		}
	}
	return c.build(im, im.Params(table, ""), p)
}

// convolutions takes layers of width, kernel and stride.
func (c *hubertConfig) convolutions(layers [][]int, key string) error {
	c.ConvDim, c.ConvKernel, c.ConvStride = nil, nil, nil
	for i, l := range layers {
		if len(l) != 3 {
			return fmt.Errorf("config: %s: layer %d has %d numbers; expected width, kernel and stride", key, i, len(l))
		}
		c.ConvDim, c.ConvKernel, c.ConvStride = append(c.ConvDim, l[0]), append(c.ConvKernel, l[1]), append(c.ConvStride, l[2])
	}
	return nil
}

// widths takes the widths and kernels of the convolutions from their tensors; strides are those of the default.
func (c *hubertConfig) widths(im *Import, pattern string) {
	for i := range c.ConvDim {
		if name := fmt.Sprintf(pattern, i); im.HasTensor(name) {
			c.ConvDim[i], c.ConvKernel[i] = im.Dim(name, 0), im.Dim(name, 2)
		}
	}
}

func (c *hubertConfig) build(im *Import, params graph.Params, p *pipeline.Pipeline) (*graph.Model, error) {
	if n := len(c.ConvDim); n == 0 || n != len(c.ConvKernel) || n != len(c.ConvStride) {
		return nil, fmt.Errorf("config: conv_dim, conv_kernel and conv_stride have %d, %d and %d elements; expected as many each, at least one",
			len(c.ConvDim), len(c.ConvKernel), len(c.ConvStride))
	}
	sizes := []size{{"hidden_size", c.Dim}, {"num_attention_heads", c.Heads}, {"intermediate_size", c.Hidden},
		{"num_conv_pos_embeddings", c.PosKernel}, {"num_conv_pos_embedding_groups", c.PosGroups}}
	for i := range c.ConvDim {
		sizes = append(sizes, size{"conv_dim", c.ConvDim[i]}, size{"conv_kernel", c.ConvKernel[i]}, size{"conv_stride", c.ConvStride[i]})
	}
	if err := checkSizes("config", sizes...); err != nil {
		return nil, err
	}
	act, err := activation("hidden_act", c.Act)
	if err != nil {
		return nil, err
	}
	convAct, err := activation("feat_extract_activation", c.ConvAct)
	if err != nil {
		return nil, err
	}
	if c.ConvNorm != "group" && c.ConvNorm != "layer" {
		return nil, fmt.Errorf("config: feat_extract_norm is %q; expected group or layer", c.ConvNorm)
	}
	b := graph.NewBuilder(params)
	features, frames := c.features(b, convAct)
	x := c.project(b, features)
	x = c.encoder(b, x, frames, act, convAct)
	if b.Params.Has("lm_head.weight") {
		out := c.Dim
		if c.AddAdapter {
			out = c.OutputSize
		}
		b.Output(b.Linear(x, "lm_head", out, c.VocabSize), graph.Audio, "logits")
		p.Task = &pipeline.Task{Kind: "ctc"}
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: p}, err
}

// features builds the convolutions over input_values [B, samples] -> [B, frames, channels], and the mask of frames.
func (c *hubertConfig) features(b *graph.Builder, act kernels.Activation) (x, frames *graph.Node) {
	// The shortest clip that gives three frames.
	example := 3
	for i := len(c.ConvKernel) - 1; i >= 0; i-- {
		example = (example-1)*c.ConvStride[i] + c.ConvKernel[i]
	}
	input := func() graph.Input { return graph.Input{Dims: []int{-1, -3}, Example: []int{2, example}} }
	wave := b.Name(b.Op(input(), nil), "input_values")
	mask := b.OptionalInput("attention_mask", wave, 1, -1, -3)
	mask.Op = input()
	x = b.Rearrange(wave, "b t -> b t 1")
	in := 1
	for i, out := range c.ConvDim {
		stem := fmt.Sprintf("feature_extractor.conv_layers.%d", i)
		x = b.Conv1d(x, stem+".conv", graph.ConvSpec{In: in, Out: out, KH: 1, KW: c.ConvKernel[i], Stride: [2]int{1, c.ConvStride[i]}, NoBias: !c.ConvBias})
		switch {
		case c.ConvNorm == "layer":
			x = b.LayerNorm(x, stem+".layer_norm", out, 1e-5)
		case i == 0:
			x = b.GroupNorm(x, stem+".layer_norm", out, out, 1e-5)
		}
		x = b.Act(x, act)
		b.Namef(b.Rearrange(x, "b t c -> b c t"), "features.conv_layer_%d", i)
		in = out
	}
	if c.framesFirst {
		b.Name(x, "features")
	} else {
		b.Name(b.Rearrange(x, "b t c -> b c t"), "features")
	}
	return x, b.Op(graph.FrameMask{Kernel: c.ConvKernel, Stride: c.ConvStride}, nil, mask, x)
}

// project brings the features to the encoder's width.
func (c *hubertConfig) project(b *graph.Builder, x *graph.Node) *graph.Node {
	in := c.ConvDim[len(c.ConvDim)-1]
	at := c.projection
	if at[0] == "" {
		at = [2]string{"feature_projection.layer_norm", "feature_projection.projection"}
	}
	if c.ProjectNorm {
		x = b.LayerNorm(x, at[0], in, c.Eps)
	}
	if !c.noProjection {
		x = b.Linear(x, at[1], in, c.Dim)
	}
	return b.Name(x, "projected")
}

// encoder builds the transformer. Frames of padding are zero where it starts, and no frame attends to them.
func (c *hubertConfig) encoder(b *graph.Builder, x, frames *graph.Node, act, convAct kernels.Activation) *graph.Node {
	d := c.Dim
	x = b.Mul(x, b.Rearrange(frames, "b t -> b t 1"))
	if c.placed == nil {
		c.placed = func(b *graph.Builder, x *graph.Node, act kernels.Activation) *graph.Node {
			return b.Add(x, c.positions(b, x, act))
		}
	}
	if c.stack == nil {
		c.stack = func(b *graph.Builder, x, frames *graph.Node, act kernels.Activation) *block.Tower {
			return c.layers(b, x, block.With{Bias: block.HideKeys(b, frames)}, act, nil)
		}
	}
	x = c.placed(b, x, convAct)
	if !c.StableLayerNorm {
		x = b.LayerNorm(x, "encoder.layer_norm", d, c.Eps)
	}
	t := c.stack(b, x, frames, act)
	b.Name(t.Embeddings, "embeddings")
	t.NameLayers(b, "layer_%d")
	x = t.Last
	if c.AddAdapter {
		b.Name(x, "encoder_output")
		x = c.adapter(b, x)
	}
	return b.Output(x, graph.Audio, "last_hidden_state")
}

// layers runs the transformer layers, whose norms stand before the branches (stable layer norm) or behind the sums.
func (c *hubertConfig) layers(b *graph.Builder, x *graph.Node, self block.With, act kernels.Activation, each func(i int, self *block.With)) *block.Tower {
	l := block.Wav2Vec2Layer.Sized(c.Dim, c.Heads, c.Hidden)
	l.Norm.Eps, l.MLP.Act = c.Eps, act
	stack := block.Transformer{Layer: l, Stem: "encoder.layers.%d", Layers: c.Layers}
	if each != nil {
		stack.Each = func(i int, _ *block.Layer, self, _ *block.With) { each(i, self) }
	}
	if c.StableLayerNorm {
		stack.Layer.Order, stack.Norm = block.PreNorm, "encoder.layer_norm"
		if n := c.AttentionAdapter; n > 0 {
			adapter := block.Layer{Dim: c.Dim, Norm: block.Norm{Eps: 1e-5}, Feed: block.Branch{Norm: "adapter_layer.norm"},
				MLP: block.MLP{Dim: c.Dim, Hidden: n, Act: kernels.ActReLU, FC1: block.Projection{Stem: "adapter_layer.linear_1"},
					FC2: block.Projection{Stem: "adapter_layer.linear_2"}}}
			stack.After = func(at string, x *graph.Node) *graph.Node { return adapter.FeedForward(b, x, at) }
		}
	}
	return stack.Apply(b, x, self, block.With{})
}

// positions is the convolution that stands for position embeddings: as many frames out as in, one more of the kernel on
// the left where it is even.
func (c *hubertConfig) positions(b *graph.Builder, x *graph.Node, act kernels.Activation) *graph.Node {
	d, k := c.Dim, c.PosKernel
	stem := "encoder.pos_conv_embed.conv"
	s := graph.ConvSpec{In: d, Out: d, KH: 1, KW: k, Stride: [2]int{1, max(c.posStride, 1)}, Pad: [4]int{0, k / 2, 0, (k - 1) / 2}, Groups: c.PosGroups}
	if d%c.PosGroups != 0 {
		b.Fail(fmt.Errorf("config: hidden_size %d does not divide into %d groups of the positional convolution", d, c.PosGroups))
		return x
	}
	if c.PosBatchNorm {
		// With padding behind it, the shift of the norm cannot go into the convolution's bias.
		x = b.BatchNorm(x, "encoder.pos_conv_embed.batch_norm", d, 1e-5)
	}
	g, v := "", ""
	for _, pair := range [][2]string{{".weight_g", ".weight_v"}, {".parametrizations.weight.original0", ".parametrizations.weight.original1"}} {
		if b.Params.Has(stem + pair[0]) {
			g, v = stem+pair[0], stem+pair[1]
		}
	}
	if g == "" { // folded already, or never there
		return b.Name(b.Act(b.Conv1d(x, stem, s), act), "pos_conv")
	}
	folded := graph.WeightNormExpr(b.Tensor(g, 1, 1, k), b.Tensor(v, d, d/c.PosGroups, k), 2)
	w := b.Derived(graph.Kernel, stem+".weight", graph.RearrangeExpr(folded, "o i (h w) -> o h w i", map[string]int{"h": 1}))
	return b.Name(b.Act(b.Conv1dOf(x, s, w, b.Weight(graph.Bias, stem+".bias", d)), act), "pos_conv")
}

// adapter shortens the sequence by strided convolutions with gated linear units.
func (c *hubertConfig) adapter(b *graph.Builder, x *graph.Node) *graph.Node {
	d := c.OutputSize
	if d != c.Dim {
		x = b.LayerNorm(b.Linear(x, "adapter.proj", c.Dim, d), "adapter.proj_layer_norm", d, 1e-5)
	}
	for i := range b.Layers(c.AdapterLayers) {
		x = b.Conv1d(x, fmt.Sprintf("adapter.layers.%d.conv", i), graph.ConvSpec{In: d, Out: 2 * d, KH: 1, KW: c.AdapterKernel,
			Stride: [2]int{1, c.AdapterStride}, Pad: graph.Pad2(0, 1)})
		x = b.Mul(b.Slice(x, 2, 0, d), b.Act(b.Slice(x, 2, d, 0), kernels.ActSigmoid))
	}
	return x
}
