package models

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// AIMv2: Multimodal Autoregressive Pre-training of Large Vision Encoders (Fini et al., arXiv:2411.14402), the encoder alone or
// with a text tower (LiT). Source: huggingface/transformers models/aimv2/modeling_aimv2.py.

var _ = Register(&System{
	Name: "aimv2", Title: "AIMv2",
	ModelTypes: []string{"aimv2", "aimv2_vision_model", "aimv2_text_model"},
	Namings: []Naming{{Name: "huggingface", Looked: "config.json with model_type aimv2 or aimv2_vision_model, tensors encoder.layers.#.rms_norm1.weight", Recognise: func(im *Import) bool {
		switch im.ModelType() {
		case "aimv2", "aimv2_vision_model", "aimv2_text_model":
			return (im.HasAny("encoder.layers.#.rms_norm1.weight") || im.HasAny("vision_model.encoder.layers.#.rms_norm1.weight") || im.HasAny("text_model.encoder.layers.#.rms_norm1.weight"))
		}
		return false
	}}},
	Build: buildAIMv2,
})

// aimTower is what the configurations of both towers say.
type aimTower struct {
	Dim     int     `json:"hidden_size"`
	Hidden  int     `json:"intermediate_size"`
	Layers  int     `json:"num_hidden_layers"`
	Heads   int     `json:"num_attention_heads"`
	Act     string  `json:"hidden_act"`
	Eps     float64 `json:"rms_norm_eps"`
	MLPBias bool    `json:"mlp_bias"`
	QKVBias bool    `json:"qkv_bias"`

	Channels  int  `json:"num_channels"`
	ImageSize pair `json:"image_size"`
	PatchSize pair `json:"patch_size"`
	UseHead   bool `json:"use_head"`
	Native    bool `json:"is_native"` // fixed sines and cosines instead of learned positions

	Vocabulary int `json:"vocab_size"`
	Positions  int `json:"max_position_embeddings"`
	EOS        int `json:"eos_token_id"`
}

type aimConfig struct {
	Vision     aimTower `json:"vision_config"`
	Text       aimTower `json:"text_config"`
	Projection int      `json:"projection_dim"`
	MaxScale   float64  `json:"max_logit_scale"`
}

func defaultAIMv2() aimConfig {
	return aimConfig{
		Vision:     aimTower{Dim: 1024, Hidden: 2816, Layers: 24, Heads: 8, Act: "silu", Eps: 1e-5, Channels: 3, ImageSize: pair{224, 224}, PatchSize: pair{14, 14}, UseHead: true},
		Text:       aimTower{Dim: 768, Hidden: 2048, Layers: 12, Heads: 6, Act: "silu", Eps: 1e-5, Vocabulary: 49408, Positions: 77, EOS: 49407},
		Projection: 512, MaxScale: 100,
	}
}

func buildAIMv2(im *Import) (*graph.Model, error) {
	c := defaultAIMv2()
	var vision, text bool
	var err error
	prefix := ""
	switch im.ModelType() {
	case "aimv2":
		vision, text, err = true, true, im.Config(&c)
	case "aimv2_vision_model":
		vision, err = true, im.Config(&c.Vision)
		prefix, _ = im.prefixOf("rms_norm.weight", "", "vision_model.")
	default:
		text, err = true, im.Config(&c.Text)
		prefix, _ = im.prefixOf("rms_norm.weight", "", "text_model.")
	}
	if err != nil {
		return nil, err
	}
	im.Ignore("*embeddings.position_ids", "a buffer of consecutive numbers")
	at := func(own string) string {
		if vision && text {
			return own
		}
		return ""
	}
	b := graph.NewBuilder(im.Params(nil, prefix))
	p := &pipeline.Pipeline{}
	var image, words *block.Tower
	if vision {
		if p.Image, err = im.imagePipeline(pipeline.ImageOpenAICLIP(c.Vision.ImageSize[0])); err != nil {
			return nil, err
		}
		size := im.imageSize([2]int(c.Vision.ImageSize))
		if image, err = c.Vision.vision(b, im.pixels(b, p.Image, c.Vision.Channels, size), size, at("vision_model."), prefixIf(text, "vision.")); err != nil {
			return nil, err
		}
	}
	if text {
		if p.Text, err = im.textPipeline("CLIPTokenizer", c.Text.Positions, c.Text.Vocabulary); err != nil {
			return nil, err
		}
		if words, err = c.Text.text(b, at("text_model."), prefixIf(vision, "text.")); err != nil {
			return nil, err
		}
	}
	switch {
	case vision && text && image.Pooled == nil:
		return nil, fmt.Errorf("config: vision_config.use_head is false, and a model of two towers compares what it pools")
	case vision && text:
		if err := checkSizes("config", size{"projection_dim", c.Projection}); err != nil {
			return nil, err
		}
		x := b.Output(b.L2Norm(b.LinearNoBias(image.Pooled, "visual_projection", c.Vision.Dim, c.Projection), 0), graph.Vision, "image_embeds")
		y := b.Output(b.L2Norm(b.LinearNoBias(words.Pooled, "text_projection", c.Text.Dim, c.Projection), 0), graph.Text, "text_embeds")
		scale := b.Derived(graph.Scalar, "exp(logit_scale)", graph.ExpExpr(graph.Apply(clampedScale{Most: math.Log(c.MaxScale)}, b.Tensor("logit_scale", 1))))
		logits := b.Mul(b.MatMulT(x, y), b.Value(scale))
		b.Output(logits, graph.Joint, "logits_per_image")
		b.Output(b.Rearrange(logits, "i t -> t i"), graph.Joint, "logits_per_text")
		p.Task = &pipeline.Task{Kind: "contrastive", Query: "image_embeds", Key: "text_embeds"}
	case vision:
		b.SetOutput("last_hidden_state", graph.Vision)
		if image.Pooled != nil {
			b.SetOutput("pooler_output", graph.Vision)
		}
	default:
		b.SetOutput("pooler_output", graph.Text)
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: p}, err
}

// stack returns the layers: RMSNorm, attention, RMSNorm, SwiGLU.
func (t *aimTower) stack(at string) (*block.Transformer, error) {
	act, err := activation("hidden_act", t.Act)
	if err == nil {
		err = checkSizes("config", size{"hidden_size", t.Dim}, size{"num_attention_heads", t.Heads}, size{"intermediate_size", t.Hidden})
	}
	if err != nil {
		return nil, err
	}
	projection := func(stem string, has bool) block.Projection { return block.Projection{Stem: stem, Bias: bias(has)} }
	l := block.Layer{
		Norm: block.Norm{Kind: block.RMSNorm, Eps: t.Eps}, Self: block.Branch{Norm: "rms_norm1"}, Feed: block.Branch{Norm: "rms_norm2"},
		Attention: block.Attention{Q: projection("attention.q_proj", t.QKVBias), K: projection("attention.k_proj", t.QKVBias),
			V: projection("attention.v_proj", t.QKVBias), Out: projection("attention.out_proj", t.QKVBias)},
		MLP: block.MLP{Act: act, Gate: projection("ffn.gate_proj", t.MLPBias), FC1: projection("ffn.up_proj", t.MLPBias), FC2: projection("ffn.down_proj", t.MLPBias)},
	}
	return &block.Transformer{Layer: l.Sized(t.Dim, t.Heads, t.Hidden), Stem: at + "encoder.layers.%d", Layers: t.Layers, Norm: at + "rms_norm"}, nil
}

// vision builds the image tower at a stem, and names its values behind a prefix.
func (t *aimTower) vision(b *graph.Builder, pixels *graph.Node, image [2]int, at, prefix string) (*block.Tower, error) {
	stack, err := t.stack(at)
	if err == nil {
		err = checkSizes("config", size{"patch_size", t.PatchSize[0]}, size{"patch_size", t.PatchSize[1]}, size{"num_channels", t.Channels},
			size{"image_size", t.ImageSize[0]}, size{"image_size", t.ImageSize[1]})
	}
	var grid [2]int
	if err == nil {
		grid, err = block.Grid(image, [2]int(t.PatchSize), [2]int(t.ImageSize))
	}
	if err != nil {
		return nil, err
	}
	x := block.Patches{Channels: t.Channels, Dim: t.Dim, Height: t.PatchSize[0], Width: t.PatchSize[1]}.Apply(b, pixels, at+"embeddings.patch_embed")
	x = b.RMSNorm(x, at+"embeddings.rms_norm", t.Dim, t.Eps)
	if t.Native {
		x = b.Add(x, b.Value(b.Derived(graph.Position, "sincos", graph.Apply(gridSines{grid, t.Dim}))))
	} else {
		stored := [2]int{t.ImageSize[0] / t.PatchSize[0], t.ImageSize[1] / t.PatchSize[1]}
		x = b.Add(x, block.Positions{Table: at + "embeddings.position_embedding.weight", Stored: stored, Grid: grid, Dim: t.Dim}.Value(b))
	}
	tower := stack.Apply(b, x, block.With{}, block.With{})
	b.Name(x, prefix+"embeddings")
	tower.NameLayers(b, prefix+"layer%d")
	b.Name(tower.Last, prefix+"last_hidden_state")
	if t.UseHead {
		d := t.Dim
		query := b.Op(graph.Expand{}, nil, b.Parameter(graph.Position, at+"head.cls_token", 1, 1, d), tower.Last)
		k := b.LinearIf(t.QKVBias, tower.Last, at+"head.k_proj", d, d)
		v := b.LinearIf(t.QKVBias, tower.Last, at+"head.v_proj", d, d)
		if d%t.Heads != 0 {
			return nil, fmt.Errorf("config: %d channels do not split into %d heads", d, t.Heads)
		}
		h := b.Attention(query, k, v, graph.AttentionSpec{Heads: t.Heads, HeadDim: d / t.Heads})
		tower.Pooled = b.Name(b.Linear(b.Rearrange(h, "b 1 d -> b d"), at+"head.output_proj", d, d), prefix+"pooler_output")
	}
	return tower, nil
}

// text builds the text tower at a stem; its state at the first end-of-text token is what it pools.
func (t *aimTower) text(b *graph.Builder, at, prefix string) (*block.Tower, error) {
	stack, err := t.stack(at)
	if err == nil {
		err = checkSizes("config", size{"vocab_size", t.Vocabulary}, size{"max_position_embeddings", t.Positions})
	}
	if err != nil {
		return nil, err
	}
	ids := b.Input("input_ids", -1, -2)
	// The original hides what follows a token only where it is given a mask, and attends everywhere without one. No text is
	// hidden whole, so that a mask of zeros stands for none.
	mask := b.OptionalInput("attention_mask", ids, 0, -1, -2)
	given := b.Op(graph.Reduce{Kind: graph.Max, Axis: 1}, nil, mask) // 1 where there is a mask
	after := b.Value(b.Derived(graph.Position, "causal", graph.Apply(hideAfter{t.Positions})))
	for axis := range 2 {
		after = b.Op(graph.TakeLike{Axis: axis, LikeAxis: 1}, nil, after, ids)
	}
	causal := b.Mul(b.Rearrange(after, "q k -> 1 1 q k"), b.Rearrange(given, "b -> b 1 1 1"))
	shown := b.Op(graph.Scale{Mul: 1, Add: 1}, nil, b.Sub(mask, b.Rearrange(given, "b -> b 1")))
	x := b.Embedding(ids, at+"embeddings.token_embedding", t.Vocabulary, t.Dim)
	x = block.TextPositions(b, x, at+"embeddings.position_embedding.weight", t.Positions, t.Dim)
	tower := stack.Apply(b, x, block.With{Bias: b.Add(causal, block.HideKeys(b, shown))}, block.With{})
	b.Name(x, prefix+"embeddings")
	tower.NameLayers(b, prefix+"layer%d")
	b.Name(tower.Last, prefix+"last_hidden_state")
	tower.Pooled = b.Name(b.Op(graph.Select{}, nil, tower.Last, b.Op(graph.FirstEqual{Value: float32(t.EOS)}, nil, ids)), prefix+"pooler_output")
	return tower, nil
}

var _ = graph.RegisterExpr(gridSines{}, clampedScale{}, hideAfter{})

// hideAfter is a bias [Places, Places] that hides the keys behind a query.
type hideAfter struct{ Places int }

func (o hideAfter) Infer(args []graph.Shape) (graph.Shape, error) {
	if len(args) != 0 || o.Places < 1 || o.Places > 1<<13 {
		return nil, fmt.Errorf("a mask of %d places", o.Places)
	}
	return graph.Shape{o.Places, o.Places}, nil
}

func (o hideAfter) Eval([]*graph.Tensor) ([]float32, error) {
	out := make([]float32, o.Places*o.Places)
	for q := range o.Places {
		for k := q + 1; k < o.Places; k++ {
			out[q*o.Places+k] = -1e30
		}
	}
	return out, nil
}

// clampedScale keeps the logarithm of a scale between 0 and Most.
type clampedScale struct{ Most float64 }

func (o clampedScale) Infer(args []graph.Shape) (graph.Shape, error) {
	if len(args) != 1 || math.IsNaN(o.Most) || math.IsInf(o.Most, 0) {
		return nil, fmt.Errorf("a scale of at most e^%g", o.Most)
	}
	return args[0], nil
}

func (o clampedScale) Eval(args []*graph.Tensor) ([]float32, error) {
	out := make([]float32, len(args[0].Data))
	for i, x := range args[0].Data {
		out[i] = min(max(x, 0), float32(o.Most))
	}
	return out, nil
}

// gridSines are fixed positions of a grid, [patches, Dim]: sines and cosines of the column, then of the row, by frequencies
// from 1 down to 1/10000 (MoCo v3, arXiv:2104.02057).
type gridSines struct {
	Grid [2]int
	Dim  int
}

func (o gridSines) Infer(args []graph.Shape) (graph.Shape, error) {
	const most = 1 << 14
	if len(args) != 0 || o.Dim < 4 || o.Dim%4 != 0 || o.Dim > most || min(o.Grid[0], o.Grid[1]) < 1 || max(o.Grid[0], o.Grid[1]) > most {
		return nil, fmt.Errorf("sines of %d channels on a grid of %d x %d", o.Dim, o.Grid[0], o.Grid[1])
	}
	return graph.Shape{o.Grid[0] * o.Grid[1], o.Dim}, nil
}

func (o gridSines) Eval([]*graph.Tensor) ([]float32, error) {
	n := o.Dim / 4
	out := make([]float32, 0, o.Grid[0]*o.Grid[1]*o.Dim)
	row := make([]float32, o.Dim)
	for y := range o.Grid[0] {
		for x := range o.Grid[1] {
			for i := range n {
				f := float64(float32(1 / math.Pow(10000, float64(float32(i)/float32(n)))))
				for axis, place := range []int{x, y} {
					angle := float64(float32(float64(place) * f))
					row[2*axis*n+i], row[(2*axis+1)*n+i] = float32(math.Sin(angle)), float32(math.Cos(angle))
				}
			}
			out = append(out, row...)
		}
	}
	return out, nil
}
