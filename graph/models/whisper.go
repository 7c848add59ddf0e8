package models

import (
	"errors"
	"io/fs"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// Whisper: Robust Speech Recognition via Large-Scale Weak Supervision (Radford et al., arXiv:2212.04356). Sources:
// openai/whisper whisper/{model,decoding}.py; huggingface/transformers models/whisper/modeling_whisper.py.

var _ = Register(&System{
	Name: "whisper", Title: "Whisper", Row: 12,
	ModelTypes: []string{"whisper"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type whisper, tensors encoder.conv1.* and encoder.layers.*", Recognise: func(im *Import) bool {
			return im.ModelType() == "whisper" && (im.HasTensor("encoder.conv1.weight") || im.HasTensor("model.encoder.conv1.weight"))
		}},
		{Name: "openai", Looked: "tensors encoder.conv1.* and encoder.blocks.#.attn.query.*, dims in the file or config.json", Recognise: func(im *Import) bool {
			return im.HasTensor("encoder.conv1.weight") && im.HasAny("encoder.blocks.#.attn.query.weight")
		}},
	},
	Build: func(im *Import) (*graph.Model, error) {
		if im.Naming == "openai" {
			return buildOpenAIWhisper(im)
		}
		return buildWhisper(im)
	},
})

// whisperConfig is the config.json of transformers' Whisper.
type whisperConfig struct {
	VocabSize       int    `json:"vocab_size"`
	MelBins         int    `json:"num_mel_bins"`
	Dim             int    `json:"d_model"`
	EncoderLayers   int    `json:"encoder_layers"`
	EncoderHeads    int    `json:"encoder_attention_heads"`
	EncoderHidden   int    `json:"encoder_ffn_dim"`
	DecoderLayers   int    `json:"decoder_layers"`
	DecoderHeads    int    `json:"decoder_attention_heads"`
	DecoderHidden   int    `json:"decoder_ffn_dim"`
	SourcePositions int    `json:"max_source_positions"`
	TargetPositions int    `json:"max_target_positions"`
	Activation      string `json:"activation_function"`
	Tied            bool   `json:"tie_word_embeddings"`
}

func buildWhisper(im *Import) (*graph.Model, error) {
	c := whisperConfig{
		VocabSize: 51865, MelBins: 80, Dim: 384, EncoderLayers: 4, EncoderHeads: 6, EncoderHidden: 1536,
		DecoderLayers: 4, DecoderHeads: 6, DecoderHidden: 1536, SourcePositions: 1500, TargetPositions: 448,
		Activation: "gelu", Tied: true,
	}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	var table Names
	if im.HasTensor("model.encoder.conv1.weight") {
		table = Names{{"encoder.*", "model.encoder.*"}, {"decoder.*", "model.decoder.*"}}
	}
	if c.Tied {
		im.Ignore("proj_out.weight", "tied to the token embedding, which is read")
	}
	for _, head := range []string{"projector.*", "classifier.*", "layer_weights"} {
		im.Ignore(head, "the head of audio classification")
	}
	audio, err := im.audioPipeline("WhisperFeatureExtractor", pipeline.WhisperAudio(c.MelBins))
	if err != nil {
		return nil, err
	}
	p := &pipeline.Pipeline{Audio: audio}
	params := im.Params(table, "")
	if params.Has("decoder.embed_tokens.weight") {
		if p.Decode, err = im.whisperDecode(&c); err != nil {
			return nil, err
		}
		if p.Text, err = im.textPipeline("WhisperTokenizer", c.TargetPositions, c.VocabSize); err != nil {
			return nil, err
		}
	}
	return c.build(im, params, p)
}

// whisperDecode reads generation_config.json over what config.json says of generation.
func (im *Import) whisperDecode(c *whisperConfig) (*pipeline.Decode, error) {
	config, err := im.ReadFile("config.json")
	if err != nil {
		return nil, err
	}
	generation, err := im.ReadFile("generation_config.json")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	d, err := pipeline.WhisperDecode(config, generation, c.TargetPositions, c.DecoderLayers)
	if err != nil {
		// Features and logits can be had all the same.
		im.Note("%v: no text can be written", err)
		return &pipeline.Decode{Layers: c.DecoderLayers, MaxLength: max(c.TargetPositions, 1), Fault: err.Error()}, nil
	}
	for _, n := range d.Notes {
		im.Note("%s", n)
	}
	return d, nil
}

func (c *whisperConfig) build(im *Import, params graph.Params, p *pipeline.Pipeline) (*graph.Model, error) {
	err := checkSizes("config",
		size{"d_model", c.Dim}, size{"num_mel_bins", c.MelBins}, size{"encoder_attention_heads", c.EncoderHeads},
		size{"encoder_ffn_dim", c.EncoderHidden}, size{"max_source_positions", c.SourcePositions})
	if err == nil && p.Decode != nil {
		err = checkSizes("config", size{"decoder_attention_heads", c.DecoderHeads}, size{"decoder_ffn_dim", c.DecoderHidden},
			size{"max_target_positions", c.TargetPositions}, size{"vocab_size", c.VocabSize})
	}
	if err != nil {
		return nil, err
	}
	act, err := activation("activation_function", c.Activation)
	if err != nil {
		return nil, err
	}
	b := graph.NewBuilder(params)
	x := c.encoder(b, act)
	if p.Decode != nil {
		p.Task = &pipeline.Task{Kind: "transcription"}
		c.decoder(b, x, act)
	} else {
		im.Note("no decoder in this checkpoint: features are computed, and no text")
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: p}, err
}

// encoder builds input_features [B, mels, 2 P] -> [B, P, dim].
func (c *whisperConfig) encoder(b *graph.Builder, act kernels.Activation) *graph.Node {
	d := c.Dim
	x := b.Rearrange(b.Input("input_features", -1, c.MelBins, 2*c.SourcePositions), "b c t -> b t c")
	// In int8 the two convolutions alone would take tiny.en's relative L2 error at the encoder's output from 3.8 to 4.6 %;
	// in float they cost 6 % of the time.
	conv := func(x *graph.Node, stem string, in, stride int) *graph.Node {
		b.Derived(graph.Stem, stem+".weight", graph.RearrangeExpr(b.Tensor(stem+".weight", d, in, 3), "o i (h w) -> o h w i", map[string]int{"h": 1}))
		return b.Act(b.Conv1d(x, stem, graph.ConvSpec{In: in, Out: d, KH: 1, KW: 3, Stride: [2]int{1, stride}, Pad: graph.Pad2(0, 1)}), kernels.ActGELU)
	}
	x = conv(x, "encoder.conv1", c.MelBins, 1)
	x = conv(x, "encoder.conv2", d, 2)
	var positions *graph.Node
	if b.Params.Has("encoder.embed_positions.weight") {
		positions = b.Parameter(graph.Position, "encoder.embed_positions.weight", c.SourcePositions, d)
	} else {
		positions = b.Value(b.Derived(graph.Position, "encoder.embed_positions.weight", graph.Apply(sinusoids{c.SourcePositions, d})))
	}
	x = b.Name(b.Add(x, positions), "encoder.embeddings")
	t := c.stack("encoder", c.EncoderLayers, c.EncoderHeads, c.EncoderHidden, act).Apply(b, x, block.With{}, block.With{})
	t.NameLayers(b, "encoder.layer_%d")
	return b.Output(t.Last, graph.Audio, "encoder.last_hidden_state")
}

// stack is the encoder's or the decoder's stack of layers. Projections of keys have no bias.
func (c *whisperConfig) stack(stem string, layers, heads, hidden int, act kernels.Activation) *block.Transformer {
	l := block.BARTLayer.Sized(c.Dim, heads, hidden)
	l.Attention.K.Bias, l.MLP.Act = block.Absent, act
	return &block.Transformer{Layer: l, Stem: stem + ".layers.%d", Layers: layers, Norm: stem + ".layer_norm"}
}

// decoder builds decoder_input_ids [B, S] -> decoder.logits [B, S, vocabulary], with a [decoderCache].
func (c *whisperConfig) decoder(b *graph.Builder, encoded *graph.Node, act kernels.Activation) {
	d := c.Dim
	ids := b.Input("decoder_input_ids", -1, -2)
	x := b.Embedding(ids, "decoder.embed_tokens", c.VocabSize, d)
	cache := newDecoderCache(b, x, c.DecoderLayers, d)
	positions := []*graph.Node{b.Parameter(graph.Position, "decoder.embed_positions.weight", c.TargetPositions, d), ids}
	if len(cache.past) > 0 {
		positions = append(positions, cache.past[0][0])
	}
	x = b.Name(b.Add(x, b.Op(graph.TakeLike{Axis: 0, LikeAxis: 1}, nil, positions...)), "decoder.embeddings")
	stack := c.stack("decoder", c.DecoderLayers, c.DecoderHeads, c.DecoderHidden, act)
	stack.Layer.Attention.Causal = true
	cross := block.BARTCross
	cross.K.Bias = block.Absent
	stack.Layer = stack.Layer.WithCross(cross, d)
	stack.Each = cache.each
	t := stack.Apply(b, x, block.With{}, block.With{KV: encoded})
	t.NameLayers(b, "decoder.layer_%d")
	b.Name(t.Last, "decoder.last_hidden_state")
	head, kind := "decoder.embed_tokens.weight", graph.Table
	if !c.Tied {
		head, kind = "proj_out.weight", graph.Matrix
	}
	b.Output(b.Op(graph.Linear{}, []*graph.Weight{b.Weight(kind, head, c.VocabSize, d), nil}, t.Last), graph.Decoder, "decoder.logits")
}
