package models

import (
	"math"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
)

// TestImageSize builds vision towers for other sizes than trained and for sizes that do not fit.
func TestImageSize(t *testing.T) {
	for _, c := range []struct {
		name   string
		tokens string // a value [B, tokens, …]
		extra  int
	}{
		{"clip-hf-vision-gelu-p14", "hidden_state.0", 1},
		{"openclip-vit-shared", "vision.hidden_state.0", 1},
		{"clip-openai-vit-shared", "vision.hidden_state.0", 1},
		{"siglip-hf-dual", "vision.hidden_state.0", 0},
		{"siglip-openclip-shared", "vision.hidden_state.0", 0},
		{"eva01-clip-shared", "vision.hidden_state.0", 1},
		{"eva02-clip-shared", "vision.hidden_state.0", 1},
		{"eva02-timm", "hidden_state.0", 1},
		{"vit-timm-shared", "hidden_state.0", 1},
		{"albef-vit-shared", "hidden_state.0", 1},
	} {
		ts, files := golden(t, c.name)
		dir := ts.write(t, files)
		if files["open_clip_config.json"] != "" {
			delete(files, "config.json")
		}
		checkpoint, err := formats.Open(dir, formats.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer checkpoint.Close()
		shape := func(o Options) (graph.Shape, [2]int, error) {
			m, err := Open(checkpoint, o)
			if err != nil {
				return nil, [2]int{}, err
			}
			for _, in := range m.Graph.Inputs() {
				if dims := in.Op.(graph.Input).Dims; len(dims) == 4 {
					return m.Graph.ExampleShapes()[m.Graph.Value(c.tokens)], [2]int{dims[2], dims[3]}, nil
				}
			}
			t.Fatalf("%s: no image", c.name)
			return nil, [2]int{}, nil
		}
		own, size, err := shape(Options{})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		patch := size[0] / int(math.Sqrt(float64(own[1]-c.extra)))
		// Twice four patches, so that pixel shuffling fits as well.
		s, got, err := shape(Options{ImageSize: [2]int{2 * patch, 4 * patch}})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got != [2]int{2 * patch, 4 * patch} || s[1] != 8+c.extra {
			t.Errorf("%s: images of %v give tokens %v", c.name, got, s)
		}
		if _, _, err := shape(Options{ImageSize: [2]int{2*patch + 1, 4 * patch}}); err == nil || !strings.Contains(err.Error(), "--image-size") {
			t.Errorf("%s: a size that the patches do not divide: %v", c.name, err)
		}
	}
}
