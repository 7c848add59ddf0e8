package models

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// hfViT is the configuration that transformers' plain vision transformers share, and what they differ in. Sources:
// huggingface/transformers models/{vit,deit,beit,vit_mae,dinov2,dinov2_with_registers,dinov3_vit}/modeling_*.py.
type hfViT struct {
	Dim       int     `json:"hidden_size"`
	Layers    int     `json:"num_hidden_layers"`
	Heads     int     `json:"num_attention_heads"`
	Hidden    int     `json:"intermediate_size"`
	Act       string  `json:"hidden_act"`
	Eps       float64 `json:"layer_norm_eps"`
	ImageSize pair    `json:"image_size"`
	PatchSize pair    `json:"patch_size"`
	Channels  int     `json:"num_channels"`
	QKVBias   bool    `json:"qkv_bias"`

	layer         block.Layer // its stems and options; sized here
	stem          string      // of layer i; "": encoder.layer.%d
	patches       string      // stem of the patch embedding; "": embeddings.patch_embeddings.projection
	norm          string      // stem of the norm behind the layers; "" for none
	noPositions   bool        // there is no table of them
	interpolation block.Interpolation
	embedded      []string // tokens before the patches that have positions, in their order
	registers     int      // tokens behind the class token that have none
	// Each, if given, says what a layer attends with on a grid.
	each func(b *graph.Builder, grid [2]int) func(i int, l *block.Layer, self, cross *block.With)
}

// defaultHFViT are ViTConfig's defaults, which most of the others repeat.
func defaultHFViT() hfViT {
	return hfViT{Dim: 768, Layers: 12, Heads: 12, Hidden: 3072, Act: "gelu", Eps: 1e-12, ImageSize: pair{224, 224}, PatchSize: pair{16, 16}, Channels: 3,
		QKVBias: true, layer: block.ViTLayer, norm: "layernorm", embedded: []string{"embeddings.cls_token"}}
}

// still is the number of tokens before the patches.
func (v *hfViT) still() int { return len(v.embedded) + v.registers }

// hasViT reports whether there is such a transformer at the root or behind a prefix.
func (im *Import) hasViT(prefixes ...string) bool {
	_, ok := im.prefixOf("embeddings.cls_token", append([]string{""}, prefixes...)...)
	return ok
}

// open imports a checkpoint of such a transformer, whose tensors lie below a prefix or at the root.
func (v *hfViT) open(im *Import, class string, prefixes ...string) (*graph.Builder, *block.Tower, *pipeline.Pipeline, error) {
	image, err := im.classPipeline(class)
	if err != nil {
		return nil, nil, nil, err
	}
	im.Ignore("*embeddings.mask_token", "stands for masked patches in pre-training")
	prefix, _ := im.prefixOf("embeddings.cls_token", append([]string{""}, prefixes...)...)
	b := graph.NewBuilder(im.Params(Names{
		{"classifier.*", "classifier.*"}, {"cls_classifier.*", "cls_classifier.*"}, {"distillation_classifier.*", "distillation_classifier.*"},
		{"*", prefix + "*"},
	}, ""))
	size := im.imageSize([2]int(v.ImageSize))
	t, err := v.tower(b, im.pixels(b, image, v.Channels, size), size)
	if err != nil {
		return nil, nil, nil, err
	}
	b.Name(t.Embeddings, "embeddings")
	t.NameLayers(b, "layer%d")
	return b, t, &pipeline.Pipeline{Image: image}, nil
}

// tower builds the transformer over pixels [B, C, H, W] of a size.
func (v *hfViT) tower(b *graph.Builder, pixels *graph.Node, image [2]int) (*block.Tower, error) {
	if err := checkSizes("config", size{"hidden_size", v.Dim}, size{"num_attention_heads", v.Heads}, size{"intermediate_size", v.Hidden},
		size{"image_size", v.ImageSize[0]}, size{"image_size", v.ImageSize[1]}, size{"patch_size", v.PatchSize[0]}, size{"patch_size", v.PatchSize[1]},
		size{"num_channels", v.Channels}, size{"num_register_tokens", v.registers + 1}); err != nil {
		return nil, err
	}
	act, err := activation("hidden_act", v.Act)
	if err != nil {
		return nil, err
	}
	grid, err := block.Grid(image, [2]int(v.PatchSize), [2]int(v.ImageSize))
	if err != nil {
		return nil, err
	}
	at := v.patches
	if at == "" {
		at = "embeddings.patch_embeddings.projection"
	}
	x := block.Patches{Channels: v.Channels, Dim: v.Dim, Height: v.PatchSize[0], Width: v.PatchSize[1]}.Apply(b, pixels, at)
	x = v.tokens(b, x, grid)
	l := v.layer.Sized(v.Dim, v.Heads, v.Hidden)
	l.Norm.Eps, l.Attention.Norm.Eps, l.MLP.Act = v.Eps, v.Eps, act
	stack := block.Transformer{Layer: l, Stem: v.stem, Layers: v.Layers, Norm: v.norm}
	if stack.Stem == "" {
		stack.Stem = "encoder.layer.%d"
	}
	if v.each != nil {
		stack.Each = v.each(b, grid)
	}
	return stack.Apply(b, x, block.With{}, block.With{}), nil
}

// tokens puts the class token and its like before the patches and adds positions, then registers, which have none.
func (v *hfViT) tokens(b *graph.Builder, x *graph.Node, grid [2]int) *graph.Node {
	for i := len(v.embedded) - 1; i >= 0; i-- {
		x = b.Prepend(b.Parameter(graph.Position, v.embedded[i], 1, 1, v.Dim), x)
	}
	n := len(v.embedded)
	if !v.noPositions {
		stored := [2]int{v.ImageSize[0] / v.PatchSize[0], v.ImageSize[1] / v.PatchSize[1]}
		x = b.Add(x, block.Positions{Interpolation: v.interpolation, Table: "embeddings.position_embeddings", Before: n, Stored: stored, Grid: grid, Dim: v.Dim}.Value(b))
	}
	if v.registers > 0 {
		r := b.Op(graph.Expand{}, nil, b.Parameter(graph.Position, "embeddings.register_tokens", 1, v.registers, v.Dim), x)
		x = b.Concat(1, b.Slice(x, 1, 0, n), r, b.Slice(x, 1, n, 0))
	}
	return x
}

// bias says whether a projection has one.
func bias(has bool) block.Presence {
	if has {
		return block.Required
	}
	return block.Absent
}
