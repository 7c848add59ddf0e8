package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// Idefics2: What matters when building vision-language models? (Laurençon et al., arXiv:2405.02246): a tower for pictures of any
// size, an MLP and a Perceiver resampler. Source: huggingface/transformers models/idefics2/modeling_idefics2.py.

var _ = Register(&System{
	Name: "idefics2", Title: "Idefics2", Row: 6,
	ModelTypes: []string{"idefics2"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type idefics2, tensors model.connector.perceiver_resampler.*", Recognise: func(im *Import) bool {
			return im.ModelType() == "idefics2" && im.HasAny("*connector.perceiver_resampler.latents")
		}},
	},
	Build: buildIdefics2,
})

func buildIdefics2(im *Import) (*graph.Model, error) {
	c := struct {
		Vision    ideficsVision `json:"vision_config"`
		Perceiver struct {
			HiddenAct string `json:"hidden_act"`
			Latents   int    `json:"resampler_n_latents"`
			Depth     int    `json:"resampler_depth"`
			Heads     int    `json:"resampler_n_heads"`
			HeadDim   int    `json:"resampler_head_dim"`
			KVHeads   int    `json:"num_key_value_heads"`
		} `json:"perceiver_config"`
		Text struct {
			HiddenSize       int     `json:"hidden_size"`
			IntermediateSize int     `json:"intermediate_size"`
			HiddenAct        string  `json:"hidden_act"`
			Eps              float64 `json:"rms_norm_eps"`
		} `json:"text_config"`
	}{Vision: ideficsVision{HiddenSize: 768, IntermediateSize: 3072, Layers: 12, Heads: 12, Channels: 3, ImageSize: 224, PatchSize: 32,
		HiddenAct: "gelu_pytorch_tanh", Eps: 1e-6}}
	r, l := &c.Perceiver, &c.Text
	r.HiddenAct, r.Latents, r.Depth, r.Heads, r.HeadDim, r.KVHeads = "silu", 64, 3, 16, 96, 4
	l.HiddenSize, l.IntermediateSize, l.HiddenAct, l.Eps = 4096, 14336, "silu", 1e-5
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	err := checkSizes("config", size{"perceiver_config.resampler_n_latents", r.Latents}, size{"perceiver_config.resampler_depth", r.Depth},
		size{"perceiver_config.resampler_n_heads", r.Heads}, size{"perceiver_config.resampler_head_dim", r.HeadDim},
		size{"perceiver_config.num_key_value_heads", r.KVHeads}, size{"text_config.hidden_size", l.HiddenSize}, size{"text_config.intermediate_size", l.IntermediateSize})
	if err != nil {
		return nil, err
	}
	act, err := activation("perceiver_config.hidden_act", r.HiddenAct)
	if err != nil {
		return nil, err
	}
	textAct, err := activation("text_config.hidden_act", l.HiddenAct)
	if err != nil {
		return nil, err
	}
	prefix := ""
	if im.HasAny("model.connector.*") {
		prefix = "model."
	}
	im.languageModel("model.text_model.*", "text_model.*", "lm_head.*")
	im.Ignore("*.embeddings.position_ids", "a buffer of consecutive numbers")
	p := im.Params(nil, prefix)
	b := graph.NewBuilder(p)
	pipe := &pipeline.Pipeline{}
	var x, mask *graph.Node
	if im.HasAny(prefix + "vision_model.*") {
		if pipe.Image, err = im.classPipeline("Idefics2ImageProcessor"); err != nil {
			return nil, err
		}
		pixels, pixelMask := ideficsPixels(b, c.Vision.Channels)
		t, err := c.Vision.build(b, pixels, pixelMask, "vision_model")
		if err != nil {
			return nil, err
		}
		t.NameStates(b, "vision.hidden_state.%d")
		b.Name(t.Positions, "position_ids")
		x, mask = b.Name(t.Last, "vision.last_hidden_state"), t.Mask
	} else {
		if x, err = im.visionFeatures(b, c.Vision.HiddenSize); err != nil {
			return nil, err
		}
		mask = b.InputOr("patch_attention_mask", b.Op(graph.FillLike{Value: 1}, nil, b.Rearrange(b.Slice(x, 2, 0, 1), "b n 1 -> b n")), -1, -3)
	}

	absent := func(stem string) block.Projection { return block.Projection{Stem: stem, Bias: block.Absent} }
	mlp := block.MLP{Dim: c.Vision.HiddenSize, Hidden: l.IntermediateSize, Out: l.HiddenSize, Act: textAct, Gate: absent("gate_proj"),
		FC1: absent("up_proj"), FC2: absent("down_proj")}
	context := b.Name(mlp.Apply(b, x, "connector.modality_projection"), "modality_projection")

	const stem = "connector.perceiver_resampler"
	d := l.HiddenSize
	layer := block.LLaMALayer.Sized(d, r.Heads, 4*d)
	layer.Norm.Eps, layer.MLP.Act = l.Eps, act
	layer.Self.Norm = "input_latents_norm"
	layer.Attention.KVHeads, layer.Attention.HeadDim = r.KVHeads, r.HeadDim
	// The latents attend to themselves too, behind the tokens.
	bias := b.Op(graph.Pad{Axis: 3, After: r.Latents}, nil, block.HideKeys(b, mask))
	y := b.Op(graph.Expand{}, nil, b.Rearrange(b.Parameter(graph.Position, stem+".latents", r.Latents, d), "n d -> 1 n d"), context)
	for i := range b.Layers(r.Depth) {
		at := fmt.Sprintf("%s.layers.%d", stem, i)
		tokens := layer.Norm.Apply(b, context, at+".input_context_norm", d)
		y = layer.Add(b, y, at, layer.Self, func(h *graph.Node) *graph.Node {
			return layer.Attention.Apply(b, h, at, block.With{KV: b.Concat(1, tokens, h), Bias: bias})
		})
		y = b.Namef(layer.FeedForward(b, y, at), "resampler.layer.%d", i)
	}
	b.Output(layer.Norm.Apply(b, y, stem+".norm", d), graph.Projector, "image_hidden_states")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: pipe}, err
}
