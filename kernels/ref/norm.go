package ref

import "math"

// Normalize returns (x - mean) / sqrt(variance + eps) * gain + bias over all of x; gain and bias may be nil.
func Normalize(x, gain, bias []float32, eps float64) []float64 {
	var mean, variance float64
	for _, v := range x {
		mean += float64(v) / float64(len(x))
	}
	for _, v := range x {
		d := float64(v) - mean
		variance += d * d / float64(len(x))
	}
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = (float64(v) - mean) / math.Sqrt(variance+eps)
		if gain != nil {
			out[i] *= float64(gain[i])
		}
		if bias != nil {
			out[i] += float64(bias[i])
		}
	}
	return out
}

// RootMeanSquare returns sqrt(mean(x^2) + eps).
func RootMeanSquare(x []float32, eps float64) float64 {
	var s float64
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return math.Sqrt(s/float64(len(x)) + eps)
}

// Softmax returns exp(x) / sum(exp(x)).
func Softmax(x []float64) []float64 {
	largest, sum := math.Inf(-1), 0.0
	for _, v := range x {
		largest = max(largest, v)
	}
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = math.Exp(v - largest)
		sum += out[i]
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}
