package kernels

import "unsafe"

// Blocking of float32 products, as measured: one panel at a time passes over all rows of A, and both come as streams that
// the kernel prefetches. What matters is that a panel stays in the second-level cache, and A, packed, in the third.
const (
	kBlockMost = 4096    // steps of a panel: 512 KB at 32 columns
	mBlockMost = 1 << 20 // numbers of A
)

func (c *gemmCall) planFloat(threads int) {
	w := c.g.W
	c.kBlock = evenBlock(w.k, kBlockMost, 8)
	c.partition(threads, c.k.floatRows, max(8*c.k.floatRows, mBlockMost/max(w.k, 1)), c.kBlock*w.nr*4)
	c.rowParts = c.mParts * ceilDiv(c.mBlock, c.k.floatRows)
	c.rowBlock = c.k.floatRows
	c.s.a = grow(c.s.a, c.g.M*w.k*4)
}

// panelBytes is how much of the weights stays in the second-level cache while strips of A pass by.
const panelBytes = 256 << 10

// partition cuts the product into parts of several panels, of size bytes each, and of at most most rows, such that there is
// work for all threads. A few panels at a time halve or better what is read of A, and store longer runs of C's rows.
func (c *gemmCall) partition(threads, stripRows, most, size int) {
	w := c.g.W
	panels := ceilDiv(w.n, w.nr)
	c.panels = 1
	if c.g.M > 4*stripRows { // fewer strips find what they read of A, and a panel, in the first-level cache
		c.panels = min(max(panelBytes/max(size, 1), 1), panels)
	}
	c.mBlock = evenBlock(c.g.M, most, 1)
	if threads > 1 {
		const parts = 16 // for each thread, so that none waits long for the last
		for c.panels > 2 && ceilDiv(panels, c.panels) < parts*threads {
			c.panels--
		}
		for ceilDiv(panels, c.panels)*ceilDiv(c.g.M, c.mBlock) < parts*threads && c.mBlock >= 4*stripRows {
			c.mBlock = ceilDiv(c.mBlock, 2)
		}
		for c.panels > 1 && ceilDiv(panels, c.panels)*ceilDiv(c.g.M, c.mBlock) < parts*threads {
			c.panels--
		}
	}
	c.mParts = ceilDiv(c.g.M, c.mBlock)
	c.nParts = ceilDiv(panels, c.panels)
}

// block returns the rows of the block that row m is in.
func (c *gemmCall) block(m int) (m0, m1 int) {
	m0 = m / c.mBlock * c.mBlock
	return m0, min(m0+c.mBlock, c.g.M)
}

// packStrip packs strip number i of all: the block of the product, and the strip within it.
func (c *gemmCall) packStrip(ws *workerScratch, i int) {
	perBlock := ceilDiv(c.mBlock, c.k.floatRows)
	b0, b1 := c.block(i / perBlock * c.mBlock)
	count := ceilDiv(b1-b0, c.k.floatRows)
	if i%perBlock >= count {
		return
	}
	s0, s1 := strip(b1-b0, count, i%perBlock)
	rows := s1 - s0
	a, lda := c.g.A, c.g.LDA
	if c.g.Rows != nil {
		a, lda = ws.gather, c.g.W.k
		c.g.Rows.Gather(a, lda, b0+s0, b0+s1)
	} else {
		a = a[(b0+s0)*lda:]
	}
	k := c.g.W.k
	dst := c.packedA()[b0*k : b1*k]
	for k0 := 0; k0 < k; k0 += c.kBlock {
		kc := min(c.kBlock, k-k0)
		c.k.packRows(dst[(b1-b0)*k0+s0*kc:][:rows*kc], a[k0:], lda, rows, kc)
	}
}

// packedA returns the memory of packed float32 activations: for each block of rows, for each block of K, for each strip,
// k steps of one number a row.
func (c *gemmCall) packedA() []float32 {
	if len(c.s.a) == 0 {
		return nil
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&c.s.a[0])), len(c.s.a)/4)
}

// floatPart multiplies rows [m0, m1), one block, with panels [p0, p1).
func (c *gemmCall) floatPart(ws *workerScratch, p0, p1, m0, m1 int) {
	w, t := c.g.W, &ws.tile
	var (
		nr    = w.nr
		count = ceilDiv(m1-m0, c.k.floatRows)
		a     = c.packedA()
	)
	*t = tile{nr: nr}
	for k0 := 0; ; k0 += c.kBlock {
		kc := min(c.kBlock, w.k-k0)
		first, last := k0 == 0, k0+kc >= w.k
		t.k = kc
		if w.scheme.Bits != 32 {
			for p := p0; p < p1; p++ {
				c.unpackFloats(ws, p-p0, p, k0, kc)
			}
		}
		for i := range count {
			s0, s1 := strip(m1-m0, count, i)
			t.rows = s1 - s0
			if kc > 0 {
				t.a = unsafe.Pointer(&a[m0*w.k+(m1-m0)*k0+s0*kc])
			}
			s0, s1 = m0+s0, m0+s1
			for p := p0; p < p1; p++ {
				n0 := p * nr
				switch {
				case kc == 0:
				case w.scheme.Bits == 32:
					t.b = unsafe.Pointer(&w.floats[p*w.panel+k0*nr])
					t.lookAhead(i, count, p-p0, p1-p0, 4*w.panel*(p1-p0), nr*4)
				default:
					t.b = unsafe.Pointer(&ws.panel[(p-p0)*c.kBlock*nr*4])
					t.lookAhead(i, count, p-p0, p1-p0, w.nextPanel(p+p1-p0, t.b), nr*4)
				}
				// Bias and residual come first, since the residual may be what C holds before.
				t.bias, t.add, t.res, t.ldr = c.panelBias(n0), 0, nil, 0
				if !first {
					t.bias, t.add = &c.s.zeros[0], 1
				}
				if n0+nr > w.n { // the tile goes over C's edge: it is computed aside
					c.loadOut(ws, s0, s1, n0, !first)
					t.c, t.ldc = &ws.out[0], nr*4
					c.k.float(t)
					c.storeOut(ws.out, nr, s0, s1, n0, first)
					continue
				}
				t.c, t.ldc = &c.c[s0*c.ldc+n0], c.ldc*4
				if first {
					t.res, t.ldr = c.residual(s0, n0)
				}
				c.k.float(t)
			}
			if last {
				c.finishTile(s0, s1, p0*nr, min(p1*nr, w.n))
			}
		}
		if last {
			return
		}
	}
}

// loadOut copies what the earlier blocks of K left in C to the worker's tile.
func (c *gemmCall) loadOut(ws *workerScratch, m0, m1, n0 int, add bool) {
	if !add {
		return
	}
	for m := m0; m < m1; m++ {
		copy(ws.out[(m-m0)*c.g.W.nr:], c.c[m*c.ldc+n0:m*c.ldc+c.g.W.n])
	}
}

// unpackFloats unpacks kc steps of a panel of integer weights to place number i of the worker's memory.
func (c *gemmCall) unpackFloats(ws *workerScratch, i, panel, k0, kc int) {
	w := c.g.W
	e := &ws.expand
	e.n = w.nr
	data := w.data[panel*w.panel:]
	nibbles := w.nibbles()
	for k := k0; k < k0+kc; {
		g := k / w.group
		e.steps = min((g+1)*w.group, k0+kc) - k
		e.dst = unsafe.Pointer(&ws.panel[(i*c.kBlock+k-k0)*w.nr*4])
		e.scale = &w.scale[(panel*w.groups+g)*w.nr]
		e.zero = unsafe.Pointer(&w.zeroF[(panel*w.groups+g)*w.nr])
		if nibbles {
			e.src = unsafe.Pointer(&data[k/2*w.nr])
			c.k.int4Floats(e)
		} else {
			e.src = unsafe.Pointer(&data[k*w.nr])
			c.k.int8Floats(e)
		}
		k += e.steps
	}
}
