package kernels

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/mmconv/mmconv/kernels/ref"
)

// oddSizes are around the widths of registers and of unrolled loops.
var oddSizes = []int{0, 1, 2, 3, 5, 7, 8, 9, 13, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 97, 127, 128, 129, 197, 768}

// copyOf returns x in memory that ends at a guard page.
func copyOf(t testing.TB, x []float32) []float32 {
	g := guarded(t, len(x))
	copy(g, x)
	return g
}

// activationBudget is the error that each vectorised activation is allowed, on top of that of its rounding to float32:
// relative to the result, and absolute.
var activationBudget = map[Activation]struct{ ulp, abs float64 }{
	ActGELU:        {2.5, 3e-8},
	ActGELUTanh:    {3.5, 4e-8},
	ActQuickGELU:   {3, 2e-8},
	ActSiLU:        {3, 2e-8},
	ActSigmoid:     {3, 0x1p-126},
	ActTanh:        {5, 0},
	ActHardswish:   {3, 0},
	ActHardsigmoid: {2, 3e-8},
	ActELU:         {1, 6e-8},
	ActExp:         {1.5, 0},
	ActErf:         {2, 3e-8},
	ActSquaredReLU: {0.5, 0},
	ActLeakyReLU:   {1, 0},
}

func TestActivations(t *testing.T) {
	forEachISA(t, func(t *testing.T) {
		var x []float32
		for v := -110.0; v < 110; v += 0.00137 {
			x = append(x, float32(v))
		}
		for e := -126; e < 3; e++ {
			for f := 1.0; f < 2; f += 0.013 {
				x = append(x, float32(math.Ldexp(f, e)), -float32(math.Ldexp(f, e)))
			}
		}
		x = append(x, 0, float32(math.Copysign(0, -1)), 1e30, 3e38, -1e30, -3e38)
		got := make([]float32, len(x))
		for _, act := range Activations() {
			Activate(act, got, x)
			f, budget := ref.Activations[act.String()], activationBudget[act]
			var worstULP, worstAbs, at float64
			for i, v := range x {
				want := f(float64(v))
				if float32(want) == got[i] || want == 0 && got[i] == 0 {
					continue
				}
				diff := math.Abs(float64(got[i]) - want)
				if math.IsInf(float64(float32(want)), 0) || math.IsNaN(diff) {
					t.Fatalf("%s(%g) = %g, want %g", act, v, got[i], want)
				}
				worstAbs = max(worstAbs, diff/max(1, math.Abs(want)))
				unit := math.Ldexp(1, max(math.Ilogb(want), -126)-23)
				if u := max(diff-budget.abs, 0) / unit; u > worstULP {
					worstULP, at = u, float64(v)
				}
			}
			t.Logf("%s: %.2f ULP beyond %.0e at %g, absolute %.2g", act, worstULP, budget.abs, at, worstAbs)
			if worstULP > max(budget.ulp, 0.5) {
				t.Errorf("%s: %.2f ULP beyond %g, allowed %g", act, worstULP, budget.abs, budget.ulp)
			}
			nan := []float32{1, float32(math.NaN()), 2}
			Activate(act, nan, nan)
			if nan[1] == nan[1] {
				t.Errorf("%s(NaN) = %g", act, nan[1])
			}
		}
	})
}

func TestActivationSizes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	forEachISA(t, func(t *testing.T) {
		for _, n := range oddSizes {
			x := copyOf(t, randomFloats(r, n))
			for _, act := range Activations() {
				// A number's result must not depend on where it stands.
				want := make([]float32, n)
				for i := range x {
					Activate(act, want[i:i+1], x[i:i+1])
				}
				got := guarded(t, n)
				Activate(act, got, x)
				for i := range want {
					if want[i] != got[i] {
						t.Fatalf("%s, %d of %d: %g, alone %g", act, i, n, got[i], want[i])
					}
				}
			}
		}
	})
}
