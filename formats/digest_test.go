package formats

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// written is a folder with a file of every way to write one, and its digests. The tensors cross the pieces in which files
// are read.
func written(t *testing.T) (dir string, digests []Digest) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "d")
	d, err := NewAtomicDir(t.Context(), dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	if err := d.WriteFile("b/./small.json", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteSafetensors("whole.safetensors", nil, []Entry{BytesEntry("x", U8, []int{3}, []byte{1, 2, 3})}); err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int{"first": 700_000, "none": 0, "across": 3 << 20, "one": 1, "last": 123_457, "nothing at the end": 0}
	var entries []Entry
	for name, n := range sizes {
		entries = append(entries, Entry{Name: name, DType: U8, Shape: []int{n}})
	}
	p, err := d.PlaceSafetensors("model.safetensors", nil, entries)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for name, n := range sizes {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		// The second half first.
		for _, piece := range [][2]int{{n / 2, n}, {0, n / 2}} {
			if err := p.WriteAt(name, data[piece[0]:piece[1]], int64(piece[0])); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	digests = d.Digests()
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	return dir, digests
}

func TestDigests(t *testing.T) {
	dir, digests := written(t)
	var names []string
	for _, d := range digests {
		names = append(names, d.Name)
		data, err := os.ReadFile(filepath.Join(dir, d.Name))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(data); d.SHA256 != hex.EncodeToString(sum[:]) || d.Size != int64(len(data)) {
			t.Errorf("%s: %+v", d.Name, d)
		}
	}
	if got := strings.Join(names, " "); got != "b/small.json model.safetensors whole.safetensors" {
		t.Errorf("digests of %s", got)
	}
	if n := len(digests[1].Tensors); n != 6 {
		t.Errorf("%d tensors have digests: %v", n, digests[1].Tensors)
	}
}

func TestCheck(t *testing.T) {
	good, digests := written(t)
	fault := func(dir, name string) (string, error) {
		c, err := OpenFiles(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, d := range digests {
			if d.Name == name {
				return c.Check(t.Context(), d)
			}
		}
		t.Fatalf("no digest of %s", name)
		return "", nil
	}
	c, err := Open(filepath.Join(good, "model.safetensors"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	at := func(tensor string) int { x, _ := c.Tensor(tensor); return int(x.off) }
	flip := func(places ...int) func([]byte) []byte {
		return func(b []byte) []byte {
			for _, i := range places {
				b[i] ^= 1
			}
			return b
		}
	}
	for _, test := range []struct {
		name, file string
		change     func([]byte) []byte // nil removes the file
		want       string
	}{
		{"as it was", "model.safetensors", flip(), ""},
		{"small as it was", "b/small.json", flip(), ""},
		{"small changed", "b/small.json", flip(0), "differs"},
		{"small longer", "b/small.json", func(b []byte) []byte { return append(b, '\n') }, "has 3 bytes, 2 were written"},
		{"missing", "whole.safetensors", nil, "is missing"},
		{"first byte of a tensor", "model.safetensors", flip(at("across")), "differs in tensor across"},
		{"last byte of a tensor", "model.safetensors", flip(at("across") + 3<<20 - 1), "differs in tensor across"},
		{"two tensors", "model.safetensors", flip(at("one"), at("first")+5), "differs in tensor first, one"},
		{"metadata", "model.safetensors", func(b []byte) []byte { return bytes.Replace(b, []byte(`"first"`), []byte(`"fIrst"`), 1) }, "differs in tensor first"},
		{"header", "model.safetensors", flip(9), "header"},
		{"cut short", "model.safetensors", func(b []byte) []byte { return b[:len(b)-10] }, "incomplete download?"},
		{"emptied", "model.safetensors", func([]byte) []byte { return nil }, "too short"},
	} {
		dir := filepath.Join(t.TempDir(), "d")
		if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, test.file)
		old, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if test.change == nil {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, test.change(old), 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := fault(dir, test.file)
		if err != nil || !strings.Contains(got, test.want) || (got == "") != (test.want == "") || strings.Contains(got, dir) {
			t.Errorf("%s: %q, %v, want %q", test.name, got, err, test.want)
		}
	}
	// Names are hostile.
	files, err := OpenFiles(good)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	_, err = files.Check(t.Context(), Digest{Name: "../secret"})
	mustFail(t, err, ErrEscape, "leads out")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := files.Check(ctx, digests[1]); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
