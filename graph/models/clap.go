package models

import (
	"encoding/json"
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// CLAP: Large-scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption Augmentation (Wu et
// al., arXiv:2211.06687) and CLAP: Learning Audio Concepts From Natural Language Supervision (Elizalde et al.,
// arXiv:2206.04769; its second version arXiv:2309.05767). Sources: huggingface/transformers models/clap/modeling_clap.py;
// LAION-AI/CLAP src/laion_clap/clap_module/{model,htsat,feature_fusion}.py; microsoft/CLAP msclap/models/{clap,audio,htsat}.py.

var _ = Register(&System{
	Name: "clap", Title: "CLAP", Row: 13,
	ModelTypes: []string{"clap", "clap_audio_model", "clap_text_model"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type clap, tensors audio_model.audio_encoder.* or text_model.*", Recognise: func(im *Import) bool {
			switch im.ModelType() {
			case "clap", "clap_audio_model", "clap_text_model":
				return im.HasTensor(audioEncoder+"patch_embed.proj.weight") || im.HasTensor(clapWords)
			}
			return false
		}},
		{Name: "laion", Looked: "tensors audio_branch.patch_embed.* and text_branch.*", Recognise: func(im *Import) bool {
			return im.HasTensor("audio_branch.patch_embed.proj.weight") && im.HasAny("text_branch.*")
		}},
		{Name: "microsoft", Looked: "tensors audio_encoder.base.* and caption_encoder.base.*", Recognise: func(im *Import) bool {
			return (im.HasTensor("audio_encoder.base.conv_block1.conv1.weight") || im.HasTensor("audio_encoder.base.htsat.patch_embed.proj.weight")) &&
				im.HasAny("caption_encoder.base.*")
		}},
	},
	Build: func(im *Import) (*graph.Model, error) {
		switch im.Naming {
		case "laion":
			return buildLAIONCLAP(im)
		case "microsoft":
			return buildMicrosoftCLAP(im)
		}
		return buildCLAP(im)
	},
})

// clapAudio is the audio_config of transformers' CLAP.
type clapAudio struct {
	Window          int             `json:"window_size"`
	MelBins         int             `json:"num_mel_bins"`
	SpecSize        int             `json:"spec_size"`
	Patch           json.RawMessage `json:"patch_size"`
	Stride          json.RawMessage `json:"patch_stride"`
	Hidden          int             `json:"hidden_size"`
	Depths          []int           `json:"depths"`
	Heads           []int           `json:"num_attention_heads"`
	Fusion          bool            `json:"enable_fusion"`
	FusionType      string          `json:"fusion_type"`
	Act             string          `json:"hidden_act"`
	Dim             int             `json:"patch_embeds_hidden_size"`
	PatchNorm       bool            `json:"enable_patch_layer_norm"`
	QKVBias         bool            `json:"qkv_bias"`
	MLPRatio        float64         `json:"mlp_ratio"`
	InChannels      int             `json:"patch_embed_input_channels"`
	FusionReduction int             `json:"aff_block_r"`
	Eps             float64         `json:"layer_norm_eps"`
}

// tower translates the configuration; frames is the number of frames of a clip.
func (c *clapAudio) tower(frames int) (*htsat, error) {
	h := &htsat{SpecSize: c.SpecSize, MelBins: c.MelBins, InChannels: c.InChannels, Dim: c.Dim, Depths: c.Depths, Heads: c.Heads, Window: c.Window,
		MLPRatio: c.MLPRatio, QKVBias: c.QKVBias, Eps: c.Eps, PatchNorm: c.PatchNorm, FusionReduction: c.FusionReduction, Frames: frames}
	var err error
	if h.Patch, err = sidesOf(c.Patch, "patch_size", 4); err != nil {
		return nil, err
	}
	if h.Stride, err = sidesOf(c.Stride, "patch_stride", 4); err != nil {
		return nil, err
	}
	if h.Act, err = activation("hidden_act", c.Act); err != nil {
		return nil, err
	}
	if c.Fusion {
		// transformers has this fusion alone, whatever fusion_type says.
		h.Fusion = "aff_2d"
	}
	if c.InChannels != 1 {
		return nil, fmt.Errorf("config: patch_embed_input_channels is %d; spectrograms have 1", c.InChannels)
	}
	return h, h.check()
}

// sidesOf reads one number that stands for two, or two.
func sidesOf(raw json.RawMessage, key string, def int) ([2]int, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return [2]int{def, def}, nil
	}
	var one int
	if json.Unmarshal(raw, &one) == nil {
		return [2]int{one, one}, nil
	}
	var both []int
	if json.Unmarshal(raw, &both) != nil || len(both) != 2 {
		return [2]int{}, fmt.Errorf("config: %s is %.40s: expected one number or two", key, raw)
	}
	return [2]int{both[0], both[1]}, nil
}

// clapWords is a tensor that every text tower has.
const clapWords = "text_model.embeddings.word_embeddings.weight"

// clapConfig is the config.json of transformers' CLAP.
type clapConfig struct {
	ProjectionDim int        `json:"projection_dim"`
	ProjectionAct string     `json:"projection_hidden_act"`
	Audio         clapAudio  `json:"audio_config"`
	Text          bertConfig `json:"text_config"`
}

// clapConfig reads config.json, which of a tower alone holds that tower's part.
func (im *Import) clapConfig() (*clapConfig, error) {
	c := &clapConfig{
		ProjectionDim: 512, ProjectionAct: "relu",
		Audio: clapAudio{Window: 8, MelBins: 64, SpecSize: 256, Hidden: 768, Depths: []int{2, 2, 6, 2}, Heads: []int{4, 8, 16, 32}, Act: "gelu", Dim: 96,
			PatchNorm: true, QKVBias: true, MLPRatio: 4, InChannels: 1, FusionReduction: 4, Eps: 1e-5},
		Text: bertConfig{VocabSize: 50265, Dim: 768, Layers: 12, Heads: 12, Hidden: 3072, Act: "gelu", MaxPositions: 514, TokenTypes: 1, Eps: 1e-12, Pad: 1, fromPad: true},
	}
	parts := []any{c}
	switch im.ModelType() {
	case "clap_audio_model":
		parts = append(parts, &c.Audio)
	case "clap_text_model":
		parts = append(parts, &c.Text)
	}
	for _, part := range parts {
		if err := im.Config(part); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func buildCLAP(im *Import) (*graph.Model, error) {
	c, err := im.clapConfig()
	if err != nil {
		return nil, err
	}
	act, err := activation("projection_hidden_act", c.ProjectionAct)
	if err != nil {
		return nil, err
	}
	im.Ignore("*.num_batches_tracked", "a counter of training")
	im.Ignore("*.relative_position_index", "a buffer that the window gives")
	im.Ignore("text_model.embeddings.position_ids", "a buffer of consecutive numbers")
	im.Ignore("text_model.embeddings.token_type_ids", "a buffer of zeros")
	b := graph.NewBuilder(im.Params(nil, ""))
	p := &pipeline.Pipeline{}
	var audio, text *graph.Node
	if im.HasTensor(audioEncoder + "patch_embed.proj.weight") {
		if audio, err = c.audioFeatures(im, b, p, act); err != nil {
			return nil, err
		}
	}
	if im.HasTensor(clapWords) {
		if p.Text, err = im.textPipeline("RobertaTokenizer", c.Text.MaxPositions-c.Text.Pad-1, c.Text.VocabSize); err != nil {
			return nil, err
		}
		text = c.Text.pooled(b, c.Text.tower(b, "text_model.", "text."), "text_model.", "text.")
		if b.Params.Has("text_projection.linear1.weight") {
			text = b.Name(clapProjection(b, text, "text_projection", c.Text.Dim, c.ProjectionDim, act), "text.projected")
		}
	}
	switch {
	case audio != nil && text != nil:
		clapLogits(b, p, audio, text, 0)
	case audio != nil: // alone, embeddings are not normalised
		b.Output(audio, graph.Audio, "audio_embeds")
	default:
		b.Output(text, graph.Text, "text_embeds")
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: p}, err
}

// audioFeatures builds the audio tower and its projection, and says what clips go through.
func (c *clapConfig) audioFeatures(im *Import, b *graph.Builder, p *pipeline.Pipeline, act kernels.Activation) (*graph.Node, error) {
	own, err := pipeline.ParseAudioExtractor([]byte(`{"frequency_min": 50}`), "ClapFeatureExtractor")
	if err != nil {
		return nil, err
	}
	if p.Audio, err = im.audioPipeline("ClapFeatureExtractor", own); err != nil {
		return nil, err
	}
	if p.Audio.Mel == nil || p.Audio.Mel.Bins != c.Audio.MelBins {
		return nil, fmt.Errorf("preprocessor_config.json: feature_size does not fit the %d mel bins of config.json", c.Audio.MelBins)
	}
	frames := p.Audio.Samples/p.Audio.Mel.Hop + 1
	tower, err := c.Audio.tower(frames)
	if err != nil {
		return nil, err
	}
	channels := 1
	var longer *graph.Node
	if tower.Fusion != "" {
		channels = 4
		longer = b.Input("is_longer", -1, 1)
	}
	x := tower.build(b, b.Input("input_features", -1, channels, frames, c.Audio.MelBins), longer)
	b.Name(x, "audio.pooler_output")
	if !b.Params.Has("audio_projection.linear1.weight") {
		return x, nil
	}
	return b.Name(clapProjection(b, x, "audio_projection", tower.features(), c.ProjectionDim, act), "audio.projected"), nil
}

// clapLogits adds the normalised embeddings and their scaled similarities, as outputs, and the task that they are for.
func clapLogits(b *graph.Builder, p *pipeline.Pipeline, audio, text *graph.Node, eps float64) {
	audio = b.Output(b.L2Norm(audio, eps), graph.Audio, "audio_embeds")
	text = b.Output(b.L2Norm(text, eps), graph.Text, "text_embeds")
	b.Output(scaledBy(b, b.MatMulT(audio, text), "logit_scale_a"), graph.Joint, "logits_per_audio")
	b.Output(scaledBy(b, b.MatMulT(text, audio), "logit_scale_t"), graph.Joint, "logits_per_text")
	p.Task = &pipeline.Task{Kind: "contrastive", Query: "audio_embeds", Key: "text_embeds"}
}

// clapProjection is the two-layer head of both towers.
func clapProjection(b *graph.Builder, x *graph.Node, stem string, in, out int, act kernels.Activation) *graph.Node {
	x = b.Act(b.Linear(x, stem+".linear1", in, out), act)
	return b.Linear(x, stem+".linear2", out, out)
}

// scaledBy multiplies by the exponential of a stored scalar.
func scaledBy(b *graph.Builder, x *graph.Node, name string) *graph.Node {
	scale := graph.ExpExpr(b.Tensor(name, 1))
	return b.Mul(x, b.Value(b.Derived(graph.Scalar, "exp("+name+")", scale)))
}
