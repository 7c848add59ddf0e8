package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
)

// Gemma 3 (Gemma Team, arXiv:2503.19786): SigLIP, whose patches are averaged to a few tokens, a norm and a matrix. Source:
// huggingface/transformers models/gemma3/modeling_gemma3.py.

var _ = Register(&System{
	Name: "gemma3", Title: "Gemma 3",
	ModelTypes: []string{"gemma3"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type gemma3, tensors multi_modal_projector.mm_input_projection_weight", Recognise: func(im *Import) bool {
			return im.ModelType() == "gemma3" && im.HasAny("*multi_modal_projector.mm_input_projection_weight")
		}},
	},
	Build: buildGemma3,
})

func buildGemma3(im *Import) (*graph.Model, error) {
	c := struct {
		Tokens int `json:"mm_tokens_per_image"`
	}{256}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	s, err := im.siglipProjector("mm_input_projection_weight", "Gemma3ImageProcessor")
	if err != nil {
		return nil, err
	}
	b, d := s.b, s.vision.HiddenSize
	side := block.SquareGrid(c.Tokens)[0]
	if side < 1 || s.side/side < 1 {
		return nil, fmt.Errorf("config: mm_tokens_per_image is %d; expected a square of at most %d x %d, the patches of an image", c.Tokens, s.side, s.side)
	}
	k := s.side / side
	x := b.Rearrange(s.features(), "b (h w) c -> b h w c", "h", s.side)
	x = b.Rearrange(b.Op(graph.Pool{Kernel: [2]int{k, k}, Stride: [2]int{k, k}}, nil, x), "b h w c -> b (h w) c")
	x = b.Name(block.Norm{Kind: block.RMSNorm, Eps: s.vision.Eps, FromOne: true}.Apply(b, x, "mm_soft_emb_norm", d), "soft_emb_norm")
	const name = "mm_input_projection_weight"
	w := b.Derived(graph.Matrix, name, graph.TransposeExpr(b.Tensor(name, d, s.p.dim(name, 1))))
	return s.model(b.Op(graph.Linear{}, []*graph.Weight{w, nil}, x))
}
