package quant

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mmconv/mmconv/kernels"
)

// schemes are all that a recipe can ask for, and group sizes that do not fit anything.
func schemes() []kernels.Scheme {
	var all []kernels.Scheme
	for _, bits := range []int{8, 4} {
		for _, group := range []int{0, 32, 64, 128, 5} {
			for _, asymmetric := range []bool{false, true} {
				all = append(all, kernels.Scheme{Bits: bits, Group: group, Asymmetric: asymmetric})
			}
		}
	}
	return all
}

// distributions of weights, by name.
var distributions = map[string]func(r *rand.Rand) float64{
	"normal":   func(r *rand.Rand) float64 { return r.NormFloat64() },
	"laplace":  func(r *rand.Rand) float64 { return r.ExpFloat64() * float64(1-2*r.IntN(2)) },
	"tailed":   func(r *rand.Rand) float64 { return r.NormFloat64() / math.Sqrt(r.ExpFloat64()+0.05) },
	"skewed":   func(r *rand.Rand) float64 { return math.Exp(r.NormFloat64()) - 0.5 },
	"positive": func(r *rand.Rand) float64 { return 3 + r.NormFloat64()*0.1 },
	"tiny":     func(r *rand.Rand) float64 { return 1e-5 * r.NormFloat64() },
	"sparse":   func(r *rand.Rand) float64 { return r.NormFloat64() * float64(r.IntN(2)*r.IntN(2)) },
	"binary":   func(r *rand.Rand) float64 { return float64(1-2*r.IntN(2)) * 0.7 },
	"zero":     func(r *rand.Rand) float64 { return 0 },
}

func sample(name string, n int) []float32 {
	r := rand.New(rand.NewPCG(7, uint64(n)))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(distributions[name](r))
	}
	return x
}

func quantizeBy(t testing.TB, method string, n, k int, s kernels.Scheme, half bool, w []float32) *kernels.Quantized {
	t.Helper()
	m, err := MethodByName(method)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := m.Begin(Target{N: n, K: k, Scheme: s, HalfScales: half}, nil)
	if err != nil {
		t.Fatal(err)
	}
	q := kernels.NewQuantized(n, k, s)
	rows(q, w)
	if err := q.Check(); err != nil {
		t.Fatalf("%s %v [%d,%d]: %v", method, s, n, k, err)
	}
	return q
}

// errorOf returns Σ(w-w')² and Σw².
func errorOf(q *kernels.Quantized, w []float32) (noise, signal float64) {
	out := make([]float32, len(w))
	kernels.Dequantize(out, q, 0)
	for i, v := range w {
		d := float64(v) - float64(out[i])
		noise += d * d
		signal += float64(v) * float64(v)
	}
	return noise, signal
}

// Every weight that rounding to nearest stores lies within the format's budget of what it was, in every format and on odd
// sizes.
func TestRoundTrip(t *testing.T) {
	sizes := [][2]int{{1, 1}, {3, 2}, {2, 31}, {5, 33}, {1, 129}, {4, 257}, {7, 64}, {3, 0}, {0, 8}}
	for _, s := range schemes() {
		for _, half := range []bool{false, true} {
			budget := BudgetOf(s, half)
			for name := range distributions {
				if half && name == "tiny" {
					continue // its scales are below float16's normal numbers: TestHalfScales
				}
				for _, size := range sizes {
					n, k := size[0], size[1]
					w := sample(name, n*k)
					q := quantizeBy(t, "rtn", n, k, s, half, w)
					out := make([]float32, n*k)
					kernels.Dequantize(out, q, 0)
					groups := s.Groups(k)
					for i := range w {
						g := 0
						if s.Group > 0 {
							g = i % k / s.Group
						}
						scale := float64(q.Scales[i/k*groups+g])
						if d := math.Abs(float64(w[i]) - float64(out[i])); d > budget.Steps*scale {
							t.Fatalf("%v half=%v %s [%d,%d]: weight %d: %g became %g, %.4f steps away; budget %.4f",
								s, half, name, n, k, i, w[i], out[i], d/scale, budget.Steps)
						}
					}
				}
			}
		}
	}
}

// The signal-to-noise ratio of normal weights keeps to the budget with every method.
func TestBudget(t *testing.T) {
	const n, k = 8, 4096
	w := sample("normal", n*k)
	for _, s := range schemes() {
		for _, half := range []bool{false, true} {
			budget := BudgetOf(s, half)
			line := fmt.Sprintf("%-14v half=%-5v budget %5.2f dB", s, half, budget.SQNR)
			for _, m := range Methods() {
				noise, signal := errorOf(quantizeBy(t, m.Name(), n, k, s, half, w), w)
				snr := 10 * math.Log10(signal/noise)
				line += fmt.Sprintf("  %s %5.2f", m.Name(), snr)
				if snr < budget.SQNR {
					t.Errorf("%v half=%v %s: %.2f dB, below the budget of %.2f", s, half, m.Name(), snr, budget.SQNR)
				}
			}
			t.Log(line)
		}
	}
}

// Clipping is never worse than not clipping, group by group.
func TestMSENotWorse(t *testing.T) {
	for _, s := range schemes() {
		for _, half := range []bool{false, true} {
			for name := range distributions {
				for _, k := range []int{1, 7, 32, 67, 300} {
					const n = 5
					w := sample(name, n*k)
					plain := quantizeBy(t, "rtn", n, k, s, half, w)
					best := quantizeBy(t, "mse", n, k, s, half, w)
					group := s.Group
					if group == 0 {
						group = k
					}
					a, b := exactly(plain), exactly(best)
					for r := range n {
						for g := 0; g < k; g += group {
							var ea, eb, signal float64
							for i := r*k + g; i < r*k+min(g+group, k); i++ {
								ea += math.Pow(float64(w[i])-a[i], 2)
								eb += math.Pow(float64(w[i])-b[i], 2)
								signal += math.Pow(float64(w[i]), 2)
							}
							if eb > ea+1e-14*signal { // the arithmetic of the sums that the method compares
								t.Fatalf("%v half=%v %s k=%d row %d group %d: mse %g, rtn %g", s, half, name, k, r, g/group, eb, ea)
							}
						}
					}
				}
			}
		}
	}
}

// exactly dequantizes without rounding.
func exactly(q *kernels.Quantized) []float64 {
	integers := make([]float32, q.N*q.K)
	ones := *q
	ones.Scales = slices.Repeat([]float32{1}, len(q.Scales))
	kernels.Dequantize(integers, &ones, 0)
	out := make([]float64, len(integers))
	group := q.Group
	if group == 0 {
		group = q.K
	}
	for i, v := range integers {
		out[i] = float64(q.Scales[i/q.K*q.Groups(q.K)+i%q.K/group]) * float64(v)
	}
	return out
}

// The search comes near to the best of a fine grid of scales and all zero points.
func TestMSENearOptimal(t *testing.T) {
	for _, s := range []kernels.Scheme{{Bits: 4, Group: 32}, {Bits: 4, Group: 32, Asymmetric: true}, {Bits: 8}, {Bits: 8, Asymmetric: true}} {
		for _, name := range []string{"normal", "laplace", "tailed", "skewed"} {
			const n, k = 4, 96
			w := sample(name, n*k)
			got, signal := errorOf(quantizeBy(t, "mse", n, k, s, false, w), w)
			plain, _ := errorOf(quantizeBy(t, "rtn", n, k, s, false, w), w)
			best := 0.0
			tg := Target{N: n, K: k, Scheme: s}
			tg.eachGroup(w, func(_ int, x []float32) { best += exhaustive(x, s) })
			db := func(e float64) float64 { return 10 * math.Log10(signal/e) }
			t.Logf("%-13v %-8s rtn %6.2f  mse %6.2f  exhaustive %6.2f dB", s, name, db(plain), db(got), db(best))
			// The grid is so fine that some of its steps fit a short row by luck, which a search of few steps does not.
			if db(got) < db(best)-0.3 {
				t.Errorf("%v %s: %.2f dB, the best is %.2f", s, name, db(got), db(best))
			}
		}
	}
}

// squaredError is Σ(x - scale q)².
func squaredError(x []float32, scale float32, lo, hi int) float64 {
	var sum float64
	for _, v := range x {
		q := min(max(math.RoundToEven(float64(v/scale)), float64(lo)), float64(hi))
		sum += math.Pow(float64(v)-float64(scale)*q, 2)
	}
	return sum
}

func exhaustive(x []float32, s kernels.Scheme) float64 {
	lo, hi := s.Range()
	zeros := []int{s.Zero()}
	if s.Asymmetric {
		zeros = nil
		for z := lo; z <= hi; z += max(1, hi/16) {
			zeros = append(zeros, z)
		}
	}
	peak := 0.0
	for _, v := range x {
		peak = max(peak, math.Abs(float64(v)))
	}
	best := math.Inf(1)
	for _, z := range zeros {
		for i := 1; i <= 200; i++ {
			scale := 2.2 * peak / levels(s) * float64(i) / 200
			best = min(best, squaredError(x, float32(scale), lo-z, hi-z))
			if !s.Asymmetric {
				best = min(best, squaredError(x, float32(-scale), lo-z, hi-z))
			}
		}
	}
	return best
}

// Stored scales are float16 numbers, and weights far below float16's range still come back as what they nearly were.
func TestHalfScales(t *testing.T) {
	s := kernels.Scheme{Bits: 4, Group: 32}
	for _, method := range []string{"rtn", "mse"} {
		w := sample("tiny", 4*64)
		q := quantizeBy(t, method, 4, 64, s, true, w)
		b := make([]byte, 2*len(q.Scales))
		back := make([]float32, len(q.Scales))
		kernels.Float32ToFloat16(b, q.Scales)
		kernels.Float16ToFloat32(back, b)
		if !slices.Equal(back, q.Scales) {
			t.Errorf("%s: scales are not float16 numbers", method)
		}
		noise, signal := errorOf(q, w)
		if snr := 10 * math.Log10(signal/noise); snr < 17 {
			t.Errorf("%s: %.1f dB for weights of 1e-5", method, snr)
		}
	}
}

// The bytes are the same on every instruction set.
func TestSameOnEveryISA(t *testing.T) {
	before := kernels.Active()
	defer func() { _ = kernels.SetISA(before) }()
	const n, k = 3, 301
	for name := range distributions {
		w := sample(name, n*k)
		for _, s := range schemes() {
			for _, m := range Methods() {
				var first *kernels.Quantized
				for _, isa := range kernels.Available() {
					if err := kernels.SetISA(isa); err != nil {
						t.Fatal(err)
					}
					q := quantizeBy(t, m.Name(), n, k, s, true, w)
					if first == nil {
						first = q
					} else if !bytes.Equal(first.Data, q.Data) || !slices.Equal(first.Scales, q.Scales) || !bytes.Equal(first.Zeros, q.Zeros) {
						t.Fatalf("%s %v %s: %v differs from %v", m.Name(), s, name, isa, kernels.Available()[0])
					}
				}
			}
		}
	}
}

func BenchmarkMethods(b *testing.B) {
	const n, k = 64, 1024
	w := sample("normal", n*k)
	for _, s := range []kernels.Scheme{{Bits: 8}, {Bits: 8, Asymmetric: true}, {Bits: 4, Group: 32}, {Bits: 4, Group: 32, Asymmetric: true}} {
		for _, m := range Methods() {
			b.Run(fmt.Sprintf("%v/%s", s, m.Name()), func(b *testing.B) {
				rows, err := m.Begin(Target{N: n, K: k, Scheme: s, HalfScales: s.Group > 0}, nil)
				if err != nil {
					b.Fatal(err)
				}
				q := kernels.NewQuantized(n, k, s)
				b.SetBytes(4 * n * k)
				for b.Loop() {
					rows(q, w)
				}
			})
		}
	}
}
