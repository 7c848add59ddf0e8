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
	table := func(name string, angles graph.Expr) (cos, sin *graph.Weight) {
		return b.Derived(graph.Position, name+"_cos", graph.Apply(turns{Prefix: t.prefixTokens, Half: t.RotateHalf}, angles)),
			b.Derived(graph.Position, name+"_sin", graph.Apply(turns{Prefix: t.prefixTokens, Half: t.RotateHalf, Sine: true}, angles))
	}
	switch {
	case t.rotaryFromFile != "" && t.has(t.rotaryFromFile+".freqs_cos") && grid == t.stored:
		// Released files hold the tables, which loading prefers to what the model computes.
		one := apply(t.storedAngles("cos", n, d, 1), t.storedAngles("sin", n, d, 0))
		return func(x *graph.Node, _ int) *graph.Node { return one(x) }
	case t.RotaryType == "mixed":
		freqs := b.Tensor("rope.freqs", 2, t.depth, t.heads, d/2)
		return func(x *graph.Node, layer int) *graph.Node {
			cos, sin := table(fmt.Sprintf("rope.%d", layer), graph.Apply(mixedAngles{layer, grid, t.RotaryGridIndexing == "xy"}, freqs))
			return apply(cos, sin)(x)
		}
	case t.RotaryType == "cat" || t.RotaryType == "dinov3":
		cos, sin := table("rope", t.patchAngles(grid, d))
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

// patchAngles are the angles of a grid that no tensor tells.
func (t *vitTower) patchAngles(grid [2]int, d int) graph.Expr {
	common := gridAngles{Grid: grid, Dim: d, Temperature: t.RotaryTemperature, Offset: t.RotaryGridOffset}
	if t.RotaryType == "dinov3" {
		return graph.Apply(normalisedAngles{common})
	}
	axial := axialAngles{gridAngles: common, XY: t.RotaryGridIndexing == "xy"}
	if t.RefFeatShape != nil {
		axial.Reference = *t.RefFeatShape
	}
	return graph.Apply(axial)
}

var _ = graph.RegisterExpr(turns{}, axialAngles{}, normalisedAngles{}, mixedAngles{})

// turns takes the cosine or sine of angles [patches, heads, d/2], each for the two channels of a pair, which lie side by
// side or half a head apart, with rows of angle 0 for class and register tokens before: [Prefix + patches, heads, d].
type turns struct {
	Prefix     int
	Half, Sine bool
}

func (o turns) Infer(args []graph.Shape) (graph.Shape, error) {
	if len(args) != 1 || len(args[0]) != 3 || o.Prefix < 0 {
		return nil, fmt.Errorf("expected angles [patches, heads, d/2]")
	}
	a := args[0]
	return graph.Shape{o.Prefix + a[0], a[1], 2 * a[2]}, nil
}

func (o turns) Eval(args []*graph.Tensor) ([]float32, error) {
	f := math.Cos
	if o.Sine {
		f = math.Sin
	}
	s := args[0].Shape
	n, heads, half := s[0], s[1], s[2]
	d := 2 * half
	out := make([]float32, (o.Prefix+n)*heads*d)
	still := out[:o.Prefix*heads*d]
	for i := range still {
		still[i] = float32(f(0))
	}
	for row := range n * heads {
		to := out[len(still)+row*d:][:d]
		for i, a := range args[0].Data[row*half:][:half] {
			x := float32(f(float64(a)))
			if o.Half {
				to[i], to[i+half] = x, x
			} else {
				to[2*i], to[2*i+1] = x, x
			}
		}
	}
	return out, nil
}

// gridAngles is what tables of angles [patches, 1, Dim/2] are computed from.
type gridAngles struct {
	Grid                [2]int
	Dim                 int // of a head
	Temperature, Offset float64
}

// Infer gives the table's shape.
func (o gridAngles) Infer(args []graph.Shape) (graph.Shape, error) {
	if err := checkGrid(o.Grid); err != nil {
		return nil, err
	}
	if len(args) != 0 || o.Dim < 4 || o.Dim%4 != 0 {
		return nil, fmt.Errorf("heads of %d channels do not turn by rows and columns", o.Dim)
	}
	return graph.Shape{o.Grid[0] * o.Grid[1], 1, o.Dim / 2}, nil
}

// axialAngles are EVA's: position times frequency, positions being scaled to the grid Reference (none if zeros), the first
// half of the angles by the first coordinate: the row, or the column where the grid is indexed "xy". Arithmetic is
// float32's, as the originals'.
type axialAngles struct {
	gridAngles
	Reference [2]int
	XY        bool
}

func (o axialAngles) Eval([]*graph.Tensor) ([]float32, error) {
	bands := make([]float32, o.Dim/4)
	for i := range bands {
		exponent := float32(i) / float32(len(bands))
		bands[i] = 1 / float32(math.Pow(o.Temperature, float64(exponent)))
	}
	at := func(i, axis int) float32 {
		x := float32(i) + float32(o.Offset)
		if o.Reference != [2]int{} {
			x = x / float32(o.Grid[axis]) * float32(o.Reference[axis])
		}
		return x
	}
	first, second := 0, 1
	if o.XY {
		first, second = 1, 0
	}
	var out []float32
	for y := range o.Grid[0] {
		for x := range o.Grid[1] {
			place := [2]float32{at(y, 0), at(x, 1)}
			for _, axis := range []int{first, second} {
				for _, f := range bands {
					out = append(out, place[axis]*f)
				}
			}
		}
	}
	return out, nil
}

// normalisedAngles are DINOv3's: the patches' centres in -1..1, divided by periods.
type normalisedAngles struct{ gridAngles }

func (o normalisedAngles) Eval([]*graph.Tensor) ([]float32, error) {
	var out []float32
	for y := range o.Grid[0] {
		for x := range o.Grid[1] {
			for axis, i := range [2]int{y, x} {
				at := 2*((float32(i)+0.5+float32(o.Offset))/float32(o.Grid[axis])) - 1
				for j := range o.Dim / 4 {
					exponent := 2 * float32(j) / float32(o.Dim/2)
					period := float32(math.Pow(o.Temperature, float64(exponent)))
					out = append(out, float32(2*math.Pi)*at/period)
				}
			}
		}
	}
	return out, nil
}

// mixedAngles are those of a layer with learned frequencies of both axes, by head: [patches, heads, d/2]. Arguments:
// frequencies [2, layers, heads, d/2].
type mixedAngles struct {
	Layer int
	Grid  [2]int
	XY    bool
}

func (o mixedAngles) Infer(args []graph.Shape) (graph.Shape, error) {
	if err := checkGrid(o.Grid); err != nil {
		return nil, err
	}
	if len(args) != 1 || len(args[0]) != 4 || args[0][0] != 2 || o.Layer < 0 || o.Layer >= args[0][1] {
		return nil, fmt.Errorf("expected frequencies [2, layers, heads, d/2]")
	}
	return graph.Shape{o.Grid[0] * o.Grid[1], args[0][2], args[0][3]}, nil
}

func (o mixedAngles) Eval(args []*graph.Tensor) ([]float32, error) {
	s := args[0].Shape
	depth, size := s[1], s[2]*s[3]
	fx := args[0].Data[o.Layer*size:][:size]
	fy := args[0].Data[(depth+o.Layer)*size:][:size]
	if !o.XY {
		fx, fy = fy, fx
	}
	out := make([]float32, 0, o.Grid[0]*o.Grid[1]*size)
	for y := range o.Grid[0] {
		for x := range o.Grid[1] {
			for i := range size {
				out = append(out, float32(x)*fx[i]+float32(y)*fy[i])
			}
		}
	}
	return out, nil
}

// checkGrid refuses grids that no image has.
func checkGrid(grid [2]int) error {
	const most = 1 << 16
	if min(grid[0], grid[1]) < 1 || max(grid[0], grid[1]) > most {
		return fmt.Errorf("a grid of %d x %d positions", grid[0], grid[1])
	}
	return nil
}
