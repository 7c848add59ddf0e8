package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// BLIP-2: Bootstrapping Language-Image Pre-training with Frozen Image Encoders and Large Language Models (Li et al.,
// arXiv:2301.12597), and InstructBLIP: Towards General-purpose Vision-Language Models with Instruction Tuning (Dai et al.,
// arXiv:2305.06500), whose Q-Former reads the instruction. Sources: salesforce/LAVIS lavis/models/blip2_models/{blip2_opt,
// blip2_t5,blip2_vicuna_instruct,blip2_t5_instruct}.py; huggingface/transformers models/blip_2/modeling_blip_2.py and
// models/instructblip/modeling_instructblip.py.

var _ = Register(&System{
	Name: "blip-2", Title: "BLIP-2", Row: 5,
	ModelTypes: []string{"blip-2", "instructblip"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type blip-2 or instructblip, tensors qformer.* and language_projection.*", Recognise: func(im *Import) bool {
			switch im.ModelType() {
			case "blip-2", "instructblip":
				return im.HasAny("*qformer.encoder.layer.0.attention.attention.query.weight") && im.HasAny("*language_projection.weight")
			}
			return false
		}},
		{Name: "lavis", Looked: "tensors Qformer.bert.* and opt_proj.*, t5_proj.* or llm_proj.*", Recognise: func(im *Import) bool {
			return im.lavisProjection() != "" && im.HasTensor("query_tokens") && im.HasAny(qformerStem+"*")
		}},
	},
	Build: func(im *Import) (*graph.Model, error) {
		if im.Naming == "lavis" {
			return buildLavisBLIP2(im)
		}
		return buildBLIP2(im)
	},
})

// blip2Names translates LAVIS's names to those of transformers.
var blip2Names = Names{
	{"visual_encoder.patch_embed.proj.*", "vision_model.embeddings.patch_embedding.*"},
	{"visual_encoder.cls_token", "vision_model.embeddings.class_embedding"},
	{"visual_encoder.pos_embed", "vision_model.embeddings.position_embedding"},
	{"visual_encoder.blocks.#.norm#.*", "vision_model.encoder.layers.#.layer_norm#.*"},
	{"visual_encoder.blocks.#.attn.proj.*", "vision_model.encoder.layers.#.self_attn.projection.*"},
	{"visual_encoder.blocks.#.attn.*", "vision_model.encoder.layers.#.self_attn.*"},
	{"visual_encoder.blocks.#.*", "vision_model.encoder.layers.#.*"},
	{"ln_vision.*", "vision_model.post_layernorm.*"},
	{"Qformer.bert.encoder.layer.#.attention.self.*", "qformer.encoder.layer.#.attention.attention.*"},
	{"Qformer.bert.encoder.layer.#.crossattention.self.*", "qformer.encoder.layer.#.crossattention.attention.*"},
	{"Qformer.bert.*", "qformer.*"},
}

// buildBLIP2 builds BLIP-2 or InstructBLIP from transformers' files.
func buildBLIP2(im *Import) (*graph.Model, error) {
	c := struct {
		Vision struct {
			HiddenSize       int     `json:"hidden_size"`
			IntermediateSize int     `json:"intermediate_size"`
			Layers           int     `json:"num_hidden_layers"`
			Heads            int     `json:"num_attention_heads"`
			ImageSize        int     `json:"image_size"`
			PatchSize        int     `json:"patch_size"`
			HiddenAct        string  `json:"hidden_act"`
			Eps              float64 `json:"layer_norm_eps"`
		} `json:"vision_config"`
		QFormer qformerConfig `json:"qformer_config"`
		Queries int           `json:"num_query_tokens"`
	}{QFormer: defaultQFormer(), Queries: 32}
	v := &c.Vision
	v.HiddenSize, v.IntermediateSize, v.Layers, v.Heads, v.ImageSize, v.PatchSize, v.HiddenAct, v.Eps = 1408, 6144, 39, 16, 224, 14, "gelu", 1e-6
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	act, err := activation("vision_config.hidden_act", v.HiddenAct)
	if err == nil {
		err = checkSizes("config", size{"num_query_tokens", c.Queries}, size{"vision_config.hidden_size", v.HiddenSize})
	}
	if err != nil {
		return nil, err
	}
	prefix := ""
	if im.HasTensor("model.query_tokens") {
		prefix = "model."
	}
	norm := "qformer.layernorm.*"
	instructed := im.ModelType() == "instructblip"
	if instructed {
		norm = "qformer.embeddings.layernorm.*"
	}
	p := im.Params(append(Names{{"Qformer.bert.embeddings.LayerNorm.*", norm}}, blip2Names...), prefix)
	b := graph.NewBuilder(p)
	im.languageModel("*language_model.*", "lm_head.*")
	im.Ignore(prefix+"qformer.embeddings.position_ids", "a buffer of consecutive numbers")

	var image *pipeline.Image
	var encoded *graph.Node
	if im.HasAny(prefix + "vision_model.*") {
		e := lavisEVA()
		e.Layer.Norm.Eps, e.Layer.MLP.Act = v.Eps, act
		e.Image, e.Patch, e.Channels, e.Width, e.Depth, e.Heads, e.Hidden = v.ImageSize, v.PatchSize, 3, v.HiddenSize, v.Layers, v.Heads, v.IntermediateSize
		target := im.imageSize([2]int{e.Image, e.Image})
		if image, err = im.imagePipeline(pipeline.ImageSquash(target[0], target[1], pipeline.CLIPMean, pipeline.CLIPStd)); err != nil {
			return nil, err
		}
		t, err := e.build(b, im.pixels(b, image, e.Channels, target), target)
		if err != nil {
			return nil, err
		}
		t.NameStates(b, "vision.hidden_state.%d")
		encoded = b.LayerNorm(t.Last, "ln_vision", v.HiddenSize, v.Eps)
		// As the original has it, the class token passes the norm a second time.
		b.Name(b.LayerNorm(b.Token(encoded, 0), "ln_vision", v.HiddenSize, v.Eps), "vision.pooler_output")
	} else if encoded, err = im.visionFeatures(b, c.QFormer.EncoderHidden); err != nil {
		return nil, err
	}
	q, err := newQFormer(b, qformerStem, c.QFormer)
	if err != nil {
		return nil, err
	}
	var text *qformerText
	if instructed {
		text = textInputs(b, "qformer_input_ids", "qformer_attention_mask")
	}
	projectQueries(b, q, c.Queries, encoded, text, "language_projection", p.dim("language_projection.weight", 0))
	pipe := &pipeline.Pipeline{Image: image}
	if instructed {
		if pipe.Text, err = im.qformerText("qformer_tokenizer", &c.QFormer); err != nil {
			return nil, err
		}
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: pipe}, err
}

// projectQueries names what BLIP-2 computes, from what the Q-Former sees to the language model's tokens.
func projectQueries(b *graph.Builder, q *qformer, queries int, encoded *graph.Node, text *qformerText, projection string, out int) {
	b.Name(encoded, "image_embeds")
	t := q.apply(b, "query_tokens", queries, qformerSees{Tokens: encoded, Text: text})
	t.NameStates(b, "qformer.hidden_state.%d")
	x := t.Last
	if text != nil {
		x = b.Slice(x, 1, 0, queries)
	}
	b.Name(x, "query_output")
	b.Output(b.Linear(x, projection, q.HiddenSize, out), graph.Projector, "language_model_inputs")
}

// qformerText describes the tokenizer of a Q-Former, which lies in a folder of its own.
func (im *Import) qformerText(dir string, q *qformerConfig) (*pipeline.Text, error) {
	t, err := pipeline.TextFromFiles(im.ReadFile, dir, "BertTokenizer", q.MaxPositions)
	if err != nil {
		return nil, err
	}
	t.Input, t.MaskInput, t.Mask, t.Vocabulary = "qformer_input_ids", "qformer_attention_mask", true, q.VocabSize
	return t, im.noteTokenizer(t)
}

// lavisProjections are the stems of the projections to the language models of BLIP-2 and InstructBLIP.
var lavisProjections = []string{"opt_proj", "t5_proj", "llm_proj"}

// lavisProjection returns the stem of the checkpoint's projection, "" if there is none.
func (im *Import) lavisProjection() string {
	for _, stem := range lavisProjections {
		if im.HasTensor(stem + ".weight") {
			return stem
		}
	}
	return ""
}

func buildLavisBLIP2(im *Import) (*graph.Model, error) {
	m, err := im.lavis(nil, nil)
	if err != nil {
		return nil, err
	}
	b := m.b
	if m.tower != nil {
		m.tower.NameStates(b, "vision.hidden_state.%d")
	}
	q, count, err := m.queries()
	if err != nil {
		return nil, err
	}
	pipe := &pipeline.Pipeline{Image: m.image}
	var text *qformerText
	if instructed := q.readsText(b); m.TextInput != nil && *m.TextInput || m.TextInput == nil && instructed {
		if !instructed {
			return nil, fmt.Errorf("config: qformer_text_input is true, and there is no tensor %sembeddings.word_embeddings.weight", qformerStem)
		}
		text = textInputs(b, "qformer_input_ids", "qformer_attention_mask")
		if pipe.Text, err = im.qformerText("", &m.QFormer); err != nil {
			return nil, err
		}
	}
	projection := im.lavisProjection()
	projectQueries(b, q, count, m.encoded, text, projection, m.p.dim(projection+".weight", 0))
	im.ignoreLavis()
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: pipe}, err
}

// ignoreLavis leaves out what LAVIS's checkpoints hold beside what reads an image. It is called when everything is built.
func (im *Import) ignoreLavis() {
	im.languageModel("opt_model.*", "t5_model.*", "llm_model.*", "llama_model.*")
	im.Ignore("*.embeddings.position_ids", "a buffer of consecutive numbers")
	im.Ignore("*former.cls.*", "the head of the Q-Former's pre-training")
	for _, part := range []string{"embeddings.word_embeddings.*", "embeddings.position_embeddings.*", "encoder.layer.#.intermediate.*", "encoder.layer.#.output.*"} {
		im.Ignore("*former.bert."+part, "the Q-Former's text branch, which images alone do not use")
	}
}
