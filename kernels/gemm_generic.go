package kernels

import "unsafe"

func offset[T any](p *T, i int) *T {
	return (*T)(unsafe.Add(unsafe.Pointer(p), i*int(unsafe.Sizeof(*p))))
}

// finish stores one row of a tile.
func (t *tile) finish(r int, row []float32) {
	c := unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(t.c), r*t.ldc)), t.nr)
	bias := unsafe.Slice(t.bias, t.nr)
	var res []float32
	if t.res != nil {
		res = unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(t.res), r*t.ldr)), t.nr)
	}
	for j, v := range row {
		v += bias[j]
		if res != nil { // which may be c
			v += res[j]
		}
		c[j] = v
	}
}

// maxColumns is the greatest panel of any instruction set.
const maxColumns = 64

// floatTileGeneric computes C = [C +] A B + bias [+ residual].
func floatTileGeneric(t *tile) {
	a := unsafe.Slice((*float32)(t.a), t.k*t.rows)
	b := unsafe.Slice((*float32)(t.b), t.k*t.nr)
	var buf [maxColumns]float32
	for r := range t.rows {
		row := buf[:t.nr]
		clear(row)
		if t.add != 0 {
			copy(row, unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(t.c), r*t.ldc)), t.nr))
		}
		for k := range t.k {
			v := a[k*t.rows+r]
			for j, w := range b[k*t.nr:][:t.nr] {
				row[j] += v * w
			}
		}
		t.finish(r, row)
	}
}

// integerTileGeneric computes C = rowScale * sum over groups of scale * (comp + A B) + bias [+ residual].
func integerTileGeneric(t *tile, kStep int, form activationForm) {
	var (
		buf [maxColumns]float32
		sum [maxColumns]int32
	)
	for r := range t.rows {
		row := buf[:t.nr]
		clear(row)
		a := unsafe.Add(t.a, r*t.lda)
		b := t.b
		for g := range t.groups {
			k := t.k
			if g == t.groups-1 {
				k = t.lastK
			}
			clear(sum[:])
			if t.comp != nil {
				copy(sum[:], unsafe.Slice(offset(t.comp, g*t.nr), t.nr))
			}
			for range k {
				step := unsafe.Slice((*int8)(b), t.nr*kStep)
				for i := range kStep {
					v := form.load(a, i)
					for j := range t.nr {
						sum[j] += v * int32(step[j*kStep+i])
					}
				}
				a = unsafe.Add(a, kStep*form.bytes())
				b = unsafe.Add(b, t.nr*kStep)
			}
			scale := unsafe.Slice(offset(t.scale, g*t.nr), t.nr)
			for j := range row {
				row[j] += float32(sum[j]) * scale[j]
			}
		}
		s := *offset(t.rowScale, r)
		for j := range row {
			row[j] *= s
		}
		t.finish(r, row)
	}
}

// load returns the activation i of a row as the kernel multiplies it.
func (f activationForm) load(a unsafe.Pointer, i int) int32 {
	switch f {
	case formInt16:
		return int32(*(*int16)(unsafe.Add(a, 2*i)))
	case formUint8:
		return int32(*(*uint8)(unsafe.Add(a, i)))
	}
	return int32(*(*int8)(unsafe.Add(a, i)))
}

// store writes an activation; it is within [-128, 127].
func (f activationForm) store(a []byte, i int, v int32) {
	switch f {
	case formInt16:
		a[2*i], a[2*i+1] = byte(v), byte(v>>8)
	case formUint8:
		a[i] = byte(v + 128)
	default:
		a[i] = byte(v)
	}
}

// int4Generic writes (low half - zero) and then (high half - zero) of each step.
func int4Generic(e *expand) {
	dst, src, at := e.dst, e.src, e.zero
	for g := range e.groups {
		steps := e.steps
		if g == e.groups-1 {
			steps = e.last
		}
		zero := unsafe.Slice((*int8)(at), e.n)
		at = unsafe.Add(at, e.stride)
		for range steps {
			low := unsafe.Slice((*int8)(dst), 2*e.n)
			high := low[e.n:]
			for j, v := range unsafe.Slice((*byte)(src), e.n) {
				low[j], high[j] = int8(v&15)-zero[j], int8(v>>4)-zero[j]
			}
			dst, src = unsafe.Add(dst, 2*e.n), unsafe.Add(src, e.n)
		}
	}
}

// int8FloatsGeneric writes scale * (q - zero) for rows of signed q.
func int8FloatsGeneric(e *expand) {
	zero, scale := unsafe.Slice((*float32)(e.zero), e.n), unsafe.Slice(e.scale, e.n)
	src := unsafe.Slice((*int8)(e.src), e.n*e.steps)
	dst := unsafe.Slice((*float32)(e.dst), e.n*e.steps)
	for i := range e.steps {
		for j, v := range src[i*e.n:][:e.n] {
			dst[i*e.n+j] = scale[j] * (float32(v) - zero[j])
		}
	}
}

// int4FloatsGeneric does so for rows of which two share bytes; the last pair may be half used.
func int4FloatsGeneric(e *expand) {
	zero, scale := unsafe.Slice((*float32)(e.zero), e.n), unsafe.Slice(e.scale, e.n)
	src := unsafe.Slice((*byte)(e.src), e.n*((e.steps+1)/2))
	dst := unsafe.Slice((*float32)(e.dst), e.n*e.steps)
	for i := range e.steps {
		for j, v := range src[i/2*e.n:][:e.n] {
			dst[i*e.n+j] = scale[j] * (float32(v>>(i%2*4)&15) - zero[j])
		}
	}
}

func packRowsGeneric(dst, a []float32, lda, rows, k int) {
	for r := range rows {
		for i, v := range a[r*lda:][:k] {
			dst[i*rows+r] = v
		}
	}
}
