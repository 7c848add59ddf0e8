package verify

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/verify/metric"
	"github.com/mmconv/mmconv/verify/report"
)

// Baseline is a file of bounds, written from one verification and held against later ones. Its bounds leave room for
// rounding on other processors; they are plain numbers for people to edit.
type Baseline struct {
	Format  int             `json:"format"`
	Subject string          `json:"subject"` // what was verified, for people
	Bounds  []BaselineBound `json:"bounds"`
}

// BaselineBound limits one figure of a report; one of Min and Max is set.
type BaselineBound struct {
	Figure string   `json:"figure"` // "task/zero-shot top-1/after", "node/image_embeds/cosine", "bytes/after"
	Min    *float64 `json:"min,omitempty"`
	Max    *float64 `json:"max,omitempty"`
}

const (
	baselineFormat  = 1
	maxBaselineFile = 16 << 20

	// The slack that a new baseline gives to each figure.
	taskSlack  = 0.25 // percentage points
	angleSlack = 0.10 // of the distance of a cosine from 1
	sqnrSlack  = 0.5  // dB
	sizeSlack  = 0.01 // of the size
)

// figures returns all figures of a report that a baseline may bound, by name.
func figures(r *report.Report) map[string]float64 {
	f := map[string]float64{
		"bytes/before": float64(r.Bytes.Before), "bytes/after": float64(r.Bytes.After),
		"latency_ms/before": r.Latency.Before, "latency_ms/after": r.Latency.After,
	}
	for _, t := range r.Tasks {
		f["task/"+t.Name+"/before"], f["task/"+t.Name+"/after"], f["task/"+t.Name+"/drop"] = t.Before, t.After, t.Drop
		if t.Agreement >= 0 {
			f["task/"+t.Name+"/agreement"] = t.Agreement
		}
	}
	for _, n := range r.Nodes {
		for _, m := range metric.All() {
			f["node/"+n.Name+"/"+m.Name] = n.Metric(m.Name)
		}
	}
	return f
}

// NewBaseline returns bounds at what a report measured, with some slack: the scores and agreement of every task, cosine
// and SQNR of every value, the converted size.
func NewBaseline(r *report.Report) *Baseline {
	b := &Baseline{Format: baselineFormat, Subject: r.Candidate.Path}
	add := func(figure string, limit float64, upper bool) {
		x := BaselineBound{Figure: figure}
		if upper {
			x.Max = &limit
		} else {
			x.Min = &limit
		}
		b.Bounds = append(b.Bounds, x)
	}
	for _, t := range r.Tasks {
		if t.LowBetter {
			add("task/"+t.Name+"/after", t.After+taskSlack, true)
		} else {
			add("task/"+t.Name+"/after", t.After-taskSlack, false)
		}
		if t.Agreement >= 0 {
			add("task/"+t.Name+"/agreement", t.Agreement-taskSlack, false)
		}
	}
	for _, n := range r.Nodes {
		c := n.Metric("cosine")
		add("node/"+n.Name+"/cosine", c-angleSlack*(1-c)-1e-6, false)
		add("node/"+n.Name+"/sqnr_db", n.Metric("sqnr_db")-sqnrSlack, false)
	}
	add("bytes/after", float64(r.Bytes.After)*(1+sizeSlack), true)
	return b
}

// ReadBaseline reads a baseline file.
func ReadBaseline(path string) (*Baseline, error) {
	raw, err := formats.ReadBounded(path, maxBaselineFile)
	if err != nil {
		return nil, err
	}
	b := &Baseline{}
	if err := formats.JSON(path, raw, b); err != nil {
		return nil, err
	}
	if b.Format != baselineFormat {
		return nil, fmt.Errorf("%s: baseline format %d, this version reads %d", path, b.Format, baselineFormat)
	}
	for _, x := range b.Bounds {
		if (x.Min == nil) == (x.Max == nil) {
			return nil, fmt.Errorf("%s: figure %q: expected either min or max", path, x.Figure)
		}
	}
	if len(b.Bounds) == 0 {
		return nil, fmt.Errorf("%s: holds no bounds", path)
	}
	return b, nil
}

// Write writes the file.
func (b *Baseline) Write(path string) error {
	raw, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}

// apply adds the bounds to a report. A figure that the report does not have is an error.
func (b *Baseline) apply(r *report.Report) error {
	figures := figures(r)
	for _, x := range b.Bounds {
		value, ok := figures[x.Figure]
		if !ok {
			return fmt.Errorf("baseline: the report has no figure %q: was it made with the same model, data and prompts?", x.Figure)
		}
		if x.Min != nil {
			r.Bounds = append(r.Bounds, report.NewBound(x.Figure, *x.Min, value, false))
		} else {
			r.Bounds = append(r.Bounds, report.NewBound(x.Figure, *x.Max, value, true))
		}
	}
	return nil
}
