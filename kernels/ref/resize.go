package ref

import "math"

// Interpolate returns one number of a resized line at output position o, from the interpolation kernel's definition: the
// sum over all integers of the line, continued by its edge numbers, times the kernel at the distance.
func Interpolate(line []float64, o int, scale float64, alignCorners bool, kernel func(d float64) float64, reach int, clampStart bool) float64 {
	at := scale*(float64(o)+0.5) - 0.5
	if alignCorners {
		at = scale * float64(o)
	}
	if clampStart {
		at = max(at, 0)
	}
	var s float64
	for j := int(math.Floor(at)) - reach; j <= int(math.Floor(at))+reach+1; j++ {
		s += kernel(math.Abs(at-float64(j))) * line[min(max(j, 0), len(line)-1)]
	}
	return s
}

// InterpolateWide is the antialiased form: the kernel is stretched by the scale, cut at the edges and renormalised.
func InterpolateWide(line []float64, o int, scale float64, kernel func(d float64) float64, support float64) float64 {
	stretch := max(scale, 1)
	centre := scale * (float64(o) + 0.5)
	var s, weights float64
	for j, v := range line {
		if d := math.Abs(float64(j)+0.5-centre) / stretch; d < support {
			w := kernel(d)
			s += w * v
			weights += w
		}
	}
	return s / weights
}

// Triangle is the bilinear kernel.
func Triangle(d float64) float64 { return max(0, 1-d) }

// Keys returns the bicubic convolution kernel with parameter a.
func Keys(a float64) func(d float64) float64 {
	return func(d float64) float64 {
		switch {
		case d <= 1:
			return (a+2)*math.Pow(d, 3) - (a+3)*d*d + 1
		case d < 2:
			return a*math.Pow(d, 3) - 5*a*d*d + 8*a*d - 4*a
		}
		return 0
	}
}
