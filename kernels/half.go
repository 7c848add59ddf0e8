package kernels

import (
	"encoding/binary"
	"math"

	"github.com/x448/float16"
)

// The functions below convert between float32 and little-endian numbers of one or two bytes, as files hold them. Widening
// is exact. Narrowing rounds to nearest, ties to even: a relative error of at most 2^-11 for float16 (2^-25 absolute below
// 2^-14) and 2^-8 for bfloat16. Overflow gives infinity, a NaN stays a NaN. Bytes need no alignment.

// Float16ToFloat32 widens len(dst) IEEE binary16 numbers; src must hold at least 2*len(dst) bytes.
func Float16ToFloat32(dst []float32, src []byte) {
	src = src[:2*len(dst)]
	done := float16ToFloat32Vector(dst, src)
	float16ToFloat32Generic(dst[done:], src[2*done:])
}

// BFloat16ToFloat32 widens len(dst) bfloat16 numbers; src must hold at least 2*len(dst) bytes.
func BFloat16ToFloat32(dst []float32, src []byte) {
	src = src[:2*len(dst)]
	done := bfloat16ToFloat32Vector(dst, src)
	bfloat16ToFloat32Generic(dst[done:], src[2*done:])
}

// Float32ToFloat16 narrows src to IEEE binary16; dst must hold at least 2*len(src) bytes.
func Float32ToFloat16(dst []byte, src []float32) {
	dst = dst[:2*len(src)]
	done := float32ToFloat16Vector(dst, src)
	float32ToFloat16Generic(dst[2*done:], src[done:])
}

// Float32ToBFloat16 narrows src to bfloat16; dst must hold at least 2*len(src) bytes.
func Float32ToBFloat16(dst []byte, src []float32) {
	dst = dst[:2*len(src)]
	done := float32ToBFloat16Vector(dst, src)
	float32ToBFloat16Generic(dst[2*done:], src[done:])
}

// Float8E4M3ToFloat32 widens len(dst) numbers of 4 exponent and 3 mantissa bits, the variant without infinities (E4M3FN in
// Micikevicius et al., arXiv:2209.05433, table 1): bias 7, largest 448, 0x7f and 0xff are NaN.
func Float8E4M3ToFloat32(dst []float32, src []byte) { lookUp(dst, src, &e4m3) }

// Float8E5M2ToFloat32 widens len(dst) numbers of 5 exponent and 2 mantissa bits (same paper): the upper byte of a binary16.
func Float8E5M2ToFloat32(dst []float32, src []byte) { lookUp(dst, src, &e5m2) }

func lookUp(dst []float32, src []byte, table *[256]float32) {
	src = src[:len(dst)]
	for i := range dst {
		dst[i] = table[src[i]]
	}
}

var e4m3, e5m2 = float8Tables()

func float8Tables() (e4m3, e5m2 [256]float32) {
	for b := range 256 {
		e5m2[b] = float16.Frombits(uint16(b) << 8).Float32()
		exponent, mantissa := b>>3&15, b&7
		var v float64
		switch {
		case exponent == 15 && mantissa == 7:
			v = math.NaN()
		case exponent == 0:
			v = math.Ldexp(float64(mantissa), -9)
		default:
			v = math.Ldexp(float64(8+mantissa), exponent-10)
		}
		e4m3[b] = float32(v)
		if b >= 128 {
			e4m3[b] = -e4m3[b]
		}
	}
	return e4m3, e5m2
}

func float16ToFloat32Generic(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float16.Frombits(binary.LittleEndian.Uint16(src[2*i:])).Float32()
	}
}

func bfloat16ToFloat32Generic(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

func float32ToFloat16Generic(dst []byte, src []float32) {
	for i, x := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], float16.Fromfloat32(x).Bits())
	}
}

func float32ToBFloat16Generic(dst []byte, src []float32) {
	for i, x := range src {
		b := math.Float32bits(x)
		if x != x {
			b |= 1 << 22 // rounding must not turn a NaN into infinity
		} else {
			b += 0x7fff + b>>16&1
		}
		binary.LittleEndian.PutUint16(dst[2*i:], uint16(b>>16))
	}
}
