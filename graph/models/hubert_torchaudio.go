package models

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// torchaudioNames translates transformers' names to torchaudio's.
var torchaudioNames = Names{
	{"feature_projection.*", "encoder.feature_projection.*"},
	{"encoder.*", "encoder.transformer.*"},
	{"lm_head.*", "aux.*"},
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
