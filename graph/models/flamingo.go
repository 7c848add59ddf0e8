package models

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// Flamingo: a Visual Language Model for Few-Shot Learning (Alayrac et al., arXiv:2204.14198): a Perceiver resampler, and gated
// cross-attention before layers of a language model. Source: mlfoundations/open_flamingo open_flamingo/src/{helpers,flamingo,
// flamingo_lm}.py.

var _ = Register(&System{
	Name: "flamingo", Title: "Flamingo", Row: 6,
	ModelTypes: []string{"open_flamingo", "open_flamingo_perceiver", "open_flamingo_gated_xattn"},
	Namings: []Naming{
		{Name: "open_flamingo", Looked: "tensors perceiver.layers.#.0.to_q.weight or *.gated_cross_attn_layer.attn.to_q.weight", Recognise: func(im *Import) bool {
			return im.HasTensor(perceiverStem+"latents") && im.HasTensor(perceiverStem+"layers.0.0.to_q.weight") || len(im.gatedLayers()) > 0
		}},
	},
	Build: buildFlamingo,
})

// flamingoConfig are sizes that no tensor shows: open_flamingo has them in code.
type flamingoConfig struct {
	Heads       int   `json:"heads"`
	MediaToken  *int  `json:"media_token_id"`
	OnlyLast    *bool `json:"only_attend_immediate_media"`
	CachedMedia bool  `json:"use_cached_media"`
}

const (
	perceiverStem = "perceiver."
	flamingoEps   = 1e-5
)

func buildFlamingo(im *Import) (*graph.Model, error) {
	c := flamingoConfig{Heads: 8}
	if len(im.config) > 0 {
		if err := im.Config(&c); err != nil {
			return nil, err
		}
	}
	if err := checkSizes("config", size{"heads", c.Heads}); err != nil {
		return nil, err
	}
	p := im.Params(nil, "")
	b := graph.NewBuilder(p)
	im.Ignore("*.old_decoder_blocks.*", "a second name of the layers")
	im.Ignore("lang_encoder.gated_cross_attn_layers.*", "a second name of the gated layers")
	var media *graph.Node
	if im.HasTensor(perceiverStem + "latents") {
		var err error
		if media, err = c.perceiver(im, b, p); err != nil {
			return nil, err
		}
	}
	if layers := im.gatedLayers(); len(layers) > 0 {
		if err := c.gated(im, b, p, layers, media); err != nil {
			return nil, err
		}
	}
	im.languageModel("lang_encoder.*")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{}}, err
}

// perceiver builds the resampler on vision_features [B, T, F, N, D]: T pictures or clips of F frames of N tokens. The latents
// are [B, T, latents, D].
func (c *flamingoConfig) perceiver(im *Import, b *graph.Builder, p *NamedParams) (*graph.Node, error) {
	const stem = perceiverStem
	d, count := p.dim(stem+"latents", 1), p.dim(stem+"latents", 0)
	features, err := im.mediaFeatures(b, d)
	if err != nil {
		return nil, err
	}
	x := features
	if name := stem + "frame_embs"; p.Has(name) {
		table := b.Parameter(graph.Position, name, p.dim(name, 0), d)
		x = b.Add(x, b.Rearrange(b.Op(graph.TakeLike{LikeAxis: 2}, nil, table, x), "f d -> 1 1 f 1 d"))
	}
	x = b.Rearrange(x, "b t f n d -> b t (f n) d")
	if name := stem + "media_time_embs"; p.Has(name) {
		table := b.Parameter(graph.Position, name, p.dim(name, 0), 1, d)
		x = b.Add(x, b.Rearrange(b.Op(graph.TakeLike{LikeAxis: 1}, nil, table, x), "t 1 d -> 1 t 1 d"))
	}
	media := x
	x = b.Rearrange(x, "b t n d -> (b t) n d")
	apart := func(x *graph.Node) *graph.Node { return b.Op(graph.SplitLike{}, nil, x, media) }

	attention, err := c.attention(p, stem+"layers.0.0", d, d)
	if err != nil {
		return nil, err
	}
	latents := b.Op(graph.Expand{}, nil, b.Rearrange(b.Parameter(graph.Position, stem+"latents", count, d), "n d -> 1 n d"), x)
	layer := block.Layer{Dim: d, Norm: block.Norm{Eps: flamingoEps}}
	for i := range b.Layers(p.layers(stem + "layers.%d.0.to_q.weight")) {
		at := fmt.Sprintf("%slayers.%d", stem, i)
		norm := b.LayerNorm(x, at+".0.norm_media", d, flamingoEps)
		latents = layer.Add(b, latents, at, block.Branch{Norm: "0.norm_latents"}, func(h *graph.Node) *graph.Node {
			// The latents attend to themselves too.
			h = attention.Apply(b, h, at+".0", block.With{KV: b.Concat(1, norm, h)})
			b.Namef(apart(h), "layer%d.attn_out", i)
			return h
		})
		mlp := flamingoMLP(p, at+".1", d)
		latents = layer.Add(b, latents, at, block.Branch{Norm: "1.0"}, func(h *graph.Node) *graph.Node {
			h = mlp.Apply(b, h, at+".1")
			b.Namef(apart(h), "layer%d.ff_out", i)
			return h
		})
	}
	latents = apart(b.LayerNorm(latents, stem+"norm", d, flamingoEps))
	b.Output(latents, graph.Projector, "perceiver")
	b.Name(latents, "latents")
	return latents, nil
}

// attention describes an attention behind a stem, whose heads are as wide as its tensors say.
func (c *flamingoConfig) attention(p *NamedParams, stem string, dim, media int) (*block.Attention, error) {
	inner := p.dim(stem+".to_q.weight", 0)
	if inner%c.Heads != 0 || inner == 0 {
		return nil, fmt.Errorf("config: heads is %d, which does not divide the %d rows of tensor %s.to_q.weight", c.Heads, inner, stem)
	}
	return &block.Attention{Dim: dim, KVDim: media, OutDim: dim, Heads: c.Heads, HeadDim: inner / c.Heads,
		Q: block.Projection{Stem: "to_q", Bias: block.Absent}, KV: block.Projection{Stem: "to_kv", Bias: block.Absent},
		K: block.Projection{Stem: "to_k", Bias: block.Absent}, V: block.Projection{Stem: "to_v", Bias: block.Absent},
		Out: block.Projection{Stem: "to_out", Bias: block.Absent}}, nil
}

// flamingoMLP describes the feed-forward part behind a stem, without its norm.
func flamingoMLP(p *NamedParams, stem string, dim int) *block.MLP {
	return &block.MLP{Dim: dim, Hidden: p.dim(stem+".1.weight", 0), Act: kernels.ActGELU,
		FC1: block.Projection{Stem: "1", Bias: block.Absent}, FC2: block.Projection{Stem: "3", Bias: block.Absent}}
}

var gatedLayer = regexp.MustCompile(`^(.*\.(\d+)\.gated_cross_attn_layer)\.attn\.to_q\.weight$`)

// gatedLayers returns the stems of gated cross-attentions by the number of the decoder layer that they precede.
func (im *Import) gatedLayers() map[int]string {
	layers := map[int]string{}
	for _, name := range im.Names() {
		if m := gatedLayer.FindStringSubmatch(name); m != nil {
			if n, err := strconv.Atoi(m[2]); err == nil {
				layers[n] = m[1]
			}
		}
	}
	return layers
}

// flamingoEmbeddings are the token embeddings of the language models that open_flamingo is made of.
var flamingoEmbeddings = []string{"gpt_neox.embed_in", "transformer.wte", "model.embed_tokens", "model.decoder.embed_tokens"}

// gated builds the gated cross-attentions. The one before decoder layer N starts from the hidden state behind layer N - 1, which
// the language model computes and which is therefore an input; before layer 0 it is the text's embeddings. Where the checkpoint
// holds no resampler, media is nil, and the resampled pictures are an input.
func (c *flamingoConfig) gated(im *Import, b *graph.Builder, p *NamedParams, layers map[int]string, media *graph.Node) error {
	numbers := slices.Sorted(maps.Keys(layers))
	first := layers[numbers[0]]
	d, wide := p.dim(first+".attn.to_q.weight", 1), p.dim(first+".attn.to_kv.weight", 1)
	if err := checkSizes("gated_cross_attn_layer", size{"width", d}, size{"media width", wide}); err != nil {
		return err
	}
	length := -2
	if c.CachedMedia {
		length = -6 // the whole text that was read before
	}
	if alone := media == nil; alone && len(numbers) == 1 {
		media = b.Input("media", -1, -3, -4, wide)
		marks := b.Input("media_locations", -1, length)
		x, err := c.block(b, p, first, b.Input("text_hidden", -1, -2, d), media, marks, "")
		if err != nil {
			return err
		}
		b.Output(x, graph.Joint, "text_out")
		return nil
	} else if alone {
		media = b.Input("media", -1, -3, -4, wide)
	}
	var marks, embeds *graph.Node
	if c.MediaToken != nil {
		ids := b.Input("input_ids", -1, -2)
		marks = b.InputOr("media_locations", b.Op(graph.Equals{Value: float32(*c.MediaToken)}, nil, ids), -1, length)
		for _, stem := range flamingoEmbeddings {
			if stem = "lang_encoder." + stem; embeds == nil && p.Has(stem+".weight") {
				embeds = b.Name(b.Embedding(ids, stem, p.dim(stem+".weight", 0), d), "text_embeds")
			}
		}
	} else {
		marks = b.Input("media_locations", -1, length)
	}
	for _, n := range numbers {
		var x *graph.Node
		switch {
		case n > 0:
			x = b.Input(fmt.Sprintf("layer%d.hidden", n-1), -1, -2, d)
		case embeds != nil:
			x = embeds
		default:
			x = b.Input("text_embeds", -1, -2, d)
		}
		x, err := c.block(b, p, layers[n], x, media, marks, fmt.Sprintf("layer%d.gated.", n))
		if err != nil {
			return err
		}
		b.Output(x, graph.Joint, fmt.Sprintf("layer%d.gated_xattn", n))
	}
	return nil
}

// block builds one gated cross-attention on text [B, S, D] and pictures [B, T, N, width].
func (c *flamingoConfig) block(b *graph.Builder, p *NamedParams, stem string, x, media, marks *graph.Node, prefix string) (*graph.Node, error) {
	d := p.dim(stem+".attn.to_q.weight", 1)
	attention, err := c.attention(p, stem+".attn", d, p.dim(stem+".attn.to_kv.weight", 1))
	if err != nil {
		return nil, err
	}
	previous := c.OnlyLast != nil && !*c.OnlyLast
	with := block.With{KV: b.Rearrange(media, "b t n d -> b (t n) d"), Bias: b.Op(graph.MediaBias{Previous: previous, Cached: c.CachedMedia}, nil, marks, x, media)}
	seen := b.Op(graph.MediaSeen{Cached: c.CachedMedia}, nil, marks, x)
	layer := block.Layer{Dim: d, Norm: block.Norm{Eps: flamingoEps}}
	x = layer.Add(b, x, stem, block.Branch{Norm: "attn.norm", Gate: "attn_gate"}, func(h *graph.Node) *graph.Node {
		h = attention.Apply(b, h, stem+".attn", with)
		if !previous {
			h = b.Mul(h, seen) // text before the first picture gets nothing; there is no bias
		}
		return b.Name(h, prefix+"attn_out")
	})
	mlp := flamingoMLP(p, stem+".ff", d)
	return layer.Add(b, x, stem, block.Branch{Norm: "ff.0", Gate: "ff_gate"}, func(h *graph.Node) *graph.Node {
		return b.Name(mlp.Apply(b, h, stem+".ff"), prefix+"ff_out")
	}), nil
}
