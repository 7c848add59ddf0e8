package kernels

import "unsafe"

// Unit is what bounds a product: the arithmetic of its scheme, or the memory that its weights come from.
type Unit uint8

// The units whose peaks are measured.
const (
	// UnitFloat32 multiplies and adds float32 numbers.
	UnitFloat32 Unit = iota
	// UnitInt8 multiplies bytes, or words where there is no instruction for bytes, and adds to 32 bits.
	UnitInt8
)

// Unit returns the unit that bounds products with w when there are many rows.
func (w *Packed) Unit() Unit {
	if w.integer {
		return UnitInt8
	}
	return UnitFloat32
}

// Peak runs a unit of the active instruction set at its best for n iterations, from registers alone, and returns the
// operations done; a multiplication and an addition are two. It is for timing.
func Peak(u Unit, n int) (operations float64) {
	if n <= 0 {
		return 0
	}
	return peak(u, n) * float64(n)
}

// peakGeneric does n iterations of plain Go, and returns the operations of one.
func peakGeneric(u Unit, n int) float64 {
	if u == UnitFloat32 {
		var a, b, c, d, e, f, g, h float32 = 1, 2, 3, 4, 5, 6, 7, 8
		for range n {
			a, b, c, d = a*0.5+1, b*0.5+1, c*0.5+1, d*0.5+1
			e, f, g, h = e*0.5+1, f*0.5+1, g*0.5+1, h*0.5+1
		}
		peakSink = float64(a + b + c + d + e + f + g + h)
		return 16
	}
	var a, b, c, d int32 = 1, 2, 3, 4
	x := int32(n)
	for range n {
		a, b, c, d = a+x*3, b+x*5, c+x*7, d+x*9
		x++
	}
	peakSink = float64(a + b + c + d)
	return 8
}

//lint:ignore U1000 written so that the compiler keeps what is timed
var peakSink float64

// ReadPatterns is the number of access patterns of [Read].
const ReadPatterns = 2

// Read loads all of p and does nothing with it: one stream, or four. It returns the bytes read. It is for timing.
func Read(p []byte, pattern int) int {
	n := len(p) &^ 1023
	if n > 0 {
		read(p[:n], pattern)
	}
	return n
}

// readGeneric is Read in plain Go.
func readGeneric(p []byte) {
	var sum byte
	for i := 0; i < len(p); i += 8 {
		sum |= p[i]
	}
	peakSink = float64(sum)
}

// Clone returns a copy of w in memory of its own, for benchmarks whose weights are not to come from a cache.
func (w *Packed) Clone() *Packed {
	c := *w
	c.floats, c.data = clone(w.floats), clone(w.data)
	c.scale, c.comp, c.zero, c.zeroF, c.side = clone(w.scale), clone(w.comp), clone(w.zero), clone(w.zeroF), clone(w.side)
	return &c
}

func clone[T byte | int32 | float32](s []T) []T {
	c := aligned[T](len(s))
	copy(c, s)
	return c
}

// ReadAll reads the packed weights and does nothing with them, for timing; it returns the bytes read.
func (w *Packed) ReadAll(pattern int) int {
	if len(w.floats) > 0 {
		return Read(unsafe.Slice((*byte)(unsafe.Pointer(&w.floats[0])), 4*len(w.floats)), pattern)
	}
	return Read(w.data, pattern)
}
