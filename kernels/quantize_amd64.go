package kernels

import (
	"math"
	"slices"
)

// vectorLanes returns the numbers in a vector of the kernels of this file, 0 where they cannot be used.
func vectorLanes() int {
	switch Active() {
	case AVX512VNNI, AVX512:
		return 16
	case AVXVNNI, AVX2:
		return 8
	}
	return 0
}

// absBits returns the greatest magnitude of x as bits.
func absBits(x []float32) uint32 {
	var (
		lanes [16]uint32
		width = vectorLanes()
		n     = 0
	)
	if width > 0 {
		n = len(x) / (4 * width) * (4 * width)
	}
	switch {
	case n == 0:
	case width == 16:
		absMaxAVX512(&lanes[0], &x[0], n)
	default:
		absMaxAVX2(&lanes[0], &x[0], n)
	}
	return max(slices.Max(lanes[:]), math.Float32bits(absMaxGeneric(x[n:])))
}

func finite(x []float32) bool { return absBits(x) < 0x7f800000 }

func absMax(x []float32) float32 { return math.Float32frombits(absBits(x)) }

func minMax(x []float32) (lo, hi float32) {
	width := vectorLanes()
	if width == 0 || len(x) < 2*width {
		return minMaxGeneric(x)
	}
	n := len(x) / (2 * width) * (2 * width)
	// The numbers after the last vectors, and infinities that any number replaces.
	var least, most [16]float32
	for i := range least {
		least[i], most[i] = float32(math.Inf(1)), float32(math.Inf(-1))
	}
	if width == 16 {
		minMaxAVX512(&least[0], &most[0], &x[0], n)
	} else {
		minMaxAVX2(&least[0], &most[0], &x[0], n)
	}
	lo, hi = float32(math.Inf(1)), float32(math.Inf(-1))
	for i := range least {
		lo, hi = min(lo, least[i]), max(hi, most[i])
	}
	if n < len(x) {
		l, h := minMaxGeneric(x[n:])
		if l == l {
			lo, hi = min(lo, l), max(hi, h)
		}
	}
	if lo > hi {
		return float32(math.NaN()), float32(math.NaN())
	}
	return lo + 0, hi + 0
}

func quantize(dst []byte, x []float32, inv float32, zero, lo, hi int32) (sum int32) {
	width, n := vectorLanes(), 0
	dst = dst[:len(x)]
	if width > 0 {
		n = len(x) &^ (width - 1)
	}
	switch {
	case n == 0:
	case width == 16:
		sum = quantize8AVX512(&dst[0], &x[0], n, inv, zero, lo, hi)
	default:
		sum = quantize8AVX2(&dst[0], &x[0], n, inv, zero, lo, hi)
	}
	return sum + quantizeGeneric(dst[n:], x[n:], inv, zero, lo, hi)
}

func quantizeWords(dst []byte, x []float32, inv float32, zero, lo, hi int32) (sum int32) {
	width, n := vectorLanes(), 0
	dst = dst[:2*len(x)]
	if width > 0 {
		n = len(x) &^ (width - 1)
	}
	switch {
	case n == 0:
	case width == 16:
		sum = quantize16AVX512(&dst[0], &x[0], n, inv, zero, lo, hi)
	default:
		sum = quantize16AVX2(&dst[0], &x[0], n, inv, zero, lo, hi)
	}
	return sum + quantizeWordsGeneric(dst[2*n:], x[n:], inv, zero, lo, hi)
}
