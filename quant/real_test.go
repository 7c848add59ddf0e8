package quant

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/mmconv/mmconv/graph"
)

// Checkpoints as they are published convert, come back, and keep their weights to within the format's noise.
func TestRealCheckpoints(t *testing.T) {
	cases := filepath.Join("..", "testdata", "goldens")
	if _, err := os.Stat(cases); err != nil {
		t.Skipf("the golden cases are not part of the module: %v", err)
	}
	for _, name := range []string{"clip-hf-dual-quickgelu", "clip-openai-vit-shared", "openclip-vit-shared", "llava15-hf-gelu", "nfnet-plain-shared", "whisper-hf-80mel-jfk"} {
		for weights, least := range map[string]float64{"int8": 33, "int4": 17} {
			src := filepath.Join(cases, name, "checkpoint")
			before := prepared(t, src, Options{Weights: weights})
			dst := convert(t, src, Options{Weights: weights})
			after := map[string]*graph.Weight{}
			for _, w := range graph.Weights(load(t, dst).Model.Graph.Nodes()) {
				after[w.Name] = w
			}
			worst, at := math.Inf(1), ""
			for i := range before.Plan.Rows {
				r := &before.Plan.Rows[i]
				want, err := r.weight.Expr.Eval()
				if err != nil {
					t.Fatal(err)
				}
				got, err := after[r.Name].Expr.Eval()
				if err != nil {
					t.Fatal(err)
				}
				var noise, signal float64
				for j := range want {
					noise += math.Pow(float64(want[j])-float64(got[j]), 2)
					signal += math.Pow(float64(want[j]), 2)
				}
				if r.Quantized == nil {
					if (noise > 0) != (r.Corrects != "") {
						t.Errorf("%s: float weight %s, which corrects %q, changed by %g", name, r.Name, r.Corrects, noise)
					}
				} else if snr := 10 * math.Log10(signal/noise); snr < worst {
					worst, at = snr, r.Name
				}
			}
			t.Logf("%-24s %s: worst weight %.1f dB (%s)", name, weights, worst, at)
			if worst < least {
				t.Errorf("%s %s: %s comes back with %.1f dB, expected at least %g", name, weights, at, worst, least)
			}
		}
	}
}
