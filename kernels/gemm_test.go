package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// forEachISA runs a test with each instruction set of this processor active.
func forEachISA(t *testing.T, f func(t *testing.T)) {
	was := Active()
	defer func() { active.Store(uint32(was)) }()
	for _, isa := range Available() {
		if err := SetISA(isa); err != nil {
			t.Fatal(err)
		}
		t.Run(isa.String(), f)
	}
}

func randomFloats(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// randomQuantized fills a matrix with all stored values that its scheme knows, -128 among them.
func randomQuantized(r *rand.Rand, n, k int, s Scheme) *Quantized {
	q := NewQuantized(n, k, s)
	for i := range q.Data {
		q.Data[i] = byte(r.Uint32())
	}
	for i := range q.Scales {
		q.Scales[i] = 0.5 + r.Float32()
	}
	for i := range q.Zeros {
		q.Zeros[i] = byte(r.Uint32())
		if s.Bits == 4 {
			q.Zeros[i] &= 15
		}
	}
	return q
}

// wantGemm is the naive float64 product of A as it is, or as it is quantized to int8 row by row, with its epilogue. It
// also returns the sum of the magnitudes of what was added up, which the error is in proportion to.
func wantGemm(g *Gemm, a []float32, w []float32, n, k int) (want, size []float64) {
	cols := n
	if g.Gated {
		cols = n / 2
	}
	want, size = make([]float64, g.M*cols), make([]float64, g.M*cols)
	row, mag := make([]float64, n), make([]float64, n)
	act := func(v float64) float64 {
		x := []float32{float32(v)}
		activateGeneric(g.Act, x, x)
		return float64(x[0])
	}
	for m := range g.M {
		x := make([]float64, k)
		for i := range x {
			x[i] = float64(a[m*k+i])
		}
		if g.W.Int8Activations() {
			scale, inv, zero := activationScale(a[m*k:(m+1)*k], g.AsymmetricActivations)
			for i := range x {
				q := math.RoundToEven(float64(a[m*k+i]*inv)) + float64(zero)
				x[i] = float64(scale) * (min(max(q, -128), 127) - float64(zero))
			}
		}
		for j := range n {
			row[j], mag[j] = 0, 0
			for i, v := range x {
				row[j] += v * float64(w[j*k+i])
				mag[j] += math.Abs(v * float64(w[j*k+i]))
			}
			if g.Bias != nil {
				row[j] += float64(g.Bias[j])
				mag[j] += math.Abs(float64(g.Bias[j]))
			}
		}
		for j := range cols {
			v, s := row[j], mag[j]
			if g.Gated {
				v, s = act(v)*row[j+cols], (s+1)*(mag[j+cols]+1)
			} else {
				v = act(v)
			}
			if g.Residual != nil {
				v += float64(g.Residual[m*g.LDR+j])
				s += math.Abs(float64(g.Residual[m*g.LDR+j]))
			}
			want[m*cols+j], size[m*cols+j] = v, s
		}
	}
	return want, size
}

// gathered gives rows of a matrix in the manner of a convolution.
type gathered struct {
	a []float32
	k int
}

func (s gathered) Gather(dst []float32, ldd, m0, m1 int) {
	for m := m0; m < m1; m++ {
		copy(dst[(m-m0)*ldd:][:s.k], s.a[m*s.k:])
	}
}

type gemmCase struct {
	m, n, k  int
	scheme   Scheme // Bits 32: float32
	int8     bool
	asymActs bool
	bias     bool
	residual bool
	act      Activation
	gated    bool
	rows     bool
	inPlace  bool
}

func (c gemmCase) String() string {
	return fmt.Sprintf("%+v", struct {
		m, n, k                                              int
		scheme                                               string
		int8, asymActs, bias, residual, gated, rows, inPlace bool
		act                                                  Activation
	}{c.m, c.n, c.k, c.scheme.String(), c.int8, c.asymActs, c.bias, c.residual, c.gated, c.rows, c.inPlace, c.act})
}

// run computes the case with a pool and compares it with the reference; it returns the greatest error in units of the size
// of what was summed.
func (c gemmCase) run(t *testing.T, p *Pool, s *Scratch, r *rand.Rand) float64 {
	t.Helper()
	a := randomFloats(r, c.m*c.k)
	g := &Gemm{M: c.m, A: a, LDA: c.k, AsymmetricActivations: c.asymActs, Epilogue: Epilogue{Act: c.act, Gated: c.gated}}
	w := make([]float32, c.n*c.k)
	if c.scheme.Bits == 32 {
		copy(w, randomFloats(r, len(w)))
		g.W = PackFloat32(c.n, c.k, w, c.k)
	} else {
		q := randomQuantized(r, c.n, c.k, c.scheme)
		Dequantize(w, q, 0)
		g.W = PackQuantized(q, c.int8)
	}
	if c.rows {
		g.A, g.LDA, g.Rows = nil, 0, gathered{a, c.k}
	} else if c.m > 0 { // rows that are further apart, and in guarded memory
		lda := c.k + 3
		wide := guarded(t, (c.m-1)*lda+c.k)
		for m := range c.m {
			copy(wide[m*lda:], a[m*c.k:(m+1)*c.k])
		}
		g.A, g.LDA = wide, lda
	}
	cols := c.n
	if c.gated {
		cols /= 2
	}
	if c.bias {
		g.Bias = guarded(t, c.n)
		copy(g.Bias, randomFloats(r, c.n))
	}
	g.LDC = cols + 5
	g.C = guarded(t, max((c.m-1)*g.LDC+cols, 0))
	for i := range g.C {
		g.C[i] = float32(math.NaN())
	}
	if c.residual {
		g.LDR = g.LDC
		g.Residual = guarded(t, len(g.C))
		for i := range g.Residual {
			g.Residual[i] = float32(r.NormFloat64())
		}
		if c.inPlace {
			copy(g.C, g.Residual)
		}
	}
	want, size := wantGemm(g, a, w, c.n, c.k)
	if c.residual && c.inPlace {
		g.Residual = g.C
	}
	p.Gemm(g, s)
	worst := 0.0
	for m := range c.m {
		for j := range cols {
			got, want, size := float64(g.C[m*g.LDC+j]), want[m*cols+j], size[m*cols+j]
			e := math.Abs(got-want) / (size + 1e-30)
			if !(e < 2e-6) {
				t.Fatalf("%v: C[%d,%d] = %g, want %g (sums of magnitude %g)", c, m, j, got, want, size)
			}
			worst = max(worst, e)
		}
		for j := cols; j < g.LDC && m < c.m-1 && !(c.residual && c.inPlace); j++ {
			if v := g.C[m*g.LDC+j]; v == v {
				t.Fatalf("%v: wrote %g between rows, at [%d,%d]", c, v, m, j)
			}
		}
	}
	return worst
}

func gemmSchemes() (all []gemmCase) {
	all = append(all, gemmCase{scheme: Scheme{Bits: 32}})
	for _, bits := range []int{8, 4} {
		for _, group := range []int{0, 32, 128, 7, 30} {
			for _, asym := range []bool{false, true} {
				s := Scheme{bits, group, asym}
				all = append(all, gemmCase{scheme: s, int8: true}, gemmCase{scheme: s}, gemmCase{scheme: s, int8: true, asymActs: true})
			}
		}
	}
	return all
}

func TestGemm(t *testing.T) {
	shapes := [][3]int{
		{1, 1, 1}, {0, 3, 4}, {3, 0, 5}, {2, 3, 0}, {1, 64, 64}, {2, 65, 31}, {3, 33, 33}, {4, 127, 130}, {5, 16, 257}, {6, 192, 96},
		{7, 100, 61}, {13, 70, 129}, {14, 32, 300}, {29, 48, 40}, {53, 130, 67},
	}
	pools := []*Pool{NewPool(1), NewPool(3)}
	t.Cleanup(func() {
		for _, p := range pools {
			p.Close()
		}
	})
	forEachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		var s Scratch
		worst, of := 0.0, ""
		for _, c := range gemmSchemes() {
			for i, shape := range shapes {
				c := c
				c.m, c.n, c.k = shape[0], shape[1], shape[2]
				c.bias, c.residual, c.rows, c.inPlace = r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(4) == 0, r.IntN(2) == 0
				if r.IntN(3) == 0 {
					c.act = []Activation{ActGELU, ActSiLU, ActReLU, ActQuickGELU, ActGELUTanh}[r.IntN(5)]
				}
				c.gated = c.n%2 == 0 && r.IntN(4) == 0
				if e := c.run(t, pools[i%2], &s, r); e > worst {
					worst, of = e, c.String()
				}
			}
		}
		t.Logf("greatest error, relative to the sum of magnitudes: %.2g, of %s", worst, of)
	})
}

// Long rows pass through several blocks of K.
func TestGemmLong(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	forEachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		var s Scratch
		for _, k := range []int{1025, kBlockMost + 13} {
			for _, c := range []gemmCase{
				{scheme: Scheme{Bits: 32}}, {scheme: Scheme{Bits: 8}, int8: true}, {scheme: Scheme{Bits: 8}}, {scheme: Scheme{4, 32, true}},
				{scheme: Scheme{4, 32, false}, int8: true}, {scheme: Scheme{4, 64, true}, int8: true},
			} {
				for _, residual := range []bool{false, true} {
					c.m, c.n, c.k, c.bias, c.residual, c.inPlace, c.act = 17, 90, k, true, residual, residual, ActNone
					if !residual {
						c.act = ActGELU
					}
					c.run(t, p, &s, r)
				}
			}
		}
	})
}

// The integer part of a product is exact at the extremes of both operands, where 16-bit sums would saturate.
func TestGemmExtremes(t *testing.T) {
	p := NewPool(1)
	defer p.Close()
	const k = 65536
	forEachISA(t, func(t *testing.T) {
		var s Scratch
		for _, m := range []int{1, 6, 9} {
			for _, scheme := range []Scheme{{Bits: 8}, {Bits: 8, Asymmetric: true}, {Bits: 4}, {Bits: 4, Asymmetric: true}, {Bits: 8, Group: 32}, {Bits: 4, Group: 128}} {
				for _, stored := range []byte{0x80, 0x7f, 0xff, 0} {
					for _, sign := range []float32{1, -1} {
						q := NewQuantized(2, k, scheme)
						for i := range q.Data {
							q.Data[i] = stored
						}
						for i := range q.Scales {
							q.Scales[i] = 1
						}
						a := make([]float32, m*k)
						for i := range a {
							a[i] = 127 * sign // quantized to itself
						}
						g := &Gemm{M: m, A: a, LDA: k, W: PackQuantized(q, true), C: make([]float32, m*2), LDC: 2}
						p.Gemm(g, &s)
						var want int64
						for i := range k {
							want += int64(127*sign) * int64(q.at(0, i)-q.zero(0, 0))
						}
						for i, got := range g.C {
							// Equal groups are added up in float32, which may round each time in the same direction.
							if math.Abs(float64(got)-float64(want)) > math.Abs(float64(want))*float64(scheme.Groups(k)+3)*0x1p-24 {
								t.Fatalf("M=%d %v, all %#x, activations %g: C[%d] = %.0f, want %d", m, scheme, stored, 127*sign, i, got, want)
							}
						}
					}
				}
			}
		}
	})
}

// Integer sums below 2^24 with scales of powers of two are exact in float32: every instruction set must give the same bits.
func TestGemmExact(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	forEachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		var s Scratch
		for _, scheme := range []Scheme{{Bits: 8}, {Bits: 8, Group: 32}, {Bits: 8, Group: 32, Asymmetric: true}, {Bits: 4, Group: 32}, {Bits: 4, Group: 64, Asymmetric: true}} {
			for _, m := range []int{1, 3, 11} {
				const n, k = 75, 200
				q := randomQuantized(r, n, k, scheme)
				for i := range q.Scales {
					q.Scales[i] = 0.25
				}
				a := make([]float32, m*k)
				for i := range a {
					a[i] = float32(r.IntN(255) - 127)
				}
				for i := range m {
					a[i*k] = 127 // the scale becomes 1
				}
				g := &Gemm{M: m, A: a, LDA: k, W: PackQuantized(q, true), C: make([]float32, m*n), LDC: n}
				p.Gemm(g, &s)
				for i := range m {
					for j := range n {
						var want int
						for l := range k {
							gr := 0
							if scheme.Group > 0 {
								gr = l / scheme.Group
							}
							want += int(a[i*k+l]) * (q.at(j, l) - q.zero(j, gr))
						}
						if got := g.C[i*n+j]; got != float32(want)/4 {
							t.Fatalf("M=%d %v: C[%d,%d] = %v, want exactly %v", m, scheme, i, j, got, float32(want)/4)
						}
					}
				}
			}
		}
	})
}

func TestGemmNotFinite(t *testing.T) {
	p := NewPool(1)
	defer p.Close()
	forEachISA(t, func(t *testing.T) {
		var s Scratch
		const m, n, k = 3, 5, 40
		q := randomQuantized(rand.New(rand.NewPCG(7, 8)), n, k, Scheme{Bits: 8})
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			a := make([]float32, m*k)
			a[k+7] = float32(bad)
			g := &Gemm{M: m, A: a, LDA: k, W: PackQuantized(q, true), C: make([]float32, m*n), LDC: n}
			p.Gemm(g, &s)
			for i, v := range g.C {
				if isNaN := v != v; isNaN != (i/n == 1) {
					t.Fatalf("activation %g: C[%d] = %g; only row 1 is to be NaN", bad, i, v)
				}
			}
		}
	})
}

func TestGemmDoesNotAllocate(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	r := rand.New(rand.NewPCG(9, 10))
	var s Scratch
	const m, n, k = 20, 100, 96
	a, c := randomFloats(r, m*k), make([]float32, m*n)
	for _, sc := range gemmSchemes() {
		g := &Gemm{M: m, A: a, LDA: k, C: c, LDC: n, Epilogue: Epilogue{Act: ActGELU}, AsymmetricActivations: sc.asymActs}
		if sc.scheme.Bits == 32 {
			g.W = PackFloat32(n, k, randomFloats(r, n*k), k)
		} else {
			g.W = PackQuantized(randomQuantized(r, n, k, sc.scheme), sc.int8)
		}
		p.Gemm(g, &s)
		if allocs := testing.AllocsPerRun(5, func() { p.Gemm(g, &s) }); allocs != 0 {
			t.Errorf("%s: %g allocations a call", g.W.Scheme(), allocs)
		}
	}
	b := &BatchedGemm{Outer: 1, Inner: 2, M: m, N: 24, K: 16, Alpha: 1, A: Strided{a, 32, 16, 0}, B: Strided{randomFloats(r, 24*32), 32, 16, 0}, TransposeB: true, C: Strided{c, 48, 24, 0}}
	p.BatchedGemm(b, &s)
	if allocs := testing.AllocsPerRun(5, func() { p.BatchedGemm(b, &s) }); allocs != 0 {
		t.Errorf("BatchedGemm: %g allocations a call", allocs)
	}
}

// The bytes of a product do not depend on the number of threads.
func TestGemmDeterministic(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	const m, n, k = 61, 200, 320
	a := randomFloats(r, m*k)
	for _, w := range []*Packed{
		PackFloat32(n, k, randomFloats(r, n*k), k), PackQuantized(randomQuantized(r, n, k, Scheme{4, 32, true}), true),
		PackQuantized(randomQuantized(r, n, k, Scheme{8, 0, false}), true),
	} {
		var want []float32
		for _, threads := range []int{1, 2, 3, 5} {
			p := NewPool(threads)
			var s Scratch
			g := &Gemm{M: m, A: a, LDA: k, W: w, C: make([]float32, m*n), LDC: n, Epilogue: Epilogue{Act: ActGELU}}
			p.Gemm(g, &s)
			p.Close()
			if want == nil {
				want = g.C
			}
			for i := range want {
				if want[i] != g.C[i] {
					t.Fatalf("%s: C[%d] is %g with 1 thread and %g with %d", w.Scheme(), i, want[i], g.C[i], threads)
				}
			}
		}
	}
}

func TestBatchedGemm(t *testing.T) {
	pools := []*Pool{NewPool(1), NewPool(3)}
	defer pools[0].Close()
	defer pools[1].Close()
	forEachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(13, 14))
		var s Scratch
		for i, d := range [][5]int{{1, 1, 1, 1, 1}, {2, 3, 7, 5, 4}, {1, 2, 50, 50, 64}, {3, 1, 17, 33, 0}, {1, 4, 31, 65, 33}, {2, 2, 300, 40, 20}} {
			for _, transposed := range []bool{false, true} {
				outer, inner, m, n, k := d[0], d[1], d[2], d[3], d[4]
				g := &BatchedGemm{Outer: outer, Inner: inner, M: m, N: n, K: k, Alpha: 0.125, TransposeB: transposed}
				matrix := func(rows, cols int) Strided { // the heads of a row side by side
					return Strided{randomFloats(r, outer*rows*inner*cols), inner * cols, cols, rows * inner * cols}
				}
				g.A, g.C = matrix(m, k), matrix(m, n)
				if g.B = matrix(k, n); transposed {
					g.B = matrix(n, k)
				}
				pools[i%2].BatchedGemm(g, &s)
				for o := range outer {
					for h := range inner {
						for x := range m {
							for y := range n {
								var want, size float64
								for z := range k {
									b := g.B.from(o, h, z)
									bv := 0.0
									if transposed {
										bv = float64(g.B.from(o, h, y)[z])
									} else {
										bv = float64(b[y])
									}
									v := 0.125 * float64(g.A.from(o, h, x)[z]) * bv
									want, size = want+v, size+math.Abs(v)
								}
								if got := float64(g.C.from(o, h, x)[y]); math.Abs(got-want) > 1e-6*size {
									t.Fatalf("%v transposed=%v: C[%d,%d][%d,%d] = %g, want %g", d, transposed, o, h, x, y, got, want)
								}
							}
						}
					}
				}
			}
		}
	})
}

func TestTileOffsets(t *testing.T) {
	var v tile
	var e expand
	for _, f := range []struct {
		name      string
		got, want uintptr
	}{
		{"a", unsafe.Offsetof(v.a), 0}, {"b", unsafe.Offsetof(v.b), 8}, {"c", unsafe.Offsetof(v.c), 16}, {"bias", unsafe.Offsetof(v.bias), 24},
		{"res", unsafe.Offsetof(v.res), 32}, {"lda", unsafe.Offsetof(v.lda), 40}, {"ldc", unsafe.Offsetof(v.ldc), 48}, {"ldr", unsafe.Offsetof(v.ldr), 56},
		{"k", unsafe.Offsetof(v.k), 64}, {"add", unsafe.Offsetof(v.add), 72}, {"comp", unsafe.Offsetof(v.comp), 80}, {"scale", unsafe.Offsetof(v.scale), 88},
		{"rowScale", unsafe.Offsetof(v.rowScale), 96}, {"acc", unsafe.Offsetof(v.acc), 104}, {"groups", unsafe.Offsetof(v.groups), 112},
		{"lastK", unsafe.Offsetof(v.lastK), 120}, {"rows", unsafe.Offsetof(v.rows), 128}, {"sums", unsafe.Offsetof(v.sums), 144}, {"zero", unsafe.Offsetof(v.zero), 152},
		{"zeroStride", unsafe.Offsetof(v.zeroStride), 160}, {"ahead", unsafe.Offsetof(v.ahead), 168},
		{"scalesAhead", unsafe.Offsetof(v.scalesAhead), 176},
		{"dst", unsafe.Offsetof(e.dst), 0}, {"src", unsafe.Offsetof(e.src), 8}, {"scale", unsafe.Offsetof(e.scale), 16}, {"zero", unsafe.Offsetof(e.zero), 24},
		{"n", unsafe.Offsetof(e.n), 32}, {"steps", unsafe.Offsetof(e.steps), 40}, {"groups", unsafe.Offsetof(e.groups), 48},
		{"last", unsafe.Offsetof(e.last), 56}, {"stride", unsafe.Offsetof(e.stride), 64},
	} {
		if f.got != f.want {
			t.Errorf("%s is at %d, assembly reads it at %d", f.name, f.got, f.want)
		}
	}
}
