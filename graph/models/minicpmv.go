package models

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// MiniCPM-V: A GPT-4V Level MLLM on Your Phone (Yao et al., arXiv:2408.01800): Qwen-VL's resampler, from version 2 on for
// pictures of any size. Sources: resampler.py and modeling_minicpmv.py of openbmb/MiniCPM-V, -V-2, -Llama3-V-2_5, -V-2_6.

var _ = Register(&System{
	Name: "minicpm-v", Title: "MiniCPM-V resampler", Row: 6,
	ModelTypes: []string{"minicpmv", "minicpmo"},
	Namings: []Naming{
		{Name: "original", Looked: "config.json with model_type minicpmv, tensors resampler.*", Recognise: func(im *Import) bool {
			t := im.ModelType()
			return (t == "minicpmv" || t == "minicpmo") && im.HasTensor("resampler.query")
		}},
	},
	Build: buildMiniCPMV,
})

func buildMiniCPMV(im *Import) (*graph.Model, error) {
	c := struct {
		Heads int `json:"resampler_heads"`
	}{}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	im.languageModel("llm.*")
	p := im.Params(nil, "")
	b := graph.NewBuilder(p)
	r, err := newResampler(p, "resampler.", c.Heads)
	if err != nil {
		return nil, err
	}
	x, err := im.visionFeatures(b, r.KVDim)
	if err != nil {
		return nil, err
	}
	if r.QueryPositions && !im.HasConfig("slice_mode") {
		// The first version sees squares only.
		r.squareResampler(b, x)
	} else {
		r.anySize(b, x)
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{}}, err
}

// anySize builds the resampler for pictures whose tokens [B, N, KVDim] are those of grids of tgt_sizes, [B, 2] rows and columns,
// with padding behind them.
func (r *resampler) anySize(b *graph.Builder, x *graph.Node) {
	sizes := b.Input("tgt_sizes", -1, 2)
	positions := b.Op(graph.SineGrid{Dim: r.Dim}, nil, sizes, x)
	bias := block.HideKeys(b, b.Op(graph.SizeMask{}, nil, sizes, x))
	x = b.Name(r.resample(b, x, positions, bias), "attn")
	b.Name(r.tokens, "ln_kv")
	r.project(b, x, r.Stem)
}
