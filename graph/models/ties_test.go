package models

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
)

// TestMostRead has several systems claim one checkpoint: the one that accounts for all and reads most wins, ties name all.
func TestMostRead(t *testing.T) {
	reads := func(name string, read, ignored []string) *System {
		return &System{Name: name, Title: name, Namings: []Naming{{Name: "own", Recognise: func(*Import) bool { return true }}},
			Build: func(im *Import) (*graph.Model, error) {
				for _, n := range ignored {
					im.Ignore(n, "a test")
				}
				for _, n := range read {
					im.read[n] = true
				}
				return &graph.Model{}, nil
			}}
	}
	a, b := reads("a", []string{"x", "y"}, nil), reads("b", []string{"x"}, []string{"y"})
	part, same := reads("part", []string{"x"}, nil), reads("same", []string{"x", "y"}, nil)
	for name, test := range map[string]struct {
		systems []*System
		want    string // "" for an error
	}{
		"the one that reads most": {[]*System{b, a}, "a"},
		"one that leaves over":    {[]*System{part, b}, "b"},
		"a tie":                   {[]*System{a, same, b}, ""},
		"none accounts for all":   {[]*System{part, part}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			kept := systems
			defer func() { systems = kept }()
			systems = test.systems
			_, s, err := recognise(checkpointOf(t, "x", "y"), Options{})
			switch {
			case test.want != "" && (err != nil || s.Name != test.want):
				t.Errorf("got %v, %v; expected %s", s, err, test.want)
			case test.want == "":
				for _, s := range test.systems {
					if err == nil || !strings.Contains(err.Error(), s.Name+" (own naming)") {
						t.Errorf("error %v does not name %s", err, s.Name)
					}
				}
			}
		})
	}
}

// checkpointOf is a checkpoint of tensors of one number.
func checkpointOf(t *testing.T, names ...string) *formats.Checkpoint {
	t.Helper()
	var entries []formats.Entry
	for _, n := range names {
		entries = append(entries, formats.BytesEntry(n, formats.F32, []int{1}, make([]byte, 4)))
	}
	file := filepath.Join(t.TempDir(), "model.safetensors")
	f, err := os.Create(file)
	if err == nil {
		err = formats.WriteSafetensors(f, nil, entries)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := formats.Open(file, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
