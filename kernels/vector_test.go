package kernels

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkVector times the row kernels on 257 rows of 1024 numbers, the width of ViT-L/14.
func BenchmarkVector(b *testing.B) {
	const rows, cols = 257, 1024
	r := rand.New(rand.NewPCG(35, 36))
	x, y, dst, half := randomFloats(r, rows*cols), randomFloats(r, rows*cols), make([]float32, rows*cols), make([]byte, 2*rows*cols)
	rot := Rotary{Dim: 64, Cos: x, Sin: y}
	for _, k := range []struct {
		name string
		f    func()
	}{
		{"LayerNorm", func() { LayerNorm(dst, x, rows, cols, x, y, 1e-5) }},
		{"RMSNorm", func() { RMSNorm(dst, x, rows, cols, x, 1e-5) }},
		{"GroupNormByChannel", func() { GroupNorm(dst, x, 1, rows, cols, cols, x, y, 1e-5) }},
		{"Softmax", func() { Softmax(dst, x, rows, cols) }},
		{"GELU", func() { Activate(ActGELU, dst, x) }},
		{"GELUTanh", func() { Activate(ActGELUTanh, dst, x) }},
		{"QuickGELU", func() { Activate(ActQuickGELU, dst, x) }},
		{"Tanh", func() { Activate(ActTanh, dst, x) }},
		{"Add", func() { Add(dst, x, y) }},
		{"Rotary", func() { rot.Apply(Heads{Data: dst, Row: cols, Head: 64}, 0, cols/64, 0, 0, rows) }},
		{"Float16ToFloat32", func() { Float16ToFloat32(dst, half) }},
		{"Float32ToFloat16", func() { Float32ToFloat16(half, x) }},
		{"BFloat16ToFloat32", func() { BFloat16ToFloat32(dst, half) }},
	} {
		b.Run(k.name, func(b *testing.B) {
			for b.Loop() {
				k.f()
			}
			b.ReportMetric(float64(rows*cols*b.N)/float64(b.Elapsed().Nanoseconds()), "Gnumbers/s")
		})
	}
}
