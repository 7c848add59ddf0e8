package run

import (
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph"
)

// clip writes a clip of some samples of noise.
func clip(t *testing.T, samples, seed int) string {
	t.Helper()
	wave := make([]float32, samples)
	x := uint32(seed)
	for i := range wave {
		x = x*1664525 + 1013904223
		wave[i] = float32(int32(x)) / (1 << 32)
	}
	path := filepath.Join(t.TempDir(), "clip.wav")
	writeFloatWAV(t, path, wave, 16000)
	return path
}

// What a clip gives does not depend on the clips that it comes with, whether the model knows of padding (a mask) or not.
func TestClipsKeepApart(t *testing.T) {
	for _, c := range []struct {
		golden    string
		noPadding bool
	}{{"hubert-hf-base", false}, {"hubert-hf-large-ctc", true}} {
		m, err := Open("../../testdata/goldens/"+c.golden+"/checkpoint", Options{NoPadding: c.noPadding})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		files := []string{clip(t, 4000, 1), clip(t, 6500, 2), clip(t, 4000, 3)}
		p, err := m.NewPass(t.Context(), map[string]Input{"audio": Files(files...)})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(p.Parts()); n != 2 {
			t.Errorf("%s: %d parts, want 2", c.golden, n)
		}
		const name = "last_hidden_state"
		all, err := p.Fetch(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range files {
			one, err := m.NewPass(t.Context(), map[string]Input{"audio": Files(f)})
			if err != nil {
				t.Fatal(err)
			}
			alone, err := one.Fetch(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			want, row := alone[name], all[name].Shape[1:].Len()
			for j, v := range want.Data {
				if got := all[name].Data[i*row+j]; math.Abs(float64(got-v)) > 1e-5 {
					t.Fatalf("%s: clip %d differs at %d in company: %v, alone %v", c.golden, i, j, got, v)
				}
			}
		}
	}
}

func TestPlace(t *testing.T) {
	dst := make([]float32, 12)
	place(dst, graph.Shape{3, 4}, []float32{1, 2, 3, 4}, graph.Shape{2, 2})
	want := []float32{1, 2, 0, 0, 3, 4, 0, 0, 0, 0, 0, 0}
	for i, v := range want {
		if dst[i] != v {
			t.Fatalf("%v, want %v", dst, want)
		}
	}
}

// A clip that is shorter than the model's first layers look at is named, with what the model needs.
func TestShortClip(t *testing.T) {
	m, err := Open("../../testdata/goldens/hubert-hf-base/checkpoint", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	short := clip(t, 50, 1)
	p, err := m.NewPass(t.Context(), map[string]Input{"audio": Files(clip(t, 4000, 1), short)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Fetch(t.Context(), "last_hidden_state")
	var bad *InputError
	if !errors.As(err, &bad) || bad.File != short || !strings.Contains(err.Error(), "at least 400 (0.025 s)") {
		t.Errorf("a clip of 50 samples: %v", err)
	}
}
