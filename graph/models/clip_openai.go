package models

import (
	"math"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// The naming of openai/CLIP's releases, which open_clip's has grown out of.

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

// contrastive builds both towers in openai/CLIP's and open_clip's naming, where the features are what the model exists
// for and only the logits are computed from normalised ones.
func (c *clipConfig) contrastive(im *Import, table Names, image *pipeline.Image, words *pipeline.Text) (*graph.Model, error) {
	b := graph.NewBuilder(im.Params(table, ""))
	features := c.Vision.projected(b, c.Vision.features(b, im.pixels(b, image, c.Vision.Channels, c.Vision.size(im)), "vision."))
	return im.contrastive(b, image, words, features, c.Text.projected(b, c.Text.features(b, "text.")))
}
