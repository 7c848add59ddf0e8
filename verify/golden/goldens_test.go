package golden

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph/models"
)

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

// imported reports whether a case's checkpoint is of a system that is known: what lies beside the repository may be of others.
func imported(t *testing.T, c *Case) bool {
	t.Helper()
	if c.Checkpoint() == "" || c.Kind == "preprocess" {
		return true
	}
	src, err := formats.Open(c.Checkpoint(), formats.Options{})
	if err != nil {
		return true // the case says what is wrong
	}
	defer src.Close()
	_, err = models.Open(src, models.Options{})
	return !errors.Is(err, models.ErrUnrecognised)
}

// TestGoldens holds our pipelines against the recorded outputs of the original implementations: all cases of the repository, and
// of those beside it all whose system is known.
func TestGoldens(t *testing.T) {
	for name, dir := range goldenCases(t) {
		t.Run(name, func(t *testing.T) {
			c, err := LoadCase(dir)
			if err != nil {
				t.Fatal(err)
			}
			known := imported(t, c)
			c.Close()
			if own := filepath.Dir(dir) == filepath.Clean(ownGoldens); !own && !known {
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
