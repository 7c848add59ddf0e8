package models

import (
	"math"

	"github.com/mmconv/mmconv/graph"
)

// PaliGemma (Beyer et al., arXiv:2407.07726) and PaliGemma 2: SigLIP and a linear projector. Source: huggingface/transformers
// models/paligemma/modeling_paligemma.py.

var _ = Register(&System{
	Name: "paligemma", Title: "PaliGemma",
	ModelTypes: []string{"paligemma"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type paligemma, tensors multi_modal_projector.linear.weight", Recognise: func(im *Import) bool {
			return im.ModelType() == "paligemma" && im.HasAny("*multi_modal_projector.linear.weight")
		}},
	},
	Build: func(im *Import) (*graph.Model, error) {
		s, err := im.siglipProjector("linear.weight", "SiglipImageProcessor")
		if err != nil {
			return nil, err
		}
		out := s.p.dim("linear.weight", 0)
		c := struct {
			Text struct {
				HiddenSize int `json:"hidden_size"`
			} `json:"text_config"`
		}{}
		c.Text.HiddenSize = out
		if err := im.Config(&c); err != nil {
			return nil, err
		}
		if err := checkSizes("text_config", size{"hidden_size", c.Text.HiddenSize}); err != nil {
			return nil, err
		}
		x := s.b.Linear(s.features(), "linear", s.vision.HiddenSize, out)
		return s.model(s.b.Scale(x, float32(1/math.Sqrt(float64(c.Text.HiddenSize)))))
	},
})
