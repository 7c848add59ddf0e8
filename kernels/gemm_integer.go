package kernels

import (
	"math"
	"unsafe"
)

// fewMost returns the number of rows up to which unpacking int4 weights in registers is faster than unpacking them once:
// the sums that each tile starts a group from cost the more the smaller groups are.
func (w *Packed) fewMost() int {
	if w.group >= 64 {
		return 16
	}
	return 12
}

func (c *gemmCall) planInteger(threads int) {
	w, s := c.g.W, c.s
	c.rows, c.form = w.rows, c.k.form
	if w.scheme.Bits == 4 && c.k.few != nil && c.g.M <= w.fewMost() {
		c.few, c.rows, c.form = true, c.k.fewRows, formInt8
		s.sums = grow(s.sums, c.g.M*w.groups)
	}
	const line, set = 64, 1024
	c.ldaBytes = ceilDiv(max(w.kPadded, 1)*c.form.bytes(), line) * line
	if c.ldaBytes%set == 0 {
		c.ldaBytes += line // rows that are a power of two apart would share few sets of the cache
	}
	s.a = grow(s.a, c.g.M*c.ldaBytes)
	s.rowF = grow(s.rowF, c.g.M)
	c.sideK = w.sideRows - 1
	if c.g.AsymmetricActivations {
		c.sideK++
	}
	s.side = grow(s.side, c.g.M*c.sideK)
	c.partition(threads, c.rows, c.g.M, w.kPadded*w.nr)
}

// stripOf returns the strip of the product that row m is in.
func (c *gemmCall) stripOf(m int) (m0, m1 int) {
	b0, b1 := c.block(m)
	rows := b1 - b0
	count := ceilDiv(rows, c.rows)
	m0, m1 = strip(rows, count, ((m-b0+1)*count-1)/rows)
	return b0 + m0, b0 + m1
}

// quantizeRows quantizes rows [m0, m1) of A, which start at a[0], and writes what the side product needs of them.
func (c *gemmCall) quantizeRows(ws *workerScratch, a []float32, lda, m0, m1 int) {
	w := c.g.W
	for m := m0; m < m1; m++ {
		x := a[(m-m0)*lda:][:w.k]
		row := c.s.a[m*c.ldaBytes:][:c.ldaBytes]
		scale, inv, zero := activationScale(x, c.g.AsymmetricActivations)
		c.s.rowF[m] = scale
		sums := ws.sums[:0]
		if w.sideRows > 1 || c.few {
			sums = ws.sums[:w.groups]
		}
		quantizeActivations(c.form, row, x, inv, zero, w.group, w.steps*c.k.kStep, sums)
		if len(sums) == 0 && c.sideK == 0 {
			continue
		}
		s0, s1 := c.stripOf(m)
		if c.few {
			for g, sum := range sums {
				c.s.sums[s0*w.groups+g*(s1-s0)+m-s0] = -int32(sum)
			}
			sums = nil
		}
		side := c.s.side[s0*c.sideK : s1*c.sideK]
		for g, sum := range sums {
			side[g*(s1-s0)+m-s0] = scale * sum
		}
		if c.g.AsymmetricActivations {
			side[(c.sideK-1)*(s1-s0)+m-s0] = -scale * float32(zero)
		}
	}
}

// activationScale returns the scale of a row and its reciprocal, and what is added to rounded values, so that they fill
// [-127, 127], or [-128, 127] with a zero point. A row that is not finite has the scale NaN.
func activationScale(x []float32, asymmetric bool) (scale, inv float32, zero int32) {
	largest, steps := absMax(x), float32(127)
	if !(largest <= math.MaxFloat32) {
		return float32(math.NaN()), 0, 0
	}
	var lo float32
	if asymmetric {
		var hi float32
		lo, hi = minMax(x)
		lo, hi = min(lo, 0), max(hi, 0)
		largest, steps = hi/2-lo/2, 127.5 // halves, since the difference could overflow
	}
	inv = steps / largest
	if math.IsInf(float64(inv), 0) || math.IsNaN(float64(inv)) {
		return 0, 0, 0
	}
	if asymmetric {
		zero = min(max(-128-roundEven(lo*inv), -128), 127)
	}
	return largest / steps, inv, zero
}

// quantizeActivations writes round(x*inv)+zero in a form, groups of x padded to groupPadded values with zeros. sums, if not
// empty, receives the sum of each group's written values.
func quantizeActivations(form activationForm, dst []byte, x []float32, inv float32, zero int32, group, groupPadded int, sums []float32) {
	if len(sums) == 0 && group == groupPadded {
		group = len(x) // the padding follows the last group: one run
	}
	for g, k0 := 0, 0; k0 < len(x); g, k0 = g+1, k0+group {
		part := x[k0:min(k0+group, len(x))]
		out := dst[g*groupPadded*form.bytes():]
		n := groupPadded
		if k0+group >= len(x) {
			n = len(out) / form.bytes()
		}
		sum := quantizeRun(form, out, part, inv, zero, n)
		if len(sums) > 0 {
			sums[g] = float32(sum)
		}
	}
}

// quantizeRun quantizes x, pads it with zeros to n values, and returns the sum.
func quantizeRun(form activationForm, dst []byte, x []float32, inv float32, zero int32, n int) (sum int32) {
	switch form {
	case formInt16:
		sum = quantizeWords(dst, x, inv, zero, -128, 127)
	case formUint8:
		sum = quantize(dst, x, inv, zero+128, 0, 255) - 128*int32(len(x))
	default:
		sum = quantize(dst, x, inv, zero, -128, 127)
	}
	for i := len(x); i < n; i++ {
		form.store(dst, i, 0)
	}
	return sum
}

// integerPart multiplies rows [m0, m1) with panels [p0, p1).
func (c *gemmCall) integerPart(ws *workerScratch, p0, p1, m0, m1 int) {
	w, t := c.g.W, &ws.tile
	var (
		nr     = w.nr
		count  = ceilDiv(m1-m0, c.rows)
		kernel = w.kernel
	)
	*t = tile{nr: nr, lda: c.ldaBytes, k: w.steps, lastK: w.lastK, groups: w.groups, acc: &ws.acc[0]}
	if c.few {
		kernel, t.k, t.lastK = c.k.few, t.k/2, t.lastK/2
	} else if w.scheme.Bits == 4 {
		for p := p0; p < p1; p++ {
			c.unpack(ws, p-p0, p)
		}
	}
	for i := range count {
		s0, s1 := strip(m1-m0, count, i)
		s0, s1 = m0+s0, m0+s1
		t.rows = s1 - s0
		t.a = unsafe.Pointer(&c.s.a[s0*c.ldaBytes])
		t.rowScale = &c.s.rowF[s0]
		if c.few && w.groups > 0 {
			t.sums = &c.s.sums[s0*w.groups]
		}
		for p := p0; p < p1; p++ {
			n0 := p * nr
			n1 := min(n0+nr, w.n)
			partial := n1 < n0+nr
			if w.kPadded > 0 {
				c.integerPanel(ws, p, p0)
				t.lookAhead(i, count, p-p0, p1-p0, w.nextPanel(p+p1-p0, t.b), nr*c.k.kStep)
				if t.scalesAhead = 0; i == 0 {
					t.scalesAhead = (p1 - p0) * w.groups * nr * 4
				}
			}
			t.bias = c.panelBias(n0)
			t.c, t.ldc = &ws.out[0], nr*4
			t.res, t.ldr = nil, 0
			if !partial {
				t.c, t.ldc = &c.c[s0*c.ldc+n0], c.ldc*4
				t.res, t.ldr = c.residual(s0, n0)
			}
			kernel(t)
			if c.sideK > 0 {
				c.sideProduct(t, n0, s0)
			}
			if partial {
				c.storeOut(ws.out, nr, s0, s1, n0, true)
			}
		}
		c.finishTile(s0, s1, p0*nr, min(p1*nr, w.n))
	}
}

// integerPanel points the tile at a panel; p0 is the first of those that are unpacked.
func (c *gemmCall) integerPanel(ws *workerScratch, p, p0 int) {
	w, t := c.g.W, &ws.tile
	first := p * w.groups * w.nr
	t.scale = &w.scale[first]
	if w.comp != nil {
		t.comp = &w.comp[first]
	}
	switch {
	case c.few:
		t.b = unsafe.Pointer(&w.data[p*w.panel])
		t.zero, t.zeroStride = w.zeros(p)
	case w.scheme.Bits == 4:
		t.b = unsafe.Pointer(&ws.panel[(p-p0)*w.kPadded*w.nr])
	default:
		t.b = unsafe.Pointer(&w.data[p*w.panel])
	}
}

// sideProduct adds the side product to a tile that the integer kernel stored.
func (c *gemmCall) sideProduct(t *tile, n0, m0 int) {
	w, cols := c.g.W, c.k.floatCols
	saved := *t
	t.nr, t.add, t.k, t.res, t.bias = cols, 1, c.sideK, nil, &c.s.zeros[0]
	t.a = unsafe.Pointer(&c.s.side[m0*c.sideK])
	skip := 0 // without zero points of weights there is but the last row
	if c.g.AsymmetricActivations {
		skip = w.sideRows - c.sideK
	}
	for j := 0; j < w.nr; j += cols {
		t.b = unsafe.Pointer(&w.side[((n0+j)/cols*w.sideRows+skip)*cols])
		t.c = offset(saved.c, j)
		c.k.float(t)
	}
	*t = saved
}

// unpack unpacks a panel of int4 weights to place number i of the worker's memory.
func (c *gemmCall) unpack(ws *workerScratch, i, panel int) {
	w := c.g.W
	if w.kPadded == 0 {
		return
	}
	e := &ws.expand
	*e = expand{
		dst: unsafe.Pointer(&ws.panel[i*w.kPadded*w.nr]), src: unsafe.Pointer(&w.data[panel*w.panel]),
		n: w.nr * c.k.kStep, steps: w.steps / 2, groups: w.groups, last: w.lastK / 2,
	}
	e.zero, e.stride = w.zeros(panel)
	c.k.int4(e)
}

// zeros returns the int4 zero points of a panel and the distance of its groups.
func (w *Packed) zeros(panel int) (unsafe.Pointer, int) {
	if !w.scheme.Asymmetric {
		return unsafe.Pointer(&w.zero[0]), 0
	}
	n := w.nr * w.kern.kStep
	return unsafe.Pointer(&w.zero[panel*w.groups*n]), n
}

// nextPanel returns the distance in bytes from b to the packed integers of a panel, 0 where there is none.
func (w *Packed) nextPanel(panel int, b unsafe.Pointer) int {
	if panel*w.panel >= len(w.data) {
		return 0
	}
	return int(uintptr(unsafe.Pointer(&w.data[panel*w.panel])) - uintptr(b))
}
