package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// SigLIP: Sigmoid Loss for Language Image Pre-Training (Zhai et al., arXiv:2303.15343).
// Sources: huggingface/transformers models/siglip/modeling_siglip.py; google-research/big_vision models/vit.py and
// models/proj/image_text/two_towers.py; huggingface/pytorch-image-models timm/models/vision_transformer.py;
// mlfoundations/open_clip src/open_clip/{model,timm_model}.py.

var _ = Register(&System{
	Name: "siglip", Title: "SigLIP", Row: 3,
	ModelTypes: []string{"siglip", "siglip_vision_model", "siglip_text_model"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type siglip, tensors vision_model.* or text_model.*", Recognise: func(im *Import) bool {
			switch im.ModelType() {
			case "siglip", "siglip_vision_model", "siglip_text_model":
				return im.HasTensor("vision_model.embeddings.patch_embedding.weight") || im.HasTensor("text_model.embeddings.token_embedding.weight")
			}
			return false
		}},
		{Name: "open_clip", Looked: "open_clip_config.json that names a timm model with siglip in its name, tensors visual.trunk.*", Recognise: func(im *Import) bool {
			return im.HasTensor("visual.trunk.patch_embed.proj.weight") && timmFamily(im.timmTrunk()) == familySigLIP
		}},
		{Name: "timm", Looked: "config.json whose architecture has siglip in its name, tensors blocks.#.attn.qkv.weight", Recognise: func(im *Import) bool {
			return im.HasTensor("patch_embed.proj.weight") && timmFamily(im.timmArchitecture()) == familySigLIP
		}},
		{Name: "big_vision", Looked: "tensors params/img/embedding/kernel", Recognise: func(im *Import) bool {
			return im.HasTensor(bigVisionRoot(im) + "img/embedding/kernel")
		}},
	},
	Build: buildSigLIP,
})

// siglipVision is a vision_config of transformers' SigLIP.
type siglipVision struct {
	HiddenSize       int     `json:"hidden_size"`
	IntermediateSize int     `json:"intermediate_size"`
	Layers           int     `json:"num_hidden_layers"`
	Heads            int     `json:"num_attention_heads"`
	Channels         int     `json:"num_channels"`
	ImageSize        int     `json:"image_size"`
	PatchSize        int     `json:"patch_size"`
	HiddenAct        string  `json:"hidden_act"`
	Eps              float64 `json:"layer_norm_eps"`
	UseHead          bool    `json:"vision_use_head"`
}

// siglipText is a text_config of transformers' SigLIP.
type siglipText struct {
	VocabSize        int     `json:"vocab_size"`
	HiddenSize       int     `json:"hidden_size"`
	IntermediateSize int     `json:"intermediate_size"`
	Layers           int     `json:"num_hidden_layers"`
	Heads            int     `json:"num_attention_heads"`
	MaxPositions     int     `json:"max_position_embeddings"`
	HiddenAct        string  `json:"hidden_act"`
	Eps              float64 `json:"layer_norm_eps"`
	ProjectionSize   int     `json:"projection_size"` // 0: hidden_size
}

type siglipConfig struct {
	Vision siglipVision `json:"vision_config"`
	Text   siglipText   `json:"text_config"`
}

func defaultSigLIP() siglipConfig {
	return siglipConfig{
		Vision: siglipVision{HiddenSize: 768, IntermediateSize: 3072, Layers: 12, Heads: 12, Channels: 3, ImageSize: 224, PatchSize: 16,
			HiddenAct: "gelu_pytorch_tanh", Eps: 1e-6, UseHead: true},
		Text: siglipText{VocabSize: 32000, HiddenSize: 768, IntermediateSize: 3072, Layers: 12, Heads: 12, MaxPositions: 64,
			HiddenAct: "gelu_pytorch_tanh", Eps: 1e-6},
	}
}

func buildSigLIP(im *Import) (*graph.Model, error) {
	switch im.Naming {
	case "open_clip":
		return buildTrunkCLIP(im)
	case "timm":
		return buildTimmViT(im)
	case "big_vision":
		return buildBigVision(im)
	}
	c := defaultSigLIP()
	var hasVision, hasText bool
	var err error
	switch im.ModelType() {
	case "siglip":
		hasVision, hasText = im.towers("vision_model.embeddings.patch_embedding.weight", "text_model.embeddings.token_embedding.weight")
		err = im.Config(&c)
	case "siglip_vision_model":
		hasVision = true
		err = im.Config(&c.Vision)
	case "siglip_text_model":
		hasText = true
		err = im.Config(&c.Text)
	}
	if err != nil {
		return nil, err
	}
	im.Ignore("*.embeddings.position_ids", "a buffer of consecutive numbers")
	return c.build(im, graph.NewBuilder(im.Params(nil, "")), hasVision, hasText)
}

// build makes the towers that the checkpoint holds.
func (c *siglipConfig) build(im *Import, b *graph.Builder, hasVision, hasText bool) (*graph.Model, error) {
	p := &pipeline.Pipeline{}
	var vision, text *block.Tower
	var err error
	if hasVision {
		s := im.imageSize([2]int{c.Vision.ImageSize, c.Vision.ImageSize})
		if p.Image, err = im.imagePipeline(pipeline.ImageSquash(c.Vision.ImageSize, c.Vision.ImageSize, pipeline.HalfMean, pipeline.HalfStd)); err != nil {
			return nil, err
		}
		vision = c.Vision.features(b, im.pixels(b, p.Image, c.Vision.Channels, s), s, prefixIf(hasText, "vision."))
	}
	if hasText {
		if p.Text, err = im.textPipeline("SiglipTokenizer", c.Text.MaxPositions, c.Text.VocabSize); err != nil {
			return nil, err
		}
		text = c.Text.features(b, prefixIf(hasVision, "text."))
	}
	switch {
	case hasVision && hasText && vision.Pooled == nil:
		b.Fail(fmt.Errorf("config: vision_config.vision_use_head is false, and a model of two towers compares what it pools"))
	case hasVision && hasText:
		image := b.Output(b.L2Norm(vision.Pooled, 0), graph.Vision, "image_embeds")
		words := b.Output(b.L2Norm(text.Pooled, 0), graph.Text, "text_embeds")
		logits := scaledSimilarity(b, image, words, true)
		b.Output(logits, graph.Joint, "logits_per_image")
		b.Output(b.Rearrange(logits, "i t -> t i"), graph.Joint, "logits_per_text")
		b.Output(b.Act(logits, kernels.ActSigmoid), graph.Joint, "probs")
		p.Task = &pipeline.Task{Kind: "contrastive", Query: "image_embeds", Key: "text_embeds"}
	case hasVision && c.Vision.UseHead:
		b.SetOutput("last_hidden_state", graph.Vision)
		b.SetOutput("pooler_output", graph.Vision)
	case hasVision:
		b.SetOutput("last_hidden_state", graph.Vision)
	default:
		b.SetOutput("pooler_output", graph.Text)
	}
	if hasVision && !hasText { // transformers' SiglipForImageClassification
		im.classifier(b, func() *graph.Node { return block.Mean(b, vision.Last) }, c.Vision.HiddenSize)
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: p}, err
}

// scaledSimilarity is image text^T exp(logit_scale), plus logit_bias.
func scaledSimilarity(b *graph.Builder, image, text *graph.Node, bias bool) *graph.Node {
	scale := b.Value(b.Derived(graph.Scalar, "exp(logit_scale)", graph.ExpExpr(b.Tensor("logit_scale", 1))))
	logits := b.Mul(b.MatMulT(image, text), scale)
	if bias {
		logits = b.Add(logits, b.Parameter(graph.Scalar, "logit_bias", 1))
	}
	return logits
}

// features builds the vision tower for images of the given height and width, interpolating its positions, and names its values
// behind a prefix.
func (v *siglipVision) features(b *graph.Builder, pixels *graph.Node, image [2]int, prefix string) *block.Tower {
	act, err := activation("hidden_act", v.HiddenAct)
	if err == nil {
		err = checkSizes("vision_config",
			size{"hidden_size", v.HiddenSize}, size{"num_attention_heads", v.Heads}, size{"intermediate_size", v.IntermediateSize},
			size{"patch_size", v.PatchSize}, size{"image_size", v.ImageSize}, size{"num_channels", v.Channels})
	}
	var grid [2]int
	if err == nil {
		grid, err = block.Grid(image, [2]int{v.PatchSize, v.PatchSize}, [2]int{v.ImageSize, v.ImageSize})
	}
	if err != nil {
		return block.Failed(b, err, pixels)
	}
	d := v.HiddenSize
	x := block.Patches{Channels: v.Channels, Dim: d, Height: v.PatchSize, Width: v.PatchSize}.Apply(b, pixels, "vision_model.embeddings.patch_embedding")
	side := v.ImageSize / v.PatchSize
	// transformers 4.42 adds 0.1 to the grid before it takes the scale.
	positions := block.Positions{Interpolation: block.Interpolation{Offset: 0.1}, Table: "vision_model.embeddings.position_embedding.weight",
		Stored: [2]int{side, side}, Grid: grid, Dim: d}.Value(b)
	b.Name(b.Rearrange(positions, "s d -> 1 s d"), prefix+"position_embeddings")
	stack := clipStack("vision_model", v.Layers, d, v.Heads, v.IntermediateSize, v.Eps, act, false)
	stack.Norm = "vision_model.post_layernorm"
	t := stack.Apply(b, b.Add(x, positions), block.With{}, block.With{})
	t.NameStates(b, prefix+"hidden_state.%d")
	b.Name(t.Last, prefix+"last_hidden_state")
	if v.UseHead {
		head := block.SigLIPPool.Sized(d, v.Heads, v.IntermediateSize)
		head.Norm.Eps, head.MLP.Act = v.Eps, act
		attended, pooled := head.Apply(b, t.Last, "vision_model.head", block.With{})
		b.Name(attended, prefix+"map_attention")
		t.Pooled = b.Name(b.Rearrange(pooled, "b 1 d -> b d"), prefix+"pooler_output")
	}
	return t
}

// features builds the text tower, whose last position is projected, and names its values behind a prefix.
func (t *siglipText) features(b *graph.Builder, prefix string) *block.Tower {
	act, err := activation("hidden_act", t.HiddenAct)
	if err == nil {
		err = checkSizes("text_config", size{"hidden_size", t.HiddenSize}, size{"num_attention_heads", t.Heads},
			size{"intermediate_size", t.IntermediateSize}, size{"max_position_embeddings", t.MaxPositions}, size{"vocab_size", t.VocabSize})
	}
	ids := b.Input("input_ids", -1, -2)
	if err != nil {
		return block.Failed(b, err, ids)
	}
	d := t.HiddenSize
	mask := b.OptionalInput("attention_mask", ids, 1, -1, -2)
	x := b.Embedding(ids, "text_model.embeddings.token_embedding", t.VocabSize, d)
	x = block.TextPositions(b, x, "text_model.embeddings.position_embedding.weight", t.MaxPositions, d)
	stack := clipStack("text_model", t.Layers, d, t.Heads, t.IntermediateSize, t.Eps, act, false)
	tower := stack.Apply(b, x, block.With{Bias: block.HideKeys(b, mask)}, block.With{})
	tower.NameStates(b, prefix+"hidden_state.%d")
	norm := func(x *graph.Node) *graph.Node { return b.LayerNorm(x, "text_model.final_layer_norm", d, t.Eps) }
	b.Name(norm(tower.Last), prefix+"last_hidden_state")
	projection := t.ProjectionSize
	if projection == 0 {
		projection = d
	}
	tower.Pooled = b.Name(b.Linear(norm(block.LastToken(b, tower.Last)), "text_model.head", d, projection), prefix+"pooler_output")
	return tower
}
