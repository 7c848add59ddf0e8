package quant

import (
	"math"

	"github.com/mmconv/mmconv/kernels"
)

// Budget bounds the error of a number format, whatever the method: a test holds every method to it.
type Budget struct {
	// Steps bounds the error of a single weight under round-to-nearest, in scales. It is a half for rounding, and for
	// asymmetric schemes another half at the ends of the range, which the rounding of the zero point moves. Scales stored as
	// float16 add up to 2^-11 of the greatest stored value.
	Steps float64
	// SQNR is the least signal-to-noise ratio of normally distributed weights in dB, 10 log10(Σw²/Σ(w-w')²), for rows of up
	// to 4096 values. Uniform rounding gives 6.02 bits + 4.77 - 20 log10(peak/rms) dB; the peak of a group of G normal values
	// is about sqrt(2 ln G) times their rms.
	SQNR float64
}

// BudgetOf returns the error budget of a scheme; half says that scales are stored as float16.
func BudgetOf(s kernels.Scheme, half bool) Budget {
	b := Budget{Steps: 0.5}
	top := levels(s) // values that the range spans on one side of zero, or altogether
	if s.Asymmetric {
		b.Steps = 1
		top /= 2
	}
	if half {
		b.Steps += levels(s) * 0x1p-11
	}
	b.Steps += levels(s) * 0x1p-22 // of float32 arithmetic
	group := s.Group
	if group == 0 {
		group = 4096
	}
	// The noise of rounding is a step²/12, and a step is peak/top. A decibel is left for the group's peak to vary.
	peak := math.Sqrt(2 * math.Log(float64(group)))
	b.SQNR = 10*math.Log10(12*top*top) - 20*math.Log10(peak) - 1
	return b
}
