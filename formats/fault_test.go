package formats

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// large is a file of one tensor that takes many pages.
func large(t *testing.T) string {
	t.Helper()
	const n = 1 << 20
	path := filepath.Join(t.TempDir(), "large.safetensors")
	header := `{"a":` + entryJSON("F32", "[262144]", 0, n) + `}`
	header += strings.Repeat(" ", -len(header)&7) // so that values are aligned
	if err := os.WriteFile(path, rawSafetensors(header, make([]byte, n)), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// A file that is cut short while it is open is an error wherever its memory is read, and no end of the process.
func TestTruncatedWhileOpen(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a mapped file cannot be cut short here")
	}
	for name, read := range map[string]func(c *Checkpoint, x *Tensor) error{
		"floats": func(_ *Checkpoint, x *Tensor) error { return x.Float32s(make([]float32, x.Len()), 0) },
		"hash":   func(c *Checkpoint, _ *Tensor) error { return c.HashAsync(1)() },
		"a view that was lent": func(_ *Checkpoint, x *Tensor) error {
			sum := float32(0)
			return Guard(func() error {
				v, ok := x.Float32View()
				if !ok {
					return errors.New("no view")
				}
				for _, f := range v {
					sum += f
				}
				return nil
			})
		},
	} {
		for _, noMmap := range []bool{false, true} {
			if noMmap && name == "a view that was lent" {
				continue
			}
			path := large(t)
			c, err := Open(path, Options{NoMmap: noMmap})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := os.Truncate(path, 1000); err != nil {
				t.Fatal(err)
			}
			x, _ := c.Tensor("a")
			err = read(c, x)
			mustFail(t, err, ErrChanged, "large.safetensors")
			if err == nil || !strings.Contains(err.Error(), "had 10") || !strings.Contains(err.Error(), "now it has 1000") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// Guard is for files alone: any other fault goes on.
func TestGuardLetsPanicsThrough(t *testing.T) {
	defer func() {
		if p := recover(); p != "mine" {
			t.Errorf("recovered %v", p)
		}
	}()
	_ = Guard(func() error { panic("mine") })
	t.Error("a panic was swallowed")
}

func TestUnchanged(t *testing.T) {
	for name, c := range map[string]struct {
		change func(dir string) error
		says   string // of the error, empty where there is to be none
	}{
		"nothing": {func(string) error { return nil }, ""},
		"longer":  {func(dir string) error { return os.Truncate(filepath.Join(dir, "model.safetensors"), 5000) }, "model.safetensors: changed while it was read: it had"},
		"written to": {func(dir string) error {
			return os.Chtimes(filepath.Join(dir, "model.safetensors"), time.Time{}, time.Unix(9, 0))
		}, "it was written at"},
		"removed":            {func(dir string) error { return os.Remove(filepath.Join(dir, "config.json")) }, "config.json: changed while it was read: it is gone"},
		"replaced":           {func(dir string) error { return replace(dir, "config.json") }, "another file has its name"},
		"of a part replaced": {func(dir string) error { return replace(dir, "tower/config.json") }, "another file has its name"},
		"not read":           {func(dir string) error { return replace(dir, "other.json") }, ""},
	} {
		dir := placed(t, map[string][]byte{"model.safetensors": smallFile("a"), "config.json": []byte("{}"), "other.json": []byte("{}"), "tower/config.json": []byte("{}")})
		cp, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer cp.Close()
		if _, err := cp.ReadFile("config.json"); err != nil {
			t.Fatal(err)
		}
		s, err := cp.Sub("tower")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.ReadFile("config.json"); err != nil {
			t.Fatal(err)
		}
		if err := c.change(dir); err != nil {
			t.Fatal(err)
		}
		err = cp.Unchanged()
		if c.says == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		mustFail(t, err, ErrChanged, c.says)
	}
}

// replace puts another file of the same content, size and time in a file's place.
func replace(dir, name string) error {
	path := filepath.Join(dir, name)
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o666); err != nil {
		return err
	}
	if err := os.Chtimes(path+".new", time.Time{}, info.ModTime()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
