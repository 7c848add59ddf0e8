package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"

	"github.com/mmconv/mmconv/graph"
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

	noProjection bool // fairseq: the features have the encoder's width already
	framesFirst  bool // the recorded features are (clips, frames, channels)
}

func defaultHubert() *hubertConfig {
	return &hubertConfig{
		Dim: 768, Layers: 12, Heads: 12, Hidden: 3072, Act: "gelu", ConvAct: "gelu", ConvNorm: "group",
		ConvDim: []int{512, 512, 512, 512, 512, 512, 512}, ConvStride: []int{5, 2, 2, 2, 2, 2, 2}, ConvKernel: []int{10, 3, 3, 3, 3, 2, 2},
		PosKernel: 128, PosGroups: 16, ProjectNorm: true, Eps: 1e-5, VocabSize: 32,
		AdapterKernel: 3, AdapterStride: 2, AdapterLayers: 3,
	}
}

// torchaudioNames translates transformers' names to torchaudio's.
var torchaudioNames = Names{
	{"feature_projection.*", "encoder.feature_projection.*"},
	{"encoder.*", "encoder.transformer.*"},
	{"lm_head.*", "aux.*"},
}

// fairseqNames translates transformers' names to fairseq's. Norms of the convolutions stand at .2, in layer norm mode at
// .2.1 between two transpositions.
func fairseqNames(layerNorm bool) Names {
	norm := "feature_extractor.conv_layers.#.2.*"
	if layerNorm {
		norm = "feature_extractor.conv_layers.#.2.1.*"
	}
	return Names{
		{"feature_extractor.conv_layers.#.conv.*", "feature_extractor.conv_layers.#.0.*"},
		{"feature_extractor.conv_layers.#.layer_norm.*", norm},
		{"feature_projection.layer_norm.*", "layer_norm.*"},
		{"feature_projection.projection.*", "post_extract_proj.*"},
		{"encoder.layers.#.attention.*", "encoder.layers.#.self_attn.*"},
		{"encoder.layers.#.layer_norm.*", "encoder.layers.#.self_attn_layer_norm.*"},
		{"encoder.layers.#.feed_forward.intermediate_dense.*", "encoder.layers.#.fc1.*"},
		{"encoder.layers.#.feed_forward.output_dense.*", "encoder.layers.#.fc2.*"},
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
	if c.OutputSize == 0 {
		c.OutputSize = c.Dim
	}
	var table Names
	if stem := im.ModelType(); im.HasTensor(stem + ".feature_extractor.conv_layers.0.conv.weight") {
		table = Names{{"lm_head.*", "lm_head.*"}, {"*", stem + ".*"}}
		im.Ignore(stem+".masked_spec_embed", "used in training only")
	}
	im.Ignore("masked_spec_embed", "used in training only")
	for _, part := range []string{"quantizer.*", "project_q.*", "project_hid.*"} {
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

// buildTorchaudio reads the keyword arguments of torchaudio.models.wav2vec2_model from config.json.
func buildTorchaudio(im *Import) (*graph.Model, error) {
	k := struct {
		Mode      string  `json:"extractor_mode"`
		Convs     [][]int `json:"extractor_conv_layer_config"`
		ConvBias  bool    `json:"extractor_conv_bias"`
		Dim       int     `json:"encoder_embed_dim"`
		PosKernel int     `json:"encoder_pos_conv_kernel"`
		PosGroups int     `json:"encoder_pos_conv_groups"`
		Layers    int     `json:"encoder_num_layers"`
		Heads     int     `json:"encoder_num_heads"`
		Hidden    int     `json:"encoder_ff_interm_features"`
		NormFirst bool    `json:"encoder_layer_norm_first"`
		Normalize bool    `json:"normalize_waveform"`
		Rate      int     `json:"sample_rate"`
	}{Mode: "group_norm", Dim: im.Dim("encoder.feature_projection.projection.weight", 0), PosKernel: 128, PosGroups: 16,
		Layers: im.Count("encoder.transformer.layers.#.attention.q_proj.weight"), Rate: 16000,
		Hidden: im.Dim("encoder.transformer.layers.0.feed_forward.intermediate_dense.weight", 0)}
	k.Heads = k.Dim / 64
	if err := im.Config(&k); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		// The published bundles differ in this where nothing else tells: large ones normalise every convolution.
		if im.HasTensor("feature_extractor.conv_layers.1.layer_norm.weight") {
			k.Mode, k.NormFirst, k.Normalize = "layer_norm", true, true
			k.ConvBias = im.HasTensor("feature_extractor.conv_layers.0.conv.bias")
		}
		im.Note("no config.json with the arguments of torchaudio.models.wav2vec2_model: those of the published bundles hold")
	}
	c := defaultHubert()
	c.Dim, c.Layers, c.Heads, c.Hidden, c.ConvBias, c.framesFirst = k.Dim, k.Layers, k.Heads, k.Hidden, k.ConvBias, true
	c.PosKernel, c.PosGroups, c.StableLayerNorm = k.PosKernel, k.PosGroups, k.NormFirst
	switch k.Mode {
	case "group_norm":
	case "layer_norm":
		c.ConvNorm = "layer"
	default:
		return nil, fmt.Errorf("config: extractor_mode is %q; expected group_norm or layer_norm", k.Mode)
	}
	if k.Convs != nil {
		if err := c.convolutions(k.Convs, "extractor_conv_layer_config"); err != nil {
			return nil, err
		}
	} else {
		c.widths(im, "feature_extractor.conv_layers.%d.conv.weight")
	}
	c.VocabSize = im.Dim("aux.weight", 0)
	im.Ignore("mask_generator.*", "used in training only")
	im.Ignore("logit_generator.*", "part of the pre-training objective")
	p := &pipeline.Pipeline{Audio: pipeline.TorchaudioAudio(k.Rate, k.Normalize)}
	if im.HasTensor("aux.weight") {
		var err error
		if p.Text, err = im.textPipeline("Wav2Vec2CTCTokenizer", 0, c.VocabSize); err != nil {
			return nil, err
		}
	}
	return c.build(im, im.Params(torchaudioNames, ""), p)
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

// fairseqModel is the model section of fairseq's configuration (HubertConfig, Wav2Vec2Config).
type fairseqModel struct {
	ExtractorMode string `json:"extractor_mode"`
	Layers        int    `json:"encoder_layers"`
	Dim           int    `json:"encoder_embed_dim"`
	Hidden        int    `json:"encoder_ffn_embed_dim"`
	Heads         int    `json:"encoder_attention_heads"`
	Act           string `json:"activation_fn"`
	LayerType     string `json:"layer_type"`
	NormFirst     bool   `json:"layer_norm_first"`
	Convs         string `json:"conv_feature_layers"`
	ConvBias      bool   `json:"conv_bias"`
	ConvPos       int    `json:"conv_pos"`
	ConvPosGroups int    `json:"conv_pos_groups"`
	PosBatchNorm  bool   `json:"conv_pos_batch_norm"`
	PosConvDepth  int    `json:"pos_conv_depth"`
	PosEncType    string `json:"pos_enc_type"`
}

func buildFairseq(im *Import) (*graph.Model, error) {
	m, rate, normalize, err := im.fairseqConfig()
	if err != nil {
		return nil, err
	}
	prefix := ""
	if im.HasAny("w2v_encoder.w2v_model.*") {
		prefix = "w2v_encoder.w2v_model."
	}
	switch {
	case m.LayerType != "transformer":
		err = fmt.Errorf("cfg.model.layer_type is %q; expected transformer", m.LayerType)
	case m.PosConvDepth > 1:
		err = fmt.Errorf("cfg.model.pos_conv_depth is %d; expected 1", m.PosConvDepth)
	case m.PosEncType != "abs":
		err = fmt.Errorf("cfg.model.pos_enc_type is %q; expected abs", m.PosEncType)
	case m.ExtractorMode != "default" && m.ExtractorMode != "layer_norm":
		err = fmt.Errorf("cfg.model.extractor_mode is %q; expected default or layer_norm", m.ExtractorMode)
	}
	if err != nil {
		return nil, err
	}
	c := defaultHubert()
	c.Dim, c.Layers, c.Heads, c.Hidden, c.Act = m.Dim, m.Layers, m.Heads, m.Hidden, m.Act
	c.StableLayerNorm, c.ConvBias = m.NormFirst, m.ConvBias
	c.PosKernel, c.PosGroups, c.PosBatchNorm = m.ConvPos, m.ConvPosGroups, m.PosBatchNorm
	layers, err := parseConvLayers(m.Convs)
	if err == nil {
		err = c.convolutions(layers, "cfg.model.conv_feature_layers")
	}
	if err != nil {
		return nil, err
	}
	if m.ExtractorMode == "layer_norm" {
		c.ConvNorm = "layer"
	}
	c.noProjection = !im.HasTensor(prefix + "post_extract_proj.weight")
	table := Names{}
	for _, rule := range append(Names{{"lm_head.*", "w2v_encoder.proj.*"}}, fairseqNames(c.ConvNorm == "layer")...) {
		if rule[0] != "lm_head.*" {
			rule[1] = prefix + rule[1]
		}
		table = append(table, rule)
	}
	conv := "encoder.pos_conv.0.*"
	if c.PosBatchNorm {
		table = append(table, [2]string{"encoder.pos_conv_embed.batch_norm.*", prefix + "encoder.pos_conv.0.*"})
		conv = "encoder.pos_conv.1.*"
		im.Ignore(prefix+"encoder.pos_conv.0.num_batches_tracked", "a counter of training")
	}
	table = append(table, [2]string{"encoder.pos_conv_embed.conv.*", prefix + conv}, [2]string{"*", prefix + "*"})
	im.Ignore(prefix+"mask_emb", "used in training only")
	for _, part := range []string{"label_embs_concat", "final_proj.*", "quantizer.*", "project_q.*", "target_glu.*"} {
		im.Ignore(prefix+part, "part of the pre-training objective")
	}
	c.VocabSize = im.Dim("w2v_encoder.proj.weight", 0)
	p := &pipeline.Pipeline{Audio: pipeline.FairseqAudio(rate, normalize)}
	if im.HasTensor("w2v_encoder.proj.weight") {
		if p.Text, err = im.textPipeline("Wav2Vec2CTCTokenizer", 0, c.VocabSize); err != nil {
			return nil, err
		}
	}
	return c.build(im, im.Params(table, ""), p)
}

// fairseqConfig finds the configuration: the checkpoint's own cfg (or args, of older ones), or that of config.json.
func (im *Import) fairseqConfig() (m *fairseqModel, rate int, normalize bool, err error) {
	type file struct {
		Model json.RawMessage `json:"model"`
		Task  struct {
			SampleRate int  `json:"sample_rate"`
			Normalize  bool `json:"normalize"`
		} `json:"task"`
	}
	root := struct {
		Cfg  *file           `json:"cfg"`
		Args json.RawMessage `json:"args"`
		file
	}{}
	if raw, rerr := im.ReadFile("config.json"); rerr == nil {
		if err := json.Unmarshal(raw, &root); err != nil {
			return nil, 0, false, fmt.Errorf("config.json: %w", err)
		}
	} else if raw, merr := json.Marshal(im.Attributes()); merr == nil {
		// Entries that are none of ours may have any type; those of ours must fit.
		if err := json.Unmarshal(raw, &root); err != nil {
			return nil, 0, false, fmt.Errorf("the checkpoint's cfg: %w", err)
		}
	}
	cfg := &root.file
	if root.Cfg != nil {
		cfg = root.Cfg
	}
	if cfg.Model == nil {
		cfg.Model = root.Args
	}
	if cfg.Model == nil {
		return nil, 0, false, fmt.Errorf("no configuration: looked for cfg and args in the checkpoint and for config.json")
	}
	m = &fairseqModel{ExtractorMode: "default", Layers: 12, Dim: 768, Hidden: 3072, Heads: 12, Act: "gelu", LayerType: "transformer",
		Convs: "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2", ConvPos: 128, ConvPosGroups: 16, PosEncType: "abs", PosConvDepth: 1}
	var outer struct {
		Pretrained json.RawMessage `json:"w2v_args"`
	}
	if err := json.Unmarshal(cfg.Model, &outer); err != nil {
		return nil, 0, false, fmt.Errorf("cfg.model: %w", err)
	}
	section := cfg.Model
	if inner := outer.Pretrained; len(inner) > 0 && inner[0] == '{' {
		var whole struct {
			Model json.RawMessage `json:"model"`
		}
		if err := json.Unmarshal(inner, &whole); err != nil {
			return nil, 0, false, fmt.Errorf("cfg.model.w2v_args: %w", err)
		}
		section = inner
		if len(whole.Model) > 0 && whole.Model[0] == '{' {
			section = whole.Model
		}
	}
	if err := json.Unmarshal(section, m); err != nil {
		return nil, 0, false, fmt.Errorf("cfg.model: %w", err)
	}
	rate, normalize = cfg.Task.SampleRate, cfg.Task.Normalize
	if rate == 0 {
		rate = 16000
	}
	return m, rate, normalize, nil
}

var (
	convTuple = regexp.MustCompile(`\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\)`)
	convList  = regexp.MustCompile(`\[([^\]]*)\]\s*(?:\*\s*(\d+))?`)
)

// parseConvLayers reads a Python expression of lists of (width, kernel, stride), added and multiplied.
func parseConvLayers(text string) ([][]int, error) {
	const most = 64
	var layers [][]int
	for _, list := range convList.FindAllStringSubmatch(text, -1) {
		times := 1
		if list[2] != "" {
			times, _ = strconv.Atoi(list[2])
		}
		var part [][]int
		for _, t := range convTuple.FindAllStringSubmatch(list[1], -1) {
			var l []int
			for _, s := range t[1:] {
				n, err := strconv.Atoi(s)
				if err != nil {
					return nil, fmt.Errorf("cfg.model.conv_feature_layers: %w", err)
				}
				l = append(l, n)
			}
			part = append(part, l)
		}
		for range min(times, most) {
			layers = append(layers, part...)
		}
	}
	if len(layers) == 0 || len(layers) > most {
		return nil, fmt.Errorf("cfg.model.conv_feature_layers is %.80q: expected 1 to %d layers of (width, kernel, stride)", text, most)
	}
	return layers, nil
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
	c.encoder(b, x, frames, act, convAct)
	if b.Params.Has("lm_head.weight") {
		out := c.Dim
		if c.AddAdapter {
			out = c.OutputSize
		}
		b.Output(b.Linear(b.Named("last_hidden_state"), "lm_head", out, c.VocabSize), graph.Audio, "logits")
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
	if c.ProjectNorm {
		x = b.LayerNorm(x, "feature_projection.layer_norm", in, c.Eps)
	}
	if !c.noProjection {
		x = b.Linear(x, "feature_projection.projection", in, c.Dim)
	}
	return b.Name(x, "projected")
}

// encoder builds the transformer. Frames of padding are zero where it starts, and no frame attends to them.
func (c *hubertConfig) encoder(b *graph.Builder, x, frames *graph.Node, act, convAct kernels.Activation) {
	d := c.Dim
	x = b.Mul(x, b.Rearrange(frames, "b t -> b t 1"))
	bias := b.Op(graph.KeyMask{Value: -3.4028234663852886e38}, nil, frames)
	x = b.Add(x, c.positions(b, x, convAct))
	if !c.StableLayerNorm {
		x = b.LayerNorm(x, "encoder.layer_norm", d, c.Eps)
	}
	b.Name(x, "embeddings")
	for i := range b.Layers(c.Layers) {
		x = b.Namef(c.layer(b, x, bias, fmt.Sprintf("encoder.layers.%d", i), act), "layer_%d", i)
	}
	if c.StableLayerNorm {
		x = b.LayerNorm(x, "encoder.layer_norm", d, c.Eps)
	}
	if c.AddAdapter {
		b.Name(x, "encoder_output")
		x = c.adapter(b, x)
	}
	b.Output(x, graph.Audio, "last_hidden_state")
}

// positions is the convolution that stands for position embeddings: as many frames out as in, one more of the kernel on
// the left where it is even.
func (c *hubertConfig) positions(b *graph.Builder, x *graph.Node, act kernels.Activation) *graph.Node {
	d, k := c.Dim, c.PosKernel
	stem := "encoder.pos_conv_embed.conv"
	s := graph.ConvSpec{In: d, Out: d, KH: 1, KW: k, Pad: [4]int{0, k / 2, 0, (k - 1) / 2}, Groups: c.PosGroups}
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

// layer is a transformer layer, its norms before the branches (stable layer norm) or behind them.
func (c *hubertConfig) layer(b *graph.Builder, x, bias *graph.Node, name string, act kernels.Activation) *graph.Node {
	d := c.Dim
	norm := func(x *graph.Node, which string) *graph.Node { return b.LayerNorm(x, name+which, d, c.Eps) }
	attention := func(h *graph.Node) *graph.Node {
		h = b.Attention(b.Linear(h, name+".attention.q_proj", d, d), b.Linear(h, name+".attention.k_proj", d, d),
			b.Linear(h, name+".attention.v_proj", d, d), graph.AttentionSpec{Heads: c.Heads, HeadDim: d / c.Heads, Bias: bias})
		return b.Linear(h, name+".attention.out_proj", d, d)
	}
	mlp := func(h *graph.Node) *graph.Node {
		h = b.Act(b.Linear(h, name+".feed_forward.intermediate_dense", d, c.Hidden), act)
		return b.Linear(h, name+".feed_forward.output_dense", c.Hidden, d)
	}
	if !c.StableLayerNorm {
		x = norm(b.Add(x, attention(x)), ".layer_norm")
		return norm(b.Add(x, mlp(x)), ".final_layer_norm")
	}
	x = b.Add(x, attention(norm(x, ".layer_norm")))
	x = b.Add(x, mlp(norm(x, ".final_layer_norm")))
	if n := c.AttentionAdapter; n > 0 {
		stem := name + ".adapter_layer"
		h := b.Act(b.Linear(b.LayerNorm(x, stem+".norm", d, 1e-5), stem+".linear_1", d, n), kernels.ActReLU)
		x = b.Add(x, b.Linear(h, stem+".linear_2", n, d))
	}
	return x
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
