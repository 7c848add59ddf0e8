package kernels

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// Packed is a weight matrix in the layout of one instruction set, the one that was active when it was packed. Layouts:
//
//   - float32: panels of floatCols columns (rows of W); a panel is K steps of one number a column.
//   - integers, int8 activations: panels of intCols columns; a panel is its groups one after the other, a group is steps
//     of kStep consecutive values of K for each column in turn. Groups are padded with zeros to whole steps. int8 values
//     are signed (asymmetric ones less 128); int4 ones are unsigned, and a byte holds two: in the low half that of step
//     2i, in the high half that of step 2i+1, so groups are padded to pairs of steps.
//   - integers, float32 activations: as float32, with int8 values or with bytes that hold rows 2i and 2i+1 of int4.
//
// Scales, zero points and compensations follow in the order of the panels: a row of numbers, one a column, for each group.
// Columns beyond N are zeros.
type Packed struct {
	n, k    int
	scheme  Scheme // Bits is 32 for float32
	integer bool   // multiplied by quantized activations
	kern    *gemmKernels
	isa     ISA

	nr     int // columns of a panel
	rows   int // of the greatest tile
	kernel func(*tile)
	floats []float32 // float32 weights
	data   []byte    // integer weights
	panel  int       // numbers of a panel in floats, or bytes in data

	groups, group int // of a row
	steps, lastK  int // of a group, of the last group
	kPadded       int // values of K with the padding of groups

	scale []float32
	comp  []int32   // -128 * sum of the weights of a group, for kernels that take activations with an offset of 128
	zero  []byte    // int4, int8 activations: zero points as the unpacking kernel takes them
	zeroF []float32 // float32 activations: zero points

	// The side product adds what the integer product leaves out: the zero points of weights times the sums of activations
	// (one row a group, of -scale*zero), and the zero points of activations times the sums of weights (the last row).
	side     []float32
	sideRows int
}

// N returns the number of rows of W, which are columns of the product.
func (w *Packed) N() int { return w.n }

// K returns the length of a row of W.
func (w *Packed) K() int { return w.k }

// ISA returns the instruction set whose layout w has.
func (w *Packed) ISA() ISA { return w.isa }

// Int8Activations reports whether products quantize the activations.
func (w *Packed) Int8Activations() bool { return w.integer }

// Bytes returns the memory that the packed weights take.
func (w *Packed) Bytes() int {
	return 4*(len(w.floats)+len(w.scale)+len(w.comp)+len(w.zeroF)+len(w.side)) + len(w.data) + len(w.zero)
}

// Scheme returns the name of the scheme as benchmarks print it: float32, int8, int4-g32, int4-g32-f32...
func (w *Packed) Scheme() string {
	switch {
	case w.scheme.Bits == 32:
		return "float32"
	case w.integer:
		return w.scheme.String()
	}
	return w.scheme.String() + "-f32"
}

// PackFloat32 packs W[n,k], whose rows are ldw numbers apart.
func PackFloat32(n, k int, w []float32, ldw int) *Packed {
	if n > 0 && k > 0 && (ldw < k || len(w) < (n-1)*ldw+k) {
		panic(fmt.Sprintf("kernels: PackFloat32: %d numbers in rows of %d; %d rows of %d are needed", len(w), ldw, n, k))
	}
	kern := activeGemm()
	p := &Packed{n: n, k: k, scheme: Scheme{Bits: 32}, kern: kern, isa: Active(), nr: kern.floatCols, rows: kern.floatRows, kernel: kern.float, panel: k * kern.floatCols}
	p.floats = aligned[float32](ceilDiv(n, p.nr) * p.panel)
	for n0 := 0; n0 < n; n0 += p.nr {
		packFloats(p.floats[n0/p.nr*p.panel:], w[n0*ldw:], ldw, min(p.nr, n-n0), k, p.nr)
	}
	return p
}

// packFloats transposes rows of W to a panel of nr columns.
func packFloats(dst, w []float32, ldw, rows, k, nr int) {
	for j := range rows {
		for i, v := range w[j*ldw:][:k] {
			dst[i*nr+j] = v
		}
	}
}

// PackQuantized packs q for products with activations that are quantized to int8 in the call, or with float32 ones. q must
// pass [Quantized.Check].
func PackQuantized(q *Quantized, int8Activations bool) *Packed {
	if err := q.Check(); err != nil {
		panic("kernels: PackQuantized: " + err.Error())
	}
	kern := activeGemm()
	w := &Packed{n: q.N, k: q.K, scheme: q.Scheme, integer: int8Activations, kern: kern, isa: Active(), groups: q.Groups(q.K), group: q.K}
	if q.Group > 0 {
		w.group = min(q.Group, q.K)
	}
	if int8Activations {
		w.packIntegers(q)
	} else {
		w.packForFloats(q)
	}
	return w
}

func (w *Packed) packIntegers(q *Quantized) {
	kern := w.kern
	w.nr, w.rows, w.kernel = kern.intCols, kern.intRows, kern.integer
	if (w.groups > 1 || q.Bits == 4) && kern.group != nil {
		w.rows, w.kernel = kern.groupRows, kern.group
	}
	unit := kern.kStep // groups are padded to a multiple of it
	if q.Bits == 4 {
		unit *= 2
	}
	w.steps = ceilDiv(w.group, unit) * unit / kern.kStep
	w.lastK = ceilDiv(w.k-(w.groups-1)*w.group, unit) * unit / kern.kStep
	if w.groups == 0 {
		w.lastK = 0
	}
	w.kPadded = (max(w.groups-1, 0)*w.steps + w.lastK) * kern.kStep
	w.panel = w.kPadded * w.nr * q.Bits / 8

	panels := ceilDiv(q.N, w.nr)
	w.data = aligned[byte](panels * w.panel)
	w.scale = aligned[float32](panels * w.groups * w.nr)
	if kern.form == formUint8 {
		w.comp = aligned[int32](panels * w.groups * w.nr)
	}
	switch {
	case q.Bits == 4 && q.Asymmetric:
		w.zero = aligned[byte](panels * w.groups * w.nr * kern.kStep)
	case q.Bits == 4: // one for all
		w.zero = aligned[byte](w.nr * kern.kStep)
		for i := range w.zero {
			w.zero[i] = byte(q.Zero())
		}
	}
	w.sideRows = 1
	if q.Asymmetric && q.Bits == 8 {
		w.sideRows += w.groups
	}
	w.side = aligned[float32](panels * w.sideRows * w.nr)

	sums := newGroupSums(w)
	totals := make([]float64, w.nr)
	for panel := range panels {
		n0, n1 := panel*w.nr, min((panel+1)*w.nr, q.N)
		for n := n0; n < n1; n++ {
			w.packRow(q, n)
		}
		clear(totals)
		sums.start(panel)
		for g := range w.groups {
			at := (panel*w.groups + g) * w.nr
			count, steps := w.groupLength(g)
			pad := steps*kern.kStep - count
			for j, sum := range sums.group(g)[:n1-n0] {
				n := n0 + j
				scale := q.Scales[n*w.groups+g]
				w.scale[at+j] = scale
				if w.comp != nil {
					w.comp[at+j] = -128 * int32(sum)
				}
				switch {
				case q.Bits == 4: // whose padding unpacks to minus the zero point
					sum += float32(pad * q.zero(n, g))
				case q.Asymmetric:
					zero := int(q.Zeros[n*w.groups+g]) - 128
					w.setSide(n, g, -scale*float32(zero))
					sum -= float32(zero * count)
				}
				totals[j] += float64(scale) * float64(sum)
			}
		}
		for j, total := range totals[:n1-n0] {
			w.setSide(n0+j, w.sideRows-1, float32(total))
		}
	}
}

// groupLength returns the values of a group and the steps that it takes.
func (w *Packed) groupLength(g int) (values, steps int) {
	if g == w.groups-1 {
		return w.k - g*w.group, w.lastK
	}
	return w.group, w.steps
}

// packRow moves row n to its column of its panel.
func (w *Packed) packRow(q *Quantized, n int) {
	var (
		kStep  = w.kern.kStep
		panel  = n / w.nr
		column = n % w.nr
		row    = q.Data[n*q.RowBytes(q.K):][:q.RowBytes(q.K)]
		stride = w.nr * kStep // bytes of a step, or of a pair of int4 steps
	)
	if q.Bits == 4 && q.Asymmetric {
		for g := range w.groups {
			zero := w.zero[((panel*w.groups+g)*w.nr+column)*kStep:][:kStep]
			for i := range zero {
				zero[i] = q.Zeros[n*w.groups+g]
			}
		}
	}
	group, groups := w.group, w.groups
	if w.steps*kStep == group { // groups without padding follow each other as one would
		group, groups = q.K, min(groups, 1)
	}
	for g := range groups {
		k0 := g * group
		count, done := min(group, q.K-k0), 0
		if q.Bits == 8 {
			dst := w.data[panel*w.panel+g*w.steps*stride+column*kStep:]
			var flip uint32 // the sign, where unsigned values are made signed
			if q.Asymmetric {
				flip = 0x80808080
			}
			done = packBytes(dst, row[k0:k0+count], stride, kStep, flip)
			for i := done; i < count; i++ {
				dst[i/kStep*stride+i%kStep] = row[k0+i] ^ byte(flip)
			}
			continue
		}
		dst := w.data[panel*w.panel+g*w.steps/2*stride+column*kStep:]
		if k0%2 == 0 {
			done = packHalves(dst, row[k0/2:(k0+count)/2], stride, kStep)
		}
		for i := done; i < count; i++ {
			k := k0 + i
			v := row[k/2] >> (k % 2 * 4) & 15
			dst[i/(2*kStep)*stride+i%kStep] |= v << (i / kStep % 2 * 4)
		}
	}
}

// packBytes moves whole steps of a row to every stride-th place of dst, and returns the values moved.
func packBytes(dst, row []byte, stride, kStep int, flip uint32) (done int) {
	switch kStep {
	case 4:
		for at := 0; len(row) >= 4; row, at, done = row[4:], at+stride, done+4 {
			binary.LittleEndian.PutUint32(dst[at:], binary.LittleEndian.Uint32(row)^flip)
		}
	case 2:
		for at := 0; len(row) >= 2; row, at, done = row[2:], at+stride, done+2 {
			binary.LittleEndian.PutUint16(dst[at:], binary.LittleEndian.Uint16(row)^uint16(flip))
		}
	}
	return done
}

// packHalves moves whole pairs of steps of an int4 row, and returns the values moved. Of the halves in order, the first
// kStep become the low halves of bytes and the others the high ones.
func packHalves(dst, row []byte, stride, kStep int) (done int) {
	switch kStep {
	case 4:
		for at := 0; len(row) >= 4; row, at, done = row[4:], at+stride, done+8 {
			x := binary.LittleEndian.Uint32(row)
			binary.LittleEndian.PutUint32(dst[at:], spread(x&0xffff)|spread(x>>16)<<4)
		}
	case 2:
		for at := 0; len(row) >= 2; row, at, done = row[2:], at+stride, done+4 {
			binary.LittleEndian.PutUint16(dst[at:], uint16(spread(uint32(row[0]))|spread(uint32(row[1]))<<4))
		}
	}
	return done
}

// spread moves four half bytes to the low halves of four bytes.
func spread(x uint32) uint32 {
	x = (x | x<<8) & 0x00ff00ff
	return (x | x<<4) & 0x0f0f0f0f
}

// groupSums computes the sums of groups of packed weights, as products with activations of one.
type groupSums struct {
	w    *Packed
	ones []byte
	unit []float32 // scales, then zeros for the bias, the result, and memory for sums
	none []int32
	call gemmCall
	ws   workerScratch
	b    unsafe.Pointer
}

func newGroupSums(w *Packed) *groupSums {
	form := w.kern.form
	s := &groupSums{w: w, ones: aligned[byte](max(w.steps, w.lastK) * w.kern.kStep * 2), unit: aligned[float32](4 * w.nr), none: make([]int32, w.nr)}
	for i := range w.nr {
		s.unit[i] = 1
	}
	for i := 0; i*form.bytes() < len(s.ones); i++ {
		if s.ones[i*form.bytes()] = 1; form == formInt16 {
			s.ones[i*2+1] = 0
		}
	}
	s.call = gemmCall{g: &Gemm{W: w}, k: w.kern}
	if w.scheme.Bits == 4 {
		s.ws.panel = aligned[byte](w.kPadded * w.nr)
	}
	return s
}

// start chooses a panel.
func (s *groupSums) start(panel int) {
	switch w := s.w; {
	case w.kPadded == 0:
	case w.scheme.Bits == 4:
		s.call.unpack(&s.ws, 0, panel)
		s.b = unsafe.Pointer(&s.ws.panel[0])
	default:
		s.b = unsafe.Pointer(&w.data[panel*w.panel])
	}
}

// group returns the sum of each column of a group, which is exact up to K = 2^17.
func (s *groupSums) group(g int) []float32 {
	w := s.w
	_, steps := w.groupLength(g)
	sums := s.unit[2*w.nr : 3*w.nr]
	s.ws.tile = tile{
		a: unsafe.Pointer(&s.ones[0]), b: unsafe.Add(s.b, g*w.steps*w.nr*w.kern.kStep), c: &sums[0], bias: &s.unit[w.nr],
		k: steps, lastK: steps, groups: 1, rows: 1, nr: w.nr, comp: &s.none[0], scale: &s.unit[0], rowScale: &s.unit[0], acc: &s.unit[3*w.nr],
	}
	w.kernel(&s.ws.tile)
	return sums
}

// setSide sets a number of the side product, which has float32 panels.
func (w *Packed) setSide(n, row int, v float32) {
	cols := w.kern.floatCols
	w.side[(n/cols*w.sideRows+row)*cols+n%cols] = v
}

func (w *Packed) packForFloats(q *Quantized) {
	w.nr, w.rows, w.kernel = w.kern.floatCols, w.kern.floatRows, w.kern.float
	panels := ceilDiv(q.N, w.nr)
	rows := q.K
	nibbles := w.nibbles()
	if nibbles {
		rows = ceilDiv(q.K, 2)
	}
	w.panel = rows * w.nr
	w.data = aligned[byte](panels * w.panel)
	w.scale = aligned[float32](panels * w.groups * w.nr)
	w.zeroF = aligned[float32](panels * w.groups * w.nr)
	for n := range q.N {
		panel, column := n/w.nr, n%w.nr
		data := w.data[panel*w.panel:]
		for k := range q.K {
			v := q.at(n, k)
			switch {
			case nibbles:
				data[k/2*w.nr+column] |= byte(v) << (k % 2 * 4)
			case q.Bits == 8 && q.Asymmetric:
				data[k*w.nr+column] = byte(v - 128)
			default:
				data[k*w.nr+column] = byte(v)
			}
		}
		for g := range w.groups {
			at := (panel*w.groups+g)*w.nr + column
			w.scale[at] = q.Scales[n*w.groups+g]
			zero := q.zero(n, g)
			if q.Bits == 8 && q.Asymmetric {
				zero -= 128
			}
			w.zeroF[at] = float32(zero)
		}
	}
}

// nibbles reports whether weights for float32 activations are packed two a byte: not where a group ends within a byte.
func (w *Packed) nibbles() bool {
	return w.scheme.Bits == 4 && (w.groups <= 1 || w.group%2 == 0)
}

// expandedBytes returns the memory that a worker needs to unpack weights.
func (w *Packed) expandedBytes(c *gemmCall) int {
	switch {
	case w.scheme.Bits == 32, w.integer && (w.scheme.Bits == 8 || c.few):
		return 0
	case w.integer:
		return c.panels * w.kPadded * w.nr
	}
	return c.panels * c.kBlock * w.nr * 4
}
