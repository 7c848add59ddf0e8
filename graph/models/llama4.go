package models

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// Llama 4's image encoder and projector (Meta, 2025). Source: huggingface/transformers models/llama4/modeling_llama4.py.

var _ = Register(&System{
	Name: "llama4", Title: "Llama 4 vision",
	ModelTypes: []string{"llama4", "llama4_vision_model"},
	Namings: []Naming{{Name: "huggingface", Looked: "config.json with model_type llama4, tensors vision_model.patch_embedding.linear.weight", Recognise: func(im *Import) bool {
		return (im.ModelType() == "llama4" || im.ModelType() == "llama4_vision_model") && (im.HasTensor("vision_model.patch_embedding.linear.weight") || im.HasTensor("patch_embedding.linear.weight"))
	}}},
	Build: buildLlama4,
})

// llama4Vision is a vision_config of Llama 4.
type llama4Vision struct {
	Dim       int     `json:"hidden_size"`
	Layers    int     `json:"num_hidden_layers"`
	Heads     int     `json:"num_attention_heads"`
	Hidden    int     `json:"intermediate_size"`
	Act       string  `json:"hidden_act"`
	Channels  int     `json:"num_channels"`
	ImageSize int     `json:"image_size"`
	PatchSize int     `json:"patch_size"`
	Ratio     float64 `json:"pixel_shuffle_ratio"`
	Theta     float64 `json:"rope_theta"`
	Rope      struct {
		Theta float64 `json:"rope_theta"`
	} `json:"rope_parameters"`
}

// llama4Layer has the names of transformers' Llama 4 vision layers.
var llama4Layer = block.Layer{
	Norm: block.Norm{Eps: 1e-5}, Self: block.Branch{Norm: "input_layernorm"}, Feed: block.Branch{Norm: "post_attention_layernorm"},
	Attention: block.Attention{Q: block.Projection{Stem: "self_attn.q_proj"}, K: block.Projection{Stem: "self_attn.k_proj"},
		V: block.Projection{Stem: "self_attn.v_proj"}, Out: block.Projection{Stem: "self_attn.o_proj"}},
	MLP: block.MLP{FC1: block.Projection{Stem: "mlp.fc1"}, FC2: block.Projection{Stem: "mlp.fc2"}},
}

func buildLlama4(im *Import) (*graph.Model, error) {
	c := struct {
		Vision llama4Vision `json:"vision_config"`
	}{llama4Vision{Dim: 768, Layers: 34, Heads: 16, Hidden: 5632, Act: "gelu", Channels: 3, ImageSize: 448, PatchSize: 14, Ratio: 0.5, Theta: 10000}}
	v := &c.Vision
	var err error
	whole := im.ModelType() == "llama4"
	if whole {
		err = im.Config(&c)
	} else {
		err = im.Config(v)
	}
	if err != nil {
		return nil, err
	}
	if v.Rope.Theta != 0 {
		v.Theta = v.Rope.Theta
	}
	if err := checkSizes("vision_config", size{"hidden_size", v.Dim}, size{"num_attention_heads", v.Heads}, size{"intermediate_size", v.Hidden},
		size{"num_channels", v.Channels}, size{"image_size", v.ImageSize}, size{"patch_size", v.PatchSize}); err != nil {
		return nil, err
	}
	act, err := activation("hidden_act", v.Act)
	if err != nil {
		return nil, err
	}
	if !(v.Theta > 0) || v.Dim%v.Heads != 0 || !(v.Ratio > 0 && v.Ratio <= 1) || math.Round(1/v.Ratio) != 1/v.Ratio {
		return nil, fmt.Errorf("config: vision_config has %d channels in %d heads, rope_theta %g and pixel_shuffle_ratio %g; expected heads that divide the channels, a positive base and 1, 1/2, 1/3, …",
			v.Dim, v.Heads, v.Theta, v.Ratio)
	}
	image, err := im.classPipeline("Llama4ImageProcessorFast")
	if err != nil {
		return nil, err
	}
	im.languageModel("language_model.*")
	im.Ignore("lm_head.*", "the language model's head")
	prefix, _ := im.prefixOf("patch_embedding.linear.weight", "vision_model.", "")
	b := graph.NewBuilder(im.Params(Names{{"multi_modal_projector.*", "multi_modal_projector.*"}, {"*", prefix + "*"}}, ""))
	// Pictures are cut into tiles of the trained size; there are no others.
	s := [2]int{v.ImageSize, v.ImageSize}
	grid, err := block.Grid(s, [2]int{v.PatchSize, v.PatchSize}, s)
	if err != nil {
		return nil, err
	}
	n, d, p, r := grid[0], v.Dim, v.PatchSize, int(math.Round(1/v.Ratio))
	if n%r != 0 {
		return nil, fmt.Errorf("config: vision_config.pixel_shuffle_ratio is %g, which does not divide the grid of %d x %d patches", v.Ratio, n, n)
	}
	// The unfolded patches' linear map is a convolution.
	kernel := graph.RearrangeExpr(b.Tensor("patch_embedding.linear.weight", d, v.Channels*p*p), "o (i h w) -> o h w i", map[string]int{"i": v.Channels, "h": p})
	x := b.Rearrange(im.pixels(b, image, v.Channels, s), "b c h w -> b h w c")
	x = b.Op(graph.ConvSpec{Stride: [2]int{p, p}}.Op(), []*graph.Weight{b.Derived(graph.Kernel, "patch_embedding.linear.weight", kernel), nil}, x)
	x = b.Rearrange(x, "b h w c -> b (h w) c")
	class := b.Rearrange(b.Parameter(graph.Position, "class_embedding", d), "d -> 1 1 d")
	x = b.Concat(1, x, b.Op(graph.Expand{}, nil, class, x)) // the class token is the last
	x = b.Add(x, b.Parameter(graph.Position, "positional_embedding_vlm", n*n+1, d))
	x = b.LayerNorm(x, "layernorm_pre", d, 1e-5)
	angles := &block.AxialAngles{Grid: grid, HeadDim: d / v.Heads, Temperature: v.Theta, Offset: 1, XY: true}
	if err := angles.Check(); err != nil {
		return nil, err
	}
	half := d / v.Heads / 2
	turned := graph.ConcatExpr(angles.Expr(), graph.Values("still", make([]float32, half), 1, 1, half))
	l := llama4Layer.Sized(d, v.Heads, v.Hidden)
	l.MLP.Act = act
	stack := block.Transformer{Layer: l, Stem: "model.layers.%d", Layers: v.Layers, Norm: "layernorm_post"}
	t := stack.Apply(b, x, block.With{Rotate: block.RotaryTable(b, "rope", turned, 0, true).Rotate(b)}, block.With{})
	t.NameLayers(b, "vision.layer%d")
	x = b.Rearrange(b.Slice(t.Last, 1, 0, n*n), "b (y v x u) c -> b (y x) (v u c)", "y", n/r, "v", r, "x", n/r, "u", r)
	width := d * r * r
	for i := 1; i <= 2; i++ {
		stem := fmt.Sprintf("vision_adapter.mlp.fc%d", i)
		out := im.Dim(prefix+stem+".weight", 0)
		x, width = b.Act(b.LinearNoBias(x, stem, width, out), act), out
	}
	b.Name(x, "vision.last_hidden_state")
	if whole {
		out := im.Dim("multi_modal_projector.linear_1.weight", 0)
		b.Output(b.LinearNoBias(x, "multi_modal_projector.linear_1", width, out), graph.Projector, "visual_tokens")
	} else {
		b.SetOutput("vision.last_hidden_state", graph.Vision)
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: image}}, err
}
