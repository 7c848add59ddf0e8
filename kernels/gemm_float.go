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
	c.partition(threads, c.k.floatRows, max(8*c.k.floatRows, mBlockMost/max(w.k, 1)))
	c.rowParts = c.mParts * ceilDiv(c.mBlock, c.k.floatRows)
	c.rowBlock = c.k.floatRows
	c.s.a = grow(c.s.a, c.g.M*w.k*4)
}

// partition cuts the rows of the product so that there is work for all threads, in blocks of at most most rows.
func (c *gemmCall) partition(threads, stripRows, most int) {
	c.mBlock = evenBlock(c.g.M, most, 1)
	if threads > 1 {
		// A few panels leave one thread waiting for the last: cut the rows too.
		for c.nParts*ceilDiv(c.g.M, c.mBlock) < 8*threads && c.mBlock >= 4*stripRows {
			c.mBlock = ceilDiv(c.mBlock, 2)
		}
	}
	c.mParts = ceilDiv(c.g.M, c.mBlock)
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

// floatPart multiplies rows [m0, m1), one block, with a panel.
func (c *gemmCall) floatPart(ws *workerScratch, panel, m0, m1 int) {
	w, t := c.g.W, &ws.tile
	var (
		nr      = w.nr
		n0      = panel * nr
		partial = n0+nr > w.n
		count   = ceilDiv(m1-m0, c.k.floatRows)
		a       = c.packedA()
	)
	*t = tile{nr: nr}
	ahead := 0
	for k0 := 0; ; k0 += c.kBlock {
		kc := min(c.kBlock, w.k-k0)
		first, last := k0 == 0, k0+kc >= w.k
		if kc > 0 {
			t.b = c.floatPanel(ws, panel, k0, kc)
			if w.scheme.Bits == 32 {
				ahead = 4 * w.panel
			} else {
				ahead = w.nextPanel(panel, t.b)
			}
		}
		t.k = kc
		// Bias and residual come first, since the residual may be what C holds before.
		t.bias, t.add = c.panelBias(n0), 0
		if !first {
			t.bias, t.add = &c.s.zeros[0], 1
		}
		for i := range count {
			s0, s1 := strip(m1-m0, count, i)
			t.rows = s1 - s0
			if kc > 0 {
				t.lookAhead(i, ahead, nr*4)
				t.a = unsafe.Pointer(&a[m0*w.k+(m1-m0)*k0+s0*kc])
			}
			if partial {
				// All of K in one tile after the other would spoil the order of the loops: the partial panel
				// keeps its sums in C's columns, which it copies in and out.
				c.loadOut(ws, m0+s0, m0+s1, n0, !first)
				t.c, t.ldc, t.res = &ws.out[0], nr*4, nil
			} else {
				t.c, t.ldc = &c.c[(m0+s0)*c.ldc+n0], c.ldc*4
				t.res, t.ldr = nil, 0
				if first {
					t.res, t.ldr = c.residual(m0+s0, n0)
				}
			}
			c.k.float(t)
			if partial {
				c.storeOut(ws.out, nr, m0+s0, m0+s1, n0, first)
			}
			if last {
				c.finishTile(m0+s0, m0+s1, n0, min(n0+nr, w.n))
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

// floatPanel returns kc steps of a panel as float32 numbers, unpacking integer weights to the worker's memory.
func (c *gemmCall) floatPanel(ws *workerScratch, panel, k0, kc int) unsafe.Pointer {
	w := c.g.W
	if w.scheme.Bits == 32 {
		return unsafe.Pointer(&w.floats[panel*w.panel+k0*w.nr])
	}
	e := &ws.expand
	e.n = w.nr
	data := w.data[panel*w.panel:]
	nibbles := w.nibbles()
	for k := k0; k < k0+kc; {
		g := k / w.group
		e.steps = min((g+1)*w.group, k0+kc) - k
		e.dst = unsafe.Pointer(&ws.panel[(k-k0)*w.nr*4])
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
	return unsafe.Pointer(&ws.panel[0])
}
