package models

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// LLaVA-UHD: an LMM Perceiving Any Aspect Ratio and High-Resolution Images (Guo et al., arXiv:2403.11703): a resampler each of
// whose queries attends to its own region of the picture. Source: thunlp/LLaVA-UHD (v1)
// llava/model/multimodal_projector/adapt_spatial_resampler.py, llava/slice_process.py.

var _ = Register(&System{
	Name: "llava-uhd", Title: "LLaVA-UHD v1 resampler", Row: 6,
	Namings: []Naming{
		{Name: "original", Looked: "config.json with mm_projector_type adapt_spatial_resampler, tensors mm_projector.*", Recognise: func(im *Import) bool {
			var c llavaConfig
			return im.Config(&c) == nil && c.ProjectorType == "adapt_spatial_resampler" && im.HasAny("*mm_projector.query")
		}},
	},
	Build: buildLLaVAUHD,
})

func buildLLaVAUHD(im *Import) (*graph.Model, error) {
	c := struct {
		Heads  int    `json:"heads"`
		Target [2]int `json:"tgt_size"` // rows and columns of the tokens
	}{}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	im.languageModel("model.layers.*", "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
	p := im.Params(nil, "")
	b := graph.NewBuilder(p)
	stem := im.projectorStem() + "."
	r, err := newResampler(p, stem, c.Heads)
	if err != nil {
		return nil, err
	}
	x, err := im.visionFeatures(b, r.KVDim)
	if err != nil {
		return nil, err
	}
	side := block.SquareGrid(r.Queries)[0]
	toMap := func(x *graph.Node) *graph.Node {
		if c.Target == [2]int{} {
			return b.Op(graph.SquareGrid{}, nil, x)
		}
		return b.Rearrange(x, "b (h w) d -> b h w d", "h", c.Target[0], "w", c.Target[1])
	}
	x = b.Name(r.read(b, x), "ln_kv")
	keys := b.Add(x, r.storedPositions(b, toMap(x)))
	regions := func(x *graph.Node) *graph.Node { return b.Op(graph.RegionAlign{Side: side}, nil, toMap(x)) }
	q := b.Op(graph.Expand{}, nil, r.query(b), x)
	y := r.attend(b, b.Rearrange(q, "b q d -> (b q) 1 d"), regions(keys), regions(x), nil)
	y = b.Rearrange(y, "(b q) 1 d -> b q d", "q", r.Queries)
	r.project(b, b.Name(y, "attn"), stem)
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{}}, err
}
