package models

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/kernels"
)

// DINOv2: Learning Robust Visual Features without Supervision (Oquab et al., arXiv:2304.07193), and with registers: Vision
// Transformers Need Registers (Darcet et al., arXiv:2309.16588). Sources: huggingface/transformers
// models/{dinov2,dinov2_with_registers}/modeling_*.py.

var _ = Register(&System{
	Name: "dinov2", Title: "DINOv2",
	ModelTypes: []string{"dinov2", "dinov2_with_registers"},
	Namings: []Naming{{Name: "huggingface", Looked: "config.json with model_type dinov2 or dinov2_with_registers, tensors encoder.layer.#.layer_scale1.lambda1", Recognise: func(im *Import) bool {
		return (im.ModelType() == "dinov2" || im.ModelType() == "dinov2_with_registers") && im.hasViT("dinov2.", "dinov2_with_registers.")
	}}},
	Build: buildDINOv2,
})

// dinoLayer has the names of transformers' DINOv2.
var dinoLayer = block.Layer{
	Norm: block.Norm{Eps: 1e-6}, Self: block.Branch{Norm: "norm1", Scale: "layer_scale1.lambda1"}, Feed: block.Branch{Norm: "norm2", Scale: "layer_scale2.lambda1"},
	Attention: block.ViTLayer.Attention,
	MLP:       block.MLP{FC1: block.Projection{Stem: "mlp.fc1"}, FC2: block.Projection{Stem: "mlp.fc2"}},
}

func buildDINOv2(im *Import) (*graph.Model, error) {
	registers := im.ModelType() == "dinov2_with_registers"
	c := struct {
		hfViT
		Ratio     float64 `json:"mlp_ratio"`
		SwiGLU    bool    `json:"use_swiglu_ffn"`
		Registers int     `json:"num_register_tokens"`
	}{hfViT: defaultHFViT(), Ratio: 4, Registers: 4}
	c.Eps, c.layer = 1e-6, dinoLayer
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	if registers {
		// The smaller tables are antialiased where there are registers, and only there.
		c.registers, c.interpolation.Antialias = c.Registers, true
	}
	for _, p := range []*block.Projection{&c.layer.Attention.Q, &c.layer.Attention.K, &c.layer.Attention.V} {
		p.Bias = bias(c.QKVBias)
	}
	c.Hidden = int(float64(c.Dim) * c.Ratio)
	if c.SwiGLU {
		c.Hidden = (c.Hidden*2/3 + 7) / 8 * 8
		c.Act = "silu"
		c.layer.MLP = block.MLP{Act: kernels.ActSiLU, Fused: block.GateFirst, FC1: block.Projection{Stem: "mlp.weights_in"}, FC2: block.Projection{Stem: "mlp.weights_out"}}
	}
	b, t, p, err := c.open(im, "BitImageProcessor", "dinov2.", "dinov2_with_registers.")
	if err != nil {
		return nil, err
	}
	b.Output(t.Last, graph.Vision, "last_hidden_state")
	pooled := b.Output(b.Token(t.Last, 0), graph.Vision, "pooler_output")
	if b.Params.Has("classifier.weight") {
		patches := block.Mean(b, b.Slice(t.Last, 1, c.still(), 0))
		b.Output(b.Linear(b.Concat(1, pooled, patches), "classifier", 2*c.Dim, im.Dim("classifier.weight", 0)), graph.Vision, "logits")
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: p}, err
}
