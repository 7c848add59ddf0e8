package metric

import (
	"math"
	"testing"
)

func metric(t *testing.T, name string, m *Moments) float64 {
	t.Helper()
	for _, x := range All() {
		if x.Name == name {
			return x.Of(m)
		}
	}
	t.Fatalf("no metric %q", name)
	return 0
}

func TestMetrics(t *testing.T) {
	for _, c := range []struct {
		name                               string
		ref, got                           []float32
		cosine, sqnr, maxAbs, meanAbs, rel float64
	}{
		{"equal", []float32{1, -2, 3}, []float32{1, -2, 3}, 1, MaxSQNR, 0, 0, 0},
		{"zeros", []float32{0, 0}, []float32{0, 0}, 1, MaxSQNR, 0, 0, 0},
		{"from zero", []float32{0, 0}, []float32{1, 0}, 0, -MaxSQNR, 1, 0.5, math.MaxFloat32},
		{"orthogonal", []float32{1, 0}, []float32{0, 1}, 0, 10 * math.Log10(0.5), 1, 1, math.Sqrt2},
		{"tenth", []float32{10, 0}, []float32{9, 0}, 1, 20, 1, 0.5, 0.1},
		{"opposite", []float32{1, 1}, []float32{-1, -1}, -1, 10 * math.Log10(0.25), 2, 2, 2},
	} {
		var m Moments
		m.Add(c.ref[:1], c.got[:1])
		m.Add(c.ref[1:], c.got[1:])
		for name, want := range map[string]float64{"cosine": c.cosine, "sqnr_db": c.sqnr, "max_abs": c.maxAbs, "mean_abs": c.meanAbs, "rel_l2": c.rel} {
			if got := metric(t, name, &m); math.Abs(got-want) > 1e-12*max(1, math.Abs(want)) {
				t.Errorf("%s: %s is %v, want %v", c.name, name, got, want)
			}
		}
	}
}

func TestCounters(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	var m Moments
	m.Add([]float32{1, 1, 1, inf, 1}, []float32{nan, inf, 70000, inf, 1})
	if m.NaN != 1 || m.Inf != 2 || m.Saturated != 1 || m.RefNonFinite != 1 || m.N != 2 || m.Broken != 2 {
		t.Errorf("counted %+v", m)
	}
	for _, x := range All() {
		if v := x.Of(&m); x.Higher && v > -1 || !x.Higher && v < WorstError {
			t.Errorf("%s is %v for a candidate that is not finite", x.Name, v)
		}
	}
	m = Moments{}
	m.Add([]float32{inf, 1}, []float32{inf, 1})
	if m.Broken != 0 || Cosine(&m) != 1 {
		t.Error("a reference that is not finite was held against the candidate")
	}
	m = Moments{}
	m.Add([]float32{nan}, []float32{nan})
	if Cosine(&m) != -1 {
		t.Error("a reference that is nowhere finite counts as equal")
	}
}
