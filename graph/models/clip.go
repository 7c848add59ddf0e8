package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// CLIP: Learning Transferable Visual Models From Natural Language Supervision (Radford et al., arXiv:2103.00020).
// Sources: openai/CLIP clip/model.py; huggingface/transformers models/clip/modeling_clip.py; mlfoundations/open_clip
// src/open_clip/{model,transformer}.py.

var _ = Register(&System{
	Name: "clip", Title: "CLIP ViT", Row: 1,
	ModelTypes: []string{"clip", "clip_vision_model", "clip_text_model"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type clip, tensors vision_model.* or text_model.*", Recognise: func(im *Import) bool {
			switch im.ModelType() {
			case "clip", "clip_vision_model", "clip_text_model":
				return im.HasTensor("vision_model.embeddings.class_embedding") || im.HasTensor("text_model.embeddings.token_embedding.weight")
			}
			return false
		}},
		{Name: "openai", Looked: "tensors visual.transformer.resblocks.*, no config", Recognise: func(im *Import) bool {
			return !im.hasOpenCLIPConfig() && im.HasTensor("visual.class_embedding") && im.HasAny("visual.transformer.resblocks.#.attn.in_proj_weight") &&
				im.HasTensor("positional_embedding")
		}},
		{Name: "open_clip", Looked: "open_clip_config.json, tensors visual.transformer.resblocks.*", Recognise: func(im *Import) bool {
			return im.hasOpenCLIPConfig() && im.HasTensor("visual.class_embedding") && im.HasAny("visual.transformer.resblocks.#.attn.in_proj_weight")
		}},
	},
	Build: buildCLIP,
})

// clipVision is a vision_config of transformers' CLIP.
type clipVision struct {
	ModelType        string  `json:"model_type"`
	HiddenSize       int     `json:"hidden_size"`
	IntermediateSize int     `json:"intermediate_size"`
	ProjectionDim    int     `json:"projection_dim"`
	Layers           int     `json:"num_hidden_layers"`
	Heads            int     `json:"num_attention_heads"`
	Channels         int     `json:"num_channels"`
	ImageSize        int     `json:"image_size"`
	PatchSize        int     `json:"patch_size"`
	HiddenAct        string  `json:"hidden_act"`
	Eps              float64 `json:"layer_norm_eps"`

	// What only open_clip has.
	layerScale, noPreNorm, normAfterPool, meanPool bool

	trained   [2]int              // height and width of the images; zeros: image_size
	target    [2]int              // height and width to build for
	stored    [2]int              // the grid of the stored positions; zeros: that of image_size
	positions block.Interpolation // between the two; transformers' by default
}

// clipText is a text_config of transformers' CLIP.
type clipText struct {
	VocabSize        int     `json:"vocab_size"`
	HiddenSize       int     `json:"hidden_size"`
	IntermediateSize int     `json:"intermediate_size"`
	ProjectionDim    int     `json:"projection_dim"`
	Layers           int     `json:"num_hidden_layers"`
	Heads            int     `json:"num_attention_heads"`
	MaxPositions     int     `json:"max_position_embeddings"`
	HiddenAct        string  `json:"hidden_act"`
	Eps              float64 `json:"layer_norm_eps"`
	EOS              int     `json:"eos_token_id"`

	layerScale, bidirectional bool
	pool                      string // "argmax", "first", "last", "eos"; "" follows EOS as transformers does
}

type clipConfig struct {
	ProjectionDim int        `json:"projection_dim"`
	Vision        clipVision `json:"vision_config"`
	Text          clipText   `json:"text_config"`

	// What kin of CLIP have of their own.
	own            *pipeline.Image // the preprocessing without a file; nil: OpenAI's
	tokenizerClass string          // the tokenizer's class where no file names one; "": CLIP's
}

func (c *clipConfig) tokenizer() string {
	if c.tokenizerClass == "" {
		return "CLIPTokenizer"
	}
	return c.tokenizerClass
}

func defaultCLIP() clipConfig {
	return clipConfig{
		ProjectionDim: 512,
		Vision: clipVision{HiddenSize: 768, IntermediateSize: 3072, ProjectionDim: 512, Layers: 12, Heads: 12, Channels: 3, ImageSize: 224,
			PatchSize: 32, HiddenAct: "quick_gelu", Eps: 1e-5},
		Text: clipText{VocabSize: 49408, HiddenSize: 512, IntermediateSize: 2048, ProjectionDim: 512, Layers: 12, Heads: 8, MaxPositions: 77,
			HiddenAct: "quick_gelu", Eps: 1e-5, EOS: 49407},
	}
}

func buildCLIP(im *Import) (*graph.Model, error) {
	switch im.Naming {
	case "openai":
		return buildOpenAICLIP(im)
	case "open_clip":
		return buildOpenCLIP(im)
	}
	c := defaultCLIP()
	hasVision, hasText, err := c.read(im, "clip")
	if err != nil {
		return nil, err
	}
	return c.build(im, graph.NewBuilder(im.Params(nil, "")), hasVision, hasText)
}

// read reads config.json over the defaults that c holds, and says which towers there are: name is the model_type of both.
func (c *clipConfig) read(im *Import, name string) (vision, text bool, err error) {
	switch im.ModelType() {
	case name:
		vision, text = im.towers("vision_model.embeddings.class_embedding", "text_model.embeddings.token_embedding.weight")
		return vision, text, im.clipConfig(c)
	case name + "_vision_model":
		return true, false, im.Config(&c.Vision)
	}
	return false, true, im.Config(&c.Text)
}

// build makes the towers that the checkpoint holds and compares them where there are both. What it is given already keeps
// them apart from CLIP's own: other names, another image processor as the system's own.
func (c *clipConfig) build(im *Import, b *graph.Builder, hasVision, hasText bool) (*graph.Model, error) {
	im.Ignore("*.embeddings.position_ids", "a buffer of consecutive numbers")
	p := &pipeline.Pipeline{}
	var err error
	var image, text *graph.Node
	var vision *block.Tower
	if hasVision {
		own := c.own
		if own == nil {
			own = pipeline.ImageOpenAICLIP(c.Vision.ImageSize)
		}
		if p.Image, err = im.imagePipeline(own); err != nil {
			return nil, err
		}
		vision = c.Vision.features(b, im.pixels(b, p.Image, c.Vision.Channels, c.Vision.size(im)), prefixIf(hasText, "vision."))
		image = c.Vision.projected(b, vision)
	}
	if hasText {
		if p.Text, err = im.textPipeline(c.tokenizer(), c.Text.MaxPositions, c.Text.VocabSize); err != nil {
			return nil, err
		}
		text = c.Text.projected(b, c.Text.features(b, prefixIf(hasVision, "text.")))
	}
	switch {
	case hasVision && hasText && (image == nil || text == nil):
		b.Fail(fmt.Errorf("tensors visual_projection.weight and text_projection.weight: expected both in a model of two towers"))
	case hasVision && hasText:
		b.Name(image, "image_features")
		b.Name(text, "text_features")
		c.logits(b, image, text)
		p.Task = &pipeline.Task{Kind: "contrastive", Query: "image_embeds", Key: "text_embeds"}
	case hasVision && image != nil:
		b.Output(image, graph.Vision, "image_embeds")
	case hasVision:
		b.SetOutput("pooler_output", graph.Vision)
	case text != nil:
		b.Output(text, graph.Text, "text_embeds")
	default:
		b.SetOutput("pooler_output", graph.Text)
	}
	if hasVision && !hasText { // transformers' CLIPForImageClassification
		im.classifier(b, func() *graph.Node { return block.Mean(b, b.Slice(vision.Last, 1, 1, 0)) }, c.Vision.HiddenSize)
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: p}, err
}

// clipConfig reads the config.json of a model of two towers. Older files hold the towers' settings twice: transformers
// completes these by its defaults and lets them replace the others.
func (im *Import) clipConfig(c *clipConfig) error {
	older := *c
	if err := im.Config(c); err != nil {
		return err
	}
	dicts := struct {
		Vision *clipVision `json:"vision_config_dict"`
		Text   *clipText   `json:"text_config_dict"`
	}{&older.Vision, &older.Text}
	if err := im.Config(&dicts); err != nil {
		return err
	}
	if im.HasConfig("vision_config_dict") && dicts.Vision != nil {
		c.Vision = *dicts.Vision
	}
	if im.HasConfig("text_config_dict") && dicts.Text != nil {
		c.Text = *dicts.Text
	}
	c.Vision.ProjectionDim, c.Text.ProjectionDim = c.ProjectionDim, c.ProjectionDim
	return nil
}

func prefixIf(both bool, prefix string) string {
	if both {
		return prefix
	}
	return ""
}

// logits adds the normalised embeddings, as outputs, and the scaled similarities.
func (c *clipConfig) logits(b *graph.Builder, image, text *graph.Node) {
	image = b.Output(b.L2Norm(image, 0), graph.Vision, "image_embeds")
	text = b.Output(b.L2Norm(text, 0), graph.Text, "text_embeds")
	logits := scaledSimilarity(b, image, text, false)
	b.Output(logits, graph.Joint, "logits_per_image")
	b.Output(b.Rearrange(logits, "i t -> t i"), graph.Joint, "logits_per_text")
}

// size settles the height and width that the tower is built for and returns them.
func (v *clipVision) size(im *Import) [2]int {
	if v.trained == [2]int{} {
		v.trained = [2]int{v.ImageSize, v.ImageSize}
	}
	v.target = im.imageSize(v.trained)
	return v.target
}

func (v *clipVision) check() error {
	return checkSizes("vision_config",
		size{"hidden_size", v.HiddenSize}, size{"num_attention_heads", v.Heads}, size{"intermediate_size", v.IntermediateSize},
		size{"patch_size", v.PatchSize}, size{"image_size", v.ImageSize}, size{"num_channels", v.Channels})
}

// features builds the vision tower, and names its values behind a prefix. Pooled is what a projection takes.
func (v *clipVision) features(b *graph.Builder, pixels *graph.Node, prefix string) *block.Tower {
	t := v.encoder(b, pixels)
	b.Name(t.Embeddings, prefix+"embeddings")
	t.NameStates(b, prefix+"hidden_state.%d")
	t.NameLayers(b, prefix+"layer%d")
	b.Name(t.Last, prefix+"last_hidden_state")
	norm := func(x *graph.Node) *graph.Node {
		return b.LayerNorm(x, "vision_model.post_layernorm", v.HiddenSize, v.Eps)
	}
	switch {
	case v.normAfterPool && v.meanPool:
		t.Pooled = norm(block.Mean(b, b.Slice(t.Last, 1, 1, 0)))
	case v.normAfterPool:
		t.Pooled = norm(b.Token(t.Last, 0))
	case v.meanPool:
		all := b.Name(norm(t.Last), prefix+"ln_post")
		t.Pooled = block.Mean(b, b.Slice(all, 1, 1, 0))
	default:
		// The norm of the class token alone; that of every token is computed where it is asked for.
		t.Pooled = norm(b.Token(t.Last, 0))
		b.Name(norm(t.Last), prefix+"ln_post")
	}
	if v.normAfterPool {
		b.Name(t.Pooled, prefix+"ln_post")
	}
	b.Name(t.Pooled, prefix+"pooler_output")
	b.Name(t.Pooled, prefix+"pooled")
	return t
}

// projected is the tower's projection of what it pooled; nil if the checkpoint has none.
func (v *clipVision) projected(b *graph.Builder, t *block.Tower) *graph.Node {
	if !b.Params.Has("visual_projection.weight") {
		return nil
	}
	return b.LinearNoBias(t.Pooled, "visual_projection", v.HiddenSize, v.ProjectionDim)
}

// encoder builds the vision transformer: [B, 1 + patches, hidden], the class token first.
func (v *clipVision) encoder(b *graph.Builder, pixels *graph.Node) *block.Tower {
	act, err := activation("hidden_act", v.HiddenAct)
	if err == nil {
		err = v.check()
	}
	var grid [2]int
	if err == nil {
		grid, err = block.Grid(v.target, [2]int{v.PatchSize, v.PatchSize}, v.trained)
	}
	if err != nil {
		return block.Failed(b, err, pixels)
	}
	d := v.HiddenSize
	stored := v.stored
	if stored == [2]int{} {
		stored = [2]int{v.ImageSize / v.PatchSize, v.ImageSize / v.PatchSize}
	}
	x := block.Patches{Channels: v.Channels, Dim: d, Height: v.PatchSize, Width: v.PatchSize, Projection: block.Projection{Bias: block.Absent}}.
		Apply(b, pixels, "vision_model.embeddings.patch_embedding")
	x = b.Prepend(b.Rearrange(b.Parameter(graph.Position, "vision_model.embeddings.class_embedding", d), "d -> 1 1 d"), x)
	positions := block.Positions{Interpolation: v.positions, Table: "vision_model.embeddings.position_embedding.weight", Before: 1,
		Stored: stored, Grid: grid, Dim: d}
	embeddings := b.Add(x, positions.Value(b))
	x = embeddings
	if !v.noPreNorm {
		x = b.LayerNorm(x, "vision_model.pre_layrnorm", d, v.Eps)
	}
	stack := clipStack("vision_model", v.Layers, d, v.Heads, v.IntermediateSize, v.Eps, act, v.layerScale)
	t := stack.Apply(b, x, block.With{}, block.With{})
	t.Embeddings = embeddings
	return t
}

// clipStack is the stack of layers of a tower of CLIP or SigLIP behind a stem.
func clipStack(stem string, layers, dim, heads, hidden int, eps float64, act kernels.Activation, layerScale bool) *block.Transformer {
	l := block.CLIPLayer.Sized(dim, heads, hidden)
	l.Norm.Eps, l.MLP.Act = eps, act
	if layerScale {
		l.Self.Scale, l.Feed.Scale = "ls_1.gamma", "ls_2.gamma"
	}
	return &block.Transformer{Layer: l, Stem: stem + ".encoder.layers.%d", Layers: layers}
}

// features builds the text tower, and names its values behind a prefix. Pooled is what a projection takes.
func (t *clipText) features(b *graph.Builder, prefix string) *block.Tower {
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
	stack := clipStack("text_model", t.Layers, d, t.Heads, t.IntermediateSize, t.Eps, act, t.layerScale)
	stack.Layer.Attention.Causal = !t.bidirectional
	tower := stack.Apply(b, x, block.With{Bias: block.HideKeys(b, mask)}, block.With{})
	b.Name(x, prefix+"embeddings")
	tower.NameStates(b, prefix+"hidden_state.%d")
	tower.NameLayers(b, prefix+"layer%d")
	norm := func(x *graph.Node) *graph.Node { return b.LayerNorm(x, "text_model.final_layer_norm", d, t.Eps) }
	// The norm of the chosen token alone is what the projection needs; that of every token has its names.
	all := norm(tower.Last)
	b.Name(all, prefix+"last_hidden_state")
	b.Name(all, prefix+"ln_final")
	tower.Pooled = b.Name(norm(t.pooled(b, ids, tower.Last)), prefix+"pooler_output")
	return tower
}

// pooled chooses the token that stands for the text.
func (t *clipText) pooled(b *graph.Builder, ids, x *graph.Node) *graph.Node {
	switch {
	case t.pool == "first":
		return b.Token(x, 0)
	case t.pool == "last":
		return block.LastToken(b, x)
	case t.pool == "argmax" || t.pool == "" && t.EOS == 2:
		// The end-of-text token has the largest id. transformers keeps this rule for configurations that say 2.
		return b.Op(graph.Select{}, nil, x, b.Op(graph.ArgMax{}, nil, ids))
	}
	return b.Op(graph.Select{}, nil, x, b.Op(graph.FirstEqual{Value: float32(t.EOS)}, nil, ids))
}

// projected is the tower's projection of what it pooled; nil if the checkpoint has none.
func (t *clipText) projected(b *graph.Builder, tower *block.Tower) *graph.Node {
	if !b.Params.Has("text_projection.weight") {
		return nil
	}
	return b.LinearIf(b.Params.Has("text_projection.bias"), tower.Pooled, "text_projection", t.HiddenSize, t.ProjectionDim)
}
