package quant

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/mmconv/mmconv/formats"
)

// A source that changes while it is converted gives nothing but a line that names the file.
func TestSourceChanges(t *testing.T) {
	tensors := toyTensors()
	tensors["tokens.weight"] = &toyTensor{dtype: formats.F32, shape: []int{100_000, toyWidth}, values: make([]float32, 100_000*toyWidth)}
	for name, c := range map[string]struct {
		file   string
		change func(path string) error
		say    string
	}{
		"cut short": {"model.safetensors", func(p string) error { return os.Truncate(p, 20000) }, "became shorter"},
		"cut short by less than a page": {"model.safetensors", func(p string) error {
			info, err := os.Stat(p)
			if err != nil {
				return err
			}
			return os.Truncate(p, info.Size()-1)
		}, "changed while it was read: it had"},
		"touched": {"model.safetensors", func(p string) error { return os.Chtimes(p, time.Time{}, time.Unix(1, 0)) }, "was written at"},
		"replaced": {"config.json", func(p string) error {
			return errors.Join(os.Remove(p), os.WriteFile(p, []byte(`{"model_type":"toy"}`), 0o666))
		}, "changed while it was read"},
		"taken away": {"vocab.txt", os.Remove, "it is gone"},
	} {
		if runtime.GOOS == "windows" && c.file == "model.safetensors" {
			continue // a mapped file cannot be written to there
		}
		t.Run(name, func(t *testing.T) {
			src, dst := writeToy(t, tensors), filepath.Join(t.TempDir(), "c")
			changed := false
			_, err := Convert(context.Background(), src, dst, Options{Threads: 2, Progress: func(int64, int64, string) {
				if !changed {
					changed = true
					if err := c.change(filepath.Join(src, c.file)); err != nil {
						t.Error(err)
					}
				}
			}})
			mustSay(t, err, filepath.Join(src, c.file), c.say)
			if !errors.Is(err, formats.ErrChanged) {
				t.Errorf("not ErrChanged: %v", err)
			}
			nothingAt(t, dst)
		})
	}
}
