package models

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
)

// big_vision's checkpoints are trees of flax parameters: kernels are [in, out], those of attention [in, heads, width] and
// [heads, width, out], and layers may be stacked along a first axis (google-research/big_vision models/vit.py,
// models/proj/image_text/{text_transformer,two_towers}.py). All sizes follow from the shapes.

// bigVisionRoot is what stands before "img/" in the names.
func bigVisionRoot(im *Import) string {
	for _, root := range []string{"params/", "opt/target/"} {
		if im.HasAny(root + "*") {
			return root
		}
	}
	return ""
}

func buildBigVision(im *Import) (*graph.Model, error) {
	p := &bigVisionParams{im, bigVisionRoot(im)}
	c := defaultSigLIP()
	v, t := &c.Vision, &c.Text
	// Sizes of a tensor of a layer: those of the stacked tensor follow its first axis.
	of := func(name string, axis int) int {
		if n := im.Dim(p.root+strings.Replace(name, "encoderblock", "encoderblock_0", 1), axis); n != 0 || !strings.Contains(name, "encoderblock") {
			return n
		}
		return im.Dim(p.root+name, axis+1)
	}
	depth := func(tower string) int {
		if n := im.Dim(p.root+tower+"/encoderblock/LayerNorm_0/scale", 0); n != 0 {
			return n
		}
		return im.Count(p.root + tower + "/encoderblock_#/LayerNorm_0/scale")
	}
	v.PatchSize, v.Channels, v.HiddenSize = of("img/embedding/kernel", 0), of("img/embedding/kernel", 2), of("img/embedding/kernel", 3)
	v.Layers, v.Heads = depth("img/Transformer"), of("img/Transformer/encoderblock/MultiHeadDotProductAttention_0/query/kernel", 1)
	v.IntermediateSize = of("img/Transformer/encoderblock/MlpBlock_0/Dense_0/kernel", 1)
	grid := block.SquareGrid(of("img/pos_embedding", 1))
	v.ImageSize = grid[0] * v.PatchSize
	v.UseHead = im.HasTensor(p.root + "img/MAPHead_0/probe")
	hasText := im.HasTensor(p.root + "txt/Embed_0/embedding")
	if hasText {
		t.VocabSize, t.HiddenSize = of("txt/Embed_0/embedding", 0), of("txt/Embed_0/embedding", 1)
		t.MaxPositions, t.ProjectionSize = of("txt/pos_embedding", 1), of("txt/head/kernel", 1)
		t.Layers, t.Heads = depth("txt/Encoder_0"), of("txt/Encoder_0/encoderblock/MultiHeadDotProductAttention_0/query/kernel", 1)
		t.IntermediateSize = of("txt/Encoder_0/encoderblock/MlpBlock_0/Dense_0/kernel", 1)
	}
	return c.build(im, graph.NewBuilder(p), true, hasText)
}

// bigVisionParams gives flax parameters by the names of transformers.
type bigVisionParams struct {
	im   *Import
	root string
}

// bigVisionNames are the places of flax's modules and how their axes become torch's; "" keeps them.
var bigVisionNames = []struct{ canonical, source, layout string }{
	{"vision_model.embeddings.patch_embedding.weight", "img/embedding/kernel", "y x i o -> o i y x"},
	{"vision_model.embeddings.patch_embedding.bias", "img/embedding/bias", ""},
	{"vision_model.embeddings.position_embedding.weight", "img/pos_embedding", ""},
	{"vision_model.post_layernorm.weight", "img/Transformer/encoder_norm/scale", ""},
	{"vision_model.post_layernorm.bias", "img/Transformer/encoder_norm/bias", ""},
	{"vision_model.head.probe", "img/MAPHead_0/probe", ""},
	{"vision_model.head.layernorm.weight", "img/MAPHead_0/LayerNorm_0/scale", ""},
	{"vision_model.head.layernorm.bias", "img/MAPHead_0/LayerNorm_0/bias", ""},
	{"vision_model.head.attention.out_proj.weight", "img/MAPHead_0/MultiHeadDotProductAttention_0/out/kernel", "h d o -> o (h d)"},
	{"vision_model.head.attention.out_proj.bias", "img/MAPHead_0/MultiHeadDotProductAttention_0/out/bias", ""},
	{"vision_model.head.mlp.fc1.weight", "img/MAPHead_0/MlpBlock_0/Dense_0/kernel", "i o -> o i"},
	{"vision_model.head.mlp.fc1.bias", "img/MAPHead_0/MlpBlock_0/Dense_0/bias", ""},
	{"vision_model.head.mlp.fc2.weight", "img/MAPHead_0/MlpBlock_0/Dense_1/kernel", "i o -> o i"},
	{"vision_model.head.mlp.fc2.bias", "img/MAPHead_0/MlpBlock_0/Dense_1/bias", ""},
	{"text_model.embeddings.token_embedding.weight", "txt/Embed_0/embedding", ""},
	{"text_model.embeddings.position_embedding.weight", "txt/pos_embedding", ""},
	{"text_model.final_layer_norm.weight", "txt/Encoder_0/encoder_norm/scale", ""},
	{"text_model.final_layer_norm.bias", "txt/Encoder_0/encoder_norm/bias", ""},
	{"text_model.head.weight", "txt/head/kernel", "i o -> o i"},
	{"text_model.head.bias", "txt/head/bias", ""},
	{"logit_scale", "t", ""},
	{"logit_bias", "b", ""},
}

// bigVisionLayer are the modules of a layer.
var bigVisionLayer = []struct{ canonical, source, layout string }{
	{"layer_norm1.weight", "LayerNorm_0/scale", ""}, {"layer_norm1.bias", "LayerNorm_0/bias", ""},
	{"layer_norm2.weight", "LayerNorm_1/scale", ""}, {"layer_norm2.bias", "LayerNorm_1/bias", ""},
	{"self_attn.q_proj.weight", "MultiHeadDotProductAttention_0/query/kernel", "i h d -> (h d) i"},
	{"self_attn.q_proj.bias", "MultiHeadDotProductAttention_0/query/bias", "h d -> (h d)"},
	{"self_attn.k_proj.weight", "MultiHeadDotProductAttention_0/key/kernel", "i h d -> (h d) i"},
	{"self_attn.k_proj.bias", "MultiHeadDotProductAttention_0/key/bias", "h d -> (h d)"},
	{"self_attn.v_proj.weight", "MultiHeadDotProductAttention_0/value/kernel", "i h d -> (h d) i"},
	{"self_attn.v_proj.bias", "MultiHeadDotProductAttention_0/value/bias", "h d -> (h d)"},
	{"self_attn.out_proj.weight", "MultiHeadDotProductAttention_0/out/kernel", "h d o -> o (h d)"},
	{"self_attn.out_proj.bias", "MultiHeadDotProductAttention_0/out/bias", ""},
	{"mlp.fc1.weight", "MlpBlock_0/Dense_0/kernel", "i o -> o i"}, {"mlp.fc1.bias", "MlpBlock_0/Dense_0/bias", ""},
	{"mlp.fc2.weight", "MlpBlock_0/Dense_1/kernel", "i o -> o i"}, {"mlp.fc2.bias", "MlpBlock_0/Dense_1/bias", ""},
}

var bigVisionLayerName = regexp.MustCompile(`^(vision_model|text_model)\.encoder\.layers\.(\d+)\.(.*)$`)

// Has reports whether the tensor is there.
func (p *bigVisionParams) Has(name string) bool {
	_, err := p.read(name)
	return err == nil
}

// Param returns the parameter of a canonical name in torch's layout.
func (p *bigVisionParams) Param(name string, shape ...int) (graph.Expr, error) {
	e, err := p.read(name)
	if err != nil {
		return nil, err
	}
	if graph.Shape(squeeze(e.Shape())).Equal(squeeze(shape)) {
		return graph.ReshapeExpr(e, shape...), nil
	}
	return nil, fmt.Errorf("tensor of %s: expected shape %v in torch's layout, found %v", name, graph.Shape(shape), e.Shape())
}

func (p *bigVisionParams) read(name string) (graph.Expr, error) {
	// The probe's attention has one matrix in torch and three in flax.
	if kind, ok := strings.CutPrefix(name, "vision_model.head.attention.in_proj_"); ok {
		leaf, layout := "kernel", "i h d -> (h d) i"
		if kind == "bias" {
			leaf, layout = "bias", "h d -> (h d)"
		}
		var parts []graph.Expr
		for _, part := range []string{"query", "key", "value"} {
			e, err := p.tensor("img/MAPHead_0/MultiHeadDotProductAttention_0/"+part+"/"+leaf, layout, -1)
			if err != nil {
				return nil, err
			}
			parts = append(parts, e)
		}
		return graph.ConcatExpr(parts...), nil
	}
	if m := bigVisionLayerName.FindStringSubmatch(name); m != nil {
		layer, _ := strconv.Atoi(m[2])
		tower := map[string]string{"vision_model": "img/Transformer/", "text_model": "txt/Encoder_0/"}[m[1]]
		for _, r := range bigVisionLayer {
			if r.canonical != m[3] {
				continue
			}
			if own := fmt.Sprintf("%sencoderblock_%d/%s", tower, layer, r.source); p.im.HasTensor(p.root + own) {
				return p.tensor(own, r.layout, -1)
			}
			return p.tensor(tower+"encoderblock/"+r.source, r.layout, layer)
		}
	}
	for _, r := range bigVisionNames {
		if r.canonical == name {
			return p.tensor(r.source, r.layout, -1)
		}
	}
	return nil, fmt.Errorf("tensor of %s: big_vision has none", name)
}

// tensor reads a tensor, or a layer of a stacked one where layer is not negative, and reorders its axes.
func (p *bigVisionParams) tensor(name, layout string, layer int) (graph.Expr, error) {
	t, ok := p.im.Tensor(p.root + name)
	if !ok {
		return nil, fmt.Errorf("tensor %s: missing", p.root+name)
	}
	p.im.read[p.root+name] = true
	var e graph.Expr = graph.Leaf{Tensor: t}
	if layer >= 0 {
		if len(t.Shape) < 2 || layer >= t.Shape[0] {
			return nil, fmt.Errorf("tensor %s: shape %v has no layer %d", p.root+name, graph.Shape(t.Shape), layer)
		}
		e = graph.ReshapeExpr(graph.SliceExpr(e, layer, layer+1), t.Shape[1:]...)
	}
	if layout != "" {
		from, _, _ := strings.Cut(layout, "->")
		if len(strings.Fields(from)) != len(e.Shape()) {
			return nil, fmt.Errorf("tensor %s: expected the axes %q, found shape %v", p.root+name, strings.TrimSpace(from), e.Shape())
		}
		e = graph.RearrangeExpr(e, layout, nil)
	}
	return e, nil
}
