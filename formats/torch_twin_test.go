package formats

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"
)

// Publishers' PyTorch files lie beside safetensors of the same weights: both must give the same bytes for the same names.
func TestTorchTwins(t *testing.T) {
	var twins []string
	for _, pattern := range []string{"*/checkpoint/*.bin", "*/checkpoint/*.pt", "*/checkpoint/*.pth"} {
		twins = append(twins, goldens(t, pattern)...)
	}
	if len(twins) == 0 {
		t.Skip("no recorded checkpoints here")
	}
	for _, path := range twins {
		for _, noMmap := range []bool{false, true} {
			a, err := Open(path, Options{NoMmap: noMmap})
			if err != nil {
				t.Error(err)
				continue
			}
			b, err := Open(filepath.Join(filepath.Dir(path), "model.safetensors"), Options{NoMmap: noMmap})
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Names()) == 0 {
				t.Errorf("%s: no tensors", path)
			}
			// A projector's file holds a part of the model.
			if filepath.Base(path) != "mm_projector.bin" && !slices.Equal(a.Names(), b.Names()) {
				t.Errorf("%s: names differ from the safetensors file's:\n%v\n%v", path, a.Names(), b.Names())
			}
			for _, name := range a.Names() {
				x, _ := a.Tensor(name)
				y, ok := b.Tensor(name)
				if !ok {
					t.Errorf("%s: %s is not in the safetensors file", path, name)
					continue
				}
				if x.DType != y.DType || !slices.Equal(x.Shape, y.Shape) {
					t.Errorf("%s: %v, safetensors have %v", path, x, y)
					continue
				}
				p, err := x.Bytes()
				if err != nil {
					t.Fatal(err)
				}
				q, err := y.Bytes()
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(p, q) {
					t.Errorf("%s: %s differs", path, name)
				}
			}
			if !noMmap {
				t.Logf("%s: %d tensors, %s, attributes %v, notes %q", path, len(a.Names()), a.Format(), len(a.Attributes()), a.Notes())
			}
			a.Close()
			b.Close()
		}
	}
}
