package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"math"
	"strings"
	"testing"
)

// sample is a report with a bound that holds and one that does not, and names that each format must escape.
func sample(t *testing.T) *Report {
	t.Helper()
	r := &Report{Reference: ModelInfo{Path: "ref|<b>", System: "clip"}, Candidate: ModelInfo{Path: "cand<i>", System: "clip"}, Samples: 3,
		Skipped: []string{"bad.png: not a picture"}}
	r.Bytes.Before, r.Bytes.After = 4000, 1000
	r.Latency = Latency{Before: 2, After: 1, Of: []string{"out"}, Threads: 2}
	r.Tasks = []TaskScore{
		{Name: "zero-shot top-1", Before: 90, After: 89, Drop: 1, Agreement: 98, Samples: 3, Labelled: true, Primary: true},
		{Name: "word error rate", Before: 5, After: 6, Drop: 1, Agreement: -1, Samples: 3, Labelled: true, LowBetter: true},
	}
	a, b := &NodeStat{Name: "out", Output: true}, &NodeStat{Name: "layer|0"}
	a.Moments.Add([]float32{3, 4}, []float32{3, 4.1})
	b.Moments.Add([]float32{1, 1}, []float32{1, float32(math.Inf(1))})
	r.AddNodes([]*NodeStat{b, a})
	r.Bounds = append(r.Bounds, NewBound("cosine of out", 0.99, r.Nodes[1].Cosine, false), NewBound("drop of zero-shot top-1", 0.5, 1, true))
	return r
}

func TestReportFormats(t *testing.T) {
	r := sample(t)
	for ext, want := range map[string][]string{
		".json": {`"sqnr_db"`, `"drop": 1`, `"limit": 0.5`, `"before": 4000`, `"ok": false`},
		".md":   {`ref\|&lt;b>`, "| zero-shot top-1 | 90.00 % | 89.00 % | +1.00 |", "1 of 2 bounds do not hold", "bad.png"},
		".html": {"ref|&lt;b&gt;", "cand&lt;i&gt;", `class="bad"`, "<svg"},
		".xml":  {`tests="2"`, `failures="1"`, `drop of zero-shot top-1 is 1, above the bound 0.5`},
	} {
		var b bytes.Buffer
		if err := r.WriteAs(&b, "report"+ext); err != nil {
			t.Errorf("%s: %v", ext, err)
			continue
		}
		for _, w := range want {
			if !strings.Contains(b.String(), w) {
				t.Errorf("%s does not hold %q:\n%s", ext, w, b.String())
			}
		}
		switch ext {
		case ".json":
			var back map[string]any
			if err := json.Unmarshal(b.Bytes(), &back); err != nil {
				t.Error(err)
			}
			for _, key := range []string{"tasks", "nodes", "bytes", "latency_ms", "bounds", "ok"} {
				if _, ok := back[key]; !ok {
					t.Errorf("the JSON has no %q", key)
				}
			}
		case ".xml":
			if err := xml.Unmarshal(b.Bytes(), &junitSuite{}); err != nil {
				t.Error(err)
			}
		case ".html":
			if strings.Contains(b.String(), "http") {
				t.Error("the page refers to something outside of it")
			}
		}
	}
	if err := CheckName("x.pdf"); err == nil || !strings.Contains(err.Error(), ".html") {
		t.Errorf("a PDF: %v", err)
	}
	var b bytes.Buffer
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{"4.00x", "out *", "0/1/0", "NO"} {
		if !strings.Contains(b.String(), w) {
			t.Errorf("the table does not hold %q:\n%s", w, b.String())
		}
	}
}
