package kernels

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/x448/float16"
)

func TestWidenEveryHalf(t *testing.T) {
	forEachISA(t, func(t *testing.T) {
		src := make([]byte, 2<<16+1)[1:] // unaligned on purpose
		for i := range 1 << 16 {
			binary.LittleEndian.PutUint16(src[2*i:], uint16(i))
		}
		dst := guarded(t, 1<<16)
		Float16ToFloat32(dst, src)
		for i, v := range dst {
			want := float16.Frombits(uint16(i)).Float32()
			if v != want && !(v != v && want != want) {
				t.Fatalf("float16 %04x: %g, want %g", i, v, want)
			}
		}
		BFloat16ToFloat32(dst, src)
		for i, v := range dst {
			if math.Float32bits(v) != uint32(i)<<16 {
				t.Fatalf("bfloat16 %04x: %g", i, v)
			}
		}
	})
}

// nearest returns the candidate that x rounds to, ties to the even one; bits are neighbours.
func nearest(x float64, a, b uint16, value func(uint16) float64) uint16 {
	da, db := math.Abs(value(a)-x), math.Abs(value(b)-x)
	if da < db || da == db && a%2 == 0 {
		return a
	}
	return b
}

func TestNarrow(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 20))
	var src []float32
	// Halfway points between neighbours of both formats, and their neighbours in float32.
	for i := 0; i < 0x7bff; i += 3 {
		mid := (float16.Frombits(uint16(i)).Float32() + float16.Frombits(uint16(i+1)).Float32()) / 2
		for _, v := range []float32{mid, math.Nextafter32(mid, 0), math.Nextafter32(mid, 1e9)} {
			src = append(src, v, -v)
		}
	}
	for range 20001 {
		src = append(src, math.Float32frombits(r.Uint32()))
	}
	src = append(src, 0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), negInf, math.MaxFloat32, 65519.996, 65520, 1e-45,
		math.Float32frombits(0x7f800001), math.Float32frombits(0xffffffff))
	for i := uint32(0); i < 1<<15; i += 7 {
		src = append(src, math.Float32frombits(i<<16|0x8000), math.Float32frombits(i<<16|0x8001), math.Float32frombits(i<<16|0x7fff))
	}
	wide16 := func(b uint16) float64 { return float64(float16.Frombits(b).Float32()) }
	wideB := func(b uint16) float64 { return float64(math.Float32frombits(uint32(b) << 16)) }
	forEachISA(t, func(t *testing.T) {
		x := copyOf(t, src)
		half, brain := make([]byte, 2*len(x)), make([]byte, 2*len(x))
		Float32ToFloat16(half, x)
		Float32ToBFloat16(brain, x)
		for i, v := range x {
			h, b := binary.LittleEndian.Uint16(half[2*i:]), binary.LittleEndian.Uint16(brain[2*i:])
			if v != v {
				if !math.IsNaN(wide16(h)) || !math.IsNaN(wideB(b)) {
					t.Fatalf("NaN %08x became %04x and %04x", math.Float32bits(v), h, b)
				}
				continue
			}
			low := uint16(math.Float32bits(v) >> 16)
			if !math.IsInf(float64(v), 0) {
				if want := nearest(float64(v), low, low+1, wideB); b != want && !math.IsInf(wideB(b), 0) {
					t.Fatalf("bfloat16 of %g: %04x, want %04x", v, b, want)
				}
			}
			if want := float16.Fromfloat32(v).Bits(); h != want {
				t.Fatalf("float16 of %g: %04x, want %04x", v, h, want)
			}
		}
		if b := binary.LittleEndian.Uint16(brain[2*(len(src)-1):]); b == 0 {
			t.Fatal("nothing was written")
		}
	})
}

// Every size, so that the vector part and the rest meet in every way.
func TestHalfSizes(t *testing.T) {
	forEachISA(t, func(t *testing.T) {
		for n := range 70 {
			x := guarded(t, n)
			for i := range x {
				x[i] = float32(i) - 7.5
			}
			buf, back := make([]byte, 2*n+1), guarded(t, n)
			buf[2*n] = 0xa5
			Float32ToFloat16(buf, x)
			Float16ToFloat32(back, buf)
			for i := range x {
				if x[i] != back[i] {
					t.Fatalf("float16, %d of %d: %g", i, n, back[i])
				}
			}
			Float32ToBFloat16(buf, x)
			BFloat16ToFloat32(back, buf)
			for i := range x {
				if x[i] != back[i] {
					t.Fatalf("bfloat16, %d of %d: %g", i, n, back[i])
				}
			}
			if buf[2*n] != 0xa5 {
				t.Fatalf("wrote beyond %d numbers", n)
			}
		}
	})
}

func TestFloat8(t *testing.T) {
	src := make([]byte, 256)
	for i := range src {
		src[i] = byte(i)
	}
	var a, b [256]float32
	Float8E4M3ToFloat32(a[:], src)
	Float8E5M2ToFloat32(b[:], src)
	// Largest, smallest normal, largest and smallest denormal of the paper's table 1.
	for bits, want := range map[int]float64{0x7e: 448, 0x08: 0x1p-6, 0x07: 0.875 * 0x1p-6, 0x01: 0x1p-9, 0x00: 0, 0xc0: -2} {
		if float64(a[bits]) != want {
			t.Errorf("E4M3 %02x: %g, want %g", bits, a[bits], want)
		}
	}
	for bits, want := range map[int]float64{0x7b: 57344, 0x04: 0x1p-14, 0x03: 0.75 * 0x1p-14, 0x01: 0x1p-16, 0x7c: math.Inf(1), 0xbc: -1} {
		if float64(b[bits]) != want {
			t.Errorf("E5M2 %02x: %g, want %g", bits, b[bits], want)
		}
	}
	for _, bits := range []int{0x7f, 0xff} {
		if a[bits] == a[bits] || b[bits] == b[bits] {
			t.Errorf("%02x: %g and %g, want NaN", bits, a[bits], b[bits])
		}
	}
	if !math.Signbit(float64(a[0x80])) {
		t.Error("E4M3 80 lost its sign")
	}
}
