package models

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
)

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
