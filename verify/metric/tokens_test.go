package metric

import (
	"math"
	"testing"
)

func TestTokens(t *testing.T) {
	var e Tokens
	if e.Errors() != nil {
		t.Error("errors of no tokens")
	}
	for i := range 200 {
		e.Add([]float32{3, 4}, []float32{3, 4 + 5*float32(i)/200}, 2)
	}
	got := e.Errors()
	for name, v := range map[string][2]float64{"mean": {got.Mean, 0.4975}, "p99": {got.P99, 197.0 / 200}, "worst": {got.Worst, 199.0 / 200}} {
		if math.Abs(v[0]-v[1]) > 1e-5 {
			t.Errorf("%s: %g, want %g", name, v[0], v[1])
		}
	}
	if got.Count != 200 {
		t.Errorf("%d tokens, want 200", got.Count)
	}
}
