//go:build !amd64 && !arm64

package kernels

func finite(x []float32) bool { return finiteGeneric(x) }

func absMax(x []float32) float32 { return absMaxGeneric(x) }

func minMax(x []float32) (lo, hi float32) { return minMaxGeneric(x) }

func quantize(dst []byte, x []float32, inv float32, zero, lo, hi int32) (sum int32) {
	return quantizeGeneric(dst, x, inv, zero, lo, hi)
}

func quantizeWords(dst []byte, x []float32, inv float32, zero, lo, hi int32) (sum int32) {
	return quantizeWordsGeneric(dst, x, inv, zero, lo, hi)
}
