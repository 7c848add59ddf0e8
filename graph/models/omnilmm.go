package models

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// OmniLMM (OpenBMB, 2024): Qwen-VL's resampler behind EVA02-CLIP-E. Source: OpenBMB/MiniCPM-V omnilmm/model/{omnilmm,resampler}.py.

var _ = Register(&System{
	Name: "omnilmm", Title: "OmniLMM resampler", Row: 6,
	ModelTypes: []string{"omnilmm"},
	Namings: []Naming{
		{Name: "original", Looked: "config.json with model_type omnilmm, tensors model.resampler.*", Recognise: func(im *Import) bool {
			return im.ModelType() == "omnilmm" && im.HasTensor("model.resampler.query") && im.HasTensor("model.resampler.pos_embed")
		}},
	},
	Build: func(im *Import) (*graph.Model, error) {
		c := struct {
			Heads int `json:"resampler_heads"`
		}{}
		if err := im.Config(&c); err != nil {
			return nil, err
		}
		im.languageModel("model.layers.*", "model.embed_tokens.*", "model.norm.*", "lm_head.*")
		p := im.Params(nil, "")
		b := graph.NewBuilder(p)
		r, err := newResampler(p, "model.resampler.", c.Heads)
		if err != nil {
			return nil, err
		}
		x, err := im.visionFeatures(b, r.KVDim)
		if err != nil {
			return nil, err
		}
		r.squareResampler(b, x)
		g, err := b.Graph()
		return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{}}, err
	},
})

// squareResampler builds a resampler that takes tokens [B, N, KVDim] to be those of a square grid, with its projection.
func (r *resampler) squareResampler(b *graph.Builder, x *graph.Node) {
	x = r.resample(b, x, r.storedPositions(b, b.Op(graph.SquareGrid{}, nil, x)), nil)
	b.Name(r.tokens, "ln_kv")
	r.project(b, b.Name(x, "attn"), r.Stem)
}
