package kernels

import (
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/cpu"
)

// The 256-bit dot product has a VEX and an EVEX form; a processor with both runs the former, so that the latter is tested
// here. Their sums are of integers: the results are the same bits.
func TestBothFormsOfTheNarrowDotProduct(t *testing.T) {
	if !cpu.X86.HasAVXVNNI || !cpu.X86.HasAVX512VNNI || !cpu.X86.HasAVX512VL {
		t.Skip("this processor does not have both forms")
	}
	if !slices.Contains(Available(), AVXVNNI) {
		t.Fatal("AVX-VNNI is not available on a processor that has it")
	}
	was := Active()
	set := gemmSets[AVXVNNI]
	defer func() { gemmSets[AVXVNNI] = set; active.Store(uint32(was)) }()
	if err := SetISA(AVXVNNI); err != nil {
		t.Fatal(err)
	}
	p := NewPool(1)
	defer p.Close()
	for m := 1; m <= 7; m++ {
		const n, k = 40, 70
		var results [2][]float32
		for form, kernel := range []func(*tile){integerTileAVXVNNI, integerTileAVX512VL} {
			other := *set
			other.integer = kernel
			gemmSets[AVXVNNI] = &other
			r := rand.New(rand.NewPCG(1, uint64(m)))
			var s Scratch
			g := &Gemm{M: m, A: randomFloats(r, m*k), LDA: k, W: PackQuantized(randomQuantized(r, n, k, Scheme{8, 32, false}), true), C: make([]float32, m*n), LDC: n}
			p.Gemm(g, &s)
			results[form] = g.C
		}
		if !slices.Equal(results[0], results[1]) {
			t.Errorf("%d rows: VEX and EVEX forms differ", m)
		}
	}
}
