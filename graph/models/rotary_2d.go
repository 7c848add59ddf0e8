package models

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph"
)

// Rotary positions of image patches: half of a head's channels turn by the row and half by the column (Heo et al. 2024,
// Rotary Position Embedding for Vision Transformer; EVA-02, arXiv:2303.11331). Sources: rope.py of baaivision/EVA's
// EVA-CLIP; timm/layers/pos_embed_sincos.py.

// rotary returns how queries and keys turn on a grid of patches, nil where they do not.
func (t *vitTower) rotary(grid [2]int) rotation {
	if !t.Rotary {
		return nil
	}
	b, d := t.b, t.attention()/t.heads
	if d%4 != 0 {
		b.Fail(fmt.Errorf("config: heads of %d channels do not turn by rows and columns; expected a multiple of 4", d))
		return nil
	}
	op := graph.Rotary{Interleaved: !t.RotateHalf}
	apply := func(cos, sin *graph.Weight) func(*graph.Node) *graph.Node {
		return func(x *graph.Node) *graph.Node { return b.Op(op, nil, x, b.Value(cos), b.Value(sin)) }
	}
	n := grid[0] * grid[1]
	table := func(name string, heads int, angles graph.Expr) (cos, sin *graph.Weight) {
		return b.Derived(graph.Position, name+"_cos", t.angleTable(angles, heads, d, math.Cos)),
			b.Derived(graph.Position, name+"_sin", t.angleTable(angles, heads, d, math.Sin))
	}
	switch {
	case t.rotaryFromFile != "" && t.has(t.rotaryFromFile+".freqs_cos") && grid == t.stored:
		// Released files hold the tables, which loading prefers to what the model computes.
		one := apply(t.storedAngles("cos", n, d, 1), t.storedAngles("sin", n, d, 0))
		return func(x *graph.Node, _ int) *graph.Node { return one(x) }
	case t.RotaryType == "mixed":
		freqs := b.Tensor("rope.freqs", 2, t.depth, t.heads, d/2)
		return func(x *graph.Node, layer int) *graph.Node {
			cos, sin := table(fmt.Sprintf("rope.%d", layer), t.heads, t.mixedAngles(freqs, layer, grid, d))
			return apply(cos, sin)(x)
		}
	case t.RotaryType == "cat" || t.RotaryType == "dinov3":
		angles := t.axialAngles
		if t.RotaryType == "dinov3" {
			angles = t.normalisedAngles
		}
		cos, sin := table("rope", 1, graph.Func("angles", graph.Shape{n, 1, d / 2}, func([][]float32) ([]float32, error) { return angles(grid, d), nil }))
		one := apply(cos, sin)
		return func(x *graph.Node, _ int) *graph.Node { return one(x) }
	}
	b.Fail(fmt.Errorf("config: rope_type is %q; expected cat, mixed or dinov3", t.RotaryType))
	return nil
}

// storedAngles reads a table [n, d] of a checkpoint; class and register tokens do not turn.
func (t *vitTower) storedAngles(name string, n, d int, still float32) *graph.Weight {
	before := make([]float32, t.prefixTokens*d)
	for i := range before {
		before[i] = still
	}
	table := graph.ConcatExpr(graph.Values("still", before, t.prefixTokens, d), t.b.Tensor(t.rotaryFromFile+".freqs_"+name, n, d))
	return t.b.Derived(graph.Position, "rope_"+name, graph.ReshapeExpr(table, t.prefixTokens+n, 1, d))
}

// angleTable takes the cosine or sine of angles [patches, heads, d/2], each for the two channels of a pair, with rows of
// angle 0 for class and register tokens before: [tokens, heads, d].
func (t *vitTower) angleTable(angles graph.Expr, heads, d int, f func(float64) float64) graph.Expr {
	n := angles.Shape()[0]
	shape := graph.Shape{t.prefixTokens + n, heads, d}
	return graph.Func("turns", shape, func(v [][]float32) ([]float32, error) {
		out := make([]float32, shape.Len())
		still := out[:t.prefixTokens*heads*d]
		for i := range still {
			still[i] = float32(f(0))
		}
		half := d / 2
		for row := range n * heads {
			to := out[len(still)+row*d:][:d]
			for i, a := range v[0][row*half:][:half] {
				x := float32(f(float64(a)))
				if t.RotateHalf {
					to[i], to[i+half] = x, x
				} else {
					to[2*i], to[2*i+1] = x, x
				}
			}
		}
		return out, nil
	}, angles)
}

// axialAngles are EVA's: position times frequency, positions being scaled to the reference grid, the first half of the
// angles by the first coordinate: the row, or the column where the grid is indexed "xy". Arithmetic is float32's, as the
// originals'.
func (t *vitTower) axialAngles(grid [2]int, d int) []float32 {
	bands := make([]float32, d/4)
	for i := range bands {
		exponent := float32(i) / float32(len(bands))
		bands[i] = 1 / float32(math.Pow(t.RotaryTemperature, float64(exponent)))
	}
	at := func(i, axis int) float32 {
		x := float32(i) + float32(t.RotaryGridOffset)
		if t.RefFeatShape != nil {
			x = x / float32(grid[axis]) * float32(t.RefFeatShape[axis])
		}
		return x
	}
	first, second := 0, 1
	if t.RotaryGridIndexing == "xy" {
		first, second = 1, 0
	}
	var out []float32
	for y := range grid[0] {
		for x := range grid[1] {
			place := [2]float32{at(y, 0), at(x, 1)}
			for _, axis := range []int{first, second} {
				for _, f := range bands {
					out = append(out, place[axis]*f)
				}
			}
		}
	}
	return out
}

// mixedAngles are those of a layer with learned frequencies of both axes, by head: [patches, heads, d/2].
func (t *vitTower) mixedAngles(freqs graph.Expr, layer int, grid [2]int, d int) graph.Expr {
	heads, half := t.heads, d/2
	shape := graph.Shape{grid[0] * grid[1], heads, half}
	return graph.Func(fmt.Sprintf("angles[%d]", layer), shape, func(v [][]float32) ([]float32, error) {
		size := heads * half
		fx := v[0][layer*size:][:size]
		fy := v[0][(t.depth+layer)*size:][:size]
		if t.RotaryGridIndexing != "xy" {
			fx, fy = fy, fx
		}
		out := make([]float32, 0, shape.Len())
		for y := range grid[0] {
			for x := range grid[1] {
				for i := range size {
					out = append(out, float32(x)*fx[i]+float32(y)*fy[i])
				}
			}
		}
		return out, nil
	}, freqs)
}

// normalisedAngles are DINOv3's: the patches' centres in -1..1, divided by periods.
func (t *vitTower) normalisedAngles(grid [2]int, d int) []float32 {
	var out []float32
	for y := range grid[0] {
		for x := range grid[1] {
			for axis, i := range [2]int{y, x} {
				at := 2*((float32(i)+0.5+float32(t.RotaryGridOffset))/float32(grid[axis])) - 1
				for j := range d / 4 {
					exponent := 2 * float32(j) / float32(d/2)
					period := float32(math.Pow(t.RotaryTemperature, float64(exponent)))
					out = append(out, float32(2*math.Pi)*at/period)
				}
			}
		}
	}
	return out
}
