package models

import (
	"errors"
	"fmt"
	"io/fs"
	"math"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// The naming of openai/whisper, whose sizes the checkpoint holds and whose encoder's positions are computed.

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
