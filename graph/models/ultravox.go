package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
)

// Ultravox (fixie-ai/ultravox, ultravox/model/ultravox_model.py): Whisper's encoder over clips as long as they are, some frames joined,
// RMSNorm, a SwiGLU.

var _ = Register(&System{
	Name: "ultravox", Title: "Ultravox", ModelTypes: []string{"ultravox"}, Namings: single("ultravox"), Build: buildUltravox,
})

func buildUltravox(im *Import) (*graph.Model, error) {
	h, err := im.hearing(speechTower{1280, 32, 20, 5120, 80, 1500, "gelu"}, "multi_modal_projector.linear_1.weight")
	if err != nil {
		return nil, err
	}
	c := struct {
		Stack   int    `json:"stack_factor"`
		Act     string `json:"projector_act"`
		NormMid bool   `json:"projector_ln_mid"`
		Latency *int   `json:"audio_latency_block_size"`
	}{Stack: 8, Act: "swiglu"}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	if err := checkSizes("config", size{"stack_factor", c.Stack}); err != nil {
		return nil, err
	}
	if c.Latency != nil {
		return nil, fmt.Errorf("config: audio_latency_block_size is %d; encoders that hear in blocks are not supported", *c.Latency)
	}
	t := h.tower
	h.audio.Mask, h.audio.Samples = true, 0
	if h.audio.Mel != nil { // UltravoxProcessor pads the longest clip to whole frames
		h.audio.PadMultiple = h.audio.Mel.Hop
	}
	b, at := h.b, "audio_tower."
	mel := b.Op(graph.Input{Dims: []int{-1, t.Mels, -3}, Example: []int{2, t.Mels, 16 * c.Stack}}, nil)
	b.Name(mel, "input_features")
	mask := b.InputOr("attention_mask", b.Op(graph.Reduce{Kind: graph.Mean, Axis: 1}, nil, b.Op(graph.FillLike{Value: 1}, nil, mel)), -1, -3)
	mask.Op = graph.Input{Dims: []int{-1, -3}, Example: []int{2, 16 * c.Stack}}
	frames := halved(b, mask)
	x := t.layers(b, at, t.embed(b, at, mel), block.With{Bias: block.HideKeys(b, frames)}).Last
	x = b.Name(b.LayerNorm(x, at+"layer_norm", t.Dim, 1e-5), "audio_tower")
	x = joined(b, x, c.Stack, true)
	inner, out := h.out(im, "multi_modal_projector.linear_1.weight"), h.out(im, "multi_modal_projector.linear_2.weight")
	x = b.RMSNorm(x, "multi_modal_projector.ln_pre", t.Dim*c.Stack, 1e-6)
	x = b.Name(b.LinearNoBias(x, "multi_modal_projector.linear_1", t.Dim*c.Stack, inner), "projector.linear_1")
	if c.Act == "swiglu" {
		if inner%2 != 0 {
			return nil, fmt.Errorf("tensor multi_modal_projector.linear_1.weight: %d rows do not split into a gate and what it gates", inner)
		}
		inner /= 2
		x = b.Mul(b.Act(b.Slice(x, 2, inner, 0), activations["silu"]), b.Slice(x, 2, 0, inner))
	} else {
		act, err := activation("projector_act", c.Act)
		if err != nil {
			return nil, err
		}
		x = b.Act(x, act)
	}
	if c.NormMid || b.Params.Has("multi_modal_projector.ln_mid.weight") {
		x = b.RMSNorm(x, "multi_modal_projector.ln_mid", inner, 1e-6)
	}
	x = b.LinearNoBias(x, "multi_modal_projector.linear_2", inner, out)
	if b.Params.Has("multi_modal_projector.ln_post.weight") {
		x = b.RMSNorm(x, "multi_modal_projector.ln_post", out, 1e-6)
	}
	real := b.Op(graph.Slice{Axis: 1, Step: 2 * c.Stack}, nil, mask)
	return h.model(x, real)
}
