//go:build !amd64

package kernels

func peak(u Unit, n int) float64 { return peakGeneric(u, n) }

func read(p []byte, _ int) { readGeneric(p) }
