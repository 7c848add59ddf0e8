package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
)

// rotary returns how queries and keys of a layer turn on a grid of patches, nil where they do not.
func (t *vitTower) rotary(grid [2]int) func(layer int) func(q, k *graph.Node) (_, _ *graph.Node) {
	if !t.Rotary {
		return nil
	}
	b := t.b
	axial := &block.AxialAngles{Grid: grid, HeadDim: t.attention() / t.heads, Temperature: t.RotaryTemperature, Offset: t.RotaryGridOffset,
		XY: t.RotaryGridIndexing == "xy", Reference: (*[2]int)(t.RefFeatShape), Normalised: t.RotaryType == "dinov3"}
	if err := axial.Check(); err != nil {
		b.Fail(err)
		return nil
	}
	table := func(name string, angles graph.Expr) func(q, k *graph.Node) (_, _ *graph.Node) {
		return block.RotaryTable(b, name, angles, t.prefixTokens, !t.RotateHalf).Rotate(b)
	}
	var every func(q, k *graph.Node) (_, _ *graph.Node)
	switch {
	case t.rotaryFromFile != "" && t.has(t.rotaryFromFile+".freqs_cos") && grid == t.stored:
		// Released files hold the tables, which loading prefers to what the model computes.
		every = block.Rotary{Cos: t.storedAngles("cos", axial, 1), Sin: t.storedAngles("sin", axial, 0), Interleaved: !t.RotateHalf}.Rotate(b)
	case t.RotaryType == "mixed":
		freqs := b.Tensor("rope.freqs", 2, t.depth, t.heads, axial.HeadDim/2)
		return func(layer int) func(q, k *graph.Node) (_, _ *graph.Node) {
			return table(fmt.Sprintf("rope.%d", layer), block.MixedAngles(freqs, layer, grid, axial.XY))
		}
	case t.RotaryType == "cat" || t.RotaryType == "dinov3":
		every = table("rope", axial.Expr())
	default:
		b.Fail(fmt.Errorf("config: rope_type is %q; expected cat, mixed or dinov3", t.RotaryType))
		return nil
	}
	return func(int) func(q, k *graph.Node) (_, _ *graph.Node) { return every }
}

// storedAngles reads a table [patches, head dim] of a checkpoint; class and register tokens do not turn.
func (t *vitTower) storedAngles(name string, a *block.AxialAngles, still float32) *graph.Node {
	n, d := a.Grid[0]*a.Grid[1], a.HeadDim
	before := make([]float32, t.prefixTokens*d)
	for i := range before {
		before[i] = still
	}
	table := graph.ConcatExpr(graph.Values("still", before, t.prefixTokens, d), t.b.Tensor(t.rotaryFromFile+".freqs_"+name, n, d))
	return t.b.Value(t.b.Derived(graph.Position, "rope_"+name, graph.ReshapeExpr(table, t.prefixTokens+n, 1, d)))
}
