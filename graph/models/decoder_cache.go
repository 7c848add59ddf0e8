package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
)

// decoderCache is what a decoder remembers. Keys and values of earlier positions come in by past.N.key and past.N.value
// [B, P, width] and go out with the new ones by present.N.key and present.N.value; those of the encoder's output are cross.N.key
// and cross.N.value, to be fed again on later steps.
type decoderCache struct {
	b    *graph.Builder
	past [][2]*graph.Node
}

// newDecoderCache adds the inputs for the layers of a decoder over embeddings x [B, S, width].
func newDecoderCache(b *graph.Builder, x *graph.Node, layers, width int) *decoderCache {
	// A cache of no positions, where none is given: its layout is that of the embeddings.
	none := b.Slice(x, 1, -1, -1)
	c := &decoderCache{b: b}
	for i := range b.Layers(layers) {
		var past [2]*graph.Node
		for j, what := range []string{"key", "value"} {
			past[j] = b.InputOr(fmt.Sprintf("past.%d.%s", i, what), none, -1, -4, width)
		}
		c.past = append(c.past, past)
	}
	return c
}

// each lets a [block.Transformer] use the cache.
func (c *decoderCache) each(i int, _ *block.Layer, self, cross *block.With) {
	named := func(what string, k, v *graph.Node) (_, _ *graph.Node) {
		return c.b.Namef(k, "%s.%d.key", what, i), c.b.Namef(v, "%s.%d.value", what, i)
	}
	self.Cache = func(k, v *graph.Node) (_, _ *graph.Node) {
		return named("present", c.b.Concat(1, c.past[i][0], k), c.b.Concat(1, c.past[i][1], v))
	}
	cross.Cache = func(k, v *graph.Node) (_, _ *graph.Node) { return named("cross", k, v) }
}
