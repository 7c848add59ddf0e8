package block

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph"
)

// Rotary turns queries and keys by tables of cosines and sines (Su et al. 2021, RoFormer).
type Rotary struct {
	Cos, Sin    *graph.Node // broadcast to [B, S, heads, Dim]
	Interleaved bool        // pairs channels 2i and 2i+1, else i and i + Dim/2
	Dim         int         // how many channels of a head turn, the first ones; 0: all
}

// Rotate returns what [With] takes.
func (r Rotary) Rotate(b *graph.Builder) func(q, k *graph.Node) (_, _ *graph.Node) {
	return func(q, k *graph.Node) (_, _ *graph.Node) { return r.Turn(b, q), r.Turn(b, k) }
}

// Turn turns x [B, S, heads, head dim].
func (r Rotary) Turn(b *graph.Builder, x *graph.Node) *graph.Node {
	op := graph.Rotary{Interleaved: r.Interleaved}
	if r.Dim == 0 {
		return b.Op(op, nil, x, r.Cos, r.Sin)
	}
	return b.Concat(3, b.Op(op, nil, b.Slice(x, 3, 0, r.Dim), r.Cos, r.Sin), b.Slice(x, 3, r.Dim, 0))
}

// AxialAngles are the rotary angles of a grid of image patches, half of a head's channels turning by the row and half by the
// column (Heo et al. 2024, Rotary Position Embedding for Vision Transformer; EVA-02, arXiv:2303.11331). Sources: rope.py of
// baaivision/EVA's EVA-CLIP; timm/layers/pos_embed_sincos.py.
type AxialAngles struct {
	Grid        [2]int  // rows and columns
	HeadDim     int     // a multiple of 4
	Temperature float64 // 10000, usually
	Offset      float64 // is added to a place on the grid
	XY          bool    // the columns' angles come first
	Reference   *[2]int // places are scaled to a grid of this size; nil: as they are
	// Normalised are DINOv3's: the patches' centres in -1..1, divided by periods; Reference and XY do not count.
	Normalised bool
}

// Check refuses heads whose channels do not split.
func (a *AxialAngles) Check() error {
	if a.HeadDim < 4 || a.HeadDim%4 != 0 {
		return fmt.Errorf("config: heads of %d channels do not turn by rows and columns; expected a multiple of 4", a.HeadDim)
	}
	return nil
}

// Expr returns the angles [patches, 1, HeadDim / 2], row by row. Arithmetic is float32's, as the originals'.
func (a *AxialAngles) Expr() graph.Expr {
	return graph.Apply(patchAngles{*a})
}

var _ = graph.RegisterExpr(patchAngles{}, learnedAngles{}, turnTable{})

// patchAngles is the value of [AxialAngles.Expr].
type patchAngles struct{ AxialAngles }

func (o patchAngles) Infer(args []graph.Shape) (graph.Shape, error) {
	if err := checkGrid(o.Grid); err != nil {
		return nil, err
	}
	if err := o.Check(); err != nil || len(args) != 0 || o.HeadDim > 1<<16 {
		return nil, fmt.Errorf("heads of %d channels, %d arguments", o.HeadDim, len(args))
	}
	return graph.Shape{o.Grid[0] * o.Grid[1], 1, o.HeadDim / 2}, nil
}

func (o patchAngles) Eval([]*graph.Tensor) ([]float32, error) {
	if o.Normalised {
		return o.normalised(), nil
	}
	return o.plain(), nil
}

// plain are EVA's: place times frequency.
func (a *AxialAngles) plain() []float32 {
	bands := make([]float32, a.HeadDim/4)
	for i := range bands {
		exponent := float32(i) / float32(len(bands))
		bands[i] = 1 / float32(math.Pow(a.Temperature, float64(exponent)))
	}
	at := func(i, axis int) float32 {
		x := float32(i) + float32(a.Offset)
		if a.Reference != nil {
			x = x / float32(a.Grid[axis]) * float32(a.Reference[axis])
		}
		return x
	}
	first, second := 0, 1
	if a.XY {
		first, second = 1, 0
	}
	var out []float32
	for y := range a.Grid[0] {
		for x := range a.Grid[1] {
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

func (a *AxialAngles) normalised() []float32 {
	var out []float32
	for y := range a.Grid[0] {
		for x := range a.Grid[1] {
			for axis, i := range [2]int{y, x} {
				at := 2*((float32(i)+0.5+float32(a.Offset))/float32(a.Grid[axis])) - 1
				for j := range a.HeadDim / 4 {
					exponent := 2 * float32(j) / float32(a.HeadDim/2)
					period := float32(math.Pow(a.Temperature, float64(exponent)))
					out = append(out, float32(2*math.Pi)*at/period)
				}
			}
		}
	}
	return out
}

// MixedAngles are those of learned frequencies of both axes, by layer and head (timm's rope_type mixed): freqs is
// [2, depth, heads, head dim / 2], the value [patches, heads, head dim / 2]. With xy the first frequencies are the columns'.
func MixedAngles(freqs graph.Expr, layer int, grid [2]int, xy bool) graph.Expr {
	return graph.Apply(learnedAngles{layer, grid, xy}, freqs)
}

// learnedAngles is the value of [MixedAngles].
type learnedAngles struct {
	Layer int
	Grid  [2]int
	XY    bool
}

func (o learnedAngles) Infer(args []graph.Shape) (graph.Shape, error) {
	if err := checkGrid(o.Grid); err != nil {
		return nil, err
	}
	if len(args) != 1 || len(args[0]) != 4 || args[0][0] != 2 || o.Layer < 0 || o.Layer >= args[0][1] {
		return nil, fmt.Errorf("expected frequencies [2, layers, heads, d/2] with a layer %d", o.Layer)
	}
	return graph.Shape{o.Grid[0] * o.Grid[1], args[0][2], args[0][3]}, nil
}

func (o learnedAngles) Eval(args []*graph.Tensor) ([]float32, error) {
	s := args[0].Shape
	size := s[2] * s[3]
	fx, fy := args[0].Data[o.Layer*size:][:size], args[0].Data[(s[1]+o.Layer)*size:][:size]
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

// RotaryTable makes the tables, called name_cos and name_sin, of angles [tokens, heads or 1, dim / 2], each for the two
// channels of a pair: [still + tokens, heads or 1, dim]. The still tokens before (class, registers) do not turn.
func RotaryTable(b *graph.Builder, name string, angles graph.Expr, still int, interleaved bool) Rotary {
	table := func(suffix string, sine bool) *graph.Node {
		return b.Value(b.Derived(graph.Position, name+suffix, graph.Apply(turnTable{still, interleaved, sine}, angles)))
	}
	return Rotary{Cos: table("_cos", false), Sin: table("_sin", true), Interleaved: interleaved}
}

// turnTable takes the cosine or sine of angles [tokens, heads, d/2], each for the two channels of a pair, with rows of angle 0 for
// the still tokens before: [Still + tokens, heads, d].
type turnTable struct {
	Still             int
	Interleaved, Sine bool
}

func (o turnTable) Infer(args []graph.Shape) (graph.Shape, error) {
	if len(args) != 1 || len(args[0]) != 3 || o.Still < 0 || o.Still > 1<<16 {
		return nil, fmt.Errorf("expected angles [tokens, heads, d/2]")
	}
	a := args[0]
	return graph.Shape{o.Still + a[0], a[1], 2 * a[2]}, nil
}

func (o turnTable) Eval(args []*graph.Tensor) ([]float32, error) {
	f := math.Cos
	if o.Sine {
		f = math.Sin
	}
	s := args[0].Shape
	n, heads, half := s[0], s[1], s[2]
	out := make([]float32, (o.Still+n)*heads*2*half)
	before := out[:o.Still*heads*2*half]
	for i := range before {
		before[i] = float32(f(0))
	}
	for row := range n * heads {
		to := out[len(before)+row*2*half:][:2*half]
		for i, a := range args[0].Data[row*half:][:half] {
			x := float32(f(float64(a)))
			if o.Interleaved {
				to[2*i], to[2*i+1] = x, x
			} else {
				to[i], to[i+half] = x, x
			}
		}
	}
	return out, nil
}

var _ = graph.RegisterExpr(lineAngles{})

// lineAngles are the angles of places 0 to Places - 1 of a sequence, [Places, 1, Dim / 2]: place over Theta^(2 i / Dim).
type lineAngles struct {
	Places, Dim int
	Theta       float64
}

func (o lineAngles) Infer(args []graph.Shape) (graph.Shape, error) {
	if len(args) != 0 || o.Places < 1 || o.Places > 1<<20 || o.Dim < 2 || o.Dim%2 != 0 || o.Dim > 1<<16 || !(o.Theta > 0) {
		return nil, fmt.Errorf("%d places of %d channels, base %g", o.Places, o.Dim, o.Theta)
	}
	return graph.Shape{o.Places, 1, o.Dim / 2}, nil
}

func (o lineAngles) Eval([]*graph.Tensor) ([]float32, error) {
	frequencies := make([]float32, o.Dim/2)
	for i := range frequencies {
		frequencies[i] = 1 / float32(math.Pow(o.Theta, float64(float32(2*i)/float32(o.Dim))))
	}
	var out []float32
	for place := range o.Places {
		for _, f := range frequencies {
			out = append(out, float32(place)*f)
		}
	}
	return out, nil
}

// SequenceRotary turns the first dim channels of a head by the place in a sequence (Su et al. 2021, RoFormer), for sequences of x's
// length [B, S, ...] up to places. headDim is the width of a head.
func SequenceRotary(b *graph.Builder, x *graph.Node, places, dim, headDim int, theta float64, interleaved bool) Rotary {
	r := RotaryTable(b, fmt.Sprintf("rotary[%d,%d]", places, dim), graph.Apply(lineAngles{places, dim, theta}), 0, interleaved)
	take := func(table *graph.Node) *graph.Node { return b.Op(graph.TakeLike{Axis: 0, LikeAxis: 1}, nil, table, x) }
	r.Cos, r.Sin = take(r.Cos), take(r.Sin)
	if dim != headDim {
		r.Dim = dim
	}
	return r
}

// GridRotary turns a head's channels by the row and the column of a patch, for maps of patches of any size up to most x most: of
// the frequencies theta^(-2 i / headDim) the even ones are the rows' and the odd ones the columns' (Pixtral, Agrawal et al.,
// arXiv:2410.07073). like [B, rows, columns] has the map's size. The tables broadcast over samples and heads.
func GridRotary(b *graph.Builder, like *graph.Node, most, headDim int, theta float64) Rotary {
	like = b.Rearrange(like, "b h w -> h w b")
	table := func(axis int, sine bool) *graph.Node {
		name := fmt.Sprintf("rotary_grid_%s_%s[%d,%d]", []string{"rows", "columns"}[axis], map[bool]string{false: "cos", true: "sin"}[sine], most, headDim)
		t := b.Value(b.Derived(graph.Position, name, graph.Apply(turnTable{0, false, sine}, graph.Apply(gridAngles{most, headDim, axis, theta}))))
		t = b.Op(graph.TakeLike{Axis: 0, LikeAxis: axis}, nil, b.Slice(t, 2, 0, headDim/4), like) // [places, 1, headDim / 4]
		if axis == 1 {
			t = b.Rearrange(t, "n 1 d -> 1 n d")
		}
		return b.Op(graph.Expand{Axis: 1 - axis}, nil, t, like)
	}
	both := func(sine bool) *graph.Node {
		rows, columns := table(0, sine), table(1, sine)
		return b.Rearrange(b.Concat(2, rows, columns, rows, columns), "h w d -> 1 (h w) 1 d")
	}
	return Rotary{Cos: both(false), Sin: both(true)}
}

var _ = graph.RegisterExpr(gridAngles{})

// gridAngles are the angles of places 0 to Most - 1 along one axis of a grid, [Most, 1, HeadDim / 4].
type gridAngles struct {
	Most, HeadDim, Axis int
	Theta               float64
}

func (o gridAngles) Infer(args []graph.Shape) (graph.Shape, error) {
	if len(args) != 0 || o.Most < 1 || o.Most > 1<<14 || o.HeadDim < 4 || o.HeadDim%4 != 0 || o.HeadDim > 1<<16 || o.Axis>>1 != 0 || !(o.Theta > 0) {
		return nil, fmt.Errorf("a grid of %d x %d places, heads of %d channels, base %g", o.Most, o.Most, o.HeadDim, o.Theta)
	}
	return graph.Shape{o.Most, 1, o.HeadDim / 4}, nil
}

func (o gridAngles) Eval([]*graph.Tensor) ([]float32, error) {
	var out []float32
	for place := range o.Most {
		for i := range o.HeadDim / 4 {
			f := 1 / float32(math.Pow(o.Theta, float64(float32(2*(2*i+o.Axis))/float32(o.HeadDim))))
			out = append(out, float32(place)*f)
		}
	}
	return out, nil
}
