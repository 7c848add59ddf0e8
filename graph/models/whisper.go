package models

import (
	"errors"
	"fmt"
	"io/fs"
	"math"

	"github.com/mmconv/mmconv/graph"
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

// whisperEps is the epsilon of every norm: nn.LayerNorm's default.
const whisperEps = 1e-5

// openaiWhisperNames translates transformers' names to openai/whisper's.
var openaiWhisperNames = Names{
	{"encoder.embed_positions.weight", "encoder.positional_embedding"},
	{"encoder.layer_norm.*", "encoder.ln_post.*"},
	{"decoder.embed_tokens.weight", "decoder.token_embedding.weight"},
	{"decoder.embed_positions.weight", "decoder.positional_embedding"},
	{"decoder.layer_norm.*", "decoder.ln.*"},
	{"encoder.layers.#.self_attn.q_proj.*", "encoder.blocks.#.attn.query.*"},
	{"encoder.layers.#.self_attn.k_proj.*", "encoder.blocks.#.attn.key.*"},
	{"encoder.layers.#.self_attn.v_proj.*", "encoder.blocks.#.attn.value.*"},
	{"encoder.layers.#.self_attn.out_proj.*", "encoder.blocks.#.attn.out.*"},
	{"encoder.layers.#.self_attn_layer_norm.*", "encoder.blocks.#.attn_ln.*"},
	{"encoder.layers.#.fc1.*", "encoder.blocks.#.mlp.0.*"},
	{"encoder.layers.#.fc2.*", "encoder.blocks.#.mlp.2.*"},
	{"encoder.layers.#.final_layer_norm.*", "encoder.blocks.#.mlp_ln.*"},
	{"decoder.layers.#.self_attn.q_proj.*", "decoder.blocks.#.attn.query.*"},
	{"decoder.layers.#.self_attn.k_proj.*", "decoder.blocks.#.attn.key.*"},
	{"decoder.layers.#.self_attn.v_proj.*", "decoder.blocks.#.attn.value.*"},
	{"decoder.layers.#.self_attn.out_proj.*", "decoder.blocks.#.attn.out.*"},
	{"decoder.layers.#.self_attn_layer_norm.*", "decoder.blocks.#.attn_ln.*"},
	{"decoder.layers.#.encoder_attn.q_proj.*", "decoder.blocks.#.cross_attn.query.*"},
	{"decoder.layers.#.encoder_attn.k_proj.*", "decoder.blocks.#.cross_attn.key.*"},
	{"decoder.layers.#.encoder_attn.v_proj.*", "decoder.blocks.#.cross_attn.value.*"},
	{"decoder.layers.#.encoder_attn.out_proj.*", "decoder.blocks.#.cross_attn.out.*"},
	{"decoder.layers.#.encoder_attn_layer_norm.*", "decoder.blocks.#.cross_attn_ln.*"},
	{"decoder.layers.#.fc1.*", "decoder.blocks.#.mlp.0.*"},
	{"decoder.layers.#.fc2.*", "decoder.blocks.#.mlp.2.*"},
	{"decoder.layers.#.final_layer_norm.*", "decoder.blocks.#.mlp_ln.*"},
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

// whisperDims is openai/whisper's ModelDimensions.
type whisperDims struct {
	Mels       int `json:"n_mels"`
	AudioCtx   int `json:"n_audio_ctx"`
	AudioState int `json:"n_audio_state"`
	AudioHead  int `json:"n_audio_head"`
	AudioLayer int `json:"n_audio_layer"`
	Vocab      int `json:"n_vocab"`
	TextCtx    int `json:"n_text_ctx"`
	TextState  int `json:"n_text_state"`
	TextHead   int `json:"n_text_head"`
	TextLayer  int `json:"n_text_layer"`
}

// dims reads the model's dimensions from the checkpoint's own record, from config.json, or from the tensors' shapes; heads
// have 64 channels in every published model.
func (im *Import) whisperDims() (*whisperDims, error) {
	d := &whisperDims{
		Mels: im.Dim("encoder.conv1.weight", 1), AudioState: im.Dim("encoder.conv1.weight", 0),
		AudioCtx: im.Dim("encoder.positional_embedding", 0), AudioLayer: im.Count("encoder.blocks.#.attn.query.weight"),
		Vocab: im.Dim("decoder.token_embedding.weight", 0), TextState: im.Dim("decoder.token_embedding.weight", 1),
		TextCtx: im.Dim("decoder.positional_embedding", 0), TextLayer: im.Count("decoder.blocks.#.attn.query.weight"),
	}
	if d.AudioCtx == 0 {
		d.AudioCtx = 1500
	}
	d.AudioHead, d.TextHead = d.AudioState/64, d.TextState/64
	if record, ok := im.Attributes()["dims"].(map[string]any); ok {
		for key, field := range map[string]*int{"n_audio_head": &d.AudioHead, "n_text_head": &d.TextHead, "n_audio_ctx": &d.AudioCtx} {
			if n, ok := record[key].(int); ok {
				*field = n
			}
		}
		return d, nil
	}
	if err := im.Config(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return d, nil
}

func buildOpenAIWhisper(im *Import) (*graph.Model, error) {
	d, err := im.whisperDims()
	if err != nil {
		return nil, err
	}
	if d.TextLayer > 0 && d.AudioState != d.TextState {
		return nil, fmt.Errorf("dims: n_audio_state is %d and n_text_state %d; expected equal ones", d.AudioState, d.TextState)
	}
	c := &whisperConfig{
		VocabSize: d.Vocab, MelBins: d.Mels, Dim: d.AudioState, EncoderLayers: d.AudioLayer, EncoderHeads: d.AudioHead,
		EncoderHidden: 4 * d.AudioState, DecoderLayers: d.TextLayer, DecoderHeads: d.TextHead, DecoderHidden: 4 * d.TextState,
		SourcePositions: d.AudioCtx, TargetPositions: d.TextCtx, Activation: "gelu", Tied: true,
	}
	im.Ignore("decoder.mask", "the causal mask, which the architecture gives")
	im.Ignore("alignment_heads", "marks of the heads that word timestamps are made with")
	audio := pipeline.WhisperAudio(c.MelBins)
	audio.Samples = 2 * c.SourcePositions * audio.Mel.Hop
	p := &pipeline.Pipeline{Audio: audio}
	if c.DecoderLayers > 0 {
		if p.Text, err = pipeline.OpenAIWhisperText(im.ReadFile, c.VocabSize); err != nil {
			return nil, err
		}
		if err := im.noteTokenizer(p.Text); err != nil {
			return nil, err
		}
		p.Decode = pipeline.OpenAIWhisperDecode(c.VocabSize, c.TargetPositions, c.DecoderLayers)
		if err := p.Decode.Check(); err != nil {
			return nil, fmt.Errorf("dims: %w", err)
		}
	}
	return c.build(im, im.Params(openaiWhisperNames, ""), p)
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
	block := whisperBlock{Dim: d, Heads: c.EncoderHeads, Hidden: c.EncoderHidden, Act: act}
	for i := range b.Layers(c.EncoderLayers) {
		name := fmt.Sprintf("encoder.layers.%d", i)
		x = block.attention(b, x, name+".self_attn", func(h *graph.Node) (q, k, v *graph.Node) {
			return block.query(b, h, name+".self_attn"), block.key(b, h, name+".self_attn"), block.value(b, h, name+".self_attn")
		}, false)
		x = b.Namef(block.mlp(b, x, name), "encoder.layer_%d", i)
	}
	return b.Output(b.LayerNorm(x, "encoder.layer_norm", d, whisperEps), graph.Audio, "encoder.last_hidden_state")
}

// decoder builds decoder_input_ids [B, S] -> decoder.logits [B, S, vocabulary]. Keys and values of earlier positions come
// in by past.N.key and past.N.value [B, P, dim] and go out with the new ones by present.N.key and present.N.value; those of
// the encoder's output are cross.N.key and cross.N.value, to be fed again on later steps.
func (c *whisperConfig) decoder(b *graph.Builder, encoded *graph.Node, act kernels.Activation) {
	d := c.Dim
	ids := b.Input("decoder_input_ids", -1, -2)
	x := b.Embedding(ids, "decoder.embed_tokens", c.VocabSize, d)
	// A cache of no positions, where none is given: its layout is that of the embeddings.
	none := b.Slice(x, 1, -1, -1)
	past := make([][2]*graph.Node, c.DecoderLayers)
	for i := range past {
		for j, what := range []string{"key", "value"} {
			past[i][j] = b.InputOr(fmt.Sprintf("past.%d.%s", i, what), none, -1, -4, d)
		}
	}
	positions := []*graph.Node{b.Parameter(graph.Position, "decoder.embed_positions.weight", c.TargetPositions, d), ids}
	if len(past) > 0 {
		positions = append(positions, past[0][0])
	}
	x = b.Name(b.Add(x, b.Op(graph.TakeLike{Axis: 0, LikeAxis: 1}, nil, positions...)), "decoder.embeddings")
	block := whisperBlock{Dim: d, Heads: c.DecoderHeads, Hidden: c.DecoderHidden, Act: act}
	for i := range b.Layers(c.DecoderLayers) {
		name := fmt.Sprintf("decoder.layers.%d", i)
		self, cross := name+".self_attn", name+".encoder_attn"
		x = block.attention(b, x, self, func(h *graph.Node) (q, k, v *graph.Node) {
			k = b.Namef(b.Concat(1, past[i][0], block.key(b, h, self)), "present.%d.key", i)
			v = b.Namef(b.Concat(1, past[i][1], block.value(b, h, self)), "present.%d.value", i)
			return block.query(b, h, self), k, v
		}, true)
		x = block.attention(b, x, cross, func(h *graph.Node) (q, k, v *graph.Node) {
			return block.query(b, h, cross), b.Namef(block.key(b, encoded, cross), "cross.%d.key", i),
				b.Namef(block.value(b, encoded, cross), "cross.%d.value", i)
		}, false)
		x = b.Namef(block.mlp(b, x, name), "decoder.layer_%d", i)
	}
	x = b.Name(b.LayerNorm(x, "decoder.layer_norm", d, whisperEps), "decoder.last_hidden_state")
	head, kind := "decoder.embed_tokens.weight", graph.Table
	if !c.Tied {
		head, kind = "proj_out.weight", graph.Matrix
	}
	b.Output(b.Op(graph.Linear{}, []*graph.Weight{b.Weight(kind, head, c.VocabSize, d), nil}, x), graph.Decoder, "decoder.logits")
}

// whisperBlock is the pre-norm layer of both stacks. Projections of keys have no bias.
type whisperBlock struct {
	Dim, Heads, Hidden int
	Act                kernels.Activation
}

func (t *whisperBlock) query(b *graph.Builder, x *graph.Node, name string) *graph.Node {
	return b.Linear(x, name+".q_proj", t.Dim, t.Dim)
}

func (t *whisperBlock) key(b *graph.Builder, x *graph.Node, name string) *graph.Node {
	return b.LinearNoBias(x, name+".k_proj", t.Dim, t.Dim)
}

func (t *whisperBlock) value(b *graph.Builder, x *graph.Node, name string) *graph.Node {
	return b.Linear(x, name+".v_proj", t.Dim, t.Dim)
}

// attention is x + attention(norm(x)); project gives queries, keys and values of the normalised input.
func (t *whisperBlock) attention(b *graph.Builder, x *graph.Node, name string, project func(h *graph.Node) (q, k, v *graph.Node), causal bool) *graph.Node {
	q, k, v := project(b.LayerNorm(x, name+"_layer_norm", t.Dim, whisperEps))
	h := b.Attention(q, k, v, graph.AttentionSpec{Heads: t.Heads, HeadDim: t.Dim / t.Heads, Causal: causal})
	return b.Add(x, b.Linear(h, name+".out_proj", t.Dim, t.Dim))
}

func (t *whisperBlock) mlp(b *graph.Builder, x *graph.Node, name string) *graph.Node {
	h := b.LayerNorm(x, name+".final_layer_norm", t.Dim, whisperEps)
	h = b.Act(b.Linear(h, name+".fc1", t.Dim, t.Hidden), t.Act)
	return b.Add(x, b.Linear(h, name+".fc2", t.Hidden, t.Dim))
}

// sinusoids is the position table of openai/whisper's encoder, [length, channels]: sines in the first half of the
// channels, cosines in the second, wavelengths up to 10000.
type sinusoids struct{ Length, Channels int }

var _ = graph.RegisterExpr(sinusoids{})

func (o sinusoids) Infer(args []graph.Shape) (graph.Shape, error) {
	if len(args) != 0 || o.Length < 0 || o.Channels < 0 || o.Channels%2 != 0 {
		return nil, fmt.Errorf("expected an even number of channels")
	}
	return graph.Shape{o.Length, o.Channels}, nil
}

func (o sinusoids) Eval([]*graph.Tensor) ([]float32, error) {
	half := o.Channels / 2
	step := math.Log(10000) / float64(max(half-1, 1))
	table := make([]float32, o.Length*o.Channels)
	for t := range o.Length {
		for i := range half {
			angle := float64(t) * math.Exp(-step*float64(i))
			table[t*o.Channels+i], table[t*o.Channels+half+i] = float32(math.Sin(angle)), float32(math.Cos(angle))
		}
	}
	return table, nil
}
