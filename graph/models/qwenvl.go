package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// Qwen-VL: A Versatile Vision-Language Model for Understanding, Localization, Text Reading, and Beyond (Bai et al.,
// arXiv:2308.12966): OpenCLIP's ViT-bigG without class token, and a resampler. Source: visual.py of Qwen/Qwen-VL, also in
// Yuliang-Liu/Monkey monkey_model/visual.py.

var _ = Register(&System{
	Name: "qwen-vl", Title: "Qwen-VL ViT + resampler", Row: 6,
	ModelTypes: []string{"qwen"},
	Namings: []Naming{
		{Name: "original", Looked: "config.json with model_type qwen and visual, tensors transformer.visual.*", Recognise: func(im *Import) bool {
			return im.HasConfig("visual") && im.HasTensor(qwenVLStem+"attn_pool.query")
		}},
	},
	Build: buildQwenVL,
})

const qwenVLStem = "transformer.visual."

func buildQwenVL(im *Import) (*graph.Model, error) {
	var c struct {
		Visual struct {
			ImageSize int `json:"image_size"`
			PatchSize int `json:"patch_size"`
			Width     int `json:"width"`
			Layers    int `json:"layers"`
			Heads     int `json:"heads"`
		} `json:"visual"`
	}
	v := &c.Visual
	v.ImageSize, v.PatchSize, v.Width, v.Layers, v.Heads = 448, 14, 1664, 48, 16
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	err := checkSizes("visual", size{"image_size", v.ImageSize}, size{"patch_size", v.PatchSize}, size{"width", v.Width}, size{"layers", v.Layers},
		size{"heads", v.Heads})
	if err != nil {
		return nil, err
	}
	im.languageModel("transformer.h.*", "transformer.wte.*", "transformer.ln_f.*", "lm_head.*")
	im.Ignore("transformer.rotary_emb.*", "the language model, which stays as it is")

	p := im.Params(nil, qwenVLStem)
	b := graph.NewBuilder(p)
	image := im.imageSize([2]int{v.ImageSize, v.ImageSize})
	trained := [2]int{v.ImageSize, v.ImageSize}
	grid, err := block.Grid(image, [2]int{v.PatchSize, v.PatchSize}, trained)
	if err != nil {
		return nil, err
	}
	stored := block.SquareGrid(p.dim("positional_embedding", 0))
	if stored[0] == 0 {
		return nil, fmt.Errorf("tensor %spositional_embedding: %d positions are no square grid", qwenVLStem, p.dim("positional_embedding", 0))
	}
	images := pipeline.ImageSquash(image[0], image[1], pipeline.CLIPMean, pipeline.CLIPStd)
	patches := block.Patches{Projection: block.Projection{Stem: "conv1", Bias: block.Absent}, Channels: 3, Dim: v.Width, Height: v.PatchSize, Width: v.PatchSize}
	x := patches.Apply(b, im.pixels(b, images, 3, image), "")
	x = b.Add(x, block.Positions{Table: "positional_embedding", Stored: stored, Grid: grid, Dim: v.Width}.Value(b))
	const eps = 1e-6
	x = b.Name(b.LayerNorm(x, "ln_pre", v.Width, eps), "ln_pre")
	layer := block.Layer{Norm: block.Norm{Eps: eps}, Self: block.Branch{Norm: "ln_1"}, Feed: block.Branch{Norm: "ln_2"},
		// q, k and v of one head stand behind the other's, unlike torch's MultiheadAttention.
		Attention: block.Attention{QKV: block.Projection{Stem: "attn.in_proj"}, ByHead: true, Q: block.Projection{Stem: "attn.q_proj"},
			K: block.Projection{Stem: "attn.k_proj"}, V: block.Projection{Stem: "attn.v_proj"}, Out: block.Projection{Stem: "attn.out_proj"}},
		MLP: block.MLP{Act: kernels.ActGELU, FC1: block.Projection{Stem: "mlp.c_fc"}, FC2: block.Projection{Stem: "mlp.c_proj"}}}
	hidden := p.dim("transformer.resblocks.0.mlp.c_fc.weight", 0)
	t := (&block.Transformer{Layer: layer.Sized(v.Width, v.Heads, hidden), Stem: "transformer.resblocks.%d", Layers: v.Layers}).Apply(b, x, block.With{}, block.With{})
	t.NameLayers(b, "layer%d")

	r, err := newResampler(p, "attn_pool.", 0)
	if err != nil {
		return nil, err
	}
	if r.KVDim != v.Width {
		return nil, fmt.Errorf("tensor %sattn_pool.kv_proj.weight: reads %d channels; expected visual.width, %d", qwenVLStem, r.KVDim, v.Width)
	}
	like := b.Rearrange(t.Last, "b (h w) d -> b h w d", "h", grid[0], "w", grid[1])
	x = b.Name(r.resample(b, t.Last, r.storedPositions(b, like), nil), "attn_pool")
	r.project(b, x, "")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: images}}, err
}
