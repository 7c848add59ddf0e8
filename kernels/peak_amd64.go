package kernels

import "golang.org/x/sys/cpu"

// peak runs n iterations and returns the operations of one: accumulators x lanes x 2, and x 4 or x 2 for the products that
// an integer instruction adds up in a lane.
func peak(u Unit, n int) float64 {
	switch isa := Active(); {
	case isa == Portable:
		return peakGeneric(u, n)
	case u == UnitFloat32 && (isa == AVX512 || isa == AVX512VNNI):
		peakFloatAVX512(n)
		return 28 * 16 * 2
	case u == UnitFloat32:
		peakFloatAVX2(n)
		return 12 * 8 * 2
	case isa == AVX512VNNI:
		peakIntegerAVX512VNNI(n)
		return 28 * 16 * 2 * 4
	case isa == AVX512:
		peakIntegerAVX512(n)
		return 26 * 16 * 2 * 2
	case isa == AVXVNNI && cpu.X86.HasAVXVNNI:
		peakIntegerAVXVNNI(n)
		return 12 * 8 * 2 * 4
	case isa == AVXVNNI:
		peakIntegerAVX512VL(n)
		return 12 * 8 * 2 * 4
	default:
		peakIntegerAVX2(n)
		return 10 * 8 * 2 * 2
	}
}

func read(p []byte, pattern int) {
	streams := pattern == 1
	switch isa := Active(); {
	case isa == Portable:
		readGeneric(p)
	case isa == AVX512 || isa == AVX512VNNI:
		if streams {
			readStreamsAVX512(&p[0], len(p))
		} else {
			readStreamAVX512(&p[0], len(p))
		}
	case streams:
		readStreamsAVX2(&p[0], len(p))
	default:
		readStreamAVX2(&p[0], len(p))
	}
}
