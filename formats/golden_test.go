package formats

import (
	"path/filepath"
	"testing"
)

// goldens gives the recorded checkpoints that match: those kept in the repository, and those beside it, where there are any.
func goldens(t *testing.T, pattern string) []string {
	t.Helper()
	var found []string
	for _, root := range []string{filepath.Join("..", "testdata", "goldens"), filepath.Join("..", "..", "shared", "goldens")} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, paths...)
	}
	return found
}

func TestGoldenFoldersOpen(t *testing.T) {
	found := goldens(t, "*/checkpoint")
	if len(found) == 0 {
		t.Skip("no recorded checkpoints here")
	}
	for _, dir := range found {
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
