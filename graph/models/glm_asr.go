package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
)

// GLM-ASR: Whisper's convolutions before a transformer with rotary positions on a part of each head; four frames joined, an MLP.
// Source: huggingface/transformers models/glmasr/modeling_glmasr.py.

var _ = Register(&System{
	Name: "glm-asr", Title: "GLM-ASR", ModelTypes: []string{"glmasr"}, Namings: single("glmasr"), Build: buildGLMASR,
})

func buildGLMASR(im *Import) (*graph.Model, error) {
	h, err := im.hearing(speechTower{1280, 32, 20, 5120, 128, 1500, "gelu"}, "multi_modal_projector.linear_1.weight")
	if err != nil {
		return nil, err
	}
	c := struct {
		Audio struct {
			Act       string `json:"hidden_act"`
			HeadDim   int    `json:"head_dim"`
			KVHeads   int    `json:"num_key_value_heads"`
			Positions int    `json:"max_position_embeddings"`
			Rope      struct {
				Theta   float64 `json:"rope_theta"`
				Partial float64 `json:"partial_rotary_factor"`
			} `json:"rope_parameters"`
			Partial float64 `json:"partial_rotary_factor"`
		} `json:"audio_config"`
	}{}
	c.Audio.Act, c.Audio.Positions, c.Audio.Rope.Theta = "gelu", 1500, 10000
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	t, a := h.tower, c.Audio
	if a.HeadDim == 0 {
		a.HeadDim = t.Dim / t.Heads
	}
	partial := a.Rope.Partial
	if partial == 0 {
		if partial = a.Partial; partial == 0 {
			partial = 0.5
		}
	}
	act, err := activation("hidden_act", a.Act)
	if err == nil {
		err = checkSizes("audio_config", size{"head_dim", a.HeadDim}, size{"max_position_embeddings", a.Positions})
	}
	if err != nil {
		return nil, err
	}
	if t.Hidden%t.Dim != 0 {
		return nil, fmt.Errorf("config: audio_config.intermediate_size %d is no multiple of hidden_size %d: frames cannot be joined to it", t.Hidden, t.Dim)
	}
	h.audio.Mask = true
	b, at := h.b, "audio_tower."
	mel := b.Op(graph.Input{Dims: []int{-1, t.Mels, -3}, Example: []int{2, t.Mels, 64}}, nil)
	b.Name(mel, "input_features")
	mask := b.InputOr("attention_mask", b.Op(graph.Reduce{Kind: graph.Mean, Axis: 1}, nil, b.Op(graph.FillLike{Value: 1}, nil, mel)), -1, -3)
	mask.Op = graph.Input{Dims: []int{-1, -3}, Example: []int{2, 64}}
	x := t.stems(b, at, mel)
	l := block.LLaMALayer.Sized(t.Dim, t.Heads, t.Hidden)
	l.Norm = block.Norm{Eps: 1e-5}
	l.Attention.HeadDim, l.Attention.KVHeads = a.HeadDim, a.KVHeads
	l.Attention.Q.Bias, l.Attention.V.Bias, l.Attention.Out.Bias = block.Required, block.Required, block.Required
	l.MLP = block.MLP{Dim: t.Dim, Hidden: t.Hidden, Act: act, FC1: block.Projection{Stem: "mlp.fc1"}, FC2: block.Projection{Stem: "mlp.fc2"}}
	turn := block.SequenceRotary(b, x, max(a.Positions, t.Positions), int(float64(a.HeadDim)*partial), a.HeadDim, a.Rope.Theta, false)
	tower := (&block.Transformer{Layer: l, Stem: at + "layers.%d", Layers: t.Layers, Norm: at + "norm"}).Apply(b, x, block.With{Rotate: turn.Rotate(b)}, block.With{})
	tower.NameLayers(b, "layer_%d")
	b.Name(tower.Last, "audio_tower")
	n := t.Hidden / t.Dim
	x = joined(b, tower.Last, n, false)
	inner, out := h.out(im, "multi_modal_projector.linear_1.weight"), h.out(im, "multi_modal_projector.linear_2.weight")
	x = b.Linear(b.Act(b.Linear(x, "multi_modal_projector.linear_1", t.Hidden, inner), h.projectorAct), "multi_modal_projector.linear_2", inner, out)
	// Of L frames (L - 1) / 2 + 1 are left by the convolutions, and (those - n) / n + 1 tokens are real.
	return h.model(x, b.Op(graph.Slice{Axis: 1, Start: n - 1, Step: n}, nil, halved(b, mask)))
}
