package kernels

// sum adds x up in float64.
func sum(x []float32) (s float64) {
	if len(x) == 0 {
		return 0
	}
	if s, ok := sumVector(x); ok {
		return s
	}
	for _, v := range x {
		s += float64(v)
	}
	return s
}

// sumSquaredDeviations adds up (x - mean)^2 in float64.
func sumSquaredDeviations(x []float32, mean float32) (s float64) {
	if len(x) == 0 {
		return 0
	}
	if s, ok := sumSquaredDeviationsVector(x, mean); ok {
		return s
	}
	for _, v := range x {
		d := float64(v) - float64(mean)
		s += d * d
	}
	return s
}

// MaxOf returns the largest of x, which must not be empty and should hold no NaN.
func MaxOf(x []float32) float32 {
	if m, ok := maximumVector(x); ok {
		return m
	}
	m := x[0]
	for _, v := range x[1:] {
		m = max(m, v)
	}
	return m
}
