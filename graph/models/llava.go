package models

import (
	"encoding/json"
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// LLaVA: Visual Instruction Tuning (Liu et al., arXiv:2304.08485) with a linear projector, and Improved Baselines with
// Visual Instruction Tuning (arXiv:2310.03744) with an MLP. Sources: haotian-liu/LLaVA llava/model/multimodal_projector/
// builder.py, multimodal_encoder/clip_encoder.py, llava/mm_utils.py; huggingface/transformers models/llava/modeling_llava.py.

var _ = Register(&System{
	Name: "llava", Title: "LLaVA", Row: 11,
	ModelTypes: []string{"llava"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type llava, tensors multi_modal_projector.*", Recognise: func(im *Import) bool {
			return im.ModelType() == "llava" && im.HasAny("*multi_modal_projector.linear_1.weight")
		}},
		{Name: "original", Looked: "config.json with mm_vision_tower or mm_hidden_size, tensors mm_projector.*", Recognise: recogniseLLaVA},
	},
	Build: func(im *Import) (*graph.Model, error) {
		if im.Naming == "original" {
			return buildOriginalLLaVA(im)
		}
		return buildLLaVA(im)
	},
})

// languageModel ignores the tensors of the language model behind a projector.
func (im *Import) languageModel(patterns ...string) {
	for _, p := range patterns {
		im.Ignore(p, "the language model, which stays as it is")
	}
}

// selectFeatures returns what the projector sees of a vision tower of some depth: the hidden states of these numbers, counted
// from the end if negative, with or without the first token, one behind the other in each token.
func selectFeatures(b *graph.Builder, layers []int, depth int, firstToken bool) *graph.Node {
	var parts []*graph.Node
	for _, layer := range layers {
		n := layer
		if n < 0 {
			n += depth + 1
		}
		if n < 0 || n > depth {
			b.Fail(fmt.Errorf("config: the vision feature layer is %d of a tower of %d layers", layer, depth))
			n = 0
		}
		x := b.Named(fmt.Sprintf("vision.hidden_state.%d", n))
		if !firstToken {
			x = b.Slice(x, 1, 1, 0)
		}
		parts = append(parts, x)
	}
	x := parts[0]
	if len(parts) > 1 {
		x = b.Concat(2, parts...)
	}
	b.Name(x, "vision_features")
	return b.Name(x, "selected_features")
}

// visionFeatures is the input of a projector that stands alone: what a vision tower would give it, [B, N, width].
func visionFeatures(b *graph.Builder, width int) *graph.Node {
	x := b.Op(graph.Input{Dims: []int{-1, -2, width}, Example: []int{2, 9, width}}, nil)
	b.Name(x, "vision_features")
	return b.Name(x, "selected_features")
}

// featureLayers reads the numbers of the hidden states that a projector sees: one, or in newer configurations several.
func featureLayers(raw json.RawMessage) ([]int, error) {
	layers := []int{-2}
	if len(raw) == 0 || string(raw) == "null" || json.Unmarshal(raw, &layers[0]) == nil {
		return layers, nil
	}
	if json.Unmarshal(raw, &layers) != nil || len(layers) == 0 {
		return nil, fmt.Errorf("config: vision_feature_layer is %s; expected a number or a list of them", raw)
	}
	return layers, nil
}

// llavaTower is a vision tower: the layers behind the selected one are built too, for those who ask for them.
type llavaTower struct {
	depth, width, channels, patch int
	last                          int             // the state that LLaVA's authors take of towers without a class token
	classToken                    bool            // stands before the patches
	size                          [2]int          // height and width of the images
	image                         *pipeline.Image // where the folder does not say
	build                         func(b *graph.Builder, pixels *graph.Node)
}

// visionSection reads vision_config into a struct that holds the defaults.
func (im *Import) visionSection(into any) error {
	return im.Config(&struct {
		Vision any `json:"vision_config"`
	}{into})
}

// llavaTower reads vision_config.
func (im *Import) llavaTower() (*llavaTower, error) {
	var kind struct {
		ModelType string `json:"model_type"`
	}
	if err := im.visionSection(&kind); err != nil {
		return nil, err
	}
	return im.towerOf(kind.ModelType, 0, im.visionSection)
}

// towerOf returns the tower of a model_type, whose configuration read fills in. layers, if not 0, is the number of layers that
// there are tensors of, which may be less than the configuration's.
func (im *Import) towerOf(modelType string, layers int, read func(into any) error) (*llavaTower, error) {
	switch modelType {
	case "", "clip_vision_model":
		v := defaultCLIP().Vision
		err := read(&v)
		return im.clipTower(&v), err
	case "siglip_vision_model":
		v := defaultSigLIP().Vision
		err := read(&v)
		last := v.Layers - 1
		if layers > 0 {
			v.Layers = min(v.Layers, layers)
		}
		v.UseHead = false
		s := im.imageSize([2]int{v.ImageSize, v.ImageSize})
		return &llavaTower{depth: v.Layers, width: v.HiddenSize, channels: v.Channels, patch: v.PatchSize, last: last, size: s,
			image: pipeline.ImageSquash(v.ImageSize, v.ImageSize, pipeline.HalfMean, pipeline.HalfStd),
			build: func(b *graph.Builder, pixels *graph.Node) { v.features(b, pixels, s, "vision.") }}, err
	}
	return nil, fmt.Errorf("config: the vision tower's model_type is %q; LLaVA's towers are clip_vision_model and siglip_vision_model", modelType)
}

func (im *Import) clipTower(v *clipVision) *llavaTower {
	return &llavaTower{depth: v.Layers, width: v.HiddenSize, channels: v.Channels, patch: v.PatchSize, classToken: true, size: v.size(im),
		image: pipeline.ImageOpenAICLIP(v.ImageSize),
		build: func(b *graph.Builder, pixels *graph.Node) { v.features(b, pixels, "vision.") }}
}

// hasTower reports whether the checkpoint holds a vision tower beside the projector.
func (im *Import) hasTower() bool { return im.HasAny("*vision_tower.*") }

// llavaHF is what the configurations of transformers' LLaVA, LLaVA-NeXT and LLaVA-OneVision have in common.
type llavaHF struct {
	Text struct {
		HiddenSize int `json:"hidden_size"`
	} `json:"text_config"`
	FeatureLayer json.RawMessage `json:"vision_feature_layer"`
	Strategy     string          `json:"vision_feature_select_strategy"`
	Act          string          `json:"projector_hidden_act"`
	Bias         bool            `json:"multimodal_projector_bias"`
}

func defaultLLaVAHF() llavaHF {
	c := llavaHF{Strategy: "default", Act: "gelu", Bias: true}
	c.Text.HiddenSize = 4096
	return c
}

// llavaParts is a tower and a projector as they are built.
type llavaParts struct {
	b         *graph.Builder
	tower     *llavaTower // nil: the projector stands alone
	image     *pipeline.Image
	projected *graph.Node // [B, patches, hidden]
}

// parts builds the tower, if the checkpoint holds one, and the projector.
func (c *llavaHF) parts(im *Import) (*llavaParts, error) {
	p := &llavaParts{}
	if err := checkSizes("text_config", size{"hidden_size", c.Text.HiddenSize}); err != nil {
		return nil, err
	}
	layers, err := featureLayers(c.FeatureLayer)
	if err != nil {
		return nil, err
	}
	if c.Strategy != "default" && c.Strategy != "full" {
		return nil, fmt.Errorf("config: vision_feature_select_strategy is %q; expected default or full", c.Strategy)
	}
	act, err := activation("projector_hidden_act", c.Act)
	if err != nil {
		return nil, err
	}
	// transformers 4.52 moved the parts under "model.".
	prefix := ""
	if im.HasTensor("model.multi_modal_projector.linear_1.weight") {
		prefix = "model."
	}
	table := Names{{"vision_model.*", prefix + "vision_tower.vision_model.*"}, {"*", prefix + "*"}}
	im.languageModel("language_model.*", "model.language_model.*", "lm_head.weight")
	im.Ignore("*.embeddings.position_ids", "a buffer of consecutive numbers")
	im.Ignore("*vision_tower.vision_model.head.*", "SigLIP's pooling head, which LLaVA does not use")

	params := im.Params(table, "")
	b := graph.NewBuilder(params)
	p.b = b
	const linear1, linear2 = "multi_modal_projector.linear_1", "multi_modal_projector.linear_2"
	width := params.dim(linear1+".weight", 1)
	var x *graph.Node
	if im.hasTower() {
		if p.tower, err = im.llavaTower(); err != nil {
			return nil, err
		}
		if p.image, err = im.imagePipeline(p.tower.image); err != nil {
			return nil, err
		}
		p.tower.build(b, im.pixels(b, p.image, p.tower.channels, p.tower.size))
		x = selectFeatures(b, layers, p.tower.depth, c.Strategy == "full")
		width = len(layers) * p.tower.width
	} else {
		x = visionFeatures(b, width)
	}
	x = b.Name(b.LinearIf(c.Bias, x, linear1, width, c.Text.HiddenSize), "projector.linear_1")
	p.projected = b.LinearIf(c.Bias, b.Act(x, act), linear2, c.Text.HiddenSize, c.Text.HiddenSize)
	return p, nil
}

func buildLLaVA(im *Import) (*graph.Model, error) {
	c := defaultLLaVAHF()
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	if im.HasAny("*vision_tower.patch_conv.weight") {
		return c.sized(im)
	}
	p, err := c.parts(im)
	if err != nil {
		return nil, err
	}
	p.b.Output(p.projected, graph.Projector, "image_features")
	p.b.Name(p.projected, "visual_tokens")
	g, err := p.b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: p.image}}, err
}

// sized builds LLaVA over Pixtral's tower, as Pixtral 12B is published in this naming: pictures of any size.
func (c *llavaHF) sized(im *Import) (*graph.Model, error) {
	v := defaultPixtral()
	if err := im.visionSection(&v); err != nil {
		return nil, err
	}
	layers, err := featureLayers(c.FeatureLayer)
	if err != nil {
		return nil, err
	}
	if c.Strategy != "full" {
		return nil, fmt.Errorf("config: vision_feature_select_strategy is %q; Pixtral's tower has no class token: expected full", c.Strategy)
	}
	act, err := activation("projector_hidden_act", c.Act)
	if err != nil {
		return nil, err
	}
	const linear1, linear2 = "multi_modal_projector.linear_1", "multi_modal_projector.linear_2"
	prefix, _ := im.prefixOf(linear1+".weight", "", "model.")
	im.languageModel("language_model.*", "model.language_model.*", "lm_head.weight")
	p := im.Params(nil, prefix)
	out := p.dim(linear1+".weight", 0)
	if err := checkSizes("config", size{"vision_config.hidden_size", v.HiddenSize}, size{"text_config.hidden_size", out}); err != nil {
		return nil, err
	}
	b := graph.NewBuilder(p)
	image, err := im.classPipeline("PixtralImageProcessor")
	if err != nil {
		return nil, err
	}
	pixels, mask := sizedPixels(b, v.Channels)
	t, err := v.build(b, pixels, mask, "vision_tower")
	if err != nil {
		return nil, err
	}
	t.name(b)
	x := b.Act(b.LinearIf(c.Bias, t.states(b, layers), linear1, v.HiddenSize*len(layers), out), act)
	b.Output(b.LinearIf(c.Bias, x, linear2, out, out), graph.Projector, "visual_tokens")
	b.Output(b.Rearrange(t.Mask, "b h w -> b (h w)"), graph.Projector, "visual_tokens.real")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: image}}, err
}
