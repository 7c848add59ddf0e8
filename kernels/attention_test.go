package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/mmconv/mmconv/kernels/ref"
)

func tensor(h Heads) ref.Tensor {
	return func(b, row, head, d int) float64 { return float64(h.Data[b*h.Batch+row*h.Row+head*h.Head+d]) }
}

// randomHeads returns a view with gaps between rows and heads in memory that ends at a guard page.
func randomHeads(t *testing.T, r *rand.Rand, batch, rows, heads, dim, gap int) Heads {
	h := Heads{Head: dim + gap, Row: heads*(dim+gap) + gap}
	h.Batch = rows * h.Row
	n := 0
	if batch > 0 && rows > 0 && heads > 0 {
		n = (batch-1)*h.Batch + (rows-1)*h.Row + (heads-1)*h.Head + dim
	}
	h.Data = copyOf(t, randomFloats(r, n))
	return h
}

func TestAttention(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	type config struct {
		batch, heads, kvHeads, queries, keys, dim, valueDim, gap int
		causal                                                   bool
		lengths                                                  []int
		bias                                                     string
	}
	cases := []config{
		{1, 1, 1, 1, 1, 1, 1, 0, false, nil, ""},
		{2, 3, 3, 50, 50, 64, 64, 0, false, nil, ""},
		{1, 2, 2, 197, 197, 64, 64, 3, false, nil, ""},
		{1, 2, 2, 257, 257, 80, 80, 0, false, nil, ""},
		{1, 1, 1, 77, 77, 64, 64, 0, true, nil, ""},
		{1, 2, 1, 33, 300, 72, 72, 1, false, nil, "all"},
		{2, 4, 2, 17, 41, 88, 88, 0, true, nil, "heads"},
		{2, 2, 2, 49, 49, 32, 32, 0, false, nil, "keys"},
		{3, 1, 1, 5, 23, 16, 16, 0, false, []int{23, 7, 0}, ""},
		{2, 2, 2, 31, 7, 100, 33, 5, false, []int{3, 7}, "all"},
		{1, 1, 1, 3, 9, 7, 5, 0, false, nil, ""},
		{1, 2, 2, 1, 577, 64, 64, 0, false, nil, ""},
		{1, 1, 1, 64, 1500, 64, 64, 0, false, nil, ""},
		{1, 1, 1, 40, 30, 48, 48, 0, true, nil, ""}, // the first ten queries see nothing
		{1, 1, 1, 19, 140, 256, 256, 0, true, nil, "all"},
		{1, 1, 1, 4, 0, 8, 8, 0, false, nil, ""},
		{0, 1, 1, 4, 4, 8, 8, 0, false, nil, ""},
		{2, 3, 3, 64, 64, 24, 24, 0, false, nil, "masked"},
	}
	forEachISA(t, func(t *testing.T) {
		pools := []*Pool{NewPool(1), NewPool(3)}
		defer pools[0].Close()
		defer pools[1].Close()
		w := worst{t: t, limit: 3e-6}
		for _, c := range cases {
			for _, scale := range []float32{0, 1 / float32(math.Sqrt(float64(c.dim))), 3 / float32(math.Sqrt(float64(c.dim)))} {
				a := Attention{Batch: c.batch, Heads: c.heads, KVHeads: c.kvHeads, Queries: c.queries, Keys: c.keys, Dim: c.dim, ValueDim: c.valueDim,
					Scale: scale, Causal: c.causal, KeyLengths: c.lengths,
					Q: randomHeads(t, r, c.batch, c.queries, c.heads, c.dim, c.gap), K: randomHeads(t, r, c.batch, c.keys, c.kvHeads, c.dim, c.gap),
					V: randomHeads(t, r, c.batch, c.keys, c.kvHeads, c.valueDim, c.gap), Out: randomHeads(t, r, c.batch, c.queries, c.heads, c.valueDim, c.gap)}
				if scale == 0 { // scores of a moderate size without a scale
					for i := range a.Q.Data {
						a.Q.Data[i] /= float32(math.Sqrt(float64(c.dim)))
					}
				}
				switch c.bias {
				case "all", "masked":
					a.Bias = Bias{Query: c.keys, Head: c.queries * c.keys, Batch: c.heads * c.queries * c.keys}
				case "heads":
					a.Bias = Bias{Query: c.keys, Head: c.queries * c.keys}
				case "keys":
					a.Bias = Bias{Batch: c.keys}
				}
				if c.bias != "" {
					n := (c.batch-1)*a.Bias.Batch + (c.heads-1)*a.Bias.Head + (c.queries-1)*a.Bias.Query + c.keys
					a.Bias.Data = copyOf(t, randomFloats(r, n))
					if c.bias == "masked" { // some keys for some queries, all keys for query 2
						for i := range a.Bias.Data {
							if i%3 == 0 || i/c.keys%c.queries == 2 {
								a.Bias.Data[i] = negInf
							}
						}
					}
				}
				gaps := append([]float32(nil), a.Out.Data...)
				a.Run(pools[0])
				first := append([]float32(nil), a.Out.Data...)
				copy(a.Out.Data, gaps)
				a.Run(pools[1])
				for i, v := range a.Out.Data {
					if v != first[i] {
						t.Fatalf("%+v: %g with one thread, %g with three", c, first[i], v)
					}
				}
				for b := range c.batch {
					for h := range c.heads {
						var got []float32
						var want []float64
						for q := range c.queries {
							bias := func(k int) float64 {
								if c.causal && k > q+c.keys-c.queries || c.lengths != nil && k >= c.lengths[b] {
									return math.Inf(-1)
								}
								if c.bias == "" {
									return 0
								}
								return float64(a.Bias.Data[b*a.Bias.Batch+h*a.Bias.Head+q*a.Bias.Query+k])
							}
							want = append(want, ref.Attention(tensor(a.Q), tensor(a.K), tensor(a.V), b, q, h, h/(c.heads/c.kvHeads), c.keys, c.dim, c.valueDim, float64(a.scale()), bias)...)
							row := a.Out.at(b, q, h)[:c.valueDim]
							got = append(got, row...)
							for i := range row { // what is left are the gaps
								gaps[b*a.Out.Batch+q*a.Out.Row+h*a.Out.Head+i] = row[i]
							}
						}
						w.see(relativeError(got, want), "%+v scale %g", c, scale)
					}
				}
				for i, v := range gaps {
					if v != a.Out.Data[i] {
						t.Fatalf("%+v: wrote between the heads", c)
					}
				}
			}
		}
		w.report()
	})
}

func TestAttentionDoesNotAllocate(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	forEachISA(t, func(t *testing.T) {
		x := make([]float32, 50*3*64)
		v := func(at int) Heads { return Heads{Data: x[at:], Row: 192} }
		a := Attention{Batch: 1, Heads: 1, Queries: 50, Keys: 50, Dim: 64, Q: v(0), K: v(64), V: v(128), Out: Heads{Data: make([]float32, 50*64), Row: 64}}
		if n := testing.AllocsPerRun(10, func() { a.Run(p) }); n != 0 {
			t.Errorf("%g allocations", n)
		}
	})
}

func BenchmarkAttention(b *testing.B) {
	for _, threads := range []int{1, 2} {
		p := NewPool(threads)
		defer p.Close()
		for _, c := range []struct{ heads, rows, dim int }{{12, 50, 64}, {12, 197, 64}, {16, 257, 64}, {16, 577, 64}, {16, 257, 88}, {6, 1500, 64}} {
			b.Run(fmt.Sprintf("%dx%dx%d-%dT", c.heads, c.rows, c.dim, threads), func(b *testing.B) {
				width := c.heads * c.dim
				x := randomFloats(rand.New(rand.NewPCG(1, 1)), c.rows*3*width)
				v := func(i int) Heads { return Heads{Data: x[i*width:], Row: 3 * width, Head: c.dim} }
				a := Attention{Batch: 1, Heads: c.heads, Queries: c.rows, Keys: c.rows, Dim: c.dim, Scale: 0.125, Q: v(0), K: v(1), V: v(2),
					Out: Heads{Data: make([]float32, c.rows*width), Row: width, Head: c.dim}}
				for b.Loop() {
					a.Run(p)
				}
				b.ReportMetric(4*float64(c.rows*c.rows*width)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
			})
		}
	}
}
