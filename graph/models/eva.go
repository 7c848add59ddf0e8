package models

import (
	"encoding/json"
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// EVA-CLIP: Improved Training Techniques for CLIP at Scale (Sun et al., arXiv:2303.15389), with the vision transformers of
// EVA (arXiv:2211.07636) and EVA-02 (arXiv:2303.11331). Sources: baaivision/EVA EVA-CLIP/rei/eva_clip/{model,eva_vit_model,
// rope,transformer,utils}.py; huggingface/pytorch-image-models timm/models/eva.py.

var _ = Register(&System{
	Name: "eva-clip", Title: "EVA-CLIP", Row: 2,
	Namings: []Naming{
		{Name: "baaivision", Looked: "tensors visual.blocks.#.* and text.* or transformer.*, config.json with vision_cfg.eva_model_name or none", Recognise: func(im *Import) bool {
			return im.HasTensor("visual.patch_embed.proj.weight") && im.HasTensor("visual.cls_token") &&
				im.HasAny("visual.blocks.#.norm1.weight") && im.HasTensor("logit_scale")
		}},
		{Name: "open_clip", Looked: "open_clip_config.json that names an architecture of timm's eva.py, tensors visual.trunk.*", Recognise: func(im *Import) bool {
			return im.HasTensor("visual.trunk.patch_embed.proj.weight") && timmFamily(im.timmTrunk()) == familyEVA
		}},
		{Name: "timm", Looked: "config.json with an architecture of timm's eva.py, tensors blocks.#.*", Recognise: func(im *Import) bool {
			return im.HasTensor("patch_embed.proj.weight") && timmFamily(im.timmArchitecture()) == familyEVA
		}},
	},
	Build: func(im *Import) (*graph.Model, error) {
		switch im.Naming {
		case "open_clip":
			return buildTrunkCLIP(im)
		case "timm":
			return buildTimmViT(im)
		}
		return buildEVACLIP(im)
	},
})

// evaConfig is a model configuration of EVA-CLIP (CLIPVisionCfg and CLIPTextCfg in model.py).
type evaConfig struct {
	EmbedDim  int  `json:"embed_dim"`
	QuickGELU bool `json:"quick_gelu"`
	Vision    struct {
		ImageSize     json.RawMessage `json:"image_size"`
		Width         int             `json:"width"`
		HeadWidth     int             `json:"head_width"`
		GlobalAvgPool bool            `json:"global_average_pool"`
		PostNorm      bool            `json:"postnorm"`
		Rotary        bool            `json:"rope"`
		Reference     int             `json:"pt_hw_seq_len"`
		Interpolated  bool            `json:"intp_freq"`
	} `json:"vision_cfg"`
	Text struct {
		ContextLength int      `json:"context_length"`
		VocabSize     int      `json:"vocab_size"`
		Width         int      `json:"width"`
		Heads         int      `json:"heads"`
		Layers        int      `json:"layers"`
		LayerScale    *float64 `json:"ls_init_value"`
		HFModel       string   `json:"hf_model_name"`
		Mask          bool     `json:"attn_mask"`
	} `json:"text_cfg"`
}

func defaultEVA() *evaConfig {
	c := &evaConfig{}
	c.Vision.Width, c.Vision.HeadWidth, c.Vision.Reference = 768, 64, 16
	c.Text.ContextLength, c.Text.VocabSize, c.Text.Width, c.Text.Heads, c.Text.Layers, c.Text.Mask = 77, 49408, 512, 8, 12, true
	return c
}

// evaHeadWidths are the heads of the released towers by their width, for checkpoints without a configuration.
var evaHeadWidths = map[int]int{768: 64, 1024: 64, 1408: 88, 1792: 112}

// released fills in what the tensors of a release show (EVA-CLIP/rei/eva_clip/model_configs): there is no configuration
// beside the .pt files.
func (c *evaConfig) released(im *Import) error {
	text := im.openCLIPTextPrefix()
	v, t := &c.Vision, &c.Text
	v.Width = im.Dim("visual.patch_embed.proj.weight", 0)
	width, ok := evaHeadWidths[v.Width]
	if !ok {
		return fmt.Errorf("config.json: missing, and no release of EVA-CLIP is %d channels wide", v.Width)
	}
	v.HeadWidth, v.PostNorm = width, v.Width == 1792
	v.GlobalAvgPool = im.HasTensor("visual.fc_norm.weight")
	v.Rotary, v.Interpolated = im.HasAny("visual.blocks.#.attn.q_proj.weight"), true
	c.EmbedDim = im.Dim("visual.head.weight", 0)
	t.ContextLength, t.Width = im.Dim(text+"positional_embedding", 0), im.Dim(text+"positional_embedding", 1)
	t.VocabSize, t.Heads = im.Dim(text+"token_embedding.weight", 0), t.Width/64
	t.Layers = im.Count(text + "transformer.resblocks.#.ln_1.weight")
	return nil
}

// openCLIPTextPrefix is what stands before the names of the text tower.
func (im *Import) openCLIPTextPrefix() string {
	if im.HasTensor("text.token_embedding.weight") {
		return "text."
	}
	return ""
}

// evaNames translates timm's names to those of EVA-CLIP's vision tower where they differ.
var evaNames = Names{
	{"blocks.#.attn.norm.*", "visual.blocks.#.attn.inner_attn_ln.*"},
	{"blocks.#.mlp.norm.*", "visual.blocks.#.mlp.ffn_ln.*"},
	{"blocks.#.mlp.fc1_g.*", "visual.blocks.#.mlp.w1.*"},
	{"blocks.#.mlp.fc1_x.*", "visual.blocks.#.mlp.w2.*"},
}

func buildEVACLIP(im *Import) (*graph.Model, error) {
	c := defaultEVA()
	var err error
	if im.HasConfig("vision_cfg") {
		err = im.Config(c)
	} else {
		err = c.released(im)
	}
	if err == nil {
		err = checkSizes("model", size{"embed_dim", c.EmbedDim}, size{"vision_cfg.width", c.Vision.Width},
			size{"vision_cfg.head_width", c.Vision.HeadWidth}, size{"vision_cfg.pt_hw_seq_len", c.Vision.Reference})
	}
	if err != nil {
		return nil, err
	}
	if c.Text.HFModel != "" {
		return nil, fmt.Errorf("config: text_cfg.hf_model_name: text towers of transformers are not supported")
	}
	args := defaultViT(familyEVA)
	args.EmbedDim, args.NumHeads = c.Vision.Width, max(c.Vision.Width/c.Vision.HeadWidth, 1)
	args.PostNorm, args.Rotary = c.Vision.PostNorm, c.Vision.Rotary
	args.rotaryFromFile = "rope"
	if c.Vision.Interpolated {
		args.RefFeatShape = &pair{c.Vision.Reference, c.Vision.Reference}
	}
	if len(c.Vision.ImageSize) > 0 {
		if err := args.ImgSize.UnmarshalJSON(c.Vision.ImageSize); err != nil {
			return nil, fmt.Errorf("config: vision_cfg.image_size: %w", err)
		}
	}
	// The mean is over all tokens, the class token among them; a plain MLP's norm has torch's own epsilon.
	args.GlobalPool, args.PoolIncludePrefix, args.mlpNormEps = "token", true, 1e-5
	if c.Vision.GlobalAvgPool {
		args.GlobalPool = "avg"
	}
	args.positions = block.PlainBicubic

	names := append(Names{}, evaNames...)
	if im.HasAny("visual.blocks.#.mlp.w3.weight") {
		names = append(names, [2]string{"blocks.#.mlp.fc2.*", "visual.blocks.#.mlp.w3.*"})
	}
	names = append(append(names, im.openCLIPNames()...), [2]string{"logit_scale", "logit_scale"}, [2]string{"*", "visual.*"})
	p := im.Params(names, "")
	b := graph.NewBuilder(p)
	t, err := newViTTower(b, p, args)
	if err != nil {
		return nil, err
	}
	image := pipeline.ImageShortestCrop(t.image[0], t.image[1], pipeline.CLIPMean, pipeline.CLIPStd)
	words, err := pipeline.OpenAICLIPTextFromFiles(im.ReadFile, c.Text.ContextLength, c.Text.VocabSize)
	if err == nil {
		err = im.noteTokenizer(words)
	}
	if err != nil {
		return nil, err
	}
	size := im.imageSize(t.image)
	tower := t.tower(im.pixels(b, image, t.channels, size), size)
	tower.NameStates(b, "vision.hidden_state.%d")
	b.Name(tower.Last, "vision.norm")
	if t.has("fc_norm.weight") {
		b.Name(tower.Pooled, "vision.fc_norm")
	}
	x := b.Name(b.LinearIf(t.has("head.bias"), tower.Pooled, "head", t.width, c.EmbedDim), "image_features")
	text := c.text()
	y := text.projected(b, text.features(b, "text."))
	if y == nil {
		b.Fail(fmt.Errorf("tensor text_projection: missing"))
		_, err := b.Graph()
		return nil, err
	}
	b.Name(y, "text_features")
	im.ignoreOpenCLIPBuffers()
	im.ignoreEVABuffers("visual.")

	x = b.Output(b.L2Norm(x, 0), graph.Vision, "image_embeds")
	y = b.Output(b.L2Norm(y, 0), graph.Text, "text_embeds")
	logits := scaledSimilarity(b, x, y, false)
	b.Output(logits, graph.Joint, "logits_per_image")
	b.Output(b.Rearrange(logits, "i t -> t i"), graph.Joint, "logits_per_text")
	g, err := b.Graph()
	pipe := &pipeline.Pipeline{Image: image, Text: words, Task: &pipeline.Task{Kind: "contrastive", Query: "image_embeds", Key: "text_embeds"}}
	return &graph.Model{Graph: g, Pipeline: pipe}, err
}

// text is the text tower as that of CLIP.
func (c *evaConfig) text() *clipText {
	t := defaultCLIP().Text
	t.HiddenAct = "gelu"
	if c.QuickGELU {
		t.HiddenAct = "quick_gelu"
	}
	t.HiddenSize, t.Heads, t.Layers, t.IntermediateSize = c.Text.Width, c.Text.Heads, c.Text.Layers, 4*c.Text.Width
	t.VocabSize, t.MaxPositions, t.ProjectionDim = c.Text.VocabSize, c.Text.ContextLength, c.EmbedDim
	t.layerScale, t.bidirectional, t.pool = c.Text.LayerScale != nil, !c.Text.Mask, "argmax"
	return &t
}
