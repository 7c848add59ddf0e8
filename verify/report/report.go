package report

import (
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/verify/metric"
)

// Report is the outcome of a verification. Its JSON form is stable.
type Report struct {
	Reference ModelInfo   `json:"reference"`
	Candidate ModelInfo   `json:"candidate"`
	Samples   int         `json:"samples"`
	Texts     int         `json:"texts,omitempty"`
	Skipped   []string    `json:"skipped,omitempty"` // samples that could not be read, with the reason
	Tasks     []TaskScore `json:"tasks"`
	Nodes     []Node      `json:"nodes"` // the worst first
	Converted *Converted  `json:"converted,omitempty"`
	Bytes     struct {
		Before int64 `json:"before"`
		After  int64 `json:"after"`
	} `json:"bytes"`
	Latency Latency  `json:"latency_ms"`
	Bounds  []Bound  `json:"bounds"`
	Notes   []string `json:"notes,omitempty"`
	OK      bool     `json:"ok"`
}

// Latency is the median time of one sample through the graph, without preprocessing.
type Latency struct {
	Before  float64  `json:"before"`
	After   float64  `json:"after"`
	Of      []string `json:"of,omitempty"` // the outputs that were computed
	Threads int      `json:"threads,omitempty"`
}

// ModelInfo names a model.
type ModelInfo struct {
	Path   string `json:"path"`
	System string `json:"system"`
	Naming string `json:"naming,omitempty"`
}

// Node is the difference at one value.
type Node struct {
	Name      string  `json:"name"`
	Output    bool    `json:"output,omitempty"`
	Cosine    float64 `json:"cosine"`
	SQNR      float64 `json:"sqnr_db"`
	MaxAbs    float64 `json:"max_abs"`
	MeanAbs   float64 `json:"mean_abs"`
	RelL2     float64 `json:"rel_l2"`
	NaN       int64   `json:"nan"`
	Inf       int64   `json:"inf"`
	Saturated int64   `json:"saturated"` // values beyond the range of float16
	// Tokens are the errors of embeddings that a projector hands to a language model.
	Tokens *metric.TokenErrors `json:"tokens,omitempty"`

	metrics map[string]float64
}

// Metric returns a metric's value by name.
func (n Node) Metric(name string) float64 { return n.metrics[name] }

// NodeStat is the difference at one value of the graph, over all samples.
type NodeStat struct {
	Name    string
	Output  bool
	Moments metric.Moments
	Tokens  metric.Tokens
}

// AddNodes adds the figures of values in their order.
func (r *Report) AddNodes(stats []*NodeStat) {
	for _, s := range stats {
		n := Node{Name: s.Name, Output: s.Output, NaN: s.Moments.NaN, Inf: s.Moments.Inf, Saturated: s.Moments.Saturated,
			Tokens: s.Tokens.Errors(), metrics: map[string]float64{}}
		for _, m := range metric.All() {
			n.metrics[m.Name] = m.Of(&s.Moments)
		}
		n.Cosine, n.SQNR = n.metrics["cosine"], n.metrics["sqnr_db"]
		n.MaxAbs, n.MeanAbs, n.RelL2 = n.metrics["max_abs"], n.metrics["mean_abs"], n.metrics["rel_l2"]
		r.Nodes = append(r.Nodes, n)
		if s.Moments.RefNonFinite > 0 {
			r.Notes = append(r.Notes, fmt.Sprintf("value %q: %d values of the reference are not finite", s.Name, s.Moments.RefNonFinite))
		}
	}
	if r.Nodes == nil {
		r.Nodes = []Node{}
	}
	if r.Tasks == nil {
		r.Tasks = []TaskScore{}
	}
	r.Bounds = []Bound{}
}

// Violated returns the bounds that do not hold.
func (r *Report) Violated() []Bound {
	return slices.DeleteFunc(slices.Clone(r.Bounds), func(b Bound) bool { return b.OK })
}

// formats write a report, by file extension.
var formats = map[string]func(io.Writer, *Report) error{}

func registerFormat(ext string, write func(io.Writer, *Report) error) (none struct{}) {
	formats[ext] = write
	return none
}

// CheckName returns an error if no report can be written to a file of that name.
func CheckName(path string) error {
	if formats[strings.ToLower(filepath.Ext(path))] == nil {
		return fmt.Errorf("report %s: unknown kind of file; known are %s", path, strings.Join(slices.Sorted(maps.Keys(formats)), ", "))
	}
	return nil
}

// WriteAs writes the report in the format of a file's extension: .md, .json, .html or .xml (JUnit).
func (r *Report) WriteAs(w io.Writer, path string) error {
	if err := CheckName(path); err != nil {
		return err
	}
	return formats[strings.ToLower(filepath.Ext(path))](w, r)
}

// Bytes prints a size for people.
func Bytes(n int64) string {
	switch {
	case n < 1e3:
		return fmt.Sprintf("%d B", n)
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.2f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}
