package kernels

import "math"

const maxFloat32 = math.MaxFloat32

var negInf = float32(math.Inf(-1))

// Softmax writes exp(x - max) / sum(exp(x - max)) of each of rows rows of cols numbers. dst may be x. A row of only -Inf
// becomes NaN.
func Softmax(dst, x []float32, rows, cols int) {
	if cols == 0 {
		return
	}
	for r := range rows {
		xr, dr := x[r*cols:(r+1)*cols], dst[r*cols:(r+1)*cols]
		s := expSum(dr, xr, MaxOf(xr))
		Scale(dr, dr, float32(1/s))
	}
}

// LogSoftmax writes x - max - log(sum(exp(x - max))) of each row. dst may be x, but must not overlap it otherwise.
func LogSoftmax(dst, x []float32, rows, cols int) {
	if cols == 0 {
		return
	}
	for r := range rows {
		xr, dr := x[r*cols:(r+1)*cols], dst[r*cols:(r+1)*cols]
		m := MaxOf(xr)
		var s float64
		for _, v := range xr {
			s += math.Exp(float64(v) - float64(m))
		}
		shift := float64(m) + math.Log(s)
		for i, v := range xr {
			dr[i] = float32(float64(v) - shift)
		}
	}
}

// expSum writes exp(x - shift) and returns the sum.
func expSum(dst, x []float32, shift float32) (s float64) {
	if len(x) == 0 {
		return 0
	}
	if s, ok := expSumVector(dst[:len(x)], x, shift); ok {
		return s
	}
	for i, v := range x {
		e := float32(math.Exp(float64(v - shift)))
		dst[i] = e
		s += float64(e)
	}
	return s
}
