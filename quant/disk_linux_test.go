package quant

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mmconv/mmconv/formats"
)

// A disk that fills up leaves nothing behind, and the message says so.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("a small disk cannot be mounted here: %v", err)
	}
	defer func() { _ = unix.Unmount(dir, 0) }()
	tensors := toyTensors()
	tensors["tokens.weight"] = &toyTensor{dtype: formats.F32, shape: []int{1000, toyWidth}, values: make([]float32, 1000*toyWidth)}
	dst := filepath.Join(dir, "c")
	_, err := Convert(context.Background(), writeToy(t, tensors), dst, Options{})
	if !errors.Is(err, formats.ErrNoSpace) {
		t.Errorf("not ErrNoSpace: %v", err)
	}
	mustSay(t, err, dst, "full")
	nothingAt(t, dst)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("the disk holds %v, %v", entries, err)
	}
}
