package kernels

// Fit returns what a choice of scale amounts to: Σ x q and Σ q² over the stored values q = clamp(round(x*inv), lo, hi), taken
// relative to the one that stands for zero; rounding is to nearest, ties to even, as in [QuantizeRTN]. The best scale for these
// q is Σxq/Σq², and Σ(x - s q)² = Σx² - 2 s Σxq + s² Σq². X and inv are finite; lo and hi lie within ±255.
//
// The sums are taken in eight lanes, element i in lane i%8, so that they are the same bits on every instruction set.
func Fit(x []float32, inv float32, lo, hi int) (xq, qq float64) {
	var a, b [8]float64
	n := fitLanes(&a, &b, x, inv, float32(lo), float32(hi))
	fitGeneric(&a, &b, x[n:], inv, float32(lo), float32(hi))
	return (a[0] + a[4]) + (a[2] + a[6]) + ((a[1] + a[5]) + (a[3] + a[7])),
		(b[0] + b[4]) + (b[2] + b[6]) + ((b[1] + b[5]) + (b[3] + b[7]))
}

// fitGeneric adds to the lanes, starting at lane 0.
func fitGeneric(xq, qq *[8]float64, x []float32, inv, lo, hi float32) {
	const magic = 1<<23 + 1<<22 // pushes the fraction out of a float32
	for i, v := range x {
		p := float32(v * inv)
		if p > hi {
			p = hi
		}
		if p < lo {
			p = lo
		}
		q := float64(float32(p+magic) - magic)
		xq[i%8] += float64(float64(v) * q) // exact, as is the next
		qq[i%8] += float64(q * q)
	}
}
