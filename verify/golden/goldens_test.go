package golden

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// claimed are the systems, as golden cases name them, that this version imports. Of cases outside of the repository only
// these must hold; those in testdata must hold all.
var claimed = map[string]bool{
	"CLIP ViT":            true,
	"LLaVA-1.0":           true,
	"LLaVA-1.5":           true,
	"image decoding":      true,
	"image preprocessing": true,
	"audio preprocessing": true,
	"Whisper":             true,
	"HuBERT":              true,
	"wav2vec2":            true,
	"CLAP":                true,
	"NFNet":               true,
	"CLIP ModifiedResNet": true,
	"EVA-CLIP":            true,
	"SigLIP":              true,

	"ALBEF patch-embedding ViT": true,

	"InternVL pixel-shuffle projector + InternViT": true,
}

const (
	ownGoldens    = "../../testdata/goldens"
	sharedGoldens = "../../../shared/goldens"
)

// goldenCases returns the cases to be run, by name: those in testdata, and where the folder with more of them lies beside the
// repository, those too.
func goldenCases(t testing.TB) map[string]string {
	t.Helper()
	cases := map[string]string{}
	for _, root := range []string{sharedGoldens, ownGoldens} {
		entries, err := os.ReadDir(root)
		if os.IsNotExist(err) && root == sharedGoldens {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() {
				cases[e.Name()] = filepath.Join(root, e.Name())
			}
		}
	}
	if len(cases) == 0 {
		t.Fatalf("%s holds no golden cases", ownGoldens)
	}
	return cases
}

// TestGoldens holds our pipelines against the recorded outputs of the original implementations.
func TestGoldens(t *testing.T) {
	for name, dir := range goldenCases(t) {
		t.Run(name, func(t *testing.T) {
			c, err := LoadCase(dir)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			if own := filepath.Dir(dir) == filepath.Clean(ownGoldens); !own && !claimed[c.System] {
				t.Skipf("system %q is not imported by this version", c.System)
			}
			res := Parity(context.Background(), dir, ParityOptions{})
			if res.Error != "" {
				t.Fatal(res.Error)
			}
			for _, r := range res.Rows {
				if r.Verdict == Fail {
					t.Errorf("%s: %s (max abs %.3g, %.3g times its tolerance)", r.Name, r.Note, r.MaxAbs, r.Used)
				}
			}
			if !res.OK {
				t.Error("the case does not hold")
			}
		})
	}
}
