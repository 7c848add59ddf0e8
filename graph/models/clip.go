package models

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
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

	trained   [2]int        // height and width of the images; zeros: image_size
	target    [2]int        // height and width to build for
	stored    [2]int        // the grid of the stored positions; zeros: that of image_size
	positions interpolation // between the two; transformers' by default
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

// openaiNames translates the canonical names, those of transformers, to openai/CLIP's and open_clip's.
var openaiNames = Names{
	{"vision_model.embeddings.class_embedding", "visual.class_embedding"},
	{"vision_model.embeddings.patch_embedding.*", "visual.conv1.*"},
	{"vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"},
	{"vision_model.pre_layrnorm.*", "visual.ln_pre.*"},
	{"vision_model.post_layernorm.*", "visual.ln_post.*"},
	{"visual_projection.weight", "visual.proj^T"},
	{"vision_model.encoder.layers.#.self_attn.q_proj.*", "visual.transformer.resblocks.#.attn.in_proj_*[0/3]"},
	{"vision_model.encoder.layers.#.self_attn.k_proj.*", "visual.transformer.resblocks.#.attn.in_proj_*[1/3]"},
	{"vision_model.encoder.layers.#.self_attn.v_proj.*", "visual.transformer.resblocks.#.attn.in_proj_*[2/3]"},
	{"vision_model.encoder.layers.#.self_attn.out_proj.*", "visual.transformer.resblocks.#.attn.out_proj.*"},
	{"vision_model.encoder.layers.#.layer_norm#.*", "visual.transformer.resblocks.#.ln_#.*"},
	{"vision_model.encoder.layers.#.mlp.fc1.*", "visual.transformer.resblocks.#.mlp.c_fc.*"},
	{"vision_model.encoder.layers.#.mlp.fc2.*", "visual.transformer.resblocks.#.mlp.c_proj.*"},
	{"vision_model.encoder.layers.#.ls_#.gamma", "visual.transformer.resblocks.#.ls_#.gamma"},
	{"text_model.embeddings.token_embedding.weight", "token_embedding.weight"},
	{"text_model.embeddings.position_embedding.weight", "positional_embedding"},
	{"text_model.final_layer_norm.*", "ln_final.*"},
	{"text_projection.weight", "text_projection^T"},
	{"text_model.encoder.layers.#.self_attn.q_proj.*", "transformer.resblocks.#.attn.in_proj_*[0/3]"},
	{"text_model.encoder.layers.#.self_attn.k_proj.*", "transformer.resblocks.#.attn.in_proj_*[1/3]"},
	{"text_model.encoder.layers.#.self_attn.v_proj.*", "transformer.resblocks.#.attn.in_proj_*[2/3]"},
	{"text_model.encoder.layers.#.self_attn.out_proj.*", "transformer.resblocks.#.attn.out_proj.*"},
	{"text_model.encoder.layers.#.layer_norm#.*", "transformer.resblocks.#.ln_#.*"},
	{"text_model.encoder.layers.#.mlp.fc1.*", "transformer.resblocks.#.mlp.c_fc.*"},
	{"text_model.encoder.layers.#.mlp.fc2.*", "transformer.resblocks.#.mlp.c_proj.*"},
	{"text_model.encoder.layers.#.ls_#.gamma", "transformer.resblocks.#.ls_#.gamma"},
}

// customTextNames are openaiNames for open_clip's models whose text tower is a module of its own.
func customTextNames() Names {
	var t Names
	for _, r := range openaiNames {
		if len(r[0]) > 5 && r[0][:5] == "text_" {
			r[1] = "text." + r[1]
		}
		t = append(t, r)
	}
	return t
}

func buildCLIP(im *Import) (*graph.Model, error) {
	switch im.Naming {
	case "openai":
		return buildOpenAICLIP(im)
	case "open_clip":
		return buildOpenCLIP(im)
	}
	c := defaultCLIP()
	var hasVision, hasText bool
	var err error
	switch im.ModelType() {
	case "clip":
		hasVision, hasText = true, true
		c, err = im.clipConfig()
	case "clip_vision_model":
		hasVision = true
		err = im.Config(&c.Vision)
	case "clip_text_model":
		hasText = true
		err = im.Config(&c.Text)
	}
	if err != nil {
		return nil, err
	}
	im.Ignore("*.embeddings.position_ids", "a buffer of consecutive numbers")
	b := graph.NewBuilder(im.Params(nil, ""))
	p := &pipeline.Pipeline{}
	var image, text *graph.Node
	if hasVision {
		if p.Image, err = im.imagePipeline(pipeline.ImageOpenAICLIP(c.Vision.ImageSize)); err != nil {
			return nil, err
		}
		image = c.Vision.features(b, im.pixels(b, p.Image, c.Vision.Channels, c.Vision.size(im)), prefixIf(hasText, "vision."))
	}
	if hasText {
		if p.Text, err = im.textPipeline("CLIPTokenizer", c.Text.MaxPositions, c.Text.VocabSize); err != nil {
			return nil, err
		}
		text = c.Text.features(b, prefixIf(hasVision, "text."))
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
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: p}, err
}

// clipConfig reads the config.json of a model of two towers. Older files hold the towers' settings twice: transformers
// completes these by its defaults and lets them replace the others.
func (im *Import) clipConfig() (clipConfig, error) {
	c, older := defaultCLIP(), defaultCLIP()
	if err := im.Config(&c); err != nil {
		return c, err
	}
	dicts := struct {
		Vision *clipVision `json:"vision_config_dict"`
		Text   *clipText   `json:"text_config_dict"`
	}{&older.Vision, &older.Text}
	if err := im.Config(&dicts); err != nil {
		return c, err
	}
	if im.HasConfig("vision_config_dict") && dicts.Vision != nil {
		c.Vision = *dicts.Vision
	}
	if im.HasConfig("text_config_dict") && dicts.Text != nil {
		c.Text = *dicts.Text
	}
	c.Vision.ProjectionDim, c.Text.ProjectionDim = c.ProjectionDim, c.ProjectionDim
	return c, nil
}

func prefixIf(both bool, prefix string) string {
	if both {
		return prefix
	}
	return ""
}

// contrastive builds both towers in openai/CLIP's and open_clip's naming, where the features are what the model exists
// for and only the logits are computed from normalised ones.
func (c *clipConfig) contrastive(im *Import, table Names, image *pipeline.Image, words *pipeline.Text) (*graph.Model, error) {
	b := graph.NewBuilder(im.Params(table, ""))
	features := c.Vision.features(b, im.pixels(b, image, c.Vision.Channels, c.Vision.size(im)), "vision.")
	return im.contrastive(b, image, words, features, c.Text.features(b, "text."))
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

// features builds the vision tower and its projection; nil if the checkpoint has none. Names get the prefix.
func (v *clipVision) features(b *graph.Builder, pixels *graph.Node, prefix string) *graph.Node {
	x := v.encoder(b, pixels, v.Layers, prefix)
	stem := "vision_model.post_layernorm"
	var pooled *graph.Node
	switch {
	case v.normAfterPool:
		pooled = b.Token(x, 0)
		if v.meanPool {
			pooled = b.Op(graph.Reduce{Kind: graph.Mean, Axis: 1}, nil, b.Slice(x, 1, 1, 0))
		}
		pooled = b.Name(b.LayerNorm(pooled, stem, v.HiddenSize, v.Eps), prefix+"ln_post")
	case !v.meanPool:
		// The norm of the class token alone; that of every token is computed where it is asked for.
		pooled = b.LayerNorm(b.Token(x, 0), stem, v.HiddenSize, v.Eps)
		b.Name(b.LayerNorm(x, stem, v.HiddenSize, v.Eps), prefix+"ln_post")
	default:
		x = b.Name(b.LayerNorm(x, stem, v.HiddenSize, v.Eps), prefix+"ln_post")
		pooled = b.Op(graph.Reduce{Kind: graph.Mean, Axis: 1}, nil, b.Slice(x, 1, 1, 0))
	}
	b.Name(pooled, prefix+"pooler_output")
	b.Name(pooled, prefix+"pooled")
	if !b.Params.Has("visual_projection.weight") {
		return nil
	}
	return b.LinearNoBias(pooled, "visual_projection", v.HiddenSize, v.ProjectionDim)
}

// encoder builds the vision transformer up to the given layer: [B, 1 + patches, hidden], the class token first.
func (v *clipVision) encoder(b *graph.Builder, pixels *graph.Node, layers int, prefix string) *graph.Node {
	act, err := activation("hidden_act", v.HiddenAct)
	if err == nil {
		err = v.check()
	}
	if err != nil {
		b.Fail(err)
		return pixels
	}
	d := v.HiddenSize
	grid, err := gridOf(v.target, [2]int{v.PatchSize, v.PatchSize}, v.trained)
	if err != nil {
		b.Fail(err)
		return pixels
	}
	stored := v.stored
	if stored == [2]int{} {
		stored = [2]int{v.ImageSize / v.PatchSize, v.ImageSize / v.PatchSize}
	}
	x := b.Rearrange(pixels, "b c h w -> b h w c")
	x = b.Conv(x, "vision_model.embeddings.patch_embedding", graph.ConvSpec{
		In: v.Channels, Out: d, KH: v.PatchSize, KW: v.PatchSize, Stride: [2]int{v.PatchSize, v.PatchSize}, NoBias: true})
	x = b.Rearrange(x, "b h w c -> b (h w) c")
	x = b.Prepend(b.Rearrange(b.Parameter(graph.Position, "vision_model.embeddings.class_embedding", d), "d -> 1 1 d"), x)
	const table = "vision_model.embeddings.position_embedding.weight"
	positions := v.positions.expr(b.Tensor(table, stored[0]*stored[1]+1, d), 1, stored, grid)
	x = b.Add(x, b.Value(b.Derived(graph.Position, table, positions)))
	b.Name(x, prefix+"embeddings")
	if !v.noPreNorm {
		x = b.LayerNorm(x, "vision_model.pre_layrnorm", d, v.Eps)
	}
	b.Name(x, prefix+"hidden_state.0")
	block := encoderBlock{Dim: d, Heads: v.Heads, Hidden: v.IntermediateSize, Eps: v.Eps, Act: act, LayerScale: v.layerScale}
	for i := range b.Layers(layers) {
		x = block.layer(b, x, nil, fmt.Sprintf("vision_model.encoder.layers.%d", i))
		b.Namef(x, "%shidden_state.%d", prefix, i+1)
	}
	return b.Name(x, prefix+"last_hidden_state")
}

// features builds the text tower and its projection; nil if the checkpoint has none. Names get the prefix.
func (t *clipText) features(b *graph.Builder, prefix string) *graph.Node {
	act, err := activation("hidden_act", t.HiddenAct)
	if err == nil {
		err = checkSizes("text_config", size{"hidden_size", t.HiddenSize}, size{"num_attention_heads", t.Heads},
			size{"intermediate_size", t.IntermediateSize}, size{"max_position_embeddings", t.MaxPositions}, size{"vocab_size", t.VocabSize})
	}
	if err != nil {
		b.Fail(err)
		return nil
	}
	d := t.HiddenSize
	ids := b.Input("input_ids", -1, -2)
	mask := b.OptionalInput("attention_mask", ids, 1, -1, -2)
	x := b.Embedding(ids, "text_model.embeddings.token_embedding", t.VocabSize, d)
	positions := b.Parameter(graph.Position, "text_model.embeddings.position_embedding.weight", t.MaxPositions, d)
	x = b.Add(x, b.Op(graph.TakeLike{Axis: 0, LikeAxis: 1}, nil, positions, ids))
	b.Name(x, prefix+"embeddings")
	b.Name(x, prefix+"hidden_state.0")
	bias := b.Op(graph.KeyMask{Value: -math.MaxFloat32}, nil, mask)
	block := encoderBlock{Dim: d, Heads: t.Heads, Hidden: t.IntermediateSize, Eps: t.Eps, Act: act, Causal: !t.bidirectional, LayerScale: t.layerScale}
	for i := range b.Layers(t.Layers) {
		x = block.layer(b, x, bias, fmt.Sprintf("text_model.encoder.layers.%d", i))
		b.Namef(x, "%shidden_state.%d", prefix, i+1)
	}
	// The norm of the chosen token alone is what the projection needs; that of every token has its names.
	all := b.LayerNorm(x, "text_model.final_layer_norm", d, t.Eps)
	b.Name(all, prefix+"last_hidden_state")
	b.Name(all, prefix+"ln_final")
	var token *graph.Node
	switch {
	case t.pool == "first":
		token = b.Token(x, 0)
	case t.pool == "last":
		token = b.Rearrange(b.Slice(x, 1, -1, 0), "b 1 d -> b d")
	case t.pool == "argmax" || t.pool == "" && t.EOS == 2:
		// The end-of-text token has the largest id. transformers keeps this rule for configurations that say 2.
		token = b.Op(graph.Select{}, nil, x, b.Op(graph.ArgMax{}, nil, ids))
	default:
		token = b.Op(graph.Select{}, nil, x, b.Op(graph.FirstEqual{Value: float32(t.EOS)}, nil, ids))
	}
	pooled := b.LayerNorm(token, "text_model.final_layer_norm", d, t.Eps)
	b.Name(pooled, prefix+"pooler_output")
	if !b.Params.Has("text_projection.weight") {
		return nil
	}
	return b.LinearIf(b.Params.Has("text_projection.bias"), pooled, "text_projection", d, t.ProjectionDim)
}

// buildOpenAICLIP reads the sizes from the tensors, as clip.model.build_model does: the release has no configuration.
func buildOpenAICLIP(im *Import) (*graph.Model, error) {
	c := defaultCLIP()
	v := &c.Vision
	v.HiddenSize = im.Dim("visual.conv1.weight", 0)
	v.Channels = im.Dim("visual.conv1.weight", 1)
	v.PatchSize = im.Dim("visual.conv1.weight", 3)
	v.Layers = im.Count("visual.transformer.resblocks.#.attn.in_proj_weight")
	v.Heads = v.HiddenSize / 64
	v.IntermediateSize = im.Dim("visual.transformer.resblocks.0.mlp.c_fc.weight", 0)
	grid := int(math.Round(math.Sqrt(float64(im.Dim("visual.positional_embedding", 0) - 1))))
	v.ImageSize = v.PatchSize * grid
	t, err := readOpenAIText(im)
	if err != nil {
		return nil, err
	}
	c.Text, v.ProjectionDim = *t, t.ProjectionDim
	words, err := pipeline.OpenAICLIPTextFromFiles(im.ReadFile, t.MaxPositions, t.VocabSize)
	if err != nil {
		return nil, err
	}
	return c.contrastive(im, openaiNames, pipeline.ImageOpenAICLIP(v.ImageSize), words)
}

// readOpenAIText reads the sizes of the text tower from its tensors.
func readOpenAIText(im *Import) (*clipText, error) {
	t := defaultCLIP().Text
	t.VocabSize = im.Dim("token_embedding.weight", 0)
	t.MaxPositions = im.Dim("positional_embedding", 0)
	t.HiddenSize = im.Dim("ln_final.weight", 0)
	t.Heads = t.HiddenSize / 64
	t.Layers = im.Count("transformer.resblocks.#.attn.in_proj_weight")
	t.IntermediateSize = im.Dim("transformer.resblocks.0.mlp.c_fc.weight", 0)
	t.ProjectionDim = im.Dim("text_projection", 1)
	t.pool = "argmax"
	for _, name := range []string{"input_resolution", "context_length", "vocab_size"} {
		im.Ignore(name, "a size that the other tensors' shapes give")
	}
	return &t, checkSizes("text tower", size{"width", t.HiddenSize}, size{"heads", t.Heads}, size{"projection", t.ProjectionDim})
}
