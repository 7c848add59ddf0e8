package models

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
)

// Qwen2-Audio (Chu et al., arXiv:2407.10759): Whisper's encoder, the mean of every two frames, a linear projector. Source:
// huggingface/transformers models/qwen2_audio/modeling_qwen2_audio.py.

var _ = Register(&System{
	Name: "qwen2-audio", Title: "Qwen2-Audio", ModelTypes: []string{"qwen2_audio"}, Namings: single("qwen2_audio"),
	Build: func(im *Import) (*graph.Model, error) {
		h, err := im.hearing(speechTower{1280, 32, 20, 5120, 128, 1500, "gelu"}, "multi_modal_projector.linear.weight")
		if err != nil {
			return nil, err
		}
		b, at := h.b, "audio_tower."
		t := h.tower.layers(b, at, h.tower.embed(b, at, h.spectrogram()), block.With{})
		x := b.Name(b.LayerNorm(averaged(b, t.Last), at+"layer_norm", h.tower.Dim, 1e-5), "audio_tower")
		return h.model(b.Linear(x, "multi_modal_projector.linear", h.tower.Dim, h.out(im, "multi_modal_projector.linear.weight")), nil)
	},
})
