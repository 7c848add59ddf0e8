package models

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
)

// Audio Flamingo 3 (Goel et al., arXiv:2507.08128): Whisper's encoder that sees real frames only, the mean of every two, an MLP.
// Source: huggingface/transformers models/audioflamingo3/modeling_audioflamingo3.py.

var _ = Register(&System{
	Name: "audio-flamingo-3", Title: "Audio Flamingo 3", ModelTypes: []string{"audioflamingo3"}, Namings: single("audioflamingo3"),
	Build: func(im *Import) (*graph.Model, error) {
		h, err := im.hearing(speechTower{1280, 32, 20, 5120, 128, 1500, "gelu"}, "multi_modal_projector.linear_1.weight")
		if err != nil {
			return nil, err
		}
		h.audio.Mask = true
		b, at, t := h.b, "audio_tower.", h.tower
		mel := h.spectrogram()
		mask := b.InputOr("attention_mask", b.Op(graph.Reduce{Kind: graph.Mean, Axis: 1}, nil, b.Op(graph.FillLike{Value: 1}, nil, mel)), -1, 2*t.Positions)
		x := t.layers(b, at, t.embed(b, at, mel), block.With{Bias: block.HideKeys(b, halved(b, mask))}).Last
		x = b.Name(b.LayerNorm(averaged(b, x), at+"layer_norm", t.Dim, 1e-5), "audio_tower")
		out := h.out(im, "multi_modal_projector.linear_1.weight")
		x = b.Act(b.LinearIf(b.Params.Has("multi_modal_projector.linear_1.bias"), x, "multi_modal_projector.linear_1", t.Dim, out), h.projectorAct)
		x = b.LinearIf(b.Params.Has("multi_modal_projector.linear_2.bias"), x, "multi_modal_projector.linear_2", out, out)
		// Tokens count up to (frames - 2) / 2 + 1 of the mask as it came in, which the original takes for that of the encoder's frames.
		return h.model(x, b.Op(graph.Slice{Axis: 1, Start: 1, Step: 2}, nil, mask))
	},
})
