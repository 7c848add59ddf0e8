package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// InternVL 2.5 and 3 as transformers has them (Zhu et al., arXiv:2504.10479): InternViT with projections apart, pixel shuffle, a norm
// and an MLP. Source: huggingface/transformers models/internvl/modeling_internvl.py.

var _ = Register(&System{
	Name: "internvl-hf", Title: "InternVL (transformers)",
	ModelTypes: []string{"internvl"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type internvl, tensors multi_modal_projector.layer_norm.weight", Recognise: func(im *Import) bool {
			return im.ModelType() == "internvl" && im.HasAny("*multi_modal_projector.layer_norm.weight")
		}},
	},
	Build: buildInternVLHF,
})

// internVisionHF is a vision_config of model_type internvl_vision.
type internVisionHF struct {
	HiddenSize       int     `json:"hidden_size"`
	IntermediateSize int     `json:"intermediate_size"`
	Layers           int     `json:"num_hidden_layers"`
	Heads            int     `json:"num_attention_heads"`
	Channels         int     `json:"num_channels"`
	ImageSize        pair    `json:"image_size"`
	PatchSize        pair    `json:"patch_size"`
	HiddenAct        string  `json:"hidden_act"`
	Eps              float64 `json:"layer_norm_eps"`
	QKNorm           bool    `json:"use_qk_norm"`
	Bias             bool    `json:"attention_bias"`
	NormType         string  `json:"norm_type"`
	Absolute         bool    `json:"use_absolute_position_embeddings"`
	MeanPooling      bool    `json:"use_mean_pooling"`
}

// build maps pixels [B, C, H, W] to tokens [B, 1 + patches, HiddenSize]. at is the tower's stem.
func (v *internVisionHF) build(b *graph.Builder, pixels *graph.Node, image [2]int, at string) (*block.Tower, error) {
	act, err := activation("vision_config.hidden_act", v.HiddenAct)
	if err != nil {
		return nil, err
	}
	norm := block.Norm{Eps: v.Eps}
	switch v.NormType {
	case "layer_norm":
	case "rms_norm":
		norm.Kind = block.RMSNorm
	default:
		return nil, fmt.Errorf("config: vision_config.norm_type is %q; expected layer_norm or rms_norm", v.NormType)
	}
	d := v.HiddenSize
	patch := [2]int(v.PatchSize)
	grid, err := block.Grid(image, patch, [2]int(v.ImageSize))
	if err != nil {
		return nil, err
	}
	patches := block.Patches{Projection: block.Projection{Stem: "projection"}, Channels: v.Channels, Dim: d, Height: patch[0], Width: patch[1]}
	x := b.Prepend(b.Parameter(graph.Position, at+".embeddings.cls_token", 1, 1, d), patches.Apply(b, pixels, at+".embeddings.patch_embeddings"))
	if v.Absolute {
		stored := [2]int{v.ImageSize[0] / patch[0], v.ImageSize[1] / patch[1]}
		x = b.Add(x, block.Positions{Interpolation: block.PlainBicubic, Table: at + ".embeddings.position_embeddings", Before: 1, Stored: stored, Grid: grid, Dim: d}.Value(b))
	}
	layer := block.ViTLayer.Sized(d, v.Heads, v.IntermediateSize)
	layer.Norm, layer.MLP.Act = norm, act
	layer.Self.Scale, layer.Feed.Scale = "lambda_1", "lambda_2"
	layer.MLP.FC1.Stem, layer.MLP.FC2.Stem = "mlp.fc1", "mlp.fc2"
	bias := block.Absent
	if v.Bias {
		bias = block.Required
	}
	a := &layer.Attention
	a.Q, a.K, a.V = block.Projection{Stem: "attention.q_proj", Bias: bias}, block.Projection{Stem: "attention.k_proj", Bias: bias}, block.Projection{Stem: "attention.v_proj", Bias: bias}
	a.Out = block.Projection{Stem: "attention.projection_layer"}
	if v.QKNorm {
		a.QNorm, a.KNorm, a.AllHeads, a.Norm = "attention.q_norm", "attention.k_norm", true, block.Norm{Kind: block.RMSNorm, Eps: 1e-6}
	}
	tower := block.Transformer{Layer: layer, Stem: at + ".encoder.layer.%d", Layers: v.Layers}
	if !v.MeanPooling {
		tower.Norm = at + ".layernorm"
		tower.Layer.Norm = norm
	}
	return tower.Apply(b, x, block.With{}, block.With{}), nil
}

func buildInternVLHF(im *Import) (*graph.Model, error) {
	c := struct {
		Vision   internVisionHF `json:"vision_config"`
		Ratio    float64        `json:"downsample_ratio"`
		Act      string         `json:"projector_hidden_act"`
		Layer    int            `json:"vision_feature_layer"`
		Strategy string         `json:"vision_feature_select_strategy"`
	}{Vision: internVisionHF{HiddenSize: 1024, IntermediateSize: 4096, Layers: 24, Heads: 16, Channels: 3, ImageSize: pair{448, 448}, PatchSize: pair{14, 14},
		HiddenAct: "gelu", Eps: 1e-6, NormType: "layer_norm", Absolute: true, MeanPooling: true}, Ratio: 0.5, Act: "gelu", Layer: -1, Strategy: "default"}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	v := &c.Vision
	if err := checkSizes("vision_config", size{"hidden_size", v.HiddenSize}, size{"intermediate_size", v.IntermediateSize}, size{"num_attention_heads", v.Heads},
		size{"num_channels", v.Channels}, size{"image_size[0]", v.ImageSize[0]}, size{"image_size[1]", v.ImageSize[1]}, size{"patch_size[0]", v.PatchSize[0]},
		size{"patch_size[1]", v.PatchSize[1]}); err != nil {
		return nil, err
	}
	if !(c.Ratio > 0 && c.Ratio <= 1) || float64(int(1/c.Ratio)) != 1/c.Ratio {
		return nil, fmt.Errorf("config: downsample_ratio is %v; expected 1, 1/2, 1/3, …", c.Ratio)
	}
	if c.Strategy != "default" && c.Strategy != "full" {
		return nil, fmt.Errorf("config: vision_feature_select_strategy is %q; expected default or full", c.Strategy)
	}
	act, err := activation("projector_hidden_act", c.Act)
	if err != nil {
		return nil, err
	}
	prefix, _ := im.prefixOf("multi_modal_projector.layer_norm.weight", "", "model.")
	im.languageModel("language_model.*", "model.language_model.*", "lm_head.*")
	im.Ignore("*vision_tower.embeddings.mask_token", "stands for masked patches in pretraining")
	p := im.Params(nil, prefix)
	b := graph.NewBuilder(p)
	r := int(1 / c.Ratio)
	image := [2]int(v.ImageSize)
	pipe := &pipeline.Pipeline{}
	wide := v.HiddenSize * r * r
	var x *graph.Node
	if im.hasTower() {
		if pipe.Image, err = im.classPipeline("GotOcr2ImageProcessor"); err != nil {
			return nil, err
		}
		image = im.imageSize(image)
		t, err := v.build(b, im.pixels(b, pipe.Image, v.Channels, image), image, "vision_tower")
		if err != nil {
			return nil, err
		}
		b.Name(t.Embeddings, "vision.embeddings")
		t.NameLayers(b, "vision.layer%d")
		if b.Name(t.Last, "vision.last_hidden_state"); c.Layer == -1 {
			x = t.Last
		} else {
			x = t.State(b, c.Layer)
		}
	} else if x, err = im.visionFeatures(b, v.HiddenSize); err != nil {
		return nil, err
	}
	grid := [2]int{image[0] / v.PatchSize[0], image[1] / v.PatchSize[1]}
	if grid[0]%r != 0 || grid[1]%r != 0 || c.Strategy == "full" {
		return nil, fmt.Errorf("config: downsample_ratio is %v, which does not divide the grid of %d x %d patches (vision_feature_select_strategy %s)", c.Ratio, grid[0], grid[1], c.Strategy)
	}
	x = b.Rearrange(b.Slice(x, 1, 1, 0), "n (y v x u) c -> n (y x) (v u c)", "y", grid[0]/r, "x", grid[1]/r, "v", r, "u", r)
	const at = "multi_modal_projector."
	out := p.dim(at+"linear_1.weight", 0)
	x = b.Act(b.Linear(b.LayerNorm(x, at+"layer_norm", wide, 1e-5), at+"linear_1", wide, out), act)
	b.Output(b.Linear(x, at+"linear_2", out, p.dim(at+"linear_2.weight", 0)), graph.Projector, "visual_tokens")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: pipe}, err
}
