package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

var binaries = map[Binary]func(a, b float64) float64{
	OpAdd: func(a, b float64) float64 { return a + b }, OpSub: func(a, b float64) float64 { return a - b },
	OpMul: func(a, b float64) float64 { return a * b }, OpDiv: func(a, b float64) float64 { return a / b },
	OpMax: math.Max, OpMin: math.Min,
}

func TestBinary(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	forEachISA(t, func(t *testing.T) {
		for _, n := range oddSizes {
			a, b, dst := copyOf(t, randomFloats(r, n)), copyOf(t, randomFloats(r, n)), guarded(t, n)
			for op, f := range binaries {
				combine(op, dst, a, b)
				for i := range dst {
					if want := float32(f(float64(a[i]), float64(b[i]))); dst[i] != want {
						t.Fatalf("operation %d, %d of %d: %g, want %g", op, i, n, dst[i], want)
					}
				}
			}
		}
		nan := float32(math.NaN())
		for _, op := range []Binary{OpMax, OpMin} {
			dst := make([]float32, 2)
			combine(op, dst, []float32{nan, 1}, []float32{1, nan})
			if dst[0] == dst[0] || dst[1] == dst[1] {
				t.Errorf("operation %d drops a NaN: %v", op, dst)
			}
		}
	})
}

func TestBroadcast(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	cases := []struct{ shape, a, b []int }{
		{nil, nil, nil},
		{[]int{5}, []int{1}, []int{0}},
		{[]int{5}, []int{0}, []int{1}},
		{[]int{5}, []int{0}, []int{0}},
		{[]int{2, 3, 17}, []int{51, 17, 1}, []int{0, 0, 1}},
		{[]int{2, 3, 17}, []int{51, 17, 1}, []int{0, 1, 0}},
		{[]int{2, 3, 17}, []int{0, 17, 1}, []int{17, 0, 1}},
		{[]int{4, 1, 9}, []int{9, 0, 1}, []int{9, 9, 1}},
		{[]int{3, 0, 2}, []int{0, 2, 1}, []int{0, 2, 1}},
		{[]int{7, 1}, []int{1, 1}, []int{0, 0}},
		{[]int{2, 2, 3, 5}, []int{30, 15, 5, 1}, []int{15, 0, 5, 1}},
	}
	forEachISA(t, func(t *testing.T) {
		for _, c := range cases {
			for op, f := range binaries {
				t.Run(fmt.Sprint(op, c), func(t *testing.T) {
					n, an, bn := 1, 1, 1
					for i, d := range c.shape {
						n *= d
						an += max(d-1, 0) * c.a[i]
						bn += max(d-1, 0) * c.b[i]
					}
					a, b, dst := copyOf(t, randomFloats(r, an)), copyOf(t, randomFloats(r, bn)), guarded(t, n)
					Broadcast(op, dst, c.shape, a, c.a, b, c.b)
					for i := range dst {
						ai, bi, rest := 0, 0, i
						for d := len(c.shape) - 1; d >= 0; d-- {
							ai += rest % c.shape[d] * c.a[d]
							bi += rest % c.shape[d] * c.b[d]
							rest /= c.shape[d]
						}
						if want := float32(f(float64(a[ai]), float64(b[bi]))); dst[i] != want {
							t.Fatalf("number %d: %g, want %g", i, dst[i], want)
						}
					}
				})
			}
		}
	})
}

func TestFusedArithmetic(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	forEachISA(t, func(t *testing.T) {
		w := worst{t: t, limit: 3e-7}
		for _, n := range oddSizes[1:] {
			const rows = 3
			x, y := copyOf(t, randomFloats(r, rows*n)), copyOf(t, randomFloats(r, rows*n))
			gain, bias := copyOf(t, randomFloats(r, n)), copyOf(t, randomFloats(r, n))
			dst := guarded(t, rows*n)
			check := func(name string, f func(i int) float64) {
				want := make([]float64, rows*n)
				for i := range want {
					want[i] = f(i)
				}
				w.see(relativeError(dst, want), "%s, rows of %d", name, n)
			}
			at := func(v []float32, i int) float64 { return float64(v[i]) }
			Affine(dst, x, 1.7, -0.3)
			check("affine", func(i int) float64 { return at(x, i)*float64(float32(1.7)) + float64(float32(-0.3)) })
			copy(dst, y)
			AddScaled(dst, x, 0.7)
			check("add scaled", func(i int) float64 { return at(y, i) + at(x, i)*float64(float32(0.7)) })
			AddRow(dst, x, gain)
			check("add row", func(i int) float64 { return at(x, i) + at(gain, i%n) })
			MulRow(dst, x, gain)
			check("multiply by row", func(i int) float64 { return at(x, i) * at(gain, i%n) })
			MulColumn(dst, x, y[:rows])
			check("multiply by column", func(i int) float64 { return at(x, i) * at(y, i/n) })
			AffineRows(dst, x, gain, bias)
			check("affine rows", func(i int) float64 { return at(x, i)*at(gain, i%n) + at(bias, i%n) })
			AffineRows(dst, x, nil, bias)
			check("affine rows without gain", func(i int) float64 { return at(x, i) + at(bias, i%n) })
			AddScaledRows(dst, x, y, gain)
			check("add scaled rows", func(i int) float64 { return at(x, i) + at(y, i)*at(gain, i%n) })
			MultiplyActivated(ActReLU, dst, x, y)
			check("gated", func(i int) float64 { return max(at(x, i), 0) * at(y, i) })
		}
		w.report()
	})
}

func TestRotary(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	forEachISA(t, func(t *testing.T) {
		w := worst{t: t, limit: 3e-7}
		for _, dim := range []int{0, 2, 6, 16, 34, 64} {
			for _, interleaved := range []bool{false, true} {
				const batch, rows, heads, offset = 2, 5, 3, 1
				rot := Rotary{Dim: dim, Interleaved: interleaved, Cos: copyOf(t, randomFloats(r, (rows-offset)*dim)), Sin: copyOf(t, randomFloats(r, (rows-offset)*dim))}
				width := dim + 2 // two numbers of each head are not turned
				x := copyOf(t, randomFloats(r, batch*rows*heads*width))
				want := make([]float64, len(x))
				for i, v := range x {
					want[i] = float64(v)
					d, row := i%width, i/width/heads%rows
					if d >= dim || row < offset {
						continue
					}
					partner, sign := d^1, float64(d%2*2-1)
					if !interleaved {
						partner, sign = (d+dim/2)%dim, -1
						if d >= dim/2 {
							sign = 1
						}
					}
					table := (row-offset)*dim + d
					want[i] = float64(v)*float64(rot.Cos[table]) + sign*float64(x[i-d+partner])*float64(rot.Sin[table])
				}
				for b := range batch {
					rot.Apply(Heads{Data: x, Batch: rows * heads * width, Row: heads * width, Head: width}, b, heads, offset, 0, rows)
				}
				w.see(relativeError(x, want), "dim %d, interleaved %v", dim, interleaved)
			}
		}
		w.report()
	})
}
