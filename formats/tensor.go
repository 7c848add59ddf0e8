package formats

import (
	"fmt"
	"sync"
	"unsafe"
)

// Tensor is an array in a file: its place is known and checked, its values are read when they are asked for. Methods may be
// called from several goroutines at once, until the Checkpoint is closed.
type Tensor struct {
	Name  string
	DType DType
	Shape []int  // row-major; empty for a single value
	File  string // path of the file that holds it

	n     int   // elements
	fault error // why it cannot be read, or nil
	src   *file
	off   int64 // of the first byte in src
	step  []int // element strides of a view that is not contiguous, else nil
}

// Len is the number of values: the product of the shape, 1 for an empty shape.
func (t *Tensor) Len() int { return t.n }

// ByteLen is the number of bytes of the values, packed.
func (t *Tensor) ByteLen() int { return t.n * t.DType.Size() }

func (t *Tensor) String() string { return fmt.Sprintf("%s %s %v", t.Name, t.DType, t.Shape) }

// Err says why a tensor that is known by name cannot be read: its shard is not there (its shape is not known then), or its
// values are packed in a way that is not read. nil for others.
func (t *Tensor) Err() error { return t.fault }

func (t *Tensor) fail(kind error, format string, args ...any) error {
	return &Error{Kind: kind, File: t.File, Tensor: t.Name, Msg: fmt.Sprintf(format, args...)}
}

// Bytes gives all values as they are in the file: little-endian, row-major. The slice may be a view of read-only memory that
// Close takes away: it must not be written to, and is read under a Guard.
func (t *Tensor) Bytes() ([]byte, error) {
	if t.fault != nil {
		return nil, t.fault
	}
	if t.step == nil {
		return t.src.bytes(t.off, int64(t.ByteLen()))
	}
	t.src.use.RLock()
	defer t.src.use.RUnlock()
	p := make([]byte, t.ByteLen())
	return p, Guard(func() error { return t.gather(p, 0) })
}

// window is how many bytes are fetched at a time where the file is not mapped.
const window = 1 << 16

var windows = sync.Pool{New: func() any { return new([window]byte) }}

// each calls use with consecutive pieces of the values' bytes, from element off on, n elements in all.
func (t *Tensor) each(off, n int, use func(src []byte, at int)) error {
	return Guard(func() error { return t.pieces(off, n, use) })
}

func (t *Tensor) pieces(off, n int, use func(src []byte, at int)) error {
	if t.fault != nil {
		return t.fault
	}
	if off < 0 || n < 0 || off > t.n-n {
		return t.fail(ErrShape, "values %d to %d were asked for, it has %d", off, off+n, t.n)
	}
	if n == 0 {
		return nil
	}
	t.src.use.RLock()
	defer t.src.use.RUnlock()
	size := t.DType.Size()
	if t.step == nil {
		if v := t.src.view(t.off+int64(off*size), int64(n*size)); v != nil {
			use(v, 0)
			return nil
		}
	}
	whole := windows.Get().(*[window]byte)
	defer windows.Put(whole)
	buf := whole[:min(window, n*size)]
	for at := 0; at < n; {
		p := buf[:min(len(buf), (n-at)*size)]
		var err error
		if t.step == nil {
			err = t.src.read(p, t.off+int64((off+at)*size))
		} else {
			err = t.gather(p, off+at)
		}
		if err != nil {
			return err
		}
		use(p, at)
		at += len(p) / size
	}
	return nil
}

// gather packs values of a view that is not contiguous, from flat element off on, until p is full.
func (t *Tensor) gather(p []byte, off int) error {
	if len(p) == 0 {
		return nil
	}
	size, rank := t.DType.Size(), len(t.Shape)
	index := make([]int, rank)
	place := 0 // of the current element in the storage, in elements
	for d, rest := rank-1, off; d >= 0; d-- {
		index[d] = rest % t.Shape[d]
		rest /= t.Shape[d]
		place += index[d] * t.step[d]
	}
	for ; len(p) > 0; p = p[size:] {
		at := t.off + int64(place*size)
		if v := t.src.view(at, int64(size)); v != nil {
			copy(p, v)
		} else if err := t.src.read(p[:size], at); err != nil {
			return err
		}
		for d := rank - 1; d >= 0; d-- {
			index[d]++
			place += t.step[d]
			if index[d] < t.Shape[d] {
				break
			}
			place -= index[d] * t.step[d]
			index[d] = 0
		}
	}
	return nil
}

// Float32s converts len(dst) values, starting at flat element off. Halves, 8-bit floats and small integers are exact, F64
// is rounded to nearest, booleans are 0 and 1. An integer that float32 cannot hold is an error: see Int64s.
func (t *Tensor) Float32s(dst []float32, off int) error {
	if t.fault == nil && t.DType == F32 && t.step == nil && littleEndian && len(dst) > 0 && off >= 0 && off <= t.n-len(dst) {
		t.src.use.RLock()
		defer t.src.use.RUnlock()
		p := unsafe.Slice((*byte)(unsafe.Pointer(&dst[0])), 4*len(dst))
		return Guard(func() error { return t.src.read(p, t.off+int64(4*off)) }) // no detour
	}
	var bad error
	err := t.each(off, len(dst), func(src []byte, at int) {
		part := dst[at : at+len(src)/t.DType.Size()]
		if i := toFloat32(part, src, t.DType); i >= 0 && bad == nil {
			bad = t.fail(ErrDType, "integer at %d is not exact in float32", off+at+i)
		}
	})
	if err != nil {
		return err
	}
	return bad
}

// Int64s converts len(dst) values of an integer or boolean tensor exactly, starting at flat element off.
func (t *Tensor) Int64s(dst []int64, off int) error {
	if t.DType.Float() {
		return t.fail(ErrDType, "integers were expected, it holds %s", t.DType)
	}
	var bad error
	err := t.each(off, len(dst), func(src []byte, at int) {
		part := dst[at : at+len(src)/t.DType.Size()]
		if i := toInt64(part, src, t.DType); i >= 0 && bad == nil {
			bad = t.fail(ErrDType, "integer at %d passes what int64 holds", off+at+i)
		}
	})
	if err != nil {
		return err
	}
	return bad
}

// Float32View gives the values of an F32 tensor without copying, where the file is mapped and the values are aligned; else
// false. The same rules hold as for Bytes.
func (t *Tensor) Float32View() ([]float32, bool) {
	if t.fault != nil || t.DType != F32 || t.step != nil || !littleEndian {
		return nil, false
	}
	if t.n == 0 {
		return nil, true
	}
	v := t.src.view(t.off, int64(t.ByteLen()))
	if v == nil || uintptr(unsafe.Pointer(&v[0]))%4 != 0 {
		return nil, false
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&v[0])), t.n), true
}
