package models

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// laionConfig is the part of LAION-AI/CLAP's model configurations (model_configs/HTSAT-*.json) that tensors do not tell.
type laionConfig struct {
	MLPAct     string                   `json:"mlp_act"`
	FusionType string                   `json:"fusion_type"`
	Audio      pipeline.LAIONCLAPConfig `json:"audio_cfg"`
	HTSAT      struct {
		SpecSize int             `json:"spec_size"`
		Stride   json.RawMessage `json:"patch_stride"`
	} `json:"htsat"`
	Text bertConfig `json:"text_cfg"`
}

var laionText = Names{
	{"text_model.*", "text_branch.*"},
	{"audio_projection.linear1.*", "audio_projection.0.*"}, {"audio_projection.linear2.*", "audio_projection.2.*"},
	{"text_projection.linear1.*", "text_projection.0.*"}, {"text_projection.linear2.*", "text_projection.2.*"},
}

func buildLAIONCLAP(im *Import) (*graph.Model, error) {
	const branch = "audio_branch."
	h := im.htsatFromTensors(branch)
	c := laionConfig{MLPAct: "relu", Audio: pipeline.LAIONCLAPConfig{SampleRate: 48000, ClipSamples: 480000, HopSize: 480, MinHz: 50, MaxHz: 14000,
		MelBins: h.MelBins, WindowSize: im.Dim(branch+"spectrogram_extractor.stft.conv_real.weight", 2)},
		Text: bertConfig{VocabSize: im.Dim("text_branch.embeddings.word_embeddings.weight", 0), Dim: im.Dim("text_branch.embeddings.word_embeddings.weight", 1),
			Layers: im.Count("text_branch.encoder.layer.#.attention.self.query.weight"), Heads: 12, Act: "gelu", Pad: 1, fromPad: true, Eps: 1e-12,
			Hidden:       im.Dim("text_branch.encoder.layer.0.intermediate.dense.weight", 0),
			MaxPositions: im.Dim("text_branch.embeddings.position_embeddings.weight", 0), TokenTypes: im.Dim("text_branch.embeddings.token_type_embeddings.weight", 0)}}
	c.HTSAT.SpecSize = 256
	if im.HasConfig("audio_cfg") {
		if err := im.Config(&c); err != nil {
			return nil, err
		}
	} else {
		c.Text.Eps = 1e-5 // of roberta-base, which the project loads
		im.Note("no config.json: rates and lengths are those of the published models")
	}
	h.SpecSize = c.HTSAT.SpecSize
	var err error
	if h.Stride, err = sidesOf(c.HTSAT.Stride, "patch_stride", h.Patch[0]); err != nil {
		return nil, err
	}
	if h.Fusion != "" && c.FusionType != "" && !strings.EqualFold(c.FusionType, "none") {
		if err := knownFusion(c.FusionType); err != nil {
			return nil, err
		}
		h.Fusion = c.FusionType
	}
	audio := pipeline.LAIONCLAPAudio(c.Audio, h.Fusion != "")
	if err := audio.Check(); err != nil {
		return nil, fmt.Errorf("config: audio_cfg: %w", err)
	}
	if c.Audio.HopSize < 1 || audio.Samples < 1 {
		return nil, fmt.Errorf("config: audio_cfg has hop_size %d and clip_samples %d; expected positive numbers", c.Audio.HopSize, audio.Samples)
	}
	h.Frames = audio.Samples/c.Audio.HopSize + 1
	if err := h.check(); err != nil {
		return nil, err
	}
	act, err := activation("mlp_act", c.MLPAct)
	if err != nil {
		return nil, err
	}
	im.ignoreHTSAT(branch)
	im.Ignore("audio_transform.*", "used in training only")
	im.Ignore("text_transform.*", "used in training only")
	im.Ignore("text_branch.embeddings.*_ids", "a buffer of consecutive numbers or zeros")
	b := graph.NewBuilder(im.Params(append(htsatNames(branch), laionText...), ""))
	p := &pipeline.Pipeline{Audio: audio}
	var x *graph.Node
	if h.Fusion != "" {
		im.Ignore(branch+"spectrogram_extractor.*", "a model with fusion takes spectrograms")
		im.Ignore(branch+"logmel_extractor.*", "a model with fusion takes spectrograms")
		x = h.build(b, b.Input("mel_fusion", -1, 4, h.Frames, h.MelBins), b.Input("is_longer", -1, 1))
	} else {
		x = h.build(b, logMel(b, b.Input("waveform", -1, audio.Samples), audioEncoder, c.Audio.WindowSize, c.Audio.HopSize, h.MelBins), nil)
	}
	joint := im.Dim("audio_projection.0.weight", 0)
	x = clapProjection(b, b.Name(x, "audio_embedding"), "audio_projection", h.features(), joint, act)
	b.Name(x, "audio.projected")
	tokenizer, context := "RobertaTokenizer", c.Text.MaxPositions-c.Text.Pad-1
	switch c.Text.ModelType {
	case "", "roberta":
	case "bert":
		tokenizer, context, c.Text.fromPad = "BertTokenizer", c.Text.MaxPositions, false
	default:
		return nil, fmt.Errorf("config: text_cfg.model_type is %q; expected roberta or bert", c.Text.ModelType)
	}
	// The project pads texts to 77 tokens.
	if p.Text, err = im.textPipeline(tokenizer, min(77, context), c.Text.VocabSize); err != nil {
		return nil, err
	}
	p.Text.Pad.ToContext = true
	text := c.Text.tower(b, "text_model.", "text.")
	y := clapProjection(b, c.Text.pooled(b, text, "text_model.", "text."), "text_projection", c.Text.Dim, joint, act)
	clapLogits(b, p, x, b.Name(y, "text.projected"), 1e-12)
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: p}, err
}
