package metric

import (
	"math"
	"slices"
)

// Moments are running sums over pairs of reference and candidate values, from which every metric is computed, so that a
// tensor is looked at once and samples can be streamed. A candidate that is not finite where the reference is makes every
// metric its worst.
type Moments struct {
	N                   int64
	Ref2, Got2, RefGot  float64 // sums of squares and of products
	Diff2, DiffAbs      float64
	MaxDiff, MaxRef     float64
	NaN, Inf, Saturated int64 // in the candidate; Saturated: beyond the range of float16
	Broken              int64 // the candidate is not finite where the reference is
	RefNonFinite        int64 // in the reference
}

// maxFloat16 is the largest finite value of IEEE half precision.
const maxFloat16 = 65504

// Add takes the values of one tensor in; both have the same length. Pairs with a value that is not finite are counted and
// kept out of the sums.
func (m *Moments) Add(ref, got []float32) {
	for i, r32 := range ref {
		r, g := float64(r32), float64(got[i])
		if math.IsNaN(r) || math.IsInf(r, 0) {
			m.RefNonFinite++
		}
		switch {
		case math.IsNaN(g):
			m.NaN++
		case math.IsInf(g, 0):
			m.Inf++
		case math.Abs(g) > maxFloat16:
			m.Saturated++
		}
		d := math.Abs(g - r)
		if math.IsNaN(d) || math.IsInf(d, 0) {
			if !math.IsNaN(r) && !math.IsInf(r, 0) {
				m.Broken++
			}
			continue
		}
		m.N++
		m.Ref2 += r * r
		m.Got2 += g * g
		m.RefGot += r * g
		m.Diff2 += d * d
		m.DiffAbs += d
		m.MaxDiff = max(m.MaxDiff, d)
		m.MaxRef = max(m.MaxRef, math.Abs(r))
	}
}

// Metric is a figure of how far a candidate's values are from the reference's.
type Metric struct {
	Name   string // also its JSON key and its flag: "cosine"
	Title  string // the column's head
	Higher bool   // higher is better
	Of     func(*Moments) float64
	order  int
}

var metrics []Metric

// Register makes a metric known to reports and bounds; order places its column.
func Register(order int, m Metric) (none struct{}) {
	m.order = order
	metrics = append(metrics, m)
	slices.SortStableFunc(metrics, func(a, b Metric) int { return a.order - b.order })
	return none
}

// All returns all metrics in the order of their columns.
func All() []Metric { return slices.Clone(metrics) }

// WorstError stands for an error that is not finite, which JSON cannot hold.
const WorstError = math.MaxFloat32

// MaxSQNR is reported, in dB, for a candidate that equals the reference: an infinite ratio is no JSON number.
const MaxSQNR = 200.0

var (
	// Cosine of the angle between the flattened tensors; two that are all zero count as equal.
	_ = Register(0, Metric{Name: "cosine", Title: "cosine", Higher: true, Of: Cosine})
	// SQNR is the signal-to-quantization-noise ratio, 10 log10(sum ref^2 / sum (got-ref)^2), in dB.
	_ = Register(1, Metric{Name: "sqnr_db", Title: "SQNR dB", Higher: true, Of: SQNR})
	_ = Register(2, Metric{Name: "max_abs", Title: "max abs", Of: maxAbs})
	_ = Register(3, Metric{Name: "mean_abs", Title: "mean abs", Of: meanAbs})
	// Relative L2 is ||got - ref|| / ||ref||.
	_ = Register(4, Metric{Name: "rel_l2", Title: "rel L2", Of: RelL2})
)

// broken reports whether nothing can be said for the candidate: it is not finite where the reference is, or the reference
// is finite nowhere.
func (m *Moments) broken() bool { return m.Broken > 0 || m.N == 0 && m.RefNonFinite > 0 }

// Cosine of the angle between the flattened tensors; -1 where nothing can be said for the candidate.
func Cosine(m *Moments) float64 {
	if m.broken() {
		return -1
	}
	if m.Ref2 == 0 && m.Got2 == 0 {
		return 1
	}
	if m.Ref2 == 0 || m.Got2 == 0 {
		return 0
	}
	if m.Diff2 == 0 {
		return 1
	}
	return max(-1, min(1, m.RefGot/math.Sqrt(m.Ref2)/math.Sqrt(m.Got2)))
}

// SQNR in dB, between -[MaxSQNR] and [MaxSQNR].
func SQNR(m *Moments) float64 {
	switch {
	case m.broken():
		return -MaxSQNR
	case m.Diff2 == 0:
		return MaxSQNR
	case m.Ref2 == 0:
		return -MaxSQNR
	}
	return max(-MaxSQNR, min(MaxSQNR, 10*math.Log10(m.Ref2/m.Diff2)))
}

func maxAbs(m *Moments) float64 {
	if m.broken() {
		return WorstError
	}
	return m.MaxDiff
}

func meanAbs(m *Moments) float64 {
	if m.broken() {
		return WorstError
	}
	return m.DiffAbs / float64(max(m.N, 1))
}

// RelL2 is the norm of the difference over that of the reference.
func RelL2(m *Moments) float64 {
	switch {
	case m.broken():
		return WorstError
	case m.Diff2 == 0:
		return 0
	case m.Ref2 == 0:
		return WorstError
	}
	return math.Sqrt(m.Diff2 / m.Ref2)
}
