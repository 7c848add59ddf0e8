package run_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/quant"
)

// A model whose file is cut short under it gives an error that names the file, before its weights are packed and after, in
// whichever worker meets the fault.
func TestFileCutShort(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a mapped file cannot be cut short here")
	}
	const source = "../../cmd/mmconv/demo/checkpoint"
	for _, threads := range []int{1, 4} {
		for _, first := range []bool{false, true} {
			dir := filepath.Join(t.TempDir(), "m")
			if _, err := quant.Convert(t.Context(), source, dir, quant.Options{Weights: "float32"}); err != nil {
				t.Fatal(err)
			}
			m, err := run.Open(dir, run.Options{Threads: threads})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			ask := func() error {
				p, err := m.NewPass(t.Context(), map[string]run.Input{"text": {Texts: []string{"a red circle", "a blue square", "a green star"}}})
				if err != nil {
					return err
				}
				_, err = p.Fetch(t.Context(), "text_embeds")
				return err
			}
			if first {
				if err := ask(); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(dir, "model.safetensors")
			if err := os.Truncate(file, 100); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := ask(); !errors.Is(err, formats.ErrChanged) {
					t.Errorf("%d threads, run before %v: %v", threads, first, err)
				}
			}
		}
	}
}
