package verify

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/verify/report"
)

// sample is a report of two values and two tasks.
func sample(t *testing.T) *report.Report {
	t.Helper()
	r := &report.Report{Reference: report.ModelInfo{Path: "ref|<b>", System: "clip"}, Candidate: report.ModelInfo{Path: "cand<i>", System: "clip"}, Samples: 3,
		Skipped: []string{"bad.png: not a picture"}}
	r.Bytes.Before, r.Bytes.After = 4000, 1000
	r.Latency = report.Latency{Before: 2, After: 1, Of: []string{"out"}, Threads: 2}
	r.Tasks = []report.TaskScore{
		{Name: "zero-shot top-1", Before: 90, After: 89, Drop: 1, Agreement: 98, Samples: 3, Labelled: true, Primary: true},
		{Name: "word error rate", Before: 5, After: 6, Drop: 1, Agreement: -1, Samples: 3, Labelled: true, LowBetter: true},
	}
	a, b := &report.NodeStat{Name: "out", Output: true}, &report.NodeStat{Name: "layer|0"}
	a.Moments.Add([]float32{3, 4}, []float32{3, 4.1})
	b.Moments.Add([]float32{1, 1}, []float32{1, float32(math.Inf(1))})
	r.AddNodes([]*report.NodeStat{b, a})
	return r
}

func TestBoundsThatGuardNothing(t *testing.T) {
	limit := 1.0
	for name, th := range map[string]Thresholds{
		"min-cosine": {MinCosine: &limit}, "min-sqnr": {MinSQNR: &limit}, "max-drop": {MaxDrop: &limit}, "min-agreement": {MinAgreement: &limit},
	} {
		if err := th.apply(&report.Report{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("--%s with nothing measured: %v", name, err)
		}
	}
}

func TestBaseline(t *testing.T) {
	r := sample(t)
	path := filepath.Join(t.TempDir(), "base.json")
	if err := NewBaseline(r).Write(path); err != nil {
		t.Fatal(err)
	}
	b, err := ReadBaseline(path)
	if err != nil {
		t.Fatal(err)
	}
	r.Bounds = nil
	if err := b.apply(r); err != nil {
		t.Fatal(err)
	}
	if bad := r.Violated(); len(bad) != 0 || len(r.Bounds) < 7 {
		t.Errorf("a report does not hold its own baseline: %v of %d", bad, len(r.Bounds))
	}
	// A worse run names each figure that is worse, and nothing else.
	r.Tasks[0].After -= 1
	r.Tasks[1].After += 1
	r.Bytes.After *= 2
	r.Bounds = nil
	if err := b.apply(r); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, x := range r.Violated() {
		names = append(names, x.Name)
	}
	if got := strings.Join(names, ", "); got != "task/zero-shot top-1/after, task/word error rate/after, bytes/after" {
		t.Errorf("violated are %s", got)
	}
	r.Tasks = nil
	if err := b.apply(r); err == nil || !strings.Contains(err.Error(), "no figure") {
		t.Errorf("a figure that is missing: %v", err)
	}
	for want, text := range map[string]string{
		"format 9": `{"format": 9}`, "either min or max": `{"format": 1, "bounds": [{"figure": "x"}]}`, "no bounds": `{"format": 1}`, "is not JSON": `x`,
	} {
		if _, err := ReadBaseline(touch(t, path, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
