package block

import (
	"math"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/graphtest"
	"github.com/mmconv/mmconv/kernels"
)

// A map of 5 x 5 is cut into windows of 3 x 3, whose padding attends too, in the first block; the second one is global.
func TestSAM(t *testing.T) {
	const dim, heads, grid, window, hidden = 12, 2, 5, 3, 7
	const d = dim / heads
	s := SAM{Layer: SAMLayer.Sized(dim, heads, hidden), Stem: "blocks.%d", Layers: 2, Grid: grid, Window: window, Global: []int{1},
		Rows: "attn.rel_pos_h", Columns: "attn.rel_pos_w"}
	s.Layer.MLP.Act = kernels.ActGELU
	own := map[string]bool{}
	for _, layer := range []string{"blocks.0", "blocks.1"} {
		for _, p := range []string{"q", "k", "v"} {
			own[layer+".attn."+p+"_proj.weight"] = true
		}
	}
	w := weights{t, graphtest.Params{Missing: own}}
	attend := func(x rows, at string, size int) rows {
		qkv := w.linear(x, at+".attn.qkv", 3*dim, true)
		part := func(i int) rows {
			out := newRows(len(x), dim)
			for r := range qkv {
				copy(out[r], qkv[r][i*dim:(i+1)*dim])
			}
			return out
		}
		q := part(0)
		byRow, byColumn := w.get(at+".attn.rel_pos_h", 2*size-1, d), w.get(at+".attn.rel_pos_w", 2*size-1, d)
		h := softmaxAttention(q, part(1), part(2), heads, heads, 1/math.Sqrt(d), func(h, i, j int, s float64) float64 {
			for c := range d {
				y, x := i/size-j/size+size-1, i%size-j%size+size-1
				s += q[i][h*d+c] * (byRow[y*d+c] + byColumn[x*d+c])
			}
			return s
		})
		return w.linear(h, at+".attn.proj", dim, true)
	}
	layer := func(x rows, at string, size int) rows {
		h := w.norm(x, at+".norm1", 1e-6, false)
		a := newRows(len(x), dim)
		for top := 0; top < grid; top += size {
			for left := 0; left < grid; left += size {
				in := newRows(size*size, dim)
				place := func(i int) int {
					if y, x := top+i/size, left+i%size; y < grid && x < grid {
						return y*grid + x
					}
					return -1
				}
				for i := range in {
					if p := place(i); p >= 0 {
						in[i] = h[p]
					}
				}
				for i, r := range attend(in, at, size) {
					if p := place(i); p >= 0 {
						a[p] = r
					}
				}
			}
		}
		x = x.plus(a)
		h = w.linear(w.norm(x, at+".norm2", 1e-6, false), at+".mlp.lin1", hidden, true).each(gelu)
		return x.plus(w.linear(h, at+".mlp.lin2", dim, true))
	}
	x := random(1, 2, grid*grid, dim)
	got := build(t, w, map[string]*graph.Tensor{"x": x}, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node {
		return s.Apply(b, in["x"]).Last
	})
	same(t, got, func(i int) rows { return layer(layer(sample(x, i), "blocks.0", window), "blocks.1", grid) })
}

func TestRegNet(t *testing.T) {
	const height, width = 4, 3
	for _, r := range []RegNet{
		{Depth: 2, In: 10, Out: 6, SERatio: 0.25, Act: kernels.ActSiLU, Eps: 1e-5}, // 0.25 * 10 is 2: halves go to even
		{Depth: 1, In: 6, Out: 6, Group: 2, Act: kernels.ActReLU, Eps: 1e-6},
	} {
		w := weights{t, graphtest.Params{}}
		act := function(r.Act)
		conv := func(x picture, at string, k, groups int) picture {
			in := len(x[0][0]) / groups
			kernel, out := w.get(at+".conv.weight", r.Out, in, k, k), r.Out
			y := make(picture, len(x))
			for i := range x {
				y[i] = newRows(len(x[i]), out)
				for j := range x[i] {
					for o := range out {
						for c := range in {
							for p := range k {
								for q := range k {
									if a, b := i+p-k/2, j+q-k/2; a >= 0 && a < len(x) && b >= 0 && b < len(x[i]) {
										y[i][j][o] += x[a][b][o/(out/groups)*in+c] * kernel[((o*in+c)*k+p)*k+q]
									}
								}
							}
						}
					}
				}
				y[i] = w.norm(y[i], at+".bn", r.Eps, false)
			}
			return y
		}
		each := func(x picture, f func(rows) rows) picture {
			y := make(picture, len(x))
			for i := range x {
				y[i] = f(x[i])
			}
			return y
		}
		block := func(x picture, at string, in int) picture {
			h := each(conv(x, at+".conv1", 1, 1), func(r rows) rows { return r.each(act) })
			h = each(conv(h, at+".conv2", 3, r.Out/max(r.Group, 1)), func(r rows) rows { return r.each(act) })
			if r.SERatio > 0 {
				mean := newRows(1, r.Out)
				for _, line := range h {
					for _, place := range line {
						for c, v := range place {
							mean[0][c] += v / (height * width)
						}
					}
				}
				gate := w.linear(w.linear(mean, at+".se.fc1", int(math.RoundToEven(float64(in)*r.SERatio)), true).each(act), at+".se.fc2", r.Out, true).each(sigmoid)
				h = each(h, func(line rows) rows {
					out := newRows(len(line), r.Out)
					for i := range line {
						for c := range out[i] {
							out[i][c] = line[i][c] * gate[0][c]
						}
					}
					return out
				})
			}
			h = conv(h, at+".conv3", 1, 1)
			if in != r.Out {
				x = conv(x, at+".downsample", 1, 1)
			}
			for i := range h {
				h[i] = h[i].plus(x[i]).each(act)
			}
			return h
		}
		x := random(2, 2, height, width, r.In)
		got := build(t, w, map[string]*graph.Tensor{"x": x}, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node {
			all := r.Apply(b, in["x"], "s")
			if len(all) != r.Depth {
				t.Errorf("%d blocks, want %d", len(all), r.Depth)
			}
			return b.Rearrange(all[r.Depth-1], "b h w c -> b (h w) c")
		})
		same(t, got, func(i int) rows {
			flat := sample(x, i)
			m := make(picture, height)
			for y := range m {
				m[y] = flat[y*width : (y+1)*width]
			}
			in := r.In
			for d := range r.Depth {
				m = block(m, strings.Replace("s.bN", "N", string(rune('1'+d)), 1), in)
				in = r.Out
			}
			var out rows
			for _, line := range m {
				out = append(out, line...)
			}
			return out
		})
	}
}
