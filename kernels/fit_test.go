package kernels

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Fit agrees with a plain loop in float64 up to the order of the additions, and with itself on every instruction set.
func TestFit(t *testing.T) {
	before := Active()
	defer func() { _ = SetISA(before) }()
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 70 {
		x := guarded(t, n)
		for i := range x {
			x[i] = float32(r.NormFloat64() * math.Exp(3*r.NormFloat64()))
		}
		for _, c := range []struct {
			inv    float32
			lo, hi int
		}{{10, -127, 127}, {-3.5, -8, 7}, {0, -8, 7}, {1e30, -255, 0}, {0.5, 0, 15}} {
			var xq, qq, size float64
			for _, v := range x {
				q := math.RoundToEven(float64(v * c.inv))
				q = min(max(q, float64(c.lo)), float64(c.hi))
				xq += float64(v) * q
				qq += q * q
				size += math.Abs(float64(v) * q)
			}
			var first [2]float64
			for i, isa := range Available() {
				if err := SetISA(isa); err != nil {
					t.Fatal(err)
				}
				gotXQ, gotQQ := Fit(x, c.inv, c.lo, c.hi)
				if math.Abs(gotXQ-xq) > 1e-14*size || gotQQ != qq {
					t.Fatalf("%v, %d values, %+v: %g, %g; expected %g, %g", isa, n, c, gotXQ, gotQQ, xq, qq)
				}
				if got := [2]float64{gotXQ, gotQQ}; i == 0 {
					first = got
				} else if got != first {
					t.Fatalf("%v, %d values, %+v: %v, on %v %v", isa, n, c, got, Available()[0], first)
				}
			}
		}
	}
}

func BenchmarkFit(b *testing.B) {
	x := make([]float32, 1024)
	for i := range x {
		x[i] = float32(i%37) - 18
	}
	b.SetBytes(4 * int64(len(x)))
	for b.Loop() {
		Fit(x, 0.4, -8, 7)
	}
}
