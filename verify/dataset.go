package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/formats"
)

// Dataset is what a model is verified on: files, by class where there are labels, and texts.
type Dataset struct {
	Items   []Item
	Classes []Class // in the order of the prompts file, else by name
	// Prompts are texts without labels, which every sample is compared with.
	Prompts []string
}

// Item is one sample.
type Item struct {
	Path  string
	Kind  string // the logical input that it is: "images", "audio", "tensors"
	Class int    // index into Classes, -1 without a label
	Text  string // what the file says: a .txt of the same name
	// Labelled says that there is such a text.
	Labelled bool
}

// Class is a label with the texts that describe it.
type Class struct {
	Name    string
	Prompts []string
}

// kinds are the logical inputs by file extension.
var kinds = map[string]string{
	".png": "images", ".jpg": "images", ".jpeg": "images", ".webp": "images", ".bmp": "images", ".tif": "images", ".tiff": "images", ".gif": "images",
	".wav": "audio", ".flac": "audio",
	".safetensors": "tensors",
}

const maxPrompts = 64 << 20

// LoadDataset reads a folder of samples and a file of prompts; either may be "". In the folder, files that lie in a
// subfolder have its name for a label. The prompts file is JSON: an object from label to text or texts, or a list of texts.
func LoadDataset(dir, prompts string) (*Dataset, error) {
	d := &Dataset{}
	if prompts != "" {
		raw, err := formats.ReadBounded(prompts, maxPrompts)
		if err == nil {
			err = d.readPrompts(raw)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", prompts, err)
		}
	}
	if dir != "" {
		if err := d.readFolder(dir); err != nil {
			return nil, err
		}
	}
	if dir == "" && prompts == "" {
		return nil, errors.New("nothing to verify on: give a folder of samples (--data) or a file of texts (--prompts)")
	}
	return d, nil
}

// Labelled reports whether there are classes with prompts, and samples of them.
func (d *Dataset) Labelled() bool {
	return slices.ContainsFunc(d.Classes, func(c Class) bool { return len(c.Prompts) > 0 }) &&
		slices.ContainsFunc(d.Items, func(it Item) bool { return it.Class >= 0 })
}

// Texts returns all texts: those of the classes in their order, else the prompts.
func (d *Dataset) Texts() []string {
	if len(d.Prompts) > 0 {
		return d.Prompts
	}
	var texts []string
	for _, c := range d.Classes {
		texts = append(texts, c.Prompts...)
	}
	return texts
}

func (d *Dataset) readPrompts(raw []byte) error {
	if json.Unmarshal(raw, &d.Prompts) == nil {
		if len(d.Prompts) == 0 {
			return errors.New("no texts in it")
		}
		return nil
	}
	var whole any
	if err := formats.JSON("", raw, &whole); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return errors.New("expected a JSON object from label to text (or list of texts), or a list of texts")
	}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return err
		}
		label, _ := tok.(string)
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		c := Class{Name: label}
		var one string
		if json.Unmarshal(value, &one) == nil {
			c.Prompts = []string{one}
		} else if err := json.Unmarshal(value, &c.Prompts); err != nil || len(c.Prompts) == 0 {
			return fmt.Errorf("label %q: expected a text or a list of texts", label)
		}
		if slices.ContainsFunc(d.Classes, func(x Class) bool { return x.Name == label }) {
			return fmt.Errorf("label %q: given twice", label)
		}
		d.Classes = append(d.Classes, c)
	}
	if _, err := dec.Token(); err != nil {
		return err
	}
	if len(d.Classes) == 0 {
		return errors.New("no labels in it")
	}
	return nil
}

func (d *Dataset) readFolder(dir string) error {
	root := dir
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		root = filepath.Dir(dir)
	}
	named := len(d.Classes) > 0
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && path != dir && strings.HasPrefix(e.Name(), ".") {
			return filepath.SkipDir // .git, .ipynb_checkpoints
		}
		kind := kinds[strings.ToLower(filepath.Ext(path))]
		if e.IsDir() || kind == "" || strings.HasPrefix(e.Name(), ".") {
			return nil
		}
		it := Item{Path: path, Kind: kind, Class: -1}
		if rel, _ := filepath.Rel(root, path); strings.ContainsRune(rel, filepath.Separator) {
			label := filepath.Base(filepath.Dir(path))
			it.Class = slices.IndexFunc(d.Classes, func(c Class) bool { return c.Name == label })
			if it.Class < 0 && !named && len(d.Prompts) == 0 {
				it.Class = len(d.Classes)
				d.Classes = append(d.Classes, Class{Name: label})
			}
		}
		if kind == "audio" {
			if text, err := formats.ReadBounded(strings.TrimSuffix(path, filepath.Ext(path))+".txt", 1<<20); err == nil {
				it.Text, it.Labelled = strings.TrimSpace(string(text)), true
			}
		}
		d.Items = append(d.Items, it)
		return nil
	})
	if err != nil {
		return err
	}
	if len(d.Items) == 0 {
		return fmt.Errorf("%s: no samples there: expected images, audio (.wav, .flac) or tensors (.safetensors), in folders by label where there are labels", dir)
	}
	slices.SortStableFunc(d.Items, func(a, b Item) int {
		if a.Class != b.Class {
			return a.Class - b.Class
		}
		return strings.Compare(a.Path, b.Path)
	})
	return nil
}

// batches groups consecutive items of one kind, size at a time.
func (d *Dataset) batches(size int) [][]Item {
	var out [][]Item
	for _, it := range d.Items {
		last := len(out) - 1
		if last < 0 || len(out[last]) >= size || out[last][0].Kind != it.Kind || it.Kind == "tensors" {
			out = append(out, []Item{it})
			continue
		}
		out[last] = append(out[last], it)
	}
	return out
}
