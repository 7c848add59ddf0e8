package verify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func touch(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDataset(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"cat/2.png", "cat/10.JPG", "dog/a.webp", "loose.png", "dog/.hidden.png", "dog/readme.md", "bird/x.png"} {
		touch(t, filepath.Join(dir, filepath.FromSlash(f)), "")
	}
	prompts := touch(t, filepath.Join(t.TempDir(), "p.json"), `{"dog": "a dog", "cat": ["a cat", "the cat"]}`)
	d, err := LoadDataset(dir, prompts)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Classes) != 2 || d.Classes[0].Name != "dog" || !d.Labelled() {
		t.Errorf("classes are not in the prompts' order: %+v", d.Classes)
	}
	if got := d.Texts(); strings.Join(got, "|") != "a dog|a cat|the cat" {
		t.Errorf("texts are %q", got)
	}
	var order []string
	for _, it := range d.Items {
		rel, _ := filepath.Rel(dir, it.Path)
		order = append(order, filepath.ToSlash(rel))
	}
	// What has no class of the prompts comes first; then class by class.
	if got := strings.Join(order, " "); got != "bird/x.png loose.png dog/a.webp cat/10.JPG cat/2.png" {
		t.Errorf("samples are %s", got)
	}
	if n := len(d.batches(2)); n != 3 {
		t.Errorf("%d batches of 5 samples, 2 at a time", n)
	}
	// Without prompts the folders are the classes.
	if d, err = LoadDataset(dir, ""); err != nil || len(d.Classes) != 3 || d.Labelled() {
		t.Errorf("without prompts: %+v, %v", d, err)
	}
}

func TestDatasetOfAudio(t *testing.T) {
	dir := t.TempDir()
	touch(t, filepath.Join(dir, "1.wav"), "")
	touch(t, filepath.Join(dir, "1.txt"), "seven\n")
	d, err := LoadDataset(dir, "")
	if err != nil || d.Items[0].Kind != "audio" || d.Items[0].Text != "seven" || d.Items[0].Class != -1 {
		t.Errorf("read as %+v, %v", d, err)
	}
}

func TestDatasetRefused(t *testing.T) {
	for want, text := range map[string]string{
		"expected a JSON object": `7`,
		"no texts":               `[]`,
		"no labels":              `{}`,
		"given twice":            `{"a": "x", "a": "y"}`,
		"text or a list":         `{"a": 7}`,
		"ends before":            `{"a": "x"`,
	} {
		_, err := LoadDataset("", touch(t, filepath.Join(t.TempDir(), "p.json"), text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, which does not say %q", text, err, want)
		}
	}
	if _, err := LoadDataset(t.TempDir(), ""); err == nil || !strings.Contains(err.Error(), "no samples") {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := LoadDataset("", ""); err == nil {
		t.Error("nothing at all was accepted")
	}
}

func FuzzPrompts(f *testing.F) {
	for _, s := range []string{`{"a": "x", "b": ["y", "z"]}`, `["x"]`, `{"a": []}`, `{"a`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		d := &Dataset{}
		if d.readPrompts(raw) == nil && len(d.Texts()) == 0 {
			t.Errorf("%q was read as no texts", raw)
		}
	})
}
