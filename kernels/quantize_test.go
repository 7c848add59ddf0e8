package kernels

import (
	"math"
	"math/rand/v2"
	"testing"
)

// specials are numbers at which vector and scalar arithmetic like to part.
var specials = []float32{
	0, float32(math.Copysign(0, -1)), 0.5, -0.5, 1.5, 2.5, -2.5, 126.5, 127.5, -127.5, -128.5, 1e9, -1e9, 2e9, -2e9, 3e38, -3e38,
	1e-45, -1e-45, 1e-38, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()),
}

func sameBits(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// Every instruction set gives the bits of the portable code.
func TestQuantizeAgreesWithPortable(t *testing.T) {
	forEachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		for n := range 150 {
			for special := range 3 {
				x := guarded(t, n)
				for i := range x {
					x[i] = float32(r.NormFloat64()) * 40
					if special > 0 && r.IntN(4) == 0 {
						x[i] = specials[r.IntN(len(specials)-(2-special))]
					}
				}
				if got, want := absMax(x), absMaxGeneric(x); !sameBits(got, want) {
					t.Fatalf("absMax of %v = %g, want %g", x, got, want)
				}
				if got, want := finite(x), finiteGeneric(x); got != want {
					t.Fatalf("finite of %v = %v", x, got)
				}
				lo, hi := minMax(x)
				if wantLo, wantHi := minMaxGeneric(x); !sameBits(lo, wantLo) || !sameBits(hi, wantHi) {
					t.Fatalf("minMax of %v = %g, %g, want %g, %g", x, lo, hi, wantLo, wantHi)
				}
				for _, c := range [][3]int32{{0, -127, 127}, {128, 0, 255}, {8, 0, 15}, {-5, -128, 127}} {
					inv := float32(0.25 * (1 + 4*float64(special)))
					got, want := make([]byte, 2*n), make([]byte, 2*n)
					s1, s2 := quantize(got[:n], x, inv, c[0], c[1], c[2]), quantizeGeneric(want[:n], x, inv, c[0], c[1], c[2])
					if string(got[:n]) != string(want[:n]) || s1 != s2 {
						t.Fatalf("quantize(%v) %v = %v (sum %d), want %v (sum %d)", x, c, got[:n], s1, want[:n], s2)
					}
					s1, s2 = quantizeWords(got, x, inv, c[0], c[1], c[2]), quantizeWordsGeneric(want, x, inv, c[0], c[1], c[2])
					if string(got) != string(want) || s1 != s2 {
						t.Fatalf("quantizeWords(%v) %v = %v (sum %d), want %v (sum %d)", x, c, got, s1, want, s2)
					}
				}
			}
		}
	})
}

func TestRTN(t *testing.T) {
	forEachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for _, k := range []int{0, 1, 7, 64, 100} {
			for _, s := range []Scheme{{8, 0, false}, {8, 32, true}, {4, 0, true}, {4, 32, false}, {4, 7, true}, {4, 1, false}} {
				const n = 3
				w := randomFloats(r, n*k)
				q := NewQuantized(n, k, s)
				if s.Asymmetric {
					lo, hi := make([]float32, len(q.Scales)), make([]float32, len(q.Scales))
					RowMinMax(lo, hi, w, k, s.Group)
					_, most := s.Range()
					for i := range lo {
						lo[i], hi[i] = min(lo[i], 0), max(hi[i], 0)
						q.Scales[i] = (hi[i] - lo[i]) / float32(most)
						q.Zeros[i] = uint8(math.RoundToEven(float64(-lo[i] / q.Scales[i])))
					}
				} else {
					RowAbsMax(q.Scales, w, k, s.Group)
					for i := range q.Scales {
						q.Scales[i] /= float32(int(127) >> (8 - s.Bits))
					}
				}
				QuantizeRTN(q, 0, w[:k])
				QuantizeRTN(q, 1, w[k:])
				if err := q.Check(); err != nil {
					t.Fatal(err)
				}
				got := make([]float32, n*k)
				Dequantize(got[k:], q, 1)
				Dequantize(got[:k], q, 0)
				for i, v := range w {
					group := s.Group
					if group == 0 {
						group = k
					}
					scale := q.Scales[i/k*s.Groups(k)+i%k/group]
					// Rounding a zero point too may push an end out of range by half a step.
					limit := 0.5001
					if s.Asymmetric {
						limit = 1.0001
					}
					if e := math.Abs(float64(v-got[i])) / float64(scale); e > limit {
						t.Fatalf("%v K=%d: %g became %g, %.3f steps away", s, k, v, got[i], e)
					}
				}
			}
		}
	})
}

func TestQuantizedCheck(t *testing.T) {
	good := func() *Quantized { return NewQuantized(3, 10, Scheme{4, 4, true}) }
	if err := good().Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Quantized){
		"bits":       func(q *Quantized) { q.Bits = 5 },
		"group":      func(q *Quantized) { q.Group = -1 },
		"data":       func(q *Quantized) { q.Data = q.Data[1:] },
		"scales":     func(q *Quantized) { q.Scales = append(q.Scales, 1) },
		"zeros":      func(q *Quantized) { q.Zeros = nil },
		"zero point": func(q *Quantized) { q.Zeros[4] = 16 },
		"shape":      func(q *Quantized) { q.N, q.K = math.MaxInt, math.MaxInt },
		"negative":   func(q *Quantized) { q.N = -1 },
	} {
		q := good()
		spoil(q)
		if q.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func BenchmarkQuantize(b *testing.B) {
	x := randomFloats(rand.New(rand.NewPCG(5, 6)), 1<<20)
	scales := make([]float32, len(x)/32)
	q := NewQuantized(1024, 1024, Scheme{8, 0, false})
	q4 := NewQuantized(1024, 1024, Scheme{4, 32, false})
	for i := range q4.Scales {
		q4.Scales[i] = 0.5
	}
	for i := range q.Scales {
		q.Scales[i] = 0.05
	}
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"AllFinite", func() { AllFinite(x) }},
		{"RowAbsMax", func() { RowAbsMax(scales, x, 1024, 0) }},
		{"RowAbsMax-g32", func() { RowAbsMax(scales, x, 1024, 32) }},
		{"RTN-int8", func() { QuantizeRTN(q, 0, x) }},
		{"RTN-int4-g32", func() { QuantizeRTN(q4, 0, x) }},
		{"Dequantize-int8", func() { Dequantize(x, q, 0) }},
		{"Dequantize-int4-g32", func() { Dequantize(x, q4, 0) }},
		{"PackFloat32", func() { PackFloat32(1024, 1024, x, 1024) }},
		{"Pack-int8", func() { PackQuantized(q, true) }},
		{"Pack-int4-g32", func() { PackQuantized(q4, true) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(4 << 20)
			for b.Loop() {
				c.f()
			}
		})
	}
}
