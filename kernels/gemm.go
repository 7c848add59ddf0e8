package kernels

import (
	"fmt"
	"unsafe"
)

// Epilogue is what happens to a product before it is stored: C = act(A W^T + Bias) + Residual.
type Epilogue struct {
	// Bias has N numbers, or none.
	Bias []float32
	// Act is applied after the bias.
	Act Activation
	// Gated takes the first half of W's rows as gates g and the second half as values u, and stores act(g)*u, N/2 columns.
	// Bias covers all N rows. N must be even.
	Gated bool
	// Residual, where not nil, is added last; its rows are LDR numbers apart. It may be C itself.
	Residual []float32
	LDR      int
}

// Rows is a source of the rows of A that computes them on demand: the patches of a convolution, for example.
type Rows interface {
	// Gather writes rows [m0, m1) of A, K numbers each, to dst, ldd numbers apart. It is called by several workers at once.
	Gather(dst []float32, ldd, m0, m1 int)
}

// Gemm is a matrix product C[M,N] = A[M,K] W[N,K]^T with its epilogue.
type Gemm struct {
	M int
	// A holds the rows, LDA numbers apart, unless Rows gives them. Two neighbouring rows may overlap.
	A    []float32
	LDA  int
	Rows Rows
	// W is the packed weight, which knows N, K and how activations are to be treated.
	W *Packed
	// AsymmetricActivations gives the activations of each row a zero point where they are quantized.
	AsymmetricActivations bool
	// C receives the rows, LDC numbers apart. It must not overlap A.
	C   []float32
	LDC int
	Epilogue
}

// check panics on a call that would read or write out of bounds: what it is given comes from the program, not from files.
func (g *Gemm) check() {
	n, k, cols := g.W.n, g.W.k, g.W.n
	if g.Gated {
		if n%2 != 0 {
			panic(fmt.Sprintf("kernels: Gemm: gated product with %d rows of W", n))
		}
		cols = n / 2
	}
	need := func(what string, have, ld, width int) {
		if ld < width || have < (g.M-1)*ld+width {
			panic(fmt.Sprintf("kernels: Gemm: %s has %d numbers in rows of %d; %d rows of %d are needed", what, have, ld, g.M, width))
		}
	}
	// Overlapping rows (LDA < K), a sliding window over a signal, are allowed.
	if g.Rows == nil && (g.LDA < 0 || len(g.A) < (g.M-1)*g.LDA+k) {
		panic(fmt.Sprintf("kernels: Gemm: A has %d numbers in rows of %d; %d rows of %d are needed", len(g.A), g.LDA, g.M, k))
	}
	need("C", len(g.C), g.LDC, cols)
	if g.Residual != nil {
		need("Residual", len(g.Residual), g.LDR, cols)
	}
	if len(g.Bias) != 0 && len(g.Bias) != n {
		panic(fmt.Sprintf("kernels: Gemm: bias of %d numbers for %d rows of W", len(g.Bias), n))
	}
}

// Scratch is the memory that products use besides their operands. It grows to the largest call made with it and is kept,
// so that later calls allocate nothing. One call at a time may use it.
type Scratch struct {
	call    gemmCall
	batched batchedCall
	a       []byte    // packed or quantized A
	rowF    []float32 // scales of the rows of A
	side    []float32 // packed A of the side product
	sums    []int32   // sums of the groups of A's rows, for kernels of few rows
	gate    []float32 // the whole product before a gated epilogue
	bias    []float32 // the bias of the last, partial panel, padded
	zeros   []float32 // a bias that is not there
	workers []workerScratch
}

// workerScratch is what one worker uses; tile is here so that passing it to assembly does not make it escape each time.
type workerScratch struct {
	tile   tile
	expand expand
	panel  []byte    // an expanded panel of weights
	out    []float32 // a tile of C with all columns of the panel
	acc    []float32 // float accumulators of a tile whose weights have groups
	gather []float32 // rows from Rows
	sums   []float32 // sums of a row's groups
	_      [64]byte  // workers write to theirs all the time: keep them on different cache lines
}

// grow returns a slice of n elements that starts at a cache line, s itself where it is long enough.
func grow[T byte | int32 | float32](s []T, n int) []T {
	if cap(s) >= n {
		return s[:n]
	}
	return aligned[T](n)
}

// aligned allocates n elements from the start of a cache line.
func aligned[T byte | int32 | float32](n int) []T {
	const line = 64
	var zero T
	size := int(unsafe.Sizeof(zero))
	s := make([]T, n+line/size)
	skip := 0
	if at := int(uintptr(unsafe.Pointer(unsafe.SliceData(s))) % line); at != 0 {
		skip = (line - at) / size
	}
	return s[skip : skip+n : skip+n]
}

// Gemm computes a product. It does not allocate once s has grown to the sizes of the call.
func (p *Pool) Gemm(g *Gemm, s *Scratch) {
	w := g.W
	if g.M <= 0 || w.n == 0 {
		return
	}
	g.check()
	if len(s.workers) < p.threads {
		s.workers = make([]workerScratch, p.threads)
	}
	c := &s.call
	c.plan(g, s, p.threads)
	c.phase = phaseActivations
	p.Run(c.rowParts, c)
	c.phase = phaseProduct
	p.Run(c.mParts*c.nParts, c)
	if g.Gated || c.lateEpilogue {
		c.phase = phaseEpilogue
		p.Run(ceilDiv(g.M, finishBlock), c)
	}
	c.g, c.s = nil, nil
}

type phase uint8

const (
	phaseActivations phase = iota // pack or quantize A
	phaseProduct                  // multiply panels of W with blocks of A
	phaseEpilogue                 // gated pairs
)

// finishBlock is the rows of a part of the last phase.
const finishBlock = 8

// gemmCall is a product under way.
type gemmCall struct {
	g     *Gemm
	s     *Scratch
	k     *gemmKernels
	phase phase

	c            []float32 // where the product is stored: g.C, or memory of its own before a gated epilogue
	ldc          int
	lateEpilogue bool

	rowParts, rowBlock int // the partition of A's rows in the first phase
	mParts, mBlock     int // the partition of the product
	nParts, panels     int // and of W's panels: so many to a part
	kBlock             int // float32: length of K in one pass
	ldaBytes           int // quantized A: distance of rows
	sideK              int // length of the side product, 0 where there is none
	rows               int // of the greatest tile
	form               activationForm
	few                bool // weights are unpacked in registers
}

// evenBlock cuts total in blocks of at most most, as even as multiples of unit allow.
func evenBlock(total, most, unit int) int {
	blocks := max(ceilDiv(total, max(most, 1)), 1)
	return ceilDiv(ceilDiv(total, blocks), unit) * unit
}

// strip returns the rows [m0, m1) of strip i of count strips that cut rows as evenly as whole rows allow.
func strip(rows, count, i int) (m0, m1 int) { return rows * i / count, rows * (i + 1) / count }

func (c *gemmCall) plan(g *Gemm, s *Scratch, threads int) {
	w := g.W
	k := w.kern
	*c = gemmCall{g: g, s: s, k: k, c: g.C, ldc: g.LDC}
	if g.Gated {
		s.gate = grow(s.gate, g.M*w.n)
		c.c, c.ldc = s.gate, w.n
	}
	// An activation and then a residual is rare enough for a pass of its own.
	c.lateEpilogue = !g.Gated && g.Act != ActNone && g.Residual != nil
	if c.lateEpilogue {
		s.gate = grow(s.gate, g.M*w.n)
		c.c, c.ldc = s.gate, w.n
	}
	c.rowBlock = evenBlock(g.M, min(16, ceilDiv(g.M, threads)), 1)
	c.rowParts = ceilDiv(g.M, c.rowBlock)
	s.zeros = grow(s.zeros, w.nr)
	s.bias = grow(s.bias, w.nr)
	clear(s.bias)
	if full := w.n / w.nr * w.nr; len(g.Bias) > 0 {
		copy(s.bias, g.Bias[full:])
	}
	if w.integer {
		c.planInteger(threads)
	} else {
		c.planFloat(threads)
	}
	for i := range s.workers[:threads] {
		c.s.workers[i].grow(c)
	}
}

func (ws *workerScratch) grow(c *gemmCall) {
	w := c.g.W
	ws.out = grow(ws.out, c.k.maxRows()*w.nr)
	ws.acc = grow(ws.acc, c.k.maxRows()*w.nr)
	ws.sums = grow(ws.sums, w.groups)
	if c.g.Rows != nil {
		ws.gather = grow(ws.gather, c.rowBlock*w.k)
	}
	if n := w.expandedBytes(c); n > 0 {
		ws.panel = grow(ws.panel, n)
	}
}

// Part implements [Task].
func (c *gemmCall) Part(part, worker int) {
	ws := &c.s.workers[worker]
	switch c.phase {
	case phaseActivations:
		if !c.g.W.integer {
			c.packStrip(ws, part)
			return
		}
		m0 := part * c.rowBlock
		m1 := min(m0+c.rowBlock, c.g.M)
		a, lda := c.g.A, c.g.LDA
		if c.g.Rows != nil {
			a, lda = ws.gather, c.g.W.k
			c.g.Rows.Gather(a, lda, m0, m1)
		} else {
			a = a[m0*lda:]
		}
		c.quantizeRows(ws, a, lda, m0, m1)
	case phaseProduct:
		m0 := part / c.nParts * c.mBlock
		m1 := min(m0+c.mBlock, c.g.M)
		p0 := part % c.nParts * c.panels
		p1 := min(p0+c.panels, ceilDiv(c.g.W.n, c.g.W.nr))
		if c.g.W.integer {
			c.integerPart(ws, p0, p1, m0, m1)
		} else {
			c.floatPart(ws, p0, p1, m0, m1)
		}
	case phaseEpilogue:
		c.finishRows(part*finishBlock, min((part+1)*finishBlock, c.g.M))
	}
}

// finishRows applies the epilogues that need whole rows of the product.
func (c *gemmCall) finishRows(m0, m1 int) {
	g, n := c.g, c.g.W.n
	cols := n
	if g.Gated {
		cols = n / 2
	}
	for m := m0; m < m1; m++ {
		row, out := c.c[m*c.ldc:m*c.ldc+n], g.C[m*g.LDC:m*g.LDC+cols]
		if g.Gated {
			if g.Residual == nil {
				MultiplyActivated(g.Act, out, row[:cols], row[cols:])
				continue
			}
			MultiplyActivated(g.Act, row[:cols], row[:cols], row[cols:])
		} else {
			Activate(g.Act, row, row)
		}
		Add(out, row[:cols], g.Residual[m*g.LDR:m*g.LDR+cols])
	}
}

// finishTile applies the activation to columns [n0, n1) of rows that were just stored.
func (c *gemmCall) finishTile(m0, m1, n0, n1 int) {
	if c.g.Act == ActNone || c.g.Gated || c.lateEpilogue {
		return
	}
	for m := m0; m < m1; m++ {
		row := c.c[m*c.ldc+n0 : m*c.ldc+n1]
		Activate(c.g.Act, row, row)
	}
}

// panelBias returns the bias of columns n0.. padded to a whole panel.
func (c *gemmCall) panelBias(n0 int) *float32 {
	w := c.g.W
	switch {
	case len(c.g.Bias) == 0:
		return &c.s.zeros[0]
	case n0+w.nr > w.n:
		return &c.s.bias[n0%w.nr]
	}
	return &c.g.Bias[n0]
}

// residual returns the residual at a tile's corner and the distance of its rows in bytes, nil where there is none to be
// added by the tile.
func (c *gemmCall) residual(m0, n0 int) (*float32, int) {
	if c.g.Residual == nil || c.g.Gated || c.lateEpilogue {
		return nil, 0
	}
	return &c.g.Residual[m0*c.g.LDR+n0], c.g.LDR * 4
}

// storeOut copies the columns of a partial panel from the worker's tile to C, adding the residual at the first.
func (c *gemmCall) storeOut(out []float32, nr, m0, m1, n0 int, first bool) {
	n1 := min(n0+nr, c.g.W.n)
	for m := m0; m < m1; m++ {
		src := out[(m-m0)*nr:][:n1-n0]
		dst := c.c[m*c.ldc+n0 : m*c.ldc+n1]
		if res, _ := c.residual(m, n0); res != nil && first {
			Add(dst, src, c.g.Residual[m*c.g.LDR+n0:m*c.g.LDR+n1])
		} else {
			copy(dst, src)
		}
	}
}
