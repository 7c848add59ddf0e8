package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
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
		{Name: "original", Looked: "config.json with mm_vision_tower, tensors mm_projector.*", Recognise: func(im *Import) bool {
			var c llavaConfig
			if !im.HasConfig("mm_vision_tower") || im.Config(&c) != nil {
				return false
			}
			return c.layers() > 0 && im.HasAny("*mm_projector.*") || c.ProjectorType == "identity"
		}},
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
	depth, width, channels int
	size                   [2]int          // height and width of the images
	image                  *pipeline.Image // where the folder does not say
	build                  func(b *graph.Builder, pixels *graph.Node)
}

// llavaTower reads vision_config.
func (im *Import) llavaTower() (*llavaTower, error) {
	var kind struct {
		Vision struct {
			ModelType string `json:"model_type"`
		} `json:"vision_config"`
	}
	if err := im.Config(&kind); err != nil {
		return nil, err
	}
	switch kind.Vision.ModelType {
	case "", "clip_vision_model":
		c := struct {
			Vision clipVision `json:"vision_config"`
		}{defaultCLIP().Vision}
		err := im.Config(&c)
		v := &c.Vision
		return &llavaTower{v.Layers, v.HiddenSize, v.Channels, v.size(im), pipeline.ImageOpenAICLIP(v.ImageSize),
			func(b *graph.Builder, pixels *graph.Node) { v.features(b, pixels, "vision.") }}, err
	case "siglip_vision_model":
		c := struct {
			Vision siglipVision `json:"vision_config"`
		}{defaultSigLIP().Vision}
		err := im.Config(&c)
		v := &c.Vision
		size := im.imageSize([2]int{v.ImageSize, v.ImageSize})
		return &llavaTower{v.Layers, v.HiddenSize, v.Channels, size, pipeline.ImageSquash(v.ImageSize, v.ImageSize, pipeline.HalfMean, pipeline.HalfStd),
			func(b *graph.Builder, pixels *graph.Node) { v.features(b, pixels, size, "vision.") }}, err
	}
	return nil, fmt.Errorf("config: vision_config.model_type is %q; LLaVA's towers are clip_vision_model and siglip_vision_model", kind.Vision.ModelType)
}

func buildLLaVA(im *Import) (*graph.Model, error) {
	c := struct {
		Text struct {
			HiddenSize int `json:"hidden_size"`
		} `json:"text_config"`
		FeatureLayer json.RawMessage `json:"vision_feature_layer"`
		Strategy     string          `json:"vision_feature_select_strategy"`
		Act          string          `json:"projector_hidden_act"`
		Bias         bool            `json:"multimodal_projector_bias"`
	}{Strategy: "default", Act: "gelu", Bias: true}
	c.Text.HiddenSize = 4096
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	tower, err := im.llavaTower()
	if err != nil {
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
	image, err := im.imagePipeline(tower.image)
	if err != nil {
		return nil, err
	}
	// transformers 4.52 moved the parts under "model.".
	table := Names{{"vision_model.*", "vision_tower.vision_model.*"}}
	if im.HasTensor("model.multi_modal_projector.linear_1.weight") {
		table = Names{{"vision_model.*", "model.vision_tower.vision_model.*"}, {"multi_modal_projector.*", "model.multi_modal_projector.*"}}
	}
	im.languageModel("language_model.*", "model.language_model.*", "lm_head.weight")
	im.Ignore("*.embeddings.position_ids", "a buffer of consecutive numbers")

	b := graph.NewBuilder(im.Params(table, ""))
	tower.build(b, im.pixels(b, image, tower.channels, tower.size))
	x := selectFeatures(b, layers, tower.depth, c.Strategy == "full")
	x = b.Name(b.LinearIf(c.Bias, x, "multi_modal_projector.linear_1", len(layers)*tower.width, c.Text.HiddenSize), "projector.linear_1")
	x = b.LinearIf(c.Bias, b.Act(x, act), "multi_modal_projector.linear_2", c.Text.HiddenSize, c.Text.HiddenSize)
	b.Output(x, graph.Projector, "image_features")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: image}}, err
}

// llavaConfig is the config.json of haotian-liu/LLaVA's checkpoints.
type llavaConfig struct {
	HiddenSize    int    `json:"hidden_size"`
	MMHiddenSize  int    `json:"mm_hidden_size"`
	VisionTower   string `json:"mm_vision_tower"`
	SelectLayer   int    `json:"mm_vision_select_layer"`
	SelectFeature string `json:"mm_vision_select_feature"`
	ProjectorType string `json:"mm_projector_type"`
	AspectRatio   string `json:"image_aspect_ratio"`
	MultiScale    bool   `json:"s2"`
}

var mlpProjector = regexp.MustCompile(`^mlp(\d+)x_gelu$`)

// layers returns the number of linear layers of the projector, 0 for one that is not made of them. LLaVA-1.0 does not name
// its type.
func (c *llavaConfig) layers() int {
	if c.ProjectorType == "" || c.ProjectorType == "linear" {
		return 1
	}
	if m := mlpProjector.FindStringSubmatch(c.ProjectorType); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return 0
}

func buildOriginalLLaVA(im *Import) (*graph.Model, error) {
	c := llavaConfig{SelectLayer: -2, SelectFeature: "patch"}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	if c.SelectFeature != "patch" && c.SelectFeature != "cls_patch" {
		return nil, fmt.Errorf("config: mm_vision_select_feature is %q; expected patch or cls_patch", c.SelectFeature)
	}
	if c.MultiScale {
		return nil, fmt.Errorf("config: s2 is true; towers that see an image in several scales are not supported")
	}
	tower, weights, err := im.visionTower(c.VisionTower)
	if err != nil {
		return nil, err
	}
	v := defaultCLIP().Vision
	if tower.ModelType() == "clip" { // a model of two towers, as published
		var whole clipConfig
		whole, err = tower.clipConfig()
		v = whole.Vision
	} else {
		err = tower.Config(&v)
	}
	if err != nil {
		return nil, err
	}
	image, err := tower.imagePipeline(pipeline.ImageOpenAICLIP(v.ImageSize))
	if err != nil {
		return nil, err
	}
	if c.AspectRatio == "pad" {
		image = image.WithPadSquare()
	}
	tower.Ignore("*.embeddings.position_ids", "a buffer of consecutive numbers")
	tower.Ignore("text_model.*", "the text tower, which LLaVA does not use")
	for _, name := range []string{"text_projection.weight", "logit_scale", "visual_projection.weight"} {
		tower.Ignore(name, "part of the contrastive head, which LLaVA does not use")
	}
	im.languageModel("model.layers.*", "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")

	b := graph.NewBuilder(weights)
	v.features(b, im.pixels(b, image, v.Channels, v.size(im)), "vision.")
	x := selectFeatures(b, []int{c.SelectLayer}, v.Layers, c.SelectFeature == "cls_patch")

	// The projector's tensors are in the language model's checkpoint.
	stem := "model.mm_projector"
	if im.HasAny("mm_projector.*") {
		stem = "mm_projector"
	}
	b.Params = im.Params(nil, "")
	in := v.HiddenSize
	for i := range c.layers() {
		name := stem
		if c.ProjectorType != "" && c.ProjectorType != "linear" {
			name = fmt.Sprintf("%s.%d", stem, 2*i) // GELUs stand between
		}
		if i > 0 {
			x = b.Act(x, kernels.ActGELU)
		}
		x = b.Linear(x, name, in, c.HiddenSize)
		b.Namef(x, "projector.linear_%d", i+1)
		in = c.HiddenSize
	}
	b.Output(x, graph.Projector, "image_features")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: image}}, err
}

// visionTower finds the tower that a configuration names, a folder relative to the checkpoint or a model in the Hugging
// Face cache, and returns it with its tensors: fine-tuned towers lie in the language model's checkpoint.
func (im *Import) visionTower(name string) (*Import, graph.Params, error) {
	sub, err := im.SubImport(name)
	if errors.Is(err, fs.ErrNotExist) {
		var c *formats.Checkpoint
		if c, err = formats.Open("hf:"+name, formats.Options{}); err == nil {
			sub = im.adopt(c)
			err = sub.configErr
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("config: mm_vision_tower %q: neither a folder beside the checkpoint nor a model in the Hugging Face cache: %w", name, err)
	}
	const inside = "model.vision_tower.vision_tower."
	if im.HasAny(inside + "*") {
		sub.Ignore("*", "the language model's checkpoint holds the tower as it was fine-tuned")
		im.Ignore(inside+"*.embeddings.position_ids", "a buffer of consecutive numbers")
		return sub, im.Params(nil, inside), nil
	}
	return sub, sub.Params(nil, ""), nil
}
