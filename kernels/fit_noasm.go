//go:build !amd64

package kernels

func fitLanes(xq, qq *[8]float64, x []float32, inv, lo, hi float32) int { return 0 }
