package kernels

import (
	"fmt"
	"unsafe"
)

// Strided is a batch of matrices within a slice: rows LD numbers apart, matrices Inner and then Outer numbers apart. For
// the heads of [batch, tokens, heads*width] LD is heads*width, Inner is width and Outer tokens*heads*width.
type Strided struct {
	Data             []float32
	LD, Inner, Outer int
}

// BatchedGemm is Outer*Inner products of activations: C[M,N] = Alpha * A[M,K] * B, with B as [K,N], or as [N,K] where
// TransposeB is set.
type BatchedGemm struct {
	Outer, Inner, M, N, K int
	Alpha                 float32
	A, B                  Strided
	TransposeB            bool
	// C must not overlap A or B.
	C Strided
}

// batchRows is the most rows of a part, and of A that are packed at once.
const batchRows = 256

// batchedCall is a batch under way.
type batchedCall struct {
	g       *BatchedGemm
	s       *Scratch
	k       *gemmKernels
	mParts  int
	mBlock  int
	aNumber int // numbers of a worker's packed A; packed B follows
}

// BatchedGemm computes a batch of products. It does not allocate once s has grown to the sizes of the call.
func (p *Pool) BatchedGemm(g *BatchedGemm, s *Scratch) {
	if g.Outer <= 0 || g.Inner <= 0 || g.M <= 0 || g.N <= 0 {
		return
	}
	bRows, bCols := g.K, g.N
	if g.TransposeB {
		bRows, bCols = bCols, bRows
	}
	g.A.check("A", g.Outer, g.Inner, g.M, g.K)
	g.B.check("B", g.Outer, g.Inner, bRows, bCols)
	g.C.check("C", g.Outer, g.Inner, g.M, g.N)

	k := activeGemm()
	c := &s.batched
	*c = batchedCall{g: g, s: s, k: k, mBlock: evenBlock(g.M, batchRows, 1)}
	for p.threads > 1 && g.Outer*g.Inner*ceilDiv(g.M, c.mBlock) < 2*p.threads && c.mBlock >= 4*k.floatRows {
		c.mBlock = ceilDiv(c.mBlock, 2)
	}
	c.mParts = ceilDiv(g.M, c.mBlock)
	c.aNumber = ceilDiv(c.mBlock*g.K, 16) * 16
	s.zeros = grow(s.zeros, maxColumns)
	if len(s.workers) < p.threads {
		s.workers = make([]workerScratch, p.threads)
	}
	for i := range s.workers[:p.threads] {
		ws := &s.workers[i]
		ws.out = grow(ws.out, k.maxRows()*maxColumns)
		ws.gather = grow(ws.gather, c.aNumber+ceilDiv(g.N, k.floatCols)*k.floatCols*g.K)
	}
	p.Run(g.Outer*g.Inner*c.mParts, c)
	c.g, c.s = nil, nil
}

func (m *Strided) check(name string, outer, inner, rows, cols int) {
	last := (outer-1)*m.Outer + (inner-1)*m.Inner + (rows-1)*m.LD + cols
	if m.LD < 0 || m.Inner < 0 || m.Outer < 0 || rows > 0 && cols > 0 && last > len(m.Data) {
		panic(fmt.Sprintf("kernels: BatchedGemm: %s has %d numbers; %dx%d matrices [%d, %d] need %d", name, len(m.Data), outer, inner, rows, cols, last))
	}
}

// from returns the data from row m of a matrix of the batch.
func (m *Strided) from(outer, inner, row int) []float32 {
	return m.Data[min(outer*m.Outer+inner*m.Inner+row*m.LD, len(m.Data)):]
}

// Part implements [Task].
func (c *batchedCall) Part(part, worker int) {
	g, ws := c.g, &c.s.workers[worker]
	var (
		matrix       = part / c.mParts
		outer, inner = matrix / g.Inner, matrix % g.Inner
		m0           = part % c.mParts * c.mBlock
		m1           = min(m0+c.mBlock, g.M)
		rows, nr     = m1 - m0, c.k.floatCols
		count        = ceilDiv(rows, c.k.floatRows)
		a            = ws.gather[:rows*g.K]
		b            = ws.gather[c.aNumber:]
		srcA, srcB   = g.A.from(outer, inner, m0), g.B.from(outer, inner, 0)
		dst          = g.C.from(outer, inner, m0)
	)
	for i := range count {
		s0, s1 := strip(rows, count, i)
		c.k.packRows(a[s0*g.K:s1*g.K], srcA[min(s0*g.A.LD, len(srcA)):], g.A.LD, s1-s0, g.K)
	}
	if g.Alpha != 1 {
		Scale(a, a, g.Alpha)
	}
	t := &ws.tile
	*t = tile{nr: nr, k: g.K, bias: &c.s.zeros[0]}
	for n0 := 0; n0 < g.N; n0 += nr {
		cols := min(nr, g.N-n0)
		panel := b[:nr*g.K]
		switch {
		case g.TransposeB && cols == nr:
			c.k.packRows(panel, srcB[n0*g.B.LD:], g.B.LD, nr, g.K)
		case g.TransposeB:
			clear(panel)
			packFloats(panel, srcB[n0*g.B.LD:], g.B.LD, cols, g.K, nr)
		default:
			for k := range g.K {
				to := panel[k*nr : (k+1)*nr]
				clear(to[copy(to, srcB[k*g.B.LD+n0:][:cols]):])
			}
		}
		for i := range count {
			s0, s1 := strip(rows, count, i)
			t.rows = s1 - s0
			if g.K > 0 {
				t.a, t.b = unsafe.Pointer(&a[s0*g.K]), unsafe.Pointer(&panel[0])
			}
			t.c, t.ldc = &ws.out[0], nr*4
			if cols == nr {
				t.c, t.ldc = &dst[s0*g.C.LD+n0], g.C.LD*4
			}
			c.k.float(t)
			if cols < nr {
				for m := s0; m < s1; m++ {
					copy(dst[m*g.C.LD+n0:][:cols], ws.out[(m-s0)*nr:])
				}
			}
		}
	}
}
