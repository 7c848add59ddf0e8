package models

import (
	"math"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
)

// TestInterpolation checks what every way to interpolate must keep: tables that stay as they are, prefix tokens, constants,
// and, but for the offset, mirrored grids.
func TestInterpolation(t *testing.T) {
	const dim = 3
	for _, how := range []interpolation{plainBicubic, timmBicubic, {AlignCorners: true}, {Offset: 0.1}} {
		for _, to := range [][2]int{{4, 6}, {3, 3}, {9, 5}, {1, 1}} {
			from := [2]int{4, 6}
			table := make([]float32, (2+24)*dim)
			for i := range table {
				if i < 2*dim {
					table[i] = float32(i)
				} else {
					table[i] = float32(i%dim) - 0.5
				}
			}
			e := how.expr(graph.Values("table", table, 26, dim), 2, from, to)
			if want := (graph.Shape{2 + to[0]*to[1], dim}); !e.Shape().Equal(want) {
				t.Fatalf("%+v to %v: shape %v", how, to, e.Shape())
			}
			v, err := e.Eval()
			if err != nil {
				t.Fatal(err)
			}
			for i, x := range v {
				want := float64(i)
				if i >= 2*dim {
					want = float64(i%dim) - 0.5
				}
				if math.Abs(float64(x)-want) > 1e-6 {
					t.Errorf("%+v to %v: element %d is %g, want %g", how, to, i, x, want)
				}
			}
		}
	}
}

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

// TestGridOf: the trained size may leave a rest, another one may not.
func TestGridOf(t *testing.T) {
	trained := [2]int{384, 384}
	if g, err := gridOf(trained, [2]int{14, 14}, trained); err != nil || g != [2]int{27, 27} {
		t.Errorf("%v, %v", g, err)
	}
	if _, err := gridOf([2]int{383, 384}, [2]int{14, 14}, trained); err == nil {
		t.Error("383 pixels were accepted")
	}
	if _, err := gridOf([2]int{8, 8}, [2]int{14, 14}, [2]int{8, 8}); err == nil {
		t.Error("images smaller than a patch were accepted")
	}
	if _, err := gridOf(trained, [2]int{0, 0}, trained); err == nil {
		t.Error("patches of no pixels were accepted")
	}
}
