package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
)

// Voxtral (Liu et al., arXiv:2507.13264): Whisper's encoder, frames joined to the width of its feed-forward part, an MLP. Source:
// huggingface/transformers models/voxtral/modeling_voxtral.py.

var _ = Register(&System{
	Name: "voxtral", Title: "Voxtral", ModelTypes: []string{"voxtral"}, Namings: single("voxtral"),
	Build: func(im *Import) (*graph.Model, error) {
		h, err := im.hearing(speechTower{1280, 32, 20, 5120, 128, 1500, "gelu"}, "multi_modal_projector.linear_1.weight")
		if err != nil {
			return nil, err
		}
		b, at, t := h.b, "audio_tower.", h.tower
		if t.Hidden%t.Dim != 0 {
			return nil, fmt.Errorf("config: audio_config.intermediate_size %d is no multiple of hidden_size %d: frames cannot be joined to it", t.Hidden, t.Dim)
		}
		x := t.layers(b, at, t.embed(b, at, h.spectrogram()), block.With{}).Last
		x = b.Name(b.LayerNorm(x, at+"layer_norm", t.Dim, 1e-5), "audio_tower")
		x = joined(b, x, t.Hidden/t.Dim, false)
		out := h.out(im, "multi_modal_projector.linear_1.weight")
		x = b.Act(b.LinearNoBias(x, "multi_modal_projector.linear_1", t.Hidden, out), h.projectorAct)
		x = b.LinearNoBias(x, "multi_modal_projector.linear_2", out, out)
		return h.model(b.Rearrange(x, "b t d -> (b t) d"), nil)
	},
})
