package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// GOT-OCR 2.0 (Wei et al., General OCR Theory, arXiv:2409.01704): SAM's encoder, two strided convolutions and a matrix. Source:
// huggingface/transformers models/got_ocr2/modeling_got_ocr2.py.

var _ = Register(&System{
	Name: "got-ocr2", Title: "GOT-OCR 2.0",
	ModelTypes: []string{"got_ocr2"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type got_ocr2, tensors multi_modal_projector.conv_upsampler1.weight", Recognise: func(im *Import) bool {
			return im.ModelType() == "got_ocr2" && im.HasAny("*multi_modal_projector.conv_upsampler1.weight")
		}},
	},
	Build: buildGOTOCR2,
})

func buildGOTOCR2(im *Import) (*graph.Model, error) {
	c := struct {
		Vision struct {
			HiddenSize int     `json:"hidden_size"`
			Channels   int     `json:"num_channels"`
			Layers     int     `json:"num_hidden_layers"`
			Heads      int     `json:"num_attention_heads"`
			ImageSize  int     `json:"image_size"`
			PatchSize  int     `json:"patch_size"`
			Out        int     `json:"output_channels"`
			HiddenAct  string  `json:"hidden_act"`
			Eps        float64 `json:"layer_norm_eps"`
			Bias       bool    `json:"qkv_bias"`
			Absolute   bool    `json:"use_abs_pos"`
			Relative   bool    `json:"use_rel_pos"`
			Window     int     `json:"window_size"`
			Global     []int   `json:"global_attn_indexes"`
			MLP        int     `json:"mlp_dim"`
		} `json:"vision_config"`
	}{}
	v := &c.Vision
	v.HiddenSize, v.Channels, v.Layers, v.Heads, v.ImageSize, v.PatchSize, v.Out = 768, 3, 12, 12, 1024, 16, 256
	v.HiddenAct, v.Eps, v.Bias, v.Absolute, v.Relative, v.Window, v.MLP = "gelu", 1e-6, true, true, true, 14, 3072
	v.Global = []int{2, 5, 8, 11}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	if err := checkSizes("vision_config", size{"hidden_size", v.HiddenSize}, size{"num_channels", v.Channels}, size{"num_attention_heads", v.Heads},
		size{"image_size", v.ImageSize}, size{"patch_size", v.PatchSize}, size{"image_size / patch_size", v.ImageSize / max(v.PatchSize, 1)},
		size{"output_channels", v.Out}, size{"window_size", v.Window}, size{"mlp_dim", v.MLP}); err != nil {
		return nil, err
	}
	grid := v.ImageSize / v.PatchSize
	if !v.Relative || v.Window > grid {
		return nil, fmt.Errorf("config: vision_config: use_rel_pos is %v and window_size %d in a grid of %d x %d patches; expected relative positions and windows inside the grid",
			v.Relative, v.Window, grid, grid)
	}
	act, err := activation("vision_config.hidden_act", v.HiddenAct)
	if err != nil {
		return nil, err
	}
	image, err := im.classPipeline("GotOcr2ImageProcessor")
	if err != nil {
		return nil, err
	}
	prefix, _ := im.prefixOf("multi_modal_projector.conv_upsampler1.weight", "", "model.")
	im.languageModel("language_model.*", "model.language_model.*", "lm_head.*")
	p := im.Params(nil, prefix)
	b := graph.NewBuilder(p)
	const at = "vision_tower"
	d := v.HiddenSize
	patches := block.Patches{Projection: block.Projection{Stem: "projection"}, Channels: v.Channels, Dim: d, Height: v.PatchSize, Width: v.PatchSize}
	x := patches.Apply(b, im.pixels(b, image, v.Channels, [2]int{v.ImageSize, v.ImageSize}), at+".patch_embed")
	if v.Absolute {
		positions := b.Tensor(at+".pos_embed", 1, grid, grid, d)
		x = b.Add(x, b.Value(b.Derived(graph.Position, at+".pos_embed", graph.ReshapeExpr(positions, 1, grid*grid, d))))
	}
	s := block.SAM{Layer: block.SAMLayer.Sized(d, v.Heads, v.MLP), Stem: at + ".layers.%d", Layers: v.Layers, Grid: grid, Window: v.Window, Global: v.Global,
		Rows: "attn.rel_pos_h", Columns: "attn.rel_pos_w"}
	s.Layer.Norm.Eps, s.Layer.MLP.Act = v.Eps, act
	s.Layer.Self.Norm, s.Layer.Feed.Norm = "layer_norm1", "layer_norm2"
	if !v.Bias {
		s.Layer.Attention.QKV.Bias = block.Absent
	}
	t := s.Apply(b, x)
	toMap := func(x *graph.Node) *graph.Node { return b.Rearrange(x, "b (h w) c -> b h w c", "h", grid) }
	for i, y := range t.Hidden[1:] {
		b.Namef(toMap(y), "vision.layer%d", i)
	}
	x = b.Conv(toMap(t.Last), at+".neck.conv1", graph.ConvSpec{In: d, Out: v.Out, KH: 1, KW: 1, NoBias: true})
	x = b.LayerNorm(x, at+".neck.layer_norm1", v.Out, 1e-6)
	x = b.Conv(x, at+".neck.conv2", graph.ConvSpec{In: v.Out, Out: v.Out, KH: 3, KW: 3, Pad: graph.Pad2(1, 1), NoBias: true})
	x = b.LayerNorm(x, at+".neck.layer_norm2", v.Out, 1e-6)
	namedMap(b, x, "vision.neck")
	in := v.Out
	for _, name := range []string{"conv_upsampler1", "conv_upsampler2"} {
		stem := "multi_modal_projector." + name
		out := p.dim(stem+".weight", 0)
		x = b.Conv(x, stem, graph.ConvSpec{In: in, Out: out, KH: 3, KW: 3, Stride: [2]int{2, 2}, Pad: graph.Pad2(1, 1), NoBias: true})
		namedMap(b, x, "%s", name)
		in = out
	}
	const linear = "multi_modal_projector.multimodal_projector"
	b.Output(b.Linear(b.Rearrange(x, "b h w c -> b (h w) c"), linear, in, p.dim(linear+".weight", 0)), graph.Projector, "visual_tokens")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: image}}, err
}
