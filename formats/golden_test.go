package formats

import (
	"os"
	"path/filepath"
	"testing"
)

// goldens gives the recorded checkpoints beside the repository, where there are any.
func goldens(t *testing.T, pattern string) []string {
	t.Helper()
	root := filepath.Join("..", "..", "shared", "goldens")
	if _, err := os.Stat(root); err != nil {
		t.Skip("no recorded checkpoints here")
	}
	found, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil || len(found) == 0 {
		t.Fatalf("nothing matches %s (%v)", pattern, err)
	}
	return found
}

func TestGoldenFoldersOpen(t *testing.T) {
	for _, dir := range goldens(t, "*/checkpoint") {
		for _, noMmap := range []bool{false, true} {
			c, err := Open(dir, Options{NoMmap: noMmap, WeightsOptional: true})
			if err != nil {
				t.Error(err)
				continue
			}
			values := make([]float32, 16)
			for _, name := range c.Names() {
				x, _ := c.Tensor(name)
				if err := x.Float32s(values[:min(16, x.Len())], 0); err != nil {
					t.Error(err)
				}
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
