package metric

import (
	"math"
	"slices"
)

// Tokens are the errors of embeddings, one a token: ||got - ref|| / ||ref||.
type Tokens struct{ errors []float64 }

// Add takes in tokens of width channels.
func (t *Tokens) Add(ref, got []float32, width int) {
	for i := 0; width > 0 && i+width <= len(ref); i += width {
		var m Moments
		m.Add(ref[i:i+width], got[i:i+width])
		t.errors = append(t.errors, RelL2(&m))
	}
}

// TokenErrors sums up the errors of embeddings by token.
type TokenErrors struct {
	Count int     `json:"count"`
	Mean  float64 `json:"mean"`
	P99   float64 `json:"p99"` // at most one token in a hundred has a larger error
	Worst float64 `json:"worst"`
}

// Errors returns nil where no token was seen.
func (t *Tokens) Errors() *TokenErrors {
	n := len(t.errors)
	if n == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(t.errors))
	e := &TokenErrors{Count: n, Worst: sorted[n-1], P99: sorted[int(math.Ceil(0.99*float64(n)))-1]}
	for _, v := range sorted {
		e.Mean += v / float64(n)
	}
	return e
}
