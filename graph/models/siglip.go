package models

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph"
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
		hasVision, hasText = true, true
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
	var err error
	if hasVision {
		s := im.imageSize([2]int{c.Vision.ImageSize, c.Vision.ImageSize})
		if p.Image, err = im.imagePipeline(pipeline.ImageSquash(c.Vision.ImageSize, c.Vision.ImageSize, pipeline.HalfMean, pipeline.HalfStd)); err != nil {
			return nil, err
		}
		c.Vision.features(b, im.pixels(b, p.Image, c.Vision.Channels, s), s, prefixIf(hasText, "vision."))
	}
	if hasText {
		if p.Text, err = im.textPipeline("SiglipTokenizer", c.Text.MaxPositions, c.Text.VocabSize); err != nil {
			return nil, err
		}
		c.Text.features(b, prefixIf(hasVision, "text."))
	}
	switch {
	case hasVision && hasText:
		image := b.Output(b.L2Norm(b.Named("vision.pooler_output"), 0), graph.Vision, "image_embeds")
		text := b.Output(b.L2Norm(b.Named("text.pooler_output"), 0), graph.Text, "text_embeds")
		logits := scaledSimilarity(b, image, text, true)
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

// features builds the vision tower for images of the given height and width, interpolating its positions.
func (v *siglipVision) features(b *graph.Builder, pixels *graph.Node, image [2]int, prefix string) {
	act, err := activation("hidden_act", v.HiddenAct)
	if err == nil {
		err = checkSizes("vision_config",
			size{"hidden_size", v.HiddenSize}, size{"num_attention_heads", v.Heads}, size{"intermediate_size", v.IntermediateSize},
			size{"patch_size", v.PatchSize}, size{"image_size", v.ImageSize}, size{"num_channels", v.Channels})
	}
	var grid [2]int
	if err == nil {
		grid, err = gridOf(image, [2]int{v.PatchSize, v.PatchSize}, [2]int{v.ImageSize, v.ImageSize})
	}
	if err != nil {
		b.Fail(err)
		return
	}
	d := v.HiddenSize
	x := b.Rearrange(pixels, "b c h w -> b h w c")
	x = b.Conv(x, "vision_model.embeddings.patch_embedding", graph.ConvSpec{
		In: v.Channels, Out: d, KH: v.PatchSize, KW: v.PatchSize, Stride: [2]int{v.PatchSize, v.PatchSize}})
	x = b.Rearrange(x, "b h w c -> b (h w) c")
	trained := v.ImageSize / v.PatchSize
	const name = "vision_model.embeddings.position_embedding.weight"
	// transformers 4.42 adds 0.1 to the grid before it takes the scale.
	table := interpolation{Offset: 0.1}.expr(b.Tensor(name, trained*trained, d), 0, [2]int{trained, trained}, grid)
	positions := b.Value(b.Derived(graph.Position, name, table))
	b.Name(b.Rearrange(positions, "s d -> 1 s d"), prefix+"position_embeddings")
	x = b.Name(b.Add(x, positions), prefix+"hidden_state.0")
	block := encoderBlock{Dim: d, Heads: v.Heads, Hidden: v.IntermediateSize, Eps: v.Eps, Act: act}
	for i := range b.Layers(v.Layers) {
		x = block.layer(b, x, nil, fmt.Sprintf("vision_model.encoder.layers.%d", i))
		b.Namef(x, "%shidden_state.%d", prefix, i+1)
	}
	x = b.Name(b.LayerNorm(x, "vision_model.post_layernorm", d, v.Eps), prefix+"last_hidden_state")
	if v.UseHead {
		v.pool(b, x, act, prefix)
	}
}

// pool is the attention-pooling head: a learned probe attends to all patches, and an MLP follows (Zhai et al. 2022,
// Scaling Vision Transformers, section 3.2).
func (v *siglipVision) pool(b *graph.Builder, x *graph.Node, act kernels.Activation, prefix string) {
	const head = "vision_model.head."
	d := v.HiddenSize
	part := func(i int, name string) (w, bias *graph.Weight) {
		weight := graph.SliceExpr(b.Tensor(head+"attention.in_proj_weight", 3*d, d), i*d, (i+1)*d)
		shift := graph.SliceExpr(b.Tensor(head+"attention.in_proj_bias", 3*d), i*d, (i+1)*d)
		return b.Derived(graph.Matrix, head+"attention."+name+".weight", weight), b.Derived(graph.Bias, head+"attention."+name+".bias", shift)
	}
	project := func(i int, name string, x *graph.Node) *graph.Node {
		w, bias := part(i, name)
		return b.Op(graph.Linear{}, []*graph.Weight{w, bias}, x)
	}
	probe := b.Parameter(graph.Position, head+"probe", 1, 1, d)
	q := b.Op(graph.Expand{}, nil, project(0, "q_proj", probe), x)
	h := b.Attention(q, project(1, "k_proj", x), project(2, "v_proj", x), graph.AttentionSpec{Heads: v.Heads, HeadDim: d / v.Heads})
	h = b.Name(b.Linear(h, head+"attention.out_proj", d, d), prefix+"map_attention")
	y := b.LayerNorm(h, head+"layernorm", d, v.Eps)
	y = b.Act(b.Linear(y, head+"mlp.fc1", d, v.IntermediateSize), act)
	y = b.Add(h, b.Linear(y, head+"mlp.fc2", v.IntermediateSize, d))
	b.Name(b.Rearrange(y, "b 1 d -> b d"), prefix+"pooler_output")
}

// features builds the text tower, whose last position is projected.
func (t *siglipText) features(b *graph.Builder, prefix string) {
	act, err := activation("hidden_act", t.HiddenAct)
	if err == nil {
		err = checkSizes("text_config", size{"hidden_size", t.HiddenSize}, size{"num_attention_heads", t.Heads},
			size{"intermediate_size", t.IntermediateSize}, size{"max_position_embeddings", t.MaxPositions}, size{"vocab_size", t.VocabSize})
	}
	if err != nil {
		b.Fail(err)
		return
	}
	d := t.HiddenSize
	ids := b.Input("input_ids", -1, -2)
	mask := b.OptionalInput("attention_mask", ids, 1, -1, -2)
	x := b.Embedding(ids, "text_model.embeddings.token_embedding", t.VocabSize, d)
	positions := b.Parameter(graph.Position, "text_model.embeddings.position_embedding.weight", t.MaxPositions, d)
	x = b.Add(x, b.Op(graph.TakeLike{Axis: 0, LikeAxis: 1}, nil, positions, ids))
	b.Name(x, prefix+"hidden_state.0")
	bias := b.Op(graph.KeyMask{Value: -math.MaxFloat32}, nil, mask)
	block := encoderBlock{Dim: d, Heads: t.Heads, Hidden: t.IntermediateSize, Eps: t.Eps, Act: act}
	for i := range b.Layers(t.Layers) {
		x = block.layer(b, x, bias, fmt.Sprintf("text_model.encoder.layers.%d", i))
		b.Namef(x, "%shidden_state.%d", prefix, i+1)
	}
	b.Name(b.LayerNorm(x, "text_model.final_layer_norm", d, t.Eps), prefix+"last_hidden_state")
	last := b.Rearrange(b.Slice(x, 1, -1, 0), "b 1 d -> b d")
	last = b.LayerNorm(last, "text_model.final_layer_norm", d, t.Eps)
	projection := t.ProjectionSize
	if projection == 0 {
		projection = d
	}
	b.Name(b.Linear(last, "text_model.head", d, projection), prefix+"pooler_output")
}
