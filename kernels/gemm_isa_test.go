package kernels

import (
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// kernelName returns the name of the function that a kernel is.
func kernelName(kernel any) string {
	name := runtime.FuncForPC(reflect.ValueOf(kernel).Pointer()).Name()
	return name[strings.LastIndexByte(name, '.')+1:]
}

// Each instruction set runs the kernels that were made for it: a slower one in its place would pass every other test.
func TestGemmKernelsAreThoseOfTheISA(t *testing.T) {
	want := map[ISA][3]string{
		AVX512VNNI: {"floatTileAVX512", "channelTileAVX512VNNI", "int4AVX512VNNI"},
		AVX512:     {"floatTileAVX512", "channelTileAVX512", "int4AVX512"},
		AVX2:       {"floatTileAVX2", "integerTileAVX2", "int4AVX2"},
		NEONDot:    {"floatTileNEON", "integerTileNEONDot", "int4NEONDot"},
		NEON:       {"floatTileNEON", "integerTileNEON", "int4NEON"},
	}
	for _, isa := range Available() {
		if isa == Portable {
			continue
		}
		k := gemmSets[isa]
		if k == nil {
			t.Errorf("%v: no matrix kernels", isa)
			continue
		}
		got := [3]string{kernelName(k.float), kernelName(k.integer), kernelName(k.int4)}
		if names, ok := want[isa]; ok && got != names {
			t.Errorf("%v uses %v, want %v", isa, got, names)
		}
		if isa == AVXVNNI && got[1] != "integerTileAVXVNNI" && got[1] != "integerTileAVX512VL" {
			t.Errorf("%v multiplies integers with %s", isa, got[1])
		}
	}
	forEachISA(t, func(t *testing.T) {
		if w := PackFloat32(1, 1, []float32{1}, 1); w.ISA() != Active() || w.kern != gemmSets[Active()] {
			t.Errorf("weights packed for %v, active is %v", w.ISA(), Active())
		}
	})
}

func BenchmarkGemm(b *testing.B) {
	p := NewPool(1)
	defer p.Close()
	r := rand.New(rand.NewPCG(1, 1))
	const m, n, k = 197, 3072, 768
	a, c := randomFloats(r, m*k), make([]float32, m*n)
	for _, w := range []*Packed{
		PackFloat32(n, k, randomFloats(r, n*k), k), PackQuantized(randomQuantized(r, n, k, Scheme{Bits: 8}), true),
		PackQuantized(randomQuantized(r, n, k, Scheme{8, 32, false}), true), PackQuantized(randomQuantized(r, n, k, Scheme{4, 32, false}), true),
		PackQuantized(randomQuantized(r, n, k, Scheme{4, 32, false}), false),
	} {
		b.Run(w.Scheme(), func(b *testing.B) {
			var s Scratch
			g := &Gemm{M: m, A: a, LDA: k, W: w, C: c, LDC: n}
			for b.Loop() {
				p.Gemm(g, &s)
			}
			b.ReportMetric(2*m*n*k*float64(b.N)/b.Elapsed().Seconds()*1e-9, "GOP/s")
		})
	}
}
