package block

import (
	"fmt"
	"math"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/graphtest"
	"github.com/mmconv/mmconv/kernels"
)

// picture is one sample's map, [H][W][C].
type picture []rows

// conv is a convolution with a kernel [out, in/groups, k, k] and its batch norm.
func (w weights) convBN(x picture, stem, norm string, out, k, stride, pad, groups int) picture {
	in := len(x[0][0]) / groups
	kernel := w.get(stem+".weight", out, in, k, k)
	gain, bias := w.get(norm+".weight", out), w.get(norm+".bias", out)
	mean, variance := w.get(norm+".running_mean", out), w.variance(norm+".running_var", out)
	var y picture
	for top := -pad; top+k <= len(x)+pad; top += stride {
		var line rows
		for left := -pad; left+k <= len(x[0])+pad; left += stride {
			place := make([]float64, out)
			for o := range out {
				for c := range in {
					for i := range k {
						for j := range k {
							if r, s := top+i, left+j; r >= 0 && r < len(x) && s >= 0 && s < len(x[0]) {
								place[o] += x[r][s][o/(out/groups)*in+c] * kernel[((o*in+c)*k+i)*k+j]
							}
						}
					}
				}
				place[o] = (place[o]-mean[o])/math.Sqrt(variance[o]+1e-5)*gain[o] + bias[o]
			}
			line = append(line, place)
		}
		y = append(y, line)
	}
	return y
}

func (x picture) pool(k, stride, pad int, greatest bool) picture {
	var y picture
	for top := -pad; top+k <= len(x)+pad; top += stride {
		var line rows
		for left := -pad; left+k <= len(x[0])+pad; left += stride {
			place := make([]float64, len(x[0][0]))
			for c := range place {
				best, sum := math.Inf(-1), 0.0
				for i := range k {
					for j := range k {
						if r, s := top+i, left+j; r >= 0 && r < len(x) && s >= 0 && s < len(x[0]) {
							best, sum = max(best, x[r][s][c]), sum+x[r][s][c]
						}
					}
				}
				if place[c] = sum / float64(k*k); greatest {
					place[c] = best
				}
			}
			line = append(line, place)
		}
		y = append(y, line)
	}
	return y
}

func (x picture) zip(y picture, f func(a, b float64) float64) picture {
	z := make(picture, len(x))
	for r := range x {
		z[r] = x[r].zip(y[r], f)
	}
	return z
}

func (x picture) relu() picture { return x.zip(x, func(a, _ float64) float64 { return relu(a) }) }

func (x picture) rows() rows {
	var out rows
	for _, line := range x {
		out = append(out, line...)
	}
	return out
}

func pictureOf(x *graph.Tensor, i int) picture {
	h, w, c := x.Shape[1], x.Shape[2], x.Shape[3]
	p := make(picture, h)
	for r := range p {
		p[r] = newRows(w, c)
		for s := range w {
			for ch := range c {
				p[r][s][ch] = float64(x.Data[((i*h+r)*w+s)*c+ch])
			}
		}
	}
	return p
}

// positive gives batch norms a variance.
type positive struct{ graphtest.Params }

func (p positive) Param(name string, shape ...int) (graph.Expr, error) {
	e, err := p.Params.Param(name, shape...)
	if err == nil && len(name) > 12 && name[len(name)-12:] == ".running_var" {
		one := make([]float32, e.Shape().Len())
		for i := range one {
			one[i] = 1
		}
		e = graph.AddExpr(graph.MulExpr(e, e), graph.Values("1", one, e.Shape()...))
	}
	return e, err
}

// variance reads what positive makes of it.
func (w weights) variance(name string, n int) []float64 {
	v := w.get(name, n)
	for i := range v {
		v[i] = v[i]*v[i] + 1
	}
	return v
}

func TestResNet(t *testing.T) {
	x := random(1, 2, 29, 35, 3)
	for name, r := range map[string]ResNet{
		"bottlenecks":      {Blocks: []int{2, 1}, Width: 4},
		"strides first":    {Blocks: []int{1, 2}, Width: 4, StrideFirst: true},
		"two convolutions": {Blocks: []int{1, 1, 1}, Width: 4, Basic: true},
		"groups":           {Blocks: []int{1, 1}, Width: 4, Groups: 2, WidthPerGroup: 64},
		"CLIP's":           {Blocks: []int{1, 2}, Width: 4, DeepStem: true, AveragePool: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := graph.NewBuilder(positive{})
			stem, stages := r.Apply(b, b.Input("x", x.Shape...), "v")
			var names []string
			for i, s := range append([]*graph.Node{stem}, stages...) {
				b.Output(s, graph.Vision, fmt.Sprint(i))
				names = append(names, fmt.Sprint(i))
			}
			g, err := b.Graph()
			if err != nil {
				t.Fatal(err)
			}
			got := graphtest.Run(t, g, map[string]*graph.Tensor{"x": x}, names...)
			if last := got[names[len(names)-1]].Shape.Last(); r.Out() != last {
				t.Errorf("the last stage has %d channels, and Out says %d", last, r.Out())
			}
			for i := range x.Shape[0] {
				for n, want := range (weights{t, graphtest.Params{}}).resnet(&r, pictureOf(x, i)) {
					y := got[fmt.Sprint(n)]
					flat := &graph.Tensor{Shape: graph.Shape{1, y.Shape[1] * y.Shape[2], y.Shape[3]}, Data: y.Data[i*len(y.Data)/2 : (i+1)*len(y.Data)/2]}
					same(t, flat, func(int) rows { return want.rows() })
				}
			}
		})
	}
}

// resnet computes the stem and the stages, in the words of torchvision's forward.
func (w weights) resnet(r *ResNet, x picture) []picture {
	conv := func(x picture, stem, norm string, out, k, stride, groups int) picture {
		return w.convBN(x, "v."+stem, "v."+norm, out, k, stride, k/2, groups)
	}
	if r.DeepStem {
		x = conv(x, "conv1", "bn1", r.Width/2, 3, 2, 1).relu()
		x = conv(x, "conv2", "bn2", r.Width/2, 3, 1, 1).relu()
		x = conv(x, "conv3", "bn3", r.Width, 3, 1, 1).relu()
		x = x.pool(2, 2, 0, false)
	} else {
		x = conv(x, "conv1", "bn1", r.Width, 7, 2, 1).relu().pool(3, 2, 1, true)
	}
	out := []picture{x}
	for s, n := range r.Blocks {
		width := r.Width << s
		for i := range n {
			at := fmt.Sprintf("layer%d.%d.", s+1, i)
			stride := 1
			if s > 0 && i == 0 {
				stride = 2
			}
			h, shortcut := x, x
			wide := 4 * width
			switch {
			case r.Basic:
				wide = width
				h = conv(h, at+"conv1", at+"bn1", width, 3, stride, 1).relu()
				h = conv(h, at+"conv2", at+"bn2", width, 3, 1, 1)
			case r.AveragePool:
				h = conv(h, at+"conv1", at+"bn1", width, 1, 1, 1).relu()
				h = conv(h, at+"conv2", at+"bn2", width, 3, 1, 1).relu().pool(stride, stride, 0, false)
				h = conv(h, at+"conv3", at+"bn3", wide, 1, 1, 1)
			case r.StrideFirst:
				h = conv(h, at+"conv1", at+"bn1", width, 1, stride, 1).relu()
				h = conv(h, at+"conv2", at+"bn2", width, 3, 1, 1).relu()
				h = conv(h, at+"conv3", at+"bn3", wide, 1, 1, 1)
			default:
				inner, groups := width, 1
				if r.Groups > 0 {
					inner, groups = width*r.Groups*r.WidthPerGroup/64, r.Groups
				}
				h = conv(h, at+"conv1", at+"bn1", inner, 1, 1, 1).relu()
				h = conv(h, at+"conv2", at+"bn2", inner, 3, stride, groups).relu()
				h = conv(h, at+"conv3", at+"bn3", wide, 1, 1, 1)
			}
			if stride > 1 || len(x[0][0]) != wide {
				if r.AveragePool {
					shortcut, stride = x.pool(stride, stride, 0, false), 1
				}
				shortcut = conv(shortcut, at+"downsample.0", at+"downsample.1", wide, 1, stride, 1)
			}
			x = h.zip(shortcut, func(a, b float64) float64 { return a + b }).relu()
		}
		out = append(out, x)
	}
	return out
}

func TestSE(t *testing.T) {
	x := random(1, 2, 3, 4, 6)
	for name, c := range map[string]struct {
		se   SE
		gate func(float64) float64
	}{
		"sigmoid": {SE{Act: kernels.ActReLU}, sigmoid},
		"SiLU, hard sigmoid": {SE{Act: kernels.ActSiLU, Gate: kernels.ActHardsigmoid}, func(x float64) float64 {
			return min(max(x+3, 0), 6) / 6
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := weights{t, graphtest.Params{}}
			se := c.se
			se.Dim, se.Hidden, se.FC1, se.FC2 = 6, 2, Projection{Stem: "fc1"}, Projection{Stem: "fc2"}
			got := build(t, w, map[string]*graph.Tensor{"x": x}, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node {
				return b.Rearrange(se.Apply(b, in["x"], "se"), "b h w c -> b (h w) c")
			})
			same(t, got, func(i int) rows {
				places := pictureOf(x, i).rows()
				mean := newRows(1, 6)
				for _, p := range places {
					for j, v := range p {
						mean[0][j] += v / float64(len(places))
					}
				}
				gates := w.linear(w.linear(mean, "se.fc1", 2, true).each(function(se.Act)), "se.fc2", 6, true).each(c.gate)
				out := newRows(len(places), 6)
				for s := range places {
					for j, v := range places[s] {
						out[s][j] = v * gates[0][j]
					}
				}
				return out
			})
		})
	}
}
