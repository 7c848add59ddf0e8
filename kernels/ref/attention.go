package ref

import "math"

// Tensor is a view of numbers [batch, row, head, dim] through a function.
type Tensor func(b, row, head, d int) float64

// Attention returns softmax(scale q k^T + bias) v for one query; bias gives minus infinity for a masked key. A query that
// sees no key gives zeros.
func Attention(q, k, v Tensor, b, query, head, kvHead, keys, dim, valueDim int, scale float64, bias func(key int) float64) []float64 {
	scores := make([]float64, keys)
	masked := true
	for j := range scores {
		for d := range dim {
			scores[j] += q(b, query, head, d) * k(b, j, kvHead, d)
		}
		scores[j] = scores[j]*scale + bias(j)
		masked = masked && math.IsInf(scores[j], -1)
	}
	out := make([]float64, valueDim)
	if masked {
		return out
	}
	for j, p := range Softmax(scores) {
		for d := range out {
			out[d] += p * v(b, j, kvHead, d)
		}
	}
	return out
}
