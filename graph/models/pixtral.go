package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// Pixtral 12B (Agrawal et al., arXiv:2410.07073): a vision transformer for pictures of any size, with rotary positions by row and
// column, RMSNorm and gated MLPs. Source: huggingface/transformers models/pixtral/modeling_pixtral.py.

// pixtralVision is a vision_config of model_type pixtral.
type pixtralVision struct {
	HiddenSize       int     `json:"hidden_size"`
	IntermediateSize int     `json:"intermediate_size"`
	Layers           int     `json:"num_hidden_layers"`
	Heads            int     `json:"num_attention_heads"`
	Channels         int     `json:"num_channels"`
	ImageSize        int     `json:"image_size"`
	PatchSize        int     `json:"patch_size"`
	HiddenAct        string  `json:"hidden_act"`
	Theta            float64 `json:"rope_theta"`
	Rope             struct {
		Theta float64 `json:"rope_theta"`
	} `json:"rope_parameters"`
}

func defaultPixtral() pixtralVision {
	return pixtralVision{HiddenSize: 1024, IntermediateSize: 4096, Layers: 24, Heads: 16, Channels: 3, ImageSize: 1024, PatchSize: 16, HiddenAct: "gelu"}
}

// sizedTower is a tower that saw pictures of different sizes in one batch.
type sizedTower struct {
	*block.Tower
	Mask *graph.Node // 1 for the patches of a picture, 0 for those of padding, [M, rows, columns]
}

// sizedPixels adds the inputs of pictures that are padded to one size at the right and the bottom: pixels [M, C, H, W], and the
// mask [M, H, W] of what is not padding, which the feeder of sized pictures makes of image_sizes.
func sizedPixels(b *graph.Builder, channels int) (pixels, mask *graph.Node) {
	return maskedPixels(b, "pixel_values", "sized_pixel_mask", channels)
}

// build maps pixels [M, C, H, W] with a mask [M, H, W] to [M, patches, HiddenSize]. at is the tower's stem, "vision_tower".
func (v *pixtralVision) build(b *graph.Builder, pixels, mask *graph.Node, at string) (*sizedTower, error) {
	act, err := activation("vision_config.hidden_act", v.HiddenAct)
	if err == nil {
		err = checkSizes("vision_config", size{"hidden_size", v.HiddenSize}, size{"intermediate_size", v.IntermediateSize}, size{"num_attention_heads", v.Heads},
			size{"num_channels", v.Channels}, size{"image_size", v.ImageSize}, size{"patch_size", v.PatchSize}, size{"image_size / patch_size", v.ImageSize / max(v.PatchSize, 1)})
	}
	if err != nil {
		return nil, err
	}
	d := v.HiddenSize
	if d%v.Heads != 0 || d/v.Heads%4 != 0 {
		return nil, fmt.Errorf("config: vision_config: %d channels in %d heads do not turn by rows and columns; expected heads of a multiple of 4", d, v.Heads)
	}
	theta := 10000.0
	if v.Theta > 0 {
		theta = v.Theta
	}
	if v.Rope.Theta > 0 {
		theta = v.Rope.Theta
	}
	norm := block.Norm{Kind: block.RMSNorm, Eps: 1e-5}
	patches := block.Patches{Projection: block.Projection{Stem: "patch_conv", Bias: block.Absent}, Channels: v.Channels, Dim: d, Height: v.PatchSize, Width: v.PatchSize}
	x := norm.Apply(b, patches.Apply(b, pixels, at), at+".ln_pre", d)
	t := &sizedTower{Mask: b.Op(graph.PatchMask{Size: v.PatchSize}, nil, mask)}

	layer := block.LLaMALayer.Sized(d, v.Heads, v.IntermediateSize)
	layer.Norm, layer.MLP.Act = norm, act
	layer.Self.Norm, layer.Feed.Norm = "attention_norm", "ffn_norm"
	for p, name := range map[*block.Projection]string{&layer.Attention.Q: "attention.q_proj", &layer.Attention.K: "attention.k_proj", &layer.Attention.V: "attention.v_proj",
		&layer.Attention.Out: "attention.o_proj", &layer.MLP.Gate: "feed_forward.gate_proj", &layer.MLP.FC1: "feed_forward.up_proj", &layer.MLP.FC2: "feed_forward.down_proj"} {
		p.Stem = name
	}
	rotary := block.GridRotary(b, t.Mask, v.ImageSize/v.PatchSize, d/v.Heads, theta)
	tower := block.Transformer{Layer: layer, Stem: at + ".transformer.layers.%d", Layers: v.Layers}
	t.Tower = tower.Apply(b, x, block.With{Bias: block.HideKeys(b, b.Rearrange(t.Mask, "b h w -> b (h w)")), Rotate: rotary.Rotate(b)}, block.With{})
	return t, nil
}

// name gives the tower's values their names, and the masks theirs that tell which tokens are real.
func (t *sizedTower) name(b *graph.Builder) {
	b.Name(t.Embeddings, "ln_pre")
	t.NameLayers(b, "vision.layer%d")
	b.Name(t.Last, "vision.last_hidden_state")
	real := b.Rearrange(t.Mask, "b h w -> b (h w)")
	b.Output(real, graph.Vision, "vision.real")
	b.Output(b.Scale(real, 1), graph.Vision, "ln_pre.real")
}

// states are the hidden states of these numbers, one behind the other in each token.
func (t *sizedTower) states(b *graph.Builder, layers []int) *graph.Node {
	var parts []*graph.Node
	for _, i := range layers {
		parts = append(parts, t.State(b, i))
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return b.Concat(2, parts...)
}

// merged puts s x s tokens [M, patches, D] together to one, channel by channel as torch's unfold has it, and returns them and
// which of them are real.
func (t *sizedTower) merged(b *graph.Builder, x *graph.Node, s int) (tokens, real *graph.Node) {
	like := b.Rearrange(t.Mask, "m h w -> h w m")
	x = b.Op(graph.SplitLike{}, nil, b.Rearrange(x, "m n c -> n m c"), like)
	tokens = b.Rearrange(x, "(y v) (x u) m c -> m (y x) (c v u)", "v", s, "u", s)
	// The last patch of a square is real only if all are: padding lies at the right and the bottom.
	corner := b.Op(graph.Slice{Axis: 2, Start: s - 1, Step: s}, nil, b.Op(graph.Slice{Axis: 1, Start: s - 1, Step: s}, nil, t.Mask))
	return tokens, b.Rearrange(corner, "m y x -> m (y x)")
}

var _ = Register(&System{
	Name: "mistral3", Title: "Mistral 3, LightOnOCR",
	ModelTypes: []string{"mistral3", "lighton_ocr"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type mistral3 or lighton_ocr, tensors *.patch_merger.merging_layer.weight", Recognise: func(im *Import) bool {
			t := im.ModelType()
			return (t == "mistral3" || t == "lighton_ocr") && im.HasAny("*patch_merger.merging_layer.weight")
		}},
	},
	Build: buildMistral3,
})

// buildMistral3: RMSNorm, merger of patches and MLP behind Pixtral's tower (huggingface/transformers
// models/mistral3/modeling_mistral3.py, models/lighton_ocr/modeling_lighton_ocr.py).
func buildMistral3(im *Import) (*graph.Model, error) {
	c := struct {
		llavaHF
		Vision pixtralVision `json:"vision_config"`
		Norms  struct {
			Eps float64 `json:"rms_norm_eps"`
		} `json:"text_config"`
		Merge int `json:"spatial_merge_size"`
	}{llavaHF: llavaHF{Act: "gelu", FeatureLayer: []byte("-1")}, Vision: defaultPixtral(), Merge: 2}
	c.Norms.Eps = 1e-6
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	towerStem, projStem := "vision_tower", "multi_modal_projector"
	if im.ModelType() == "lighton_ocr" {
		towerStem, projStem, c.Act, c.Bias, c.FeatureLayer = "vision_encoder", "vision_projection", "gelu", false, []byte("-1")
	}
	layers, err := featureLayers(c.FeatureLayer)
	if err != nil {
		return nil, err
	}
	act, err := activation("projector_hidden_act", c.Act)
	if err != nil {
		return nil, err
	}
	d := c.Vision.HiddenSize
	if err := checkSizes("config", size{"spatial_merge_size", c.Merge}, size{"vision_config.hidden_size", d}, size{"17 - spatial_merge_size", 17 - c.Merge}); err != nil {
		return nil, err
	}
	prefix, _ := im.prefixOf(projStem+".norm.weight", "", "model.")
	im.languageModel("language_model.*", "model.language_model.*", "lm_head.*")
	p := im.Params(nil, prefix)
	out := p.dim(projStem+".linear_1.weight", 0)
	b := graph.NewBuilder(p)
	image, err := im.classPipeline("PixtralImageProcessor")
	if err != nil {
		return nil, err
	}
	pixels, mask := sizedPixels(b, c.Vision.Channels)
	t, err := c.Vision.build(b, pixels, mask, towerStem)
	if err != nil {
		return nil, err
	}
	t.name(b)
	wide := d * len(layers)
	// The norm's gain goes into the merger's columns: behind the merger's rearrangement no pass would find it.
	x := block.Norm{Kind: block.RMSNorm, Eps: c.Norms.Eps, Gain: block.Absent}.Apply(b, t.states(b, layers), projStem+".norm", wide)
	x, real := t.merged(b, x, c.Merge)
	x = b.Op(graph.Linear{}, []*graph.Weight{mergerWeight(b, projStem, wide, c.Merge*c.Merge), nil}, x)
	x = b.LinearIf(c.Bias, x, projStem+".linear_1", wide, out)
	b.Output(b.LinearIf(c.Bias, b.Act(x, act), projStem+".linear_2", out, out), graph.Projector, "visual_tokens")
	b.Output(real, graph.Projector, "visual_tokens.real")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: image}}, err
}

// mergerWeight is the patch merger's matrix [dim, n dim], scaled by the gain of the norm before it.
func mergerWeight(b *graph.Builder, at string, dim, n int) *graph.Weight {
	name := at + ".patch_merger.merging_layer.weight"
	gain := b.Tensor(at+".norm.weight", dim)
	parts := make([]graph.Expr, min(n, 1<<10))
	for i := range parts {
		parts[i] = gain
	}
	gains := graph.RearrangeExpr(graph.ConcatExpr(parts...), "(n c) -> (c n)", map[string]int{"n": len(parts)})
	return b.Derived(graph.Matrix, name, graph.ScaleColumnsExpr(b.Tensor(name, dim, n*dim), gains))
}
