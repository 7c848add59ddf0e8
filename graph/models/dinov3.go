package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
)

// DINOv3 (Siméoni et al., arXiv:2508.10104), its vision transformers. Source: huggingface/transformers
// models/dinov3_vit/modeling_dinov3_vit.py.

var _ = Register(&System{
	Name: "dinov3", Title: "DINOv3 ViT",
	ModelTypes: []string{"dinov3_vit"},
	Namings: []Naming{{Name: "huggingface", Looked: "config.json with model_type dinov3_vit, tensors layer.#.attention.q_proj.weight", Recognise: func(im *Import) bool {
		return im.ModelType() == "dinov3_vit" && im.hasViT("dinov3_vit.")
	}}},
	Build: buildDINOv3,
})

func buildDINOv3(im *Import) (*graph.Model, error) {
	c := struct {
		hfViT
		Gated bool    `json:"use_gated_mlp"`
		Theta float64 `json:"rope_theta"`
		Rope  struct {
			Theta *float64 `json:"rope_theta"`
		} `json:"rope_parameters"`
		QueryBias bool `json:"query_bias"`
		KeyBias   bool `json:"key_bias"`
		ValueBias bool `json:"value_bias"`
		ProjBias  bool `json:"proj_bias"`
		MLPBias   bool `json:"mlp_bias"`
		Registers int  `json:"num_register_tokens"`
	}{hfViT: defaultHFViT(), Theta: 100, QueryBias: true, ValueBias: true, ProjBias: true, MLPBias: true}
	c.Dim, c.Heads, c.Hidden, c.Eps = 384, 6, 1536, 1e-5
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	if c.Rope.Theta != nil {
		c.Theta = *c.Rope.Theta
	}
	if !(c.Theta > 0) {
		return nil, fmt.Errorf("config: rope_theta is %g; expected a positive number", c.Theta)
	}
	c.registers, c.noPositions, c.norm, c.patches = c.Registers, true, "norm", "embeddings.patch_embeddings"
	// Later releases of transformers hold the layers in a module of their own.
	root, _ := im.prefixOf("layer.0.norm1.weight", "", "dinov3_vit.", "model.", "dinov3_vit.model.")
	outer, _ := im.prefixOf("embeddings.cls_token", "", "dinov3_vit.")
	if len(root) > len(outer) {
		c.stem = root[len(outer):]
	}
	c.stem += "layer.%d"
	projection := func(stem string, has bool) block.Projection { return block.Projection{Stem: stem, Bias: bias(has)} }
	c.layer = dinoLayer
	c.layer.Attention = block.Attention{Q: projection("attention.q_proj", c.QueryBias), K: projection("attention.k_proj", c.KeyBias),
		V: projection("attention.v_proj", c.ValueBias), Out: projection("attention.o_proj", c.ProjBias)}
	c.layer.MLP = block.MLP{FC1: projection("mlp.up_proj", c.MLPBias), FC2: projection("mlp.down_proj", c.MLPBias)}
	if c.Gated {
		c.layer.MLP.Gate = projection("mlp.gate_proj", c.MLPBias)
	}
	c.each = func(b *graph.Builder, grid [2]int) func(int, *block.Layer, *block.With, *block.With) {
		angles := &block.AxialAngles{Grid: grid, HeadDim: c.Dim / c.Heads, Temperature: c.Theta, Normalised: true}
		if err := angles.Check(); err != nil {
			b.Fail(err)
			return nil
		}
		rotate := block.RotaryTable(b, "rope", angles.Expr(), c.still(), false).Rotate(b)
		return func(_ int, _ *block.Layer, self, _ *block.With) { self.Rotate = rotate }
	}
	b, t, p, err := c.open(im, "DINOv3ViTImageProcessorFast", "dinov3_vit.")
	if err != nil {
		return nil, err
	}
	b.Output(t.Last, graph.Vision, "last_hidden_state")
	b.Output(b.Token(t.Last, 0), graph.Vision, "pooler_output")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: p}, err
}
