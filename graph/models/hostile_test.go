package models

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
)

// tryOpen imports a folder, which may fail but by an error only.
func tryOpen(t *testing.T, dir, what string) error {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("%s: panic: %v", what, p)
		}
	}()
	c, err := formats.Open(dir, formats.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = Open(c, Options{})
	return err
}

// leavesOf calls f with a setter for every number, string and list of a JSON value.
func leavesOf(v any, path string, f func(path string, set func(any))) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			old := v[k]
			f(path+"."+k, func(x any) { v[k] = x })
			v[k] = old
			leavesOf(old, path+"."+k, f)
		}
	}
}

var visionSystems = map[string]bool{"clip": true, "clip-resnet": true, "siglip": true, "eva-clip": true, "vit": true, "nfnet": true, "internvl": true}

// systemOf returns the system of a folder that can be imported.
func systemOf(dir string) (string, error) {
	c, err := formats.Open(dir, formats.Options{})
	if err != nil {
		return "", err
	}
	defer c.Close()
	m, err := Open(c, Options{})
	if err != nil {
		return "", err
	}
	return m.System, nil
}

// TestHostileVision puts senseless values in the place of every option of the golden cases of vision encoders, and bends or removes
// every tensor: the answer is a model or an error, never a panic.
func TestHostileVision(t *testing.T) {
	dirs, _ := filepath.Glob("../../testdata/goldens/*/checkpoint")
	for _, dir := range dirs {
		weights, _ := filepath.Glob(filepath.Join(dir, "*.safetensors"))
		if len(weights) != 1 {
			continue
		}
		name := filepath.Base(filepath.Dir(dir))
		if info, err := os.Stat(weights[0]); err != nil || info.Size() > 1<<20 {
			continue
		}
		if system, err := systemOf(dir); err != nil || !visionSystems[system] {
			continue // another system, or a part of it lies in other folders
		}
		hostile(t, name)
	}
}

// hostile bends the configuration and the tensors of a golden case.
func hostile(t *testing.T, name string) {
	ts, files := golden(t, name)
	folder := ts.write(t, files)
	for file, text := range files {
		var v any
		if json.Unmarshal([]byte(text), &v) != nil {
			continue
		}
		leavesOf(v, file, func(path string, set func(any)) {
			for _, x := range []any{0, -1, 3, 1 << 40, "none", []any{0, -1}, map[string]any{}} {
				set(x)
				raw, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(folder, file), raw, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := tryOpen(t, folder, name+": "+path); err != nil && strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: %s: an error of several lines: %v", name, path, err)
				}
			}
		})
		if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Tensors: of the layers, the first stands for all.
	for _, tensor := range slices.Sorted(maps.Keys(ts)) {
		if strings.ContainsAny(tensor, "123456789") {
			continue
		}
		x := ts[tensor]
		for _, bent := range []*graph.Tensor{nil, {Shape: graph.Shape{0}}, {Shape: graph.Shape{1, 1, 1}, Data: []float32{1}}} {
			if ts[tensor] = bent; bent == nil {
				delete(ts, tensor)
			}
			what := name + ": " + tensor
			if err := tryOpen(t, ts.write(t, files), what); err == nil && bent != nil && len(x.Data) > 1 && len(bent.Data) != len(x.Data) && !ignored(t, name, tensor) {
				t.Errorf("%s of shape %v was accepted in the place of %v", what, bent.Shape, x.Shape)
			}
		}
		ts[tensor] = x
	}
}

// ignored reports whether the import of a golden case leaves a tensor out.
func ignored(t *testing.T, name, tensor string) bool {
	t.Helper()
	m := open(t, filepath.Join("../../testdata/goldens", name, "checkpoint"), Options{})
	return slices.ContainsFunc(m.Ignored, func(i graph.Ignored) bool { return i.Name == tensor })
}
