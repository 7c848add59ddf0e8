package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/mmconv/mmconv/kernels/ref"
)

// relativeError is the largest difference over the largest wanted value.
func relativeError(got []float32, want []float64) float64 {
	var diff, size float64
	for i, w := range want {
		d := math.Abs(float64(got[i]) - w)
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		diff, size = max(diff, d), max(size, math.Abs(w))
	}
	if diff == 0 {
		return 0
	}
	return diff / size
}

// worst keeps the largest error that a test saw and reports it.
type worst struct {
	t     *testing.T
	limit float64
	err   float64
}

func (w *worst) see(err float64, format string, args ...any) {
	w.t.Helper()
	w.err = max(w.err, err)
	if err > w.limit {
		w.t.Fatalf("%s: error %.3g, allowed %g", fmt.Sprintf(format, args...), err, w.limit)
	}
}

func (w *worst) report() { w.t.Helper(); w.t.Logf("largest error %.3g, allowed %g", w.err, w.limit) }

func TestRowNorms(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	forEachISA(t, func(t *testing.T) {
		w := worst{t: t, limit: 6e-7}
		for _, cols := range oddSizes[1:] {
			for _, spread := range []float32{1, 1e-3} {
				const rows, eps = 3, 1e-6
				x, gain, bias := guarded(t, rows*cols), copyOf(t, randomFloats(r, cols)), copyOf(t, randomFloats(r, cols))
				for i := range x {
					x[i] = spread * (float32(r.NormFloat64()) + 4)
				}
				got := guarded(t, rows*cols)
				for variant := range 4 {
					g, b := gain, bias
					if variant&1 != 0 {
						g = nil
					}
					if variant&2 != 0 {
						b = nil
					}
					LayerNorm(got, x, rows, cols, g, b, eps)
					for row := range rows {
						at := row * cols
						if cols > 1 {
							w.see(relativeError(got[at:], ref.Normalize(x[at:at+cols], g, b, eps)), "layer norm, %d columns, variant %d", cols, variant)
						}
					}
				}
				RMSNorm(got, x, rows, cols, gain, eps)
				for row := range rows {
					want := make([]float64, cols)
					rms := ref.RootMeanSquare(x[row*cols:][:cols], eps)
					for i := range want {
						want[i] = float64(x[row*cols+i]) / rms * float64(gain[i])
					}
					w.see(relativeError(got[row*cols:], want), "RMS norm, %d columns", cols)
				}
				for _, eps := range []float32{0, 1e-12, 1e3} {
					L2Normalize(got, x, rows, cols, eps)
					for row := range rows {
						want := make([]float64, cols)
						norm := ref.RootMeanSquare(x[row*cols:][:cols], 0) * math.Sqrt(float64(cols))
						for i := range want {
							want[i] = float64(x[row*cols+i]) / max(norm, float64(eps))
						}
						w.see(relativeError(got[row*cols:], want), "L2 norm, %d columns", cols)
					}
				}
			}
		}
		w.report()
	})
}

// A mean that is large against the spread leaves few digits to the deviations: they must not be lost in sums of squares.
func TestNormsOfALargeMean(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	forEachISA(t, func(t *testing.T) {
		x := make([]float32, 1000)
		for i := range x {
			x[i] = 3000 + float32(r.NormFloat64())
		}
		got := make([]float32, len(x))
		LayerNorm(got, x, 1, len(x), nil, nil, 1e-5)
		w := worst{t: t, limit: 3e-7}
		w.see(relativeError(got, ref.Normalize(x, nil, nil, 1e-5)), "mean 3000")
		GroupNorm(got, x, 1, 500, 2, 1, nil, nil, 1e-5)
		w.see(relativeError(got, ref.Normalize(x, nil, nil, 1e-5)), "mean 3000, one narrow group")
		w.report()
	})
}

func TestGroupNorm(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	forEachISA(t, func(t *testing.T) {
		w := worst{t: t, limit: 1e-6}
		for _, c := range []struct{ batch, positions, channels, groups int }{
			{1, 1, 1, 1}, {2, 7, 6, 3}, {1, 50, 130, 130}, {2, 33, 192, 2}, {1, 5, 192, 1}, {3, 11, 70, 5}, {1, 400, 96, 32}, {1, 100, 600, 2}, {1, 37, 512, 512}, {2, 0, 8, 2},
		} {
			n := c.positions * c.channels
			x, gain, bias := copyOf(t, randomFloats(r, c.batch*n)), randomFloats(r, c.channels), randomFloats(r, c.channels)
			got, parts := guarded(t, len(x)), make([]float32, len(x))
			GroupNorm(got, x, c.batch, c.positions, c.channels, c.groups, gain, bias, 1e-5)
			for g := range c.batch * c.groups {
				GroupNormRange(parts, x, c.positions, c.channels, c.groups, gain, bias, 1e-5, g, g+1)
			}
			width := c.channels / c.groups
			for b := range c.batch {
				for g := range c.groups {
					var xs, gs, bs, have []float32
					for p := range c.positions {
						for ch := g * width; ch < (g+1)*width; ch++ {
							at := b*n + p*c.channels + ch
							xs, gs, bs, have = append(xs, x[at]), append(gs, gain[ch]), append(bs, bias[ch]), append(have, got[at])
							if parts[at] != got[at] {
								t.Fatalf("%+v: a range gives %g, the whole %g", c, parts[at], got[at])
							}
						}
					}
					if len(xs) > 1 {
						w.see(relativeError(have, ref.Normalize(xs, gs, bs, 1e-5)), "%+v", c)
					}
				}
			}
		}
		w.report()
	})
}

func TestSoftmax(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	forEachISA(t, func(t *testing.T) {
		w := worst{t: t, limit: 5e-7}
		for _, cols := range oddSizes {
			const rows = 3
			x := guarded(t, rows*cols)
			for i := range x {
				x[i] = 8 * float32(r.NormFloat64())
			}
			if cols > 4 {
				x[2] = negInf
			}
			got := guarded(t, rows*cols)
			Softmax(got, x, rows, cols)
			logs := guarded(t, rows*cols)
			LogSoftmax(logs, x, rows, cols)
			for row := range rows {
				wide := make([]float64, cols)
				for i := range wide {
					wide[i] = float64(x[row*cols+i])
				}
				want := ref.Softmax(wide)
				w.see(relativeError(got[row*cols:], want), "%d columns", cols)
				for i, p := range want {
					if l := math.Log(p); p > 0 && math.Abs(float64(logs[row*cols+i])-l) > 2e-7*max(1, math.Abs(l)) {
						t.Fatalf("log softmax of %d columns: %g, want %g", cols, logs[row*cols+i], l)
					}
				}
			}
		}
		w.report()
	})
}
