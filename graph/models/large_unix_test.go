//go:build unix

package models

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestLargeCheckpoint: encoder and projector are read out of a checkpoint whose language model takes 100 GB, of which no byte is
// read; the file is sparse.
func TestLargeCheckpoint(t *testing.T) {
	ts, files := golden(t, "llava15-hf-gelu")
	want := open(t, ts.write(t, files), Options{})
	const large = 100 << 30
	header := map[string]any{"language_model.model.layers.7.mlp.up_proj.weight": map[string]any{"dtype": "F16", "shape": []int{large / 2 / 1024, 1024}, "data_offsets": []int{0, large}}}
	at := large
	var data []byte
	for _, name := range slices.Sorted(maps.Keys(ts)) {
		for _, x := range ts[name].Data {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
		}
		header[name] = map[string]any{"dtype": "F32", "shape": ts[name].Shape, "data_offsets": []int{at, large + len(data)}}
		at = large + len(data)
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data, int64(8+len(text)+large)); err != nil {
		t.Skipf("the file system has no files of 100 GB: %v", err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sameOutputs(t, open(t, dir, Options{}), want, 0)
}
