package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/kernels"
)

// Aya Vision (Dash et al., arXiv:2505.08751) and Command A Vision (Cohere, 2025): SigLIP on tiles, pixel shuffle and a gated MLP.
// Sources: huggingface/transformers models/aya_vision/modeling_aya_vision.py, models/cohere2_vision/modeling_cohere2_vision.py.

var _ = Register(&System{
	Name: "aya-vision", Title: "Aya Vision, Cohere 2 Vision",
	ModelTypes: []string{"aya_vision", "cohere2_vision"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type aya_vision or cohere2_vision, tensors multi_modal_projector.linear_1.weight", Recognise: func(im *Import) bool {
			t := im.ModelType()
			return (t == "aya_vision" || t == "cohere2_vision") && im.HasAny("*multi_modal_projector.linear_1.weight")
		}},
	},
	Build: buildAyaVision,
})

func buildAyaVision(im *Import) (*graph.Model, error) {
	aya := im.ModelType() == "aya_vision"
	c := struct {
		Factor   int     `json:"downsample_factor"`
		Eps      float64 `json:"adapter_layer_norm_eps"`
		Strategy string  `json:"vision_feature_select_strategy"`
		Layer    int     `json:"vision_feature_layer"`
	}{2, 1e-6, "full", -1}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	if aya && c.Strategy != "full" {
		return nil, fmt.Errorf("config: vision_feature_select_strategy is %q; SigLIP has no class token to leave out: expected full", c.Strategy)
	}
	class := "GotOcr2ImageProcessor"
	if !aya {
		class = "Cohere2VisionImageProcessorFast"
	}
	s, err := im.siglipProjector("linear_1.weight", class)
	if err != nil {
		return nil, err
	}
	if c.Factor < 1 || s.side%c.Factor != 0 {
		return nil, fmt.Errorf("config: downsample_factor is %d, which does not divide the grid of %d x %d patches", c.Factor, s.side, s.side)
	}
	b, wide := s.b, s.vision.HiddenSize*c.Factor*c.Factor
	x := s.features()
	if aya && s.tower != nil {
		x = s.tower.State(b, c.Layer)
	}
	x = b.Rearrange(x, "n (y v x u) c -> n y x (v u c)", "y", s.side/c.Factor, "x", s.side/c.Factor, "v", c.Factor, "u", c.Factor)
	if aya {
		x = b.LayerNorm(x, "layernorm", wide, c.Eps)
	}
	hidden, out := s.p.dim("linear_1.weight", 0)/2, s.p.dim("linear_2.weight", 0)
	mlp := block.MLP{Dim: wide, Hidden: hidden, Out: out, Act: kernels.ActSiLU, Fused: block.GateSecond,
		FC1: block.Projection{Stem: "linear_1"}, FC2: block.Projection{Stem: "linear_2"}}
	return s.model(mlp.Apply(b, x, ""))
}
