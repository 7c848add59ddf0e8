package kernels

//go:generate go -C _asm run ./fit -out ../fit_amd64.s -stubs ../fit_stubs_amd64.go -pkg kernels

// fitLanes fills the lanes from as many whole vectors as there are and returns how many values these were.
func fitLanes(xq, qq *[8]float64, x []float32, inv, lo, hi float32) int {
	n := len(x) &^ 7
	if n == 0 || vectorLanes() == 0 {
		return 0
	}
	fitAVX2(&xq[0], &qq[0], &x[0], n, inv, lo, hi)
	return n
}
