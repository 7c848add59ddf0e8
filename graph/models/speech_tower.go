package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// What stands before the language models that hear: Whisper's encoder, under names and configurations of their own.

// speechTower is Whisper's encoder as those models configure it.
type speechTower struct {
	Dim, Layers, Heads, Hidden, Mels, Positions int
	Act                                         string
}

// speechConfig reads audio_config in Whisper's words or in those of later models.
func (im *Import) speechConfig(defaults speechTower) (speechTower, error) {
	c := struct {
		Audio struct {
			Dim       *int    `json:"d_model"`
			Dim2      *int    `json:"hidden_size"`
			Layers    *int    `json:"encoder_layers"`
			Layers2   *int    `json:"num_hidden_layers"`
			Heads     *int    `json:"encoder_attention_heads"`
			Heads2    *int    `json:"num_attention_heads"`
			Hidden    *int    `json:"encoder_ffn_dim"`
			Hidden2   *int    `json:"intermediate_size"`
			Mels      *int    `json:"num_mel_bins"`
			Positions *int    `json:"max_source_positions"`
			Act       *string `json:"activation_function"`
		} `json:"audio_config"`
	}{}
	if err := im.Config(&c); err != nil {
		return defaults, err
	}
	a, t := c.Audio, defaults
	for _, f := range []struct {
		to   *int
		from []*int
	}{{&t.Dim, []*int{a.Dim, a.Dim2}}, {&t.Layers, []*int{a.Layers, a.Layers2}}, {&t.Heads, []*int{a.Heads, a.Heads2}}, {&t.Hidden, []*int{a.Hidden, a.Hidden2}},
		{&t.Mels, []*int{a.Mels}}, {&t.Positions, []*int{a.Positions}}} {
		for _, v := range f.from {
			if v != nil {
				*f.to = *v
				break
			}
		}
	}
	if a.Act != nil {
		t.Act = *a.Act
	}
	return t, checkSizes("audio_config", size{"d_model", t.Dim}, size{"encoder_attention_heads", t.Heads}, size{"encoder_ffn_dim", t.Hidden},
		size{"num_mel_bins", t.Mels}, size{"max_source_positions", t.Positions})
}

// stems runs a spectrogram [B, mels, T] through the two convolutions: [B, (T+1)/2, dim].
func (t *speechTower) stems(b *graph.Builder, at string, mel *graph.Node) *graph.Node {
	// They stay float: rounding them costs more of the result than all layers behind, and little time.
	conv := func(x *graph.Node, stem string, in, stride int) *graph.Node {
		b.Derived(graph.Stem, stem+".weight", graph.RearrangeExpr(b.Tensor(stem+".weight", t.Dim, in, 3), "o i (h w) -> o h w i", map[string]int{"h": 1}))
		return b.Act(b.Conv1d(x, stem, graph.ConvSpec{In: in, Out: t.Dim, KH: 1, KW: 3, Stride: [2]int{1, stride}, Pad: graph.Pad2(0, 1)}), kernels.ActGELU)
	}
	return conv(conv(b.Rearrange(mel, "b c t -> b t c"), at+"conv1", t.Mels, 1), at+"conv2", t.Dim, 2)
}

// embed adds the first positions of the stored table.
func (t *speechTower) embed(b *graph.Builder, at string, mel *graph.Node) *graph.Node {
	x := t.stems(b, at, mel)
	table := b.Parameter(graph.Position, at+"embed_positions.weight", t.Positions, t.Dim)
	return b.Add(x, b.Op(graph.TakeLike{Axis: 0, LikeAxis: 1}, nil, table, x))
}

// layers runs the transformer, without the norm behind it.
func (t *speechTower) layers(b *graph.Builder, at string, x *graph.Node, self block.With) *block.Tower {
	act, err := activation("activation_function", t.Act)
	if err != nil {
		return block.Failed(b, err, x)
	}
	l := block.BARTLayer.Sized(t.Dim, t.Heads, t.Hidden)
	l.Attention.K.Bias, l.MLP.Act = block.Absent, act
	tower := (&block.Transformer{Layer: l, Stem: at + "layers.%d", Layers: t.Layers}).Apply(b, x, self, block.With{})
	tower.NameLayers(b, "layer_%d")
	return tower
}

// halved is the mask of the frames that a convolution of stride 2 makes of those of a mask [B, T].
func halved(b *graph.Builder, mask *graph.Node) *graph.Node {
	return b.Op(graph.Slice{Axis: 1, Step: 2}, nil, mask)
}

// joined puts n frames of x [B, T, D] one behind the other in one: [B, T/n, n D]. A rest is left out, or with pad filled up by
// zeros.
func joined(b *graph.Builder, x *graph.Node, n int, pad bool) *graph.Node {
	if pad {
		x = b.Op(graph.Pad{Axis: 1, After: n - 1}, nil, x)
	}
	last := b.Op(graph.Slice{Axis: 1, Start: n - 1, Step: n}, nil, x)
	var parts []*graph.Node
	for i := range n - 1 {
		parts = append(parts, b.Op(graph.TakeLike{Axis: 1, LikeAxis: 1}, nil, b.Op(graph.Slice{Axis: 1, Start: i, Step: n}, nil, x), last))
	}
	return b.Concat(2, append(parts, last)...)
}

// averaged is the mean of every two frames; an odd last one is left out.
func averaged(b *graph.Builder, x *graph.Node) *graph.Node {
	second := b.Op(graph.Slice{Axis: 1, Start: 1, Step: 2}, nil, x)
	first := b.Op(graph.TakeLike{Axis: 1, LikeAxis: 1}, nil, b.Op(graph.Slice{Axis: 1, Step: 2}, nil, x), second)
	return b.Scale(b.Add(first, second), 0.5)
}

// hearing is a model that hears: where its parts are, and its clips.
type hearing struct {
	tower        speechTower
	b            *graph.Builder
	prefix       string
	audio        *pipeline.Audio
	textHidden   int
	projectorAct kernels.Activation
}

// hearing reads what these models have in common. Tensors are those of a whole language model, or of its parts alone.
func (im *Import) hearing(defaults speechTower, tensor string) (*hearing, error) {
	h := &hearing{}
	var err error
	if h.tower, err = im.speechConfig(defaults); err != nil {
		return nil, err
	}
	c := struct {
		Text struct {
			HiddenSize int `json:"hidden_size"`
		} `json:"text_config"`
		Act string `json:"projector_hidden_act"`
	}{Act: "gelu"}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	h.textHidden = c.Text.HiddenSize
	if h.projectorAct, err = activation("projector_hidden_act", c.Act); err != nil {
		return nil, err
	}
	if h.audio, err = im.audioPipeline("WhisperFeatureExtractor", pipeline.WhisperAudio(h.tower.Mels)); err != nil {
		return nil, err
	}
	h.prefix, _ = im.prefixOf(tensor, "", "model.")
	im.languageModel("language_model.*", "model.language_model.*", "lm_head.weight")
	h.b = graph.NewBuilder(im.Params(nil, h.prefix))
	return h, nil
}

// spectrogram is the input of a whole window, [B, mels, 2 positions].
func (h *hearing) spectrogram() *graph.Node {
	return h.b.Input("input_features", -1, h.tower.Mels, 2*h.tower.Positions)
}

// out is the width of what the projector's tensor gives.
func (h *hearing) out(im *Import, tensor string) int { return im.Dim(h.prefix+tensor, 0) }

// model ends the import. real, where given, marks the tokens [B, T] that are not padding.
func (h *hearing) model(tokens, real *graph.Node) (*graph.Model, error) {
	h.b.Output(tokens, graph.Projector, "audio_tokens")
	if real != nil {
		h.b.Output(h.b.Op(graph.TakeLike{Axis: 1, LikeAxis: 1}, nil, real, tokens), graph.Projector, "audio_tokens.real")
	}
	g, err := h.b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Audio: h.audio}}, err
}

// modelTypeIs is the rule of a system in one naming.
func modelTypeIs(types ...string) func(*Import) bool {
	return func(im *Import) bool {
		for _, t := range types {
			if im.ModelType() == t {
				return true
			}
		}
		return false
	}
}

// single is the one naming of a system that is told by its model_type.
func single(types ...string) []Naming {
	return []Naming{{Name: "huggingface", Looked: fmt.Sprintf("config.json with model_type %s", types[0]), Recognise: modelTypeIs(types...)}}
}
