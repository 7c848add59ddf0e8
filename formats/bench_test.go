package formats

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// Each reports bytes of the file a second.

func benchmarkFile(b *testing.B, dtype DType, mib int) string {
	path := filepath.Join(b.TempDir(), "model.safetensors")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	piece := make([]byte, 1<<20)
	for i := range piece {
		piece[i] = byte(i * 31 >> 3 & 0x3b) // finite in every type
	}
	err = WriteSafetensors(f, nil, []Entry{{"a", dtype, []int{mib << 20 / dtype.Size()}, func(w io.Writer) error {
		for range mib {
			if _, err := w.Write(piece); err != nil {
				return err
			}
		}
		return nil
	}}})
	if err != nil {
		b.Fatal(err)
	}
	f.Close()
	return path
}

func BenchmarkFloat32s(b *testing.B) {
	for _, d := range []DType{F32, F16, BF16, F64} {
		for _, noMmap := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/mmap=%v", d, !noMmap), func(b *testing.B) {
				const mib = 64
				c, err := Open(benchmarkFile(b, d, mib), Options{NoMmap: noMmap})
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				x, _ := c.Tensor("a")
				row := make([]float32, 4096)
				b.SetBytes(mib << 20)
				for b.Loop() {
					for off := 0; off < x.Len(); off += len(row) {
						if err := x.Float32s(row, off); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}

func BenchmarkSHA256(b *testing.B) {
	const mib = 256
	path := benchmarkFile(b, F32, mib)
	b.SetBytes(mib << 20)
	for b.Loop() {
		c, err := Open(path, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := c.HashAsync(2)(); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

func BenchmarkWriteSafetensors(b *testing.B) {
	const mib = 64
	data := make([]byte, 1<<20)
	path := filepath.Join(b.TempDir(), "m")
	b.SetBytes(mib << 20)
	for b.Loop() {
		f, err := os.Create(path)
		if err != nil {
			b.Fatal(err)
		}
		if err := WriteSafetensors(f, nil, []Entry{{"a", U8, []int{mib << 20}, func(w io.Writer) error {
			for range mib {
				if _, err := w.Write(data); err != nil {
					return err
				}
			}
			return nil
		}}}); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
