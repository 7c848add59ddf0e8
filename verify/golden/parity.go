package golden

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/verify/metric"
	"github.com/mmconv/mmconv/verify/report"
)

// Verdict is the outcome of one row.
type Verdict string

// The outcomes.
const (
	Pass   Verdict = "pass"
	Fail   Verdict = "fail"
	Info   Verdict = "info"    // for information: decides nothing
	NotRun Verdict = "not run" // behind a language model
)

// Row is one recorded tensor against ours. A row of a float model holds when |ours - theirs| <= ATol + RTol |theirs|
// everywhere.
type Row struct {
	Name    string      `json:"name"`
	Shape   graph.Shape `json:"shape"`
	MaxAbs  float64     `json:"max_abs_err"`
	Rel     float64     `json:"rel_err"` // largest error over the largest recorded magnitude
	RelL2   float64     `json:"rel_l2"`
	Cosine  float64     `json:"cosine"`
	ATol    float64     `json:"atol"`
	RTol    float64     `json:"rtol"`
	Used    float64     `json:"tolerance_used"` // largest share of its tolerance that an element takes; above 1 the row fails
	Final   bool        `json:"final,omitempty"`
	Verdict Verdict     `json:"verdict"`
	Note    string      `json:"note,omitempty"`
}

// ParityResult is the outcome of one case.
type ParityResult struct {
	Case      string            `json:"case"`
	System    string            `json:"system"`
	Naming    string            `json:"naming,omitempty"`
	Rows      []Row             `json:"rows"`
	Notes     []string          `json:"notes,omitempty"`
	Converted *report.Converted `json:"converted,omitempty"`
	Error     string            `json:"error,omitempty"` // why the case could not be run
	OK        bool              `json:"ok"`
}

// ParityOptions say how cases are run.
type ParityOptions struct {
	run.Options
	// Convert, if set, converts the case's checkpoint first and returns the converted model: rows are then judged by
	// MinCosine and MaxRelL2, for final outputs alone.
	Convert   func(ctx context.Context, checkpoint string, o run.Options) (*run.Model, error)
	MinCosine float64 // 0: no bound
	MaxRelL2  float64 // 0: no bound
}

// caseRunner carries out a kind of golden case. Runners are asked in the order of their registration's rank.
type caseRunner struct {
	name string
	rank int
	// fits reports whether the case is of this kind, from what it holds.
	fits func(*Case) bool
	run  func(context.Context, *Case, ParityOptions, *ParityResult) error
}

var caseRunners []caseRunner

func registerRunner(r caseRunner) (none struct{}) {
	caseRunners = append(caseRunners, r)
	slices.SortStableFunc(caseRunners, func(a, b caseRunner) int { return a.rank - b.rank })
	return none
}

// Parity runs the golden case in a folder. The result is never nil: a case that cannot be run has its Error set.
func Parity(ctx context.Context, dir string, o ParityOptions) *ParityResult {
	res := &ParityResult{Case: dir}
	c, err := LoadCase(dir)
	if err == nil {
		defer c.Close()
		res.Case, res.System = c.Name, c.System
		err = runCase(ctx, c, o, res)
	}
	if err != nil {
		res.Error = err.Error()
		return res
	}
	res.OK = len(res.Rows) > 0 && !slices.ContainsFunc(res.Rows, func(r Row) bool { return r.Verdict == Fail })
	return res
}

func runCase(ctx context.Context, c *Case, o ParityOptions, res *ParityResult) error {
	for _, r := range caseRunners {
		if r.fits(c) {
			return r.run(ctx, c, o, res)
		}
	}
	return fmt.Errorf("%s: neither a model nor a kind of preprocessing that is known: expected a checkpoint, or kind \"preprocess\" with images or audio", c.Dir)
}

// judge compares a value with what was recorded and adds the row.
func (res *ParityResult) judge(e *Expected, ours *graph.Tensor, o ParityOptions) error {
	return res.judgeAs(e, ours, o, nil)
}

// judgeAs leaves out the elements for which skip is true, by their index in the stored tensor.
func (res *ParityResult) judgeAs(e *Expected, ours *graph.Tensor, o ParityOptions, skip func(i int) bool) error {
	theirs, err := e.Load()
	if err != nil {
		return err
	}
	part, err := e.Slice.Apply(ours)
	if err != nil {
		res.add(e, Row{Verdict: Fail, Note: err.Error()})
		return nil
	}
	if !squeeze(part.Shape).Equal(squeeze(theirs.Shape)) {
		res.add(e, Row{Verdict: Fail, Note: fmt.Sprintf("our shape is %v, theirs %v", part.Shape, theirs.Shape)})
		return nil
	}
	row := compareRow(e, part.Data, theirs.Data, skip)
	switch {
	case o.Convert == nil:
		row.Verdict = Pass
		if !(row.Used <= 1) {
			row.Verdict = Fail
		}
	case !e.Final:
		row.Verdict = Info
	default:
		row.Verdict = Pass
		if o.MinCosine != 0 && !(row.Cosine >= o.MinCosine) {
			row.Verdict, row.Note = Fail, fmt.Sprintf("cosine %.6f is below %g", row.Cosine, o.MinCosine)
		}
		if o.MaxRelL2 != 0 && !(row.RelL2 <= o.MaxRelL2) {
			row.Verdict, row.Note = Fail, fmt.Sprintf("relative L2 %.5f is above %g", row.RelL2, o.MaxRelL2)
		}
	}
	res.add(e, row)
	return nil
}

func (res *ParityResult) add(e *Expected, row Row) {
	row.Name, row.Shape, row.Final = e.Name, e.Shape, e.Final
	row.ATol, row.RTol = e.bounds()
	res.Rows = append(res.Rows, row)
}

// bounds returns the tolerance that a row is held to: none for ids.
func (e *Expected) bounds() (atol, rtol float64) {
	if e.Exact {
		return 0, 0
	}
	return e.ATol, e.RTol
}

// missing adds the row of a value that cannot be had. Values that fusion removed from a converted graph are information.
func (res *ParityResult) missing(e *Expected, why error, o ParityOptions) {
	row := Row{Verdict: Fail, Note: why.Error()}
	if o.Convert != nil && !e.Final {
		row.Verdict = Info
		if errors.Is(why, run.ErrNoValue) {
			row.Note = "fused away"
		}
	}
	res.add(e, row)
}

func compareRow(e *Expected, ours, theirs []float32, skip func(i int) bool) Row {
	var m metric.Moments
	row := Row{}
	atol, rtol := e.bounds()
	for i, want := range theirs {
		if skip != nil && skip(i) {
			continue
		}
		got := ours[i]
		m.Add(theirs[i:i+1], ours[i:i+1])
		if got == want || got != got && want != want {
			continue
		}
		d := math.Abs(float64(got) - float64(want))
		used := d / (atol + rtol*math.Abs(float64(want)))
		if math.IsNaN(d) || math.IsInf(d, 0) {
			d, used = metric.WorstError, metric.WorstError
		}
		row.MaxAbs, row.Used = max(row.MaxAbs, d), max(row.Used, min(used, metric.WorstError))
	}
	row.Cosine, row.RelL2 = metric.Cosine(&m), metric.RelL2(&m)
	switch {
	case row.MaxAbs == 0:
	case m.MaxRef == 0:
		row.Rel = metric.WorstError
	default:
		row.Rel = min(row.MaxAbs/m.MaxRef, metric.WorstError)
	}
	return row
}

// squeeze drops axes of size 1: a waveform is recorded with a batch axis or without one.
func squeeze(s graph.Shape) graph.Shape {
	return slices.DeleteFunc(slices.Clone(s), func(d int) bool { return d == 1 })
}

// Reason says in one line why the case could not be run.
func (res *ParityResult) Reason() string {
	if strings.HasPrefix(res.Error, res.Case+":") {
		return res.Error
	}
	return res.Case + ": " + res.Error
}

// Failed returns how many rows do not hold.
func (res *ParityResult) Failed() int {
	n := 0
	for _, r := range res.Rows {
		if r.Verdict == Fail {
			n++
		}
	}
	return n
}

// FirstFailed describes the first row that does not hold.
func (res *ParityResult) FirstFailed() string {
	for _, r := range res.Rows {
		if r.Verdict != Fail {
			continue
		}
		if r.Note != "" {
			return r.Name + ": " + r.Note
		}
		return fmt.Sprintf("%s: max abs error %.3g takes %.3g times its tolerance", r.Name, r.MaxAbs, r.Used)
	}
	return ""
}
