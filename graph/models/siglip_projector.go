package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// siglipProjector is what the models have in common that put a projector of their own behind SigLIP's tower, in transformers' names:
// vision_tower.vision_model.* and multi_modal_projector.*, both below "model." where a state dict was saved from memory.
type siglipProjector struct {
	im     *Import
	p      *NamedParams
	b      *graph.Builder
	vision siglipVision
	side   int // patches each way
	image  *pipeline.Image
	tower  *block.Tower // nil: the projector stands alone
}

// siglipProjector reads vision_config and builds the tower. marker is a tensor of the projector, class the image processor that the
// model was published with.
func (im *Import) siglipProjector(marker, class string) (*siglipProjector, error) {
	s := &siglipProjector{im: im, vision: defaultSigLIP().Vision}
	var kind struct {
		ModelType string `json:"model_type"`
	}
	if err := im.visionSection(&kind); err != nil {
		return nil, err
	}
	if kind.ModelType != "" && kind.ModelType != "siglip_vision_model" {
		return nil, fmt.Errorf("config: vision_config.model_type is %q; expected siglip_vision_model", kind.ModelType)
	}
	if err := im.visionSection(&s.vision); err != nil {
		return nil, err
	}
	v := &s.vision
	v.UseHead = false
	if err := checkSizes("vision_config", size{"hidden_size", v.HiddenSize}, size{"image_size", v.ImageSize}, size{"patch_size", v.PatchSize},
		size{"image_size / patch_size", v.ImageSize / max(v.PatchSize, 1)}); err != nil {
		return nil, err
	}
	prefix, _ := im.prefixOf("multi_modal_projector."+marker, "", "model.")
	im.languageModel("language_model.*", "model.language_model.*", "lm_head.*")
	im.Ignore("*.embeddings.position_ids", "a buffer of consecutive numbers")
	im.Ignore("*vision_tower.vision_model.head.*", "SigLIP's pooling head, which the projector does not see")
	stem := prefix + "vision_tower."
	if im.HasAny(stem + "vision_model.*") {
		stem += "vision_model."
	}
	s.p = im.Params(Names{{"vision_model.*", stem + "*"}, {"*", prefix + "multi_modal_projector.*"}}, "")
	s.b = graph.NewBuilder(s.p)
	s.side = v.ImageSize / v.PatchSize
	if !im.hasTower() {
		return s, nil
	}
	var err error
	if s.image, err = im.classPipeline(class); err != nil {
		return nil, err
	}
	at := [2]int{v.ImageSize, v.ImageSize}
	s.tower = v.features(s.b, im.pixels(s.b, s.image, v.Channels, at), at, "vision.")
	s.tower.NameLayers(s.b, "vision.layer%d")
	return s, nil
}

// features returns what the projector sees, [B, patches, width]: the tower's last state behind its norm.
func (s *siglipProjector) features() *graph.Node {
	if s.tower == nil {
		return s.b.Input("vision_features", -1, s.side*s.side, s.vision.HiddenSize)
	}
	return s.tower.Last
}

// model ends the import.
func (s *siglipProjector) model(tokens *graph.Node) (*graph.Model, error) {
	s.b.Output(tokens, graph.Projector, "visual_tokens")
	g, err := s.b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: s.image}}, err
}
