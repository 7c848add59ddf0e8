package block

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/graphtest"
	"github.com/mmconv/mmconv/kernels"
)

func TestAttentionPool(t *testing.T) {
	const dim, heads, wide = 12, 4, 9
	x := random(1, 2, 5, dim)
	mask := &graph.Tensor{Shape: graph.Shape{2, 5}, Data: []float32{1, 1, 1, 1, 1, 1, 1, 0, 0, 0}}
	for name, c := range map[string]struct {
		pool    AttentionPool
		queries int
		missing map[string]bool
		want    func(w weights, x rows, seen []float32) rows
	}{
		"SigLIP's": {pool: SigLIPPool, queries: 1, missing: missing("h.attention.q_proj.weight", "h.attention.k_proj.weight", "h.attention.v_proj.weight"),
			want: func(w weights, x rows, seen []float32) rows {
				all, c := w.get("h.attention.in_proj_weight", 3*dim, dim), w.get("h.attention.in_proj_bias", 3*dim)
				part := func(x rows, i int) rows { return product(x, all[i*dim*dim:(i+1)*dim*dim], c[i*dim:(i+1)*dim]) }
				q := part(rows{w.get("h.probe", 1, 1, dim)}, 0)
				h := softmaxAttention(q, part(x, 1), part(x, 2), heads, heads, 1/math.Sqrt(dim/heads), func(_, _, j int, s float64) float64 { return s + hidden(seen[j] == 0) })
				h = w.linear(h, "h.attention.out_proj", dim, true)
				y := w.linear(w.norm(h, "h.layernorm", 1e-6, false), "h.mlp.fc1", wide, true).each(gelu)
				return h.plus(w.linear(y, "h.mlp.fc2", dim, true))
			}},
		"timm's": {pool: TimmPool, queries: 3, missing: missing("h.k.weight", "h.v.weight"), want: func(w weights, x rows, seen []float32) rows {
			all, c := w.get("h.kv.weight", 2*dim, dim), w.get("h.kv.bias", 2*dim)
			latent := w.get("h.latent", 1, 3, dim)
			q := w.linear(rows{latent[:dim], latent[dim : 2*dim], latent[2*dim:]}, "h.q", dim, true)
			k, v := product(x, all[:dim*dim], c[:dim]), product(x, all[dim*dim:], c[dim:])
			h := softmaxAttention(q, k, v, heads, heads, 1/math.Sqrt(dim/heads), func(_, _, j int, s float64) float64 { return s + hidden(seen[j] == 0) })
			h = w.linear(h, "h.proj", dim, true)
			y := w.linear(w.norm(h, "h.norm", 1e-6, false), "h.mlp.fc1", wide, true).each(gelu)
			return h.plus(w.linear(y, "h.mlp.fc2", dim, true))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := weights{t, graphtest.Params{Missing: c.missing}}
			pool := c.pool.Sized(dim, heads, wide)
			pool.Queries, pool.MLP.Act = c.queries, kernels.ActGELU
			got := build(t, w, map[string]*graph.Tensor{"x": x, "mask": mask}, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node {
				_, y := pool.Apply(b, in["x"], "h", With{Bias: HideKeys(b, in["mask"])})
				return y
			})
			same(t, got, func(i int) rows { return c.want(w, sample(x, i), mask.Data[i*5:(i+1)*5]) })
		})
	}
}

func TestPatches(t *testing.T) {
	x := random(1, 2, 3, 7, 11)
	for _, p := range []Patches{
		{Channels: 3, Dim: 5, Height: 2, Width: 3},
		{Channels: 3, Dim: 5, Height: 4, Width: 3, Stride: [2]int{2, 1}, Projection: Projection{Bias: Absent}},
	} {
		w := weights{t, graphtest.Params{}}
		p.Stem = "proj"
		got := build(t, w, map[string]*graph.Tensor{"x": x}, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node { return p.Apply(b, in["x"], "patch") })
		stride := p.Stride
		if stride == [2]int{} {
			stride = [2]int{p.Height, p.Width}
		}
		same(t, got, func(i int) rows {
			var patches rows
			for top := 0; top+p.Height <= 7; top += stride[0] {
				for left := 0; left+p.Width <= 11; left += stride[1] {
					var flat []float64
					for c := range 3 {
						for r := range p.Height {
							for s := range p.Width {
								flat = append(flat, float64(x.Data[((i*3+c)*7+top+r)*11+left+s]))
							}
						}
					}
					patches = append(patches, flat)
				}
			}
			var bias []float64
			if p.Bias == Required {
				bias = w.get("patch.proj.bias", 5)
			}
			return product(patches, w.get("patch.proj.weight", 5, 3, p.Height, p.Width), bias)
		})
	}
}

// Learned positions of a text are added from the first on.
func TestTextPositions(t *testing.T) {
	x := random(1, 2, 4, 6)
	w := weights{t, graphtest.Params{}}
	got := build(t, w, map[string]*graph.Tensor{"x": x}, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node {
		return TextPositions(b, in["x"], "table", 9, 6)
	})
	same(t, got, func(i int) rows {
		table := w.get("table", 9, 6)
		y := sample(x, i)
		for s := range y {
			for c := range y[s] {
				y[s][c] += table[s*6+c]
			}
		}
		return y
	})
}

// TestInterpolation checks what every way to interpolate must keep: tables that stay as they are, prefix tokens, constants,
// and, but for the offset, mirrored grids.
func TestInterpolation(t *testing.T) {
	const dim = 3
	for _, how := range []Interpolation{PlainBicubic, TimmBicubic, {AlignCorners: true}, {Offset: 0.1}, {Bilinear: true}} {
		for _, to := range [][2]int{{4, 6}, {3, 3}, {9, 5}, {1, 1}} {
			from := [2]int{4, 6}
			table := make([]float32, (2+24)*dim)
			for i := range table {
				if i < 2*dim {
					table[i] = float32(i)
				} else {
					table[i] = float32(i%dim) - 0.5
				}
			}
			e := how.Expr(graph.Values("table", table, 26, dim), 2, from, to)
			if want := (graph.Shape{2 + to[0]*to[1], dim}); !e.Shape().Equal(want) {
				t.Fatalf("%+v to %v: shape %v", how, to, e.Shape())
			}
			v, err := e.Eval()
			if err != nil {
				t.Fatal(err)
			}
			for i, x := range v {
				want := float64(i)
				if i >= 2*dim {
					want = float64(i%dim) - 0.5
				}
				if math.Abs(float64(x)-want) > 1e-6 {
					t.Errorf("%+v to %v: element %d is %g, want %g", how, to, i, x, want)
				}
			}
		}
	}
}

// TestGrid: the trained size may leave a rest, another one may not.
func TestGrid(t *testing.T) {
	trained := [2]int{384, 384}
	if g, err := Grid(trained, [2]int{14, 14}, trained); err != nil || g != [2]int{27, 27} {
		t.Errorf("%v, %v", g, err)
	}
	for _, c := range [][2][2]int{{{383, 384}, {14, 14}}, {{8, 8}, {14, 14}}, {trained, {0, 0}}} {
		if _, err := Grid(c[0], c[1], c[0]); c[0] != trained && c[0][0] >= c[1][0] {
			if _, err = Grid(c[0], c[1], trained); err == nil || !strings.Contains(err.Error(), "--image-size") {
				t.Errorf("images of %v in patches of %v: %v", c[0], c[1], err)
			}
		} else if err == nil {
			t.Errorf("images of %v in patches of %v were accepted", c[0], c[1])
		}
	}
	for n, want := range map[int][2]int{0: {}, 9: {3, 3}, 10: {}, -4: {}, 196: {14, 14}} {
		if g := SquareGrid(n); g != want {
			t.Errorf("%d positions are a grid of %v", n, g)
		}
	}
}

// turned is the definition: a pair (a, b) of channels turns by its angle.
func turned(x []float64, angles []float64, interleaved bool) []float64 {
	y := append([]float64{}, x...)
	for i, a := range angles {
		p, q := i, i+len(angles)
		if interleaved {
			p, q = 2*i, 2*i+1
		}
		y[p], y[q] = x[p]*math.Cos(a)-x[q]*math.Sin(a), x[q]*math.Cos(a)+x[p]*math.Sin(a)
	}
	return y
}

func TestRotary(t *testing.T) {
	const heads, d = 2, 8
	x := random(1, 2, 1+6, heads*d)
	grid := [2]int{2, 3}
	type angle func(w weights, y, x, head, pair int) float64
	frequency := func(i, n int) float64 { return math.Pow(100, -float64(i)/float64(n)) }
	axial := func(a AxialAngles) func(b *graph.Builder) graph.Expr {
		return func(*graph.Builder) graph.Expr {
			a.Grid, a.HeadDim, a.Temperature = grid, d, 100
			return a.Expr()
		}
	}
	for name, c := range map[string]struct {
		angles      func(b *graph.Builder) graph.Expr
		interleaved bool
		want        angle
	}{
		"axial": {axial(AxialAngles{}), true, func(_ weights, y, x, _, i int) float64 {
			return []float64{float64(y), float64(x)}[i/2] * frequency(i%2, 2)
		}},
		"halves, columns first": {axial(AxialAngles{XY: true, Offset: 0.5}), false, func(_ weights, y, x, _, i int) float64 {
			return ([]float64{float64(x), float64(y)}[i/2] + 0.5) * frequency(i%2, 2)
		}},
		"scaled": {axial(AxialAngles{Reference: &[2]int{4, 9}}), true, func(_ weights, y, x, _, i int) float64 {
			return []float64{float64(y) / 2 * 4, float64(x) / 3 * 9}[i/2] * frequency(i%2, 2)
		}},
		"normalised": {axial(AxialAngles{Normalised: true}), false, func(_ weights, y, x, _, i int) float64 {
			at := []float64{(float64(y)+0.5)/2*2 - 1, (float64(x)+0.5)/3*2 - 1}[i/2]
			return 2 * math.Pi * at / math.Pow(100, 2*float64(i%2)/4)
		}},
		"mixed": {func(b *graph.Builder) graph.Expr {
			return MixedAngles(b.Tensor("freqs", 2, 3, heads, d/2), 1, grid, true)
		}, true,
			func(w weights, y, x, head, i int) float64 {
				f := w.get("freqs", 2, 3, heads, d/2)
				at := func(axis int) float64 { return f[((axis*3+1)*heads+head)*d/2+i] }
				return float64(x)*at(0) + float64(y)*at(1)
			}},
	} {
		t.Run(name, func(t *testing.T) {
			w := weights{t, graphtest.Params{}}
			got := build(t, w, map[string]*graph.Tensor{"x": x}, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node {
				r := RotaryTable(b, "rope", c.angles(b), 1, c.interleaved)
				q, k := r.Rotate(b)(split(b, in["x"], heads), split(b, in["x"], heads))
				return b.Concat(2, merge(b, q), merge(b, k))
			})
			same(t, got, func(i int) rows {
				y := sample(x, i)
				for s := range y[1:] {
					for h := range heads {
						var angles []float64
						for p := range d / 2 {
							angles = append(angles, c.want(w, s/3, s%3, h, p))
						}
						copy(y[1+s][h*d:], turned(y[1+s][h*d:(h+1)*d], angles, c.interleaved))
					}
				}
				for s := range y {
					y[s] = append(y[s], y[s]...)
				}
				return y
			})
		})
	}
	// The first channels alone.
	w := weights{t, graphtest.Params{}}
	got := build(t, w, map[string]*graph.Tensor{"x": x}, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node {
		a := AxialAngles{Grid: [2]int{7, 1}, HeadDim: 4, Temperature: 100}
		r := RotaryTable(b, "rope", a.Expr(), 0, false)
		r.Dim = 4
		return merge(b, r.Turn(b, split(b, in["x"], heads)))
	})
	same(t, got, func(i int) rows {
		y := sample(x, i)
		for s := range y {
			for h := range heads {
				copy(y[s][h*d:], turned(y[s][h*d:h*d+4], []float64{float64(s), 0}, false))
			}
		}
		return y
	})
	if (&AxialAngles{HeadDim: 6}).Check() == nil || (&AxialAngles{}).Check() == nil || (&AxialAngles{HeadDim: 8}).Check() != nil {
		t.Error("heads whose channels do not split were accepted")
	}
}

// Attention in windows is held against attention over the whole map in which tokens of other windows are hidden.
func TestWindows(t *testing.T) {
	const dim, heads = 8, 2
	for _, win := range []Windows{
		{Height: 4, Width: 6, Size: 2}, {Height: 4, Width: 6, Size: 2, Shift: 1}, {Height: 5, Width: 7, Size: 3}, {Height: 6, Width: 9, Size: 3, Shift: 2},
	} {
		t.Run(fmt.Sprintf("%+v", win), func(t *testing.T) {
			x := random(1, 2, win.Height*win.Width, dim)
			w := weights{t, graphtest.Params{}}
			got := build(t, w, map[string]*graph.Tensor{"x": x}, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node {
				a := plain(dim, heads)
				bias := RelativeBias(b, "bias", "table", win.Size, heads)
				return a.Apply(b, in["x"], "a", win.With(b, bias, in["x"]))
			})
			side := 2*win.Size - 1
			table := w.get("table", side*side, heads)
			up := func(n int) int { return (n + win.Size - 1) / win.Size * win.Size }
			full := [2]int{up(win.Height), up(win.Width)}
			same(t, got, func(i int) rows {
				// The padded map, token by token.
				x, padded := sample(x, i), newRows(full[0]*full[1], dim)
				for r := range win.Height {
					for c := range win.Width {
						copy(padded[r*full[1]+c], x[r*win.Width+c])
					}
				}
				place := func(n int) (r, c int) { // where a token is after the shift
					return (n/full[1] - win.Shift + full[0]) % full[0], (n%full[1] - win.Shift + full[1]) % full[1]
				}
				h := softmaxAttention(w.linear(padded, "a.q", dim, true), w.linear(padded, "a.k", dim, true), w.linear(padded, "a.v", dim, true), heads, heads,
					1/math.Sqrt(dim/heads), func(head, i, j int, s float64) float64 {
						ri, ci := place(i)
						rj, cj := place(j)
						// In one window, and on the same side of where the ends of the map meet.
						apart := ri/win.Size != rj/win.Size || ci/win.Size != cj/win.Size || (ri >= full[0]-win.Shift) != (rj >= full[0]-win.Shift) ||
							(ci >= full[1]-win.Shift) != (cj >= full[1]-win.Shift)
						if apart {
							return math.Inf(-1)
						}
						return s + table[((ri-rj+win.Size-1)*side+ci-cj+win.Size-1)*heads+head]
					})
				h = w.linear(h, "a.out", dim, true)
				out := newRows(win.Height*win.Width, dim)
				for r := range win.Height {
					for c := range win.Width {
						out[r*win.Width+c] = h[r*full[1]+c]
					}
				}
				return out
			})
		})
	}
}
