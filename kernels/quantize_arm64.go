package kernels

import "math"

// absBits returns the greatest magnitude of x as bits.
func absBits(x []float32) uint32 {
	n, m := 0, uint32(0)
	if Active() != Portable {
		if n = len(x) &^ 15; n > 0 {
			m = absMaxNEON(&x[0], n)
		}
	}
	return max(m, math.Float32bits(absMaxGeneric(x[n:])))
}

func finite(x []float32) bool { return absBits(x) < 0x7f800000 }

func absMax(x []float32) float32 { return math.Float32frombits(absBits(x)) }

func minMax(x []float32) (lo, hi float32) { return minMaxGeneric(x) }

func quantize(dst []byte, x []float32, inv float32, zero, lo, hi int32) (sum int32) {
	n := 0
	dst = dst[:len(x)]
	if Active() != Portable {
		if n = len(x) &^ 7; n > 0 {
			sum = quantize8NEON(&dst[0], &x[0], n, inv, zero, lo, hi)
		}
	}
	return sum + quantizeGeneric(dst[n:], x[n:], inv, zero, lo, hi)
}

// quantizeWords is for instruction sets that have no products of bytes.
func quantizeWords(dst []byte, x []float32, inv float32, zero, lo, hi int32) (sum int32) {
	return quantizeWordsGeneric(dst, x, inv, zero, lo, hi)
}
