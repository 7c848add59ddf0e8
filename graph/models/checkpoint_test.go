package models

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/graphtest"
)

// tensors are a checkpoint to be written.
type tensors map[string]*graph.Tensor

// random adds a tensor of small values that depend on its name's place among others only.
func (ts tensors) random(r *rand.Rand, name string, shape ...int) {
	x := graph.NewTensor(shape...)
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64() * 0.2)
	}
	ts[name] = x
}

// write makes a folder of a safetensors file and other files.
func (ts tensors) write(t testing.TB, files map[string]string) string {
	t.Helper()
	header := map[string]any{}
	var data []byte
	for _, name := range slices.Sorted(maps.Keys(ts)) {
		at := len(data)
		for _, x := range ts[name].Data {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
		}
		shape := ts[name].Shape
		if shape == nil {
			shape = graph.Shape{}
		}
		header[name] = map[string]any{"dtype": "F32", "shape": shape, "data_offsets": []int{at, len(data)}}
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	out := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), append(out, data...), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// golden reads the tensors of a case's checkpoint, and its JSON files.
func golden(t testing.TB, name string) (tensors, map[string]string) {
	t.Helper()
	dir := filepath.Join("../../testdata/goldens", name, "checkpoint")
	c, err := formats.Open(dir, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ts := tensors{}
	for _, n := range c.Names() {
		src, _ := c.Tensor(n)
		x := graph.NewTensor(slices.Clone(src.Shape)...)
		if err := src.Float32s(x.Data, 0); err != nil {
			t.Fatal(err)
		}
		ts[n] = x
	}
	files := map[string]string{}
	paths, _ := filepath.Glob(filepath.Join(dir, "*.json"))
	for _, p := range paths {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(p)] = string(raw)
	}
	return ts, files
}

// open imports a folder, which must succeed.
func open(t testing.TB, dir string, o Options) *graph.Model {
	t.Helper()
	c, err := formats.Open(dir, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	m, err := Open(c, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sameOutputs holds two models against each other on made-up inputs.
func sameOutputs(t *testing.T, got, want *graph.Model, tolerance float64) {
	t.Helper()
	feeds := graphtest.Feeds(t, want.Graph)
	var names []string
	for _, o := range want.Graph.Outputs {
		names = append(names, o.Name)
	}
	a, b := graphtest.Run(t, got.Graph, feeds, names...), graphtest.Run(t, want.Graph, feeds, names...)
	for _, name := range names {
		if e := graphtest.MaxError(t, name, a[name], b[name]); e > tolerance {
			t.Errorf("%s: relative error %.2g, want at most %.2g", name, e, tolerance)
		}
	}
}
