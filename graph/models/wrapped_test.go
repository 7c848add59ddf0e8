package models

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/formats"
)

// A checkpoint that wrappers or a training framework have renamed is the model that it was.
func TestWrappedNames(t *testing.T) {
	const source = "../../testdata/goldens/clip-hf-dual-quickgelu/checkpoint"
	c, err := formats.Open(source, formats.Options{})
	if err != nil {
		t.Skip(err)
	}
	defer c.Close()
	want, err := Open(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, rename := range map[string]func(string) string{
		"module.":       func(n string) string { return "module." + n },
		"model.":        func(n string) string { return "model." + n },
		"model.module.": func(n string) string { return "model.module." + n },
		"_orig_mod":     func(n string) string { return "_orig_mod." + n },
		"_checkpoint_wrapped_module": func(n string) string {
			return strings.Replace(n, "layers.1.", "layers.1._checkpoint_wrapped_module.", 1)
		},
	} {
		dir := rewrite(t, c, rename)
		wrapped, err := formats.Open(dir, formats.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer wrapped.Close()
		got, err := Open(wrapped, Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.System != want.System || got.Naming != want.Naming || len(got.Graph.Nodes()) != len(want.Graph.Nodes()) || len(got.Ignored) != len(want.Ignored) {
			t.Errorf("%s: %s in %s naming, %d nodes", name, got.System, got.Naming, len(got.Graph.Nodes()))
		}
		if !strings.Contains(strings.Join(got.Notes, "\n"), "removed") {
			t.Errorf("%s: notes %q", name, got.Notes)
		}
	}
}

// rewrite writes a checkpoint again under other names; a tensor without one is left out.
func rewrite(t *testing.T, c *formats.Checkpoint, rename func(string) string) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{"config.json", "preprocessor_config.json"} {
		raw, err := c.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), raw, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var entries []formats.Entry
	for _, tensor := range c.Names() {
		if rename(tensor) == "" {
			continue
		}
		x, _ := c.Tensor(tensor)
		data, err := x.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, formats.Entry{Name: rename(tensor), DType: x.DType, Shape: x.Shape, Write: func(w io.Writer) error {
			_, err := w.Write(data)
			return err
		}})
	}
	f, err := os.Create(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if err := formats.WriteSafetensors(f, nil, entries); err != nil {
		t.Fatal(err)
	}
	f.Close()
	return dir
}

// A tower alone is read under the configuration of two.
func TestOneTower(t *testing.T) {
	for _, system := range []string{"clip-hf-dual-quickgelu", "siglip-hf-dual"} {
		c, err := formats.Open("../../testdata/goldens/"+system+"/checkpoint", formats.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for tower, output := range map[string]string{"vision": "image_embeds", "text": "text_embeds"} {
			if strings.HasPrefix(system, "siglip") {
				output = "pooler_output"
			}
			dir := rewrite(t, c, func(n string) string {
				if strings.HasPrefix(n, tower) || strings.HasPrefix(n, "visual") && tower == "vision" || strings.HasPrefix(n, "logit") {
					return n
				}
				return ""
			})
			one, err := formats.Open(dir, formats.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer one.Close()
			m, err := Open(one, Options{})
			if err != nil {
				t.Errorf("%s, %s alone: %v", system, tower, err)
				continue
			}
			if m.Graph.Value(output) == nil || !strings.Contains(strings.Join(m.Notes, "\n"), "absent") {
				t.Errorf("%s, %s alone: outputs %v, notes %q", system, tower, m.Graph.Outputs, m.Notes)
			}
		}
	}
}
