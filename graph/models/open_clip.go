package models

import (
	"encoding/json"
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// openCLIPFile is the configuration that open_clip publishes its checkpoints with.
const openCLIPFile = "open_clip_config.json"

func (im *Import) hasOpenCLIPConfig() bool {
	_, err := im.ReadFile(openCLIPFile)
	return err == nil
}

// openCLIPConfig is the model_cfg of open_clip_config.json (CLIPVisionCfg and CLIPTextCfg in src/open_clip/model.py).
type openCLIPConfig struct {
	EmbedDim      int      `json:"embed_dim"`
	QuickGELU     bool     `json:"quick_gelu"`
	CustomText    bool     `json:"custom_text"`
	InitLogitBias *float64 `json:"init_logit_bias"`
	Vision        struct {
		Layers          json.RawMessage `json:"layers"` // a number, or four for a ResNet
		Width           int             `json:"width"`
		HeadWidth       int             `json:"head_width"`
		MLPRatio        float64         `json:"mlp_ratio"`
		PatchSize       int             `json:"patch_size"`
		ImageSize       json.RawMessage `json:"image_size"` // a number, or height and width
		LayerScale      *float64        `json:"ls_init_value"`
		GlobalAvgPool   bool            `json:"global_average_pool"`
		AttentionalPool any             `json:"attentional_pool"`
		NoLNPre         bool            `json:"no_ln_pre"`
		PosEmbedType    string          `json:"pos_embed_type"`
		FinalLNAfter    bool            `json:"final_ln_after_pool"`
		PoolType        string          `json:"pool_type"`
		TimmModel       string          `json:"timm_model_name"`
		TimmPool        string          `json:"timm_pool"`
		TimmArguments   json.RawMessage `json:"timm_model_kwargs"`
		layerOptions
	} `json:"vision_cfg"`
	Text struct {
		ContextLength int      `json:"context_length"`
		VocabSize     int      `json:"vocab_size"`
		Width         int      `json:"width"`
		Heads         int      `json:"heads"`
		Layers        int      `json:"layers"`
		MLPRatio      float64  `json:"mlp_ratio"`
		LayerScale    *float64 `json:"ls_init_value"`
		PoolType      string   `json:"pool_type"`
		NoCausalMask  bool     `json:"no_causal_mask"`
		EmbedCls      bool     `json:"embed_cls"`
		EOS           *int     `json:"eos_id"`
		HFModel       string   `json:"hf_model_name"`
		layerOptions
	} `json:"text_cfg"`
}

// layerOptions are passed on to the activation and the norms of a tower.
type layerOptions struct {
	Act struct {
		Approximate string `json:"approximate"`
	} `json:"act_kwargs"`
	Norm struct {
		Eps float64 `json:"eps"`
	} `json:"norm_kwargs"`
}

// activation returns the function of the tower's MLPs.
func (l layerOptions) activation(quick bool) string {
	switch {
	case quick:
		return "quick_gelu"
	case l.Act.Approximate == "tanh":
		return "gelu_tanh"
	}
	return "gelu"
}

func defaultOpenCLIP() *openCLIPConfig {
	c := &openCLIPConfig{}
	c.Vision.Width, c.Vision.HeadWidth, c.Vision.MLPRatio, c.Vision.PatchSize = 768, 64, 4, 16
	c.Vision.PosEmbedType, c.Vision.PoolType, c.Vision.TimmPool = "learnable", "tok", "avg"
	c.Text.ContextLength, c.Text.VocabSize, c.Text.Width, c.Text.Heads, c.Text.Layers, c.Text.MLPRatio = 77, 49408, 512, 8, 12, 4
	c.Text.PoolType, c.Text.Norm.Eps, c.Vision.Norm.Eps = "argmax", 1e-5, 1e-5
	return c
}

// openCLIP reads open_clip_config.json.
func (im *Import) openCLIP() (*openCLIPConfig, error) {
	c := defaultOpenCLIP()
	return c, im.ConfigFile(openCLIPFile, &struct {
		Model *openCLIPConfig `json:"model_cfg"`
	}{c})
}

// imageSize returns the height and width of the vision tower's images.
func (o *openCLIPConfig) imageSize() (pair, error) {
	size := pair{224, 224}
	if len(o.Vision.ImageSize) > 0 {
		if err := size.UnmarshalJSON(o.Vision.ImageSize); err != nil {
			return size, fmt.Errorf("%s: vision_cfg.image_size: %w", openCLIPFile, err)
		}
	}
	return size, nil
}

// number reads an option that is a single number here, def where it is absent.
func number(raw json.RawMessage, key string, def int) (int, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return def, nil
	}
	var n int
	if json.Unmarshal(raw, &n) == nil {
		return n, nil
	}
	var both []int
	if json.Unmarshal(raw, &both) == nil && len(both) == 2 && both[0] == both[1] {
		return both[0], nil
	}
	return 0, fmt.Errorf("%s: %s is %s: expected one number", openCLIPFile, key, raw)
}

// buildOpenCLIP translates open_clip's options to those of the towers; what they do not have is refused.
func buildOpenCLIP(im *Import) (*graph.Model, error) {
	o, err := im.openCLIP()
	if err != nil {
		return nil, err
	}
	c := defaultCLIP()
	v, t := &c.Vision, &c.Text
	v.HiddenAct, v.Eps = o.Vision.activation(o.QuickGELU), o.Vision.Norm.Eps
	if v.Layers, err = number(o.Vision.Layers, "vision_cfg.layers", 12); err != nil {
		return nil, err
	}
	image, err := o.imageSize()
	if err != nil {
		return nil, err
	}
	// A checkpoint of another size than the configuration's is interpolated when it is loaded.
	v.ImageSize, v.trained, v.positions = image[0], [2]int(image), block.TimmBicubic
	if v.stored = block.SquareGrid(im.Dim("visual.positional_embedding", 0) - 1); v.stored == [2]int{} {
		v.stored = [2]int{image[0] / max(o.Vision.PatchSize, 1), image[1] / max(o.Vision.PatchSize, 1)}
	}
	pooled, isPooled := o.Vision.AttentionalPool.(bool)
	switch {
	case o.Vision.AttentionalPool != nil && !(isPooled && !pooled):
		err = fmt.Errorf("%s: vision_cfg.attentional_pool is not supported", openCLIPFile)
	case o.Vision.PosEmbedType != "learnable":
		err = fmt.Errorf("%s: vision_cfg.pos_embed_type %q is not supported; expected learnable", openCLIPFile, o.Vision.PosEmbedType)
	case o.Vision.PoolType != "tok" && o.Vision.PoolType != "avg":
		err = fmt.Errorf("%s: vision_cfg.pool_type %q is not supported; expected tok or avg", openCLIPFile, o.Vision.PoolType)
	case o.Vision.HeadWidth < 1:
		err = fmt.Errorf("%s: vision_cfg.head_width is %d", openCLIPFile, o.Vision.HeadWidth)
	}
	if err != nil {
		return nil, err
	}
	v.HiddenSize, v.Heads = o.Vision.Width, o.Vision.Width/o.Vision.HeadWidth
	v.IntermediateSize = int(float64(v.HiddenSize) * o.Vision.MLPRatio)
	v.PatchSize, v.ProjectionDim = o.Vision.PatchSize, o.EmbedDim
	v.layerScale, v.noPreNorm = o.Vision.LayerScale != nil, o.Vision.NoLNPre
	v.normAfterPool, v.meanPool = o.Vision.FinalLNAfter, o.Vision.GlobalAvgPool || o.Vision.PoolType == "avg"
	if *t, err = o.text(); err != nil {
		return nil, err
	}
	c.ProjectionDim = o.EmbedDim

	preprocess, words, err := im.openCLIPPipeline()
	if err != nil {
		return nil, err
	}
	im.ignoreOpenCLIPBuffers()
	return c.contrastive(im, im.openCLIPNames(), preprocess, words)
}

// text translates the options of the text tower.
func (o *openCLIPConfig) text() (clipText, error) {
	t := defaultCLIP().Text
	switch {
	case o.Text.HFModel != "":
		return t, fmt.Errorf("%s: text_cfg.hf_model_name: text towers of transformers are not supported", openCLIPFile)
	case o.Text.EmbedCls:
		return t, fmt.Errorf("%s: text_cfg.embed_cls is not supported", openCLIPFile)
	}
	switch o.Text.PoolType {
	case "argmax", "first", "last":
		t.pool = o.Text.PoolType
	case "eos":
		if o.Text.EOS == nil {
			return t, fmt.Errorf("%s: text_cfg.pool_type is eos, and there is no eos_id", openCLIPFile)
		}
		t.pool, t.EOS = "eos", *o.Text.EOS
	default:
		return t, fmt.Errorf("%s: text_cfg.pool_type %q is not supported; expected argmax, first, last or eos", openCLIPFile, o.Text.PoolType)
	}
	t.HiddenAct = o.Text.activation(o.QuickGELU)
	t.HiddenSize, t.Heads, t.Layers, t.Eps = o.Text.Width, o.Text.Heads, o.Text.Layers, o.Text.Norm.Eps
	t.IntermediateSize = int(float64(t.HiddenSize) * o.Text.MLPRatio)
	t.VocabSize, t.MaxPositions, t.ProjectionDim = o.Text.VocabSize, o.Text.ContextLength, o.EmbedDim
	t.layerScale, t.bidirectional = o.Text.LayerScale != nil, o.Text.NoCausalMask
	return t, nil
}

// openCLIPPipeline reads what images and texts go through.
func (im *Import) openCLIPPipeline() (*pipeline.Image, *pipeline.Text, error) {
	raw, err := im.ReadFile(openCLIPFile)
	if err != nil {
		return nil, nil, err
	}
	image, err := pipeline.ImageFromOpenCLIPConfig(raw)
	if err != nil {
		return nil, nil, err
	}
	var cfg struct {
		Model struct {
			Text pipeline.OpenCLIPTextConfig `json:"text_cfg"`
		} `json:"model_cfg"`
	}
	if err := json.Unmarshal(raw, &cfg); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", openCLIPFile, err)
	}
	words, err := pipeline.OpenCLIPText(cfg.Model.Text, im.ReadFile)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", openCLIPFile, err)
	}
	return image, words, nil
}

// openCLIPNames returns the table for the text tower's place: at the top, or a module of its own.
func (im *Import) openCLIPNames() Names {
	table := openaiNames
	if im.HasTensor("text.token_embedding.weight") {
		table = customTextNames()
	}
	// With a bias, the projection is a layer like others.
	for _, stem := range []string{"text.text_projection", "text_projection"} {
		if im.HasTensor(stem + ".weight") {
			table = append(Names{{"text_projection.*", stem + ".*"}}, table...)
		}
	}
	return table
}

func (im *Import) ignoreOpenCLIPBuffers() {
	im.Ignore("attn_mask", "the causal mask, which the architecture gives")
	im.Ignore("text.attn_mask", "the causal mask, which the architecture gives")
}
