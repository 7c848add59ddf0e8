package models

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// OWL-ViT: Simple Open-Vocabulary Object Detection with Vision Transformers (Minderer et al., arXiv:2205.06230), and OWLv2
// (arXiv:2306.09683): CLIP's towers; the heads that find boxes are left out. Source: huggingface/transformers
// models/{owlvit,owlv2}/modeling_*.py.

var _ = Register(&System{
	Name: "owlvit", Title: "OWL-ViT",
	ModelTypes: []string{"owlvit", "owlvit_vision_model", "owlvit_text_model", "owlv2", "owlv2_vision_model", "owlv2_text_model"},
	Namings: []Naming{{Name: "huggingface", Looked: "config.json with model_type owlvit or owlv2, tensors vision_model.* or text_model.*, perhaps behind owlvit. or owlv2.", Recognise: func(im *Import) bool {
		switch im.ModelType() {
		case "owlvit", "owlvit_vision_model", "owlvit_text_model", "owlv2", "owlv2_vision_model", "owlv2_text_model":
			_, vision := im.prefixOf("vision_model.embeddings.class_embedding", "", "owlvit.", "owlv2.")
			return vision || im.HasTensor("text_model.embeddings.token_embedding.weight")
		}
		return false
	}}},
	Build: buildOWLViT,
})

func buildOWLViT(im *Import) (*graph.Model, error) {
	c := defaultCLIP()
	c.Text.MaxPositions, c.Vision.ImageSize = 16, 768
	v2 := im.ModelType() == "owlv2" || im.ModelType() == "owlv2_vision_model"
	name, image := "owlvit", pipeline.ImageSquash(768, 768, pipeline.CLIPMean, pipeline.CLIPStd)
	if v2 {
		name, c.Vision.ImageSize, c.Vision.PatchSize = "owlv2", 960, 16
		image = pipeline.ImageSquash(960, 960, pipeline.CLIPMean, pipeline.CLIPStd)
	}
	vision, text, err := c.read(im, name)
	if err != nil {
		return nil, err
	}
	c.Text.pool, c.own = "argmax", image
	for _, head := range []string{"class_head.*", "box_head.*", "objectness_head.*", "layer_norm.*"} {
		im.Ignore(head, "belongs to the heads that find boxes")
	}
	im.Ignore("box_bias", "belongs to the heads that find boxes")
	prefix, _ := im.prefixOf("vision_model.embeddings.class_embedding", "", "owlvit.", "owlv2.")
	names := Names{{"vision_model.pre_layrnorm.*", "vision_model.pre_layernorm.*"}}
	return c.build(im, graph.NewBuilder(im.Params(names, prefix)), vision, text)
}
