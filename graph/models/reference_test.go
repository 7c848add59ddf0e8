package models

import (
	"math"

	"github.com/mmconv/mmconv/graph"
)

// The layers of projectors over one sample's tokens, in float64 and in loops: what systems without a recorded original are held
// against.

// tokenRows are the tokens of one sample.
type tokenRows [][]float64

// rowsOf returns sample i of [B, S, D].
func rowsOf(x *graph.Tensor, i int) tokenRows {
	s, d := x.Shape[1], x.Shape[2]
	out := make(tokenRows, s)
	for r := range out {
		for _, v := range x.Data[(i*s+r)*d:][:d] {
			out[r] = append(out[r], float64(v))
		}
	}
	return out
}

// linear is x W^T + bias with the tensors of a stem; a bias that is not there is none.
func (ts tensors) linear(x tokenRows, stem string) tokenRows {
	w, bias := ts[stem+".weight"], ts[stem+".bias"]
	out := make(tokenRows, len(x))
	for r := range x {
		for o := range w.Shape[0] {
			sum := 0.0
			for c, v := range x[r] {
				sum += v * float64(w.Data[o*len(x[r])+c])
			}
			if bias != nil {
				sum += float64(bias.Data[o])
			}
			out[r] = append(out[r], sum)
		}
	}
	return out
}

// norm is a layer norm.
func (ts tensors) layerNorm(x tokenRows, stem string, eps float64) tokenRows {
	gain, bias := ts[stem+".weight"].Data, ts[stem+".bias"].Data
	out := make(tokenRows, len(x))
	for r := range x {
		n := float64(len(x[r]))
		mean, square := 0.0, 0.0
		for _, v := range x[r] {
			mean += v / n
		}
		for _, v := range x[r] {
			square += (v - mean) * (v - mean) / n
		}
		for c, v := range x[r] {
			out[r] = append(out[r], (v-mean)/math.Sqrt(square+eps)*float64(gain[c])+float64(bias[c]))
		}
	}
	return out
}

// attend is softmax attention by heads.
func attend(q, k, v tokenRows, heads int) tokenRows {
	d := len(q[0]) / heads
	out := make(tokenRows, len(q))
	for i := range q {
		out[i] = make([]float64, len(v[0]))
		for h := range heads {
			weights, sum := make([]float64, len(k)), 0.0
			for j := range k {
				score := 0.0
				for c := h * d; c < (h+1)*d; c++ {
					score += q[i][c] * k[j][c]
				}
				weights[j] = math.Exp(score / math.Sqrt(float64(d)))
				sum += weights[j]
			}
			for j := range k {
				for c := h * d; c < (h+1)*d; c++ {
					out[i][c] += weights[j] / sum * v[j][c]
				}
			}
		}
	}
	return out
}

func (x tokenRows) plus(y tokenRows) tokenRows {
	out := make(tokenRows, len(x))
	for r := range x {
		for c := range x[r] {
			out[r] = append(out[r], x[r][c]+y[r][c])
		}
	}
	return out
}

func (x tokenRows) gelu() tokenRows {
	out := make(tokenRows, len(x))
	for r := range x {
		for _, v := range x[r] {
			out[r] = append(out[r], 0.5*v*(1+math.Erf(v/math.Sqrt2)))
		}
	}
	return out
}

// turned exchanges tokens and channels.
func (x tokenRows) turned() tokenRows {
	out := make(tokenRows, len(x[0]))
	for r := range x {
		for c, v := range x[r] {
			out[c] = append(out[c], v)
		}
	}
	return out
}
