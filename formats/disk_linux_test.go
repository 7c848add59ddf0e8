package formats

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A disk of 1 MB that fills up: one line says so, nothing stays behind, and what was there before is untouched.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, 0) })
	target := filepath.Join(dir, "out")
	if err := writeOut(t, target, "one", false); err != nil {
		t.Fatal(err)
	}
	big := func(w io.Writer) error {
		for range 64 {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return err
			}
		}
		return nil
	}
	d, err := NewAtomicDir(context.Background(), target, true)
	if err != nil {
		t.Fatal(err)
	}
	err = d.WriteSafetensors("model.safetensors", nil, []Entry{{"a", U8, []int{64 << 16}, big}})
	mustFail(t, err, ErrNoSpace, "the disk is full")
	d.Abort()
	holds(t, dir, map[string]string{"out/sub/a.txt": "one"})

	f, err := NewAtomicFile(context.Background(), filepath.Join(dir, "file"), false)
	if err != nil {
		t.Fatal(err)
	}
	mustFail(t, big(f), ErrNoSpace, "the disk is full")
	f.Abort()
	holds(t, dir, map[string]string{"out/sub/a.txt": "one"})
	if _, err := os.Stat(target); err != nil {
		t.Error(err)
	}
}
