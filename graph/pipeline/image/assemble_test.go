package imageproc

import (
	"math"
	"slices"
	"testing"

	"github.com/mmconv/mmconv/graph/pipeline"
	nn "github.com/mmconv/mmconv/kernels"
)

func TestAssembleAnyRes(t *testing.T) {
	base := pipeline.Assembly{Kind: pipeline.AssembleAnyRes, Rows: 24, Columns: 24, Output: "x"}
	const whole = 24 * 24
	for _, c := range []struct {
		name   string
		set    func(a *pipeline.Assembly)
		p      Placed
		tokens int
		first  []float32 // index of the first few tokens
	}{
		// 640 x 480 pixels in 2 x 2 tiles fill 36 of 48 rows of tokens, those from the seventh on.
		{"unpad", func(a *pipeline.Assembly) { a.Unpad, a.Newline = true, true }, Placed{480, 640, 2, 2}, whole + 36*49, []float32{1, 2}},
		{"unpad sides", func(a *pipeline.Assembly) { a.Unpad, a.Newline, a.NoBase = true, true, true }, Placed{640, 480, 2, 2}, 48 * 37, []float32{1 + whole + 6}},
		{"grid", func(*pipeline.Assembly) {}, Placed{480, 640, 1, 2}, 3 * whole, []float32{0, 1}},
		{"grid alone", func(a *pipeline.Assembly) { a.NoBase = true }, Placed{480, 640, 1, 2}, 2 * whole, []float32{whole, whole + 1}},
		{"flat", func(a *pipeline.Assembly) { a.Flat, a.NoBase = true, true }, Placed{480, 640, 2, 1}, 2 * whole, []float32{whole, whole + 1}},
		{"one tile", func(a *pipeline.Assembly) { a.Newline = true }, Placed{480, 640, 0, 0}, whole + 1, []float32{1}},
		{"shrunk", func(a *pipeline.Assembly) { a.Unpad, a.Newline, a.MaxTiles = true, true, 2 }, Placed{672, 672, 2, 2}, whole + 33*34, []float32{1}},
		{"not shrunk", func(a *pipeline.Assembly) { a.Unpad, a.Newline, a.MaxTiles = true, true, 4 }, Placed{672, 672, 2, 2}, whole + 48*49, []float32{1}},
	} {
		a := base
		c.set(&a)
		// A second picture of the same kind starts behind the first one's tiles.
		got, err := Assemble(&a, []Placed{c.p, c.p})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if !slices.Equal(got.Lengths, []int{c.tokens, c.tokens}) || len(got.Index) != 2*c.tokens*got.Terms || len(got.Weight) != len(got.Index) {
			t.Errorf("%s: %v tokens, expected %d each", c.name, got.Lengths, c.tokens)
			continue
		}
		for i, want := range c.first {
			second := got.Index[(c.tokens+i)*got.Terms]
			if got.Index[i*got.Terms] != want || second != want+float32(c.p.Tiles()*whole) {
				t.Errorf("%s: token %d is row %v, and %v of the second picture; expected row %v", c.name, i, got.Index[i*got.Terms], second, want)
			}
		}
		for i := 0; i < len(got.Weight); i += got.Terms {
			sum := 0.0
			for _, w := range got.Weight[i : i+got.Terms] {
				sum += float64(w)
			}
			if math.Abs(sum-1) > 1e-6 {
				t.Fatalf("%s: the weights of token %d sum up to %v", c.name, i/got.Terms, sum)
			}
		}
	}
}

// A grid of two tiles, by hand.
func TestAssembleOrder(t *testing.T) {
	a := &pipeline.Assembly{Kind: pipeline.AssembleAnyRes, Rows: 2, Columns: 2, Output: "x", Newline: true, Unpad: true}
	got, err := Assemble(a, []Placed{{Height: 10, Width: 20, Rows: 1, Columns: 2}})
	if err != nil {
		t.Fatal(err)
	}
	if want := []float32{1, 2, 3, 4, 5, 6, 9, 10, 0, 7, 8, 11, 12, 0}; !slices.Equal(got.Index, want) {
		t.Errorf("rows %v, expected %v", got.Index, want)
	}
	a = &pipeline.Assembly{Kind: pipeline.AssembleHD, Rows: 1, Columns: 2, Output: "x"}
	if got, err = Assemble(a, []Placed{{Height: 20, Width: 10, Rows: 2, Columns: 1}}); err != nil {
		t.Fatal(err)
	}
	if want := []float32{2, 3, 0, 1, 4, 5, 0, 6, 7, 0}; !slices.Equal(got.Index, want) {
		t.Errorf("rows %v, expected %v", got.Index, want)
	}
}

// Shrinking a grid of tokens is what the resize of maps does.
func TestShrink(t *testing.T) {
	a := &pipeline.Assembly{Rows: 7, Columns: 9}
	g := tileGrid(a, 1, 1, 0)
	values := make([]float32, 7*9)
	for i := range values {
		values[i] = float32(i*i%17) - 5
	}
	for _, size := range [][2]int{{7, 9}, {5, 4}, {1, 8}} {
		want := make([]float32, size[0]*size[1])
		(&nn.Resize{Batch: 1, Height: 7, Width: 9, Channels: 1, OutHeight: size[0], OutWidth: size[1], Filter: nn.Bilinear}).Run(want, values)
		for i, s := range g.shrink(size[0], size[1]).tokens {
			sum := float32(0)
			for _, x := range s {
				sum += x.weight * values[x.row]
			}
			if math.Abs(float64(sum-want[i])) > 1e-5 {
				t.Fatalf("%v: token %d is %v, expected %v", size, i, sum, want[i])
			}
		}
	}
}

func TestAssembleRefuses(t *testing.T) {
	good := pipeline.Assembly{Kind: pipeline.AssembleAnyRes, Rows: 2, Columns: 2, Output: "x"}
	for _, set := range []func(a *pipeline.Assembly){
		func(a *pipeline.Assembly) { a.Kind = "spiral" }, func(a *pipeline.Assembly) { a.Rows = 0 }, func(a *pipeline.Assembly) { a.Columns = 1 << 40 },
		func(a *pipeline.Assembly) { a.Output = "" }, func(a *pipeline.Assembly) { a.MaxTiles = -1 },
	} {
		a := good
		set(&a)
		if _, err := Assemble(&a, []Placed{{10, 10, 1, 1}}); err == nil {
			t.Errorf("%+v was taken", a)
		}
	}
	for _, p := range []Placed{{0, 10, 1, 1}, {10, 10, -1, 2}, {10, 10, 1 << 40, 1 << 40}, {10, 10, 1 << 10, 1 << 10}} {
		if _, err := Assemble(&good, []Placed{p}); err == nil {
			t.Errorf("%+v was taken", p)
		}
	}
}
