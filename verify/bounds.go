package verify

import (
	"fmt"
	"slices"

	"github.com/mmconv/mmconv/verify/report"
)

// Thresholds are the bounds that a user gives. A nil one is no bound.
type Thresholds struct {
	MinCosine    *float64 // of every output
	MinSQNR      *float64 // of every output, dB
	MaxRelL2     *float64 // of every output
	MinNodeCos   *float64 // of every compared value
	MaxDrop      *float64 // of the labelled tasks' primary scores, percentage points
	MinAgreement *float64 // of every task, percent
	MinSpeedup   *float64 // latency before over after
	MaxBytes     *float64 // bytes after over before
}

// apply adds the bounds to the report. A bound that nothing was measured for is an error: a gate that guards nothing must
// not pass.
func (t Thresholds) apply(r *report.Report) error {
	node := func(limit *float64, flag, metric string, upper bool, only func(report.Node) bool) error {
		if limit == nil {
			return nil
		}
		found := false
		for _, n := range r.Nodes {
			if only(n) {
				found = true
				r.Bounds = append(r.Bounds, report.NewBound(metric+" of "+n.Name, *limit, n.Metric(metric), upper))
			}
		}
		if !found {
			return fmt.Errorf("--%s: no output was compared", flag)
		}
		return nil
	}
	output := func(n report.Node) bool { return n.Output }
	if err := node(t.MinCosine, "min-cosine", "cosine", false, output); err != nil {
		return err
	}
	if err := node(t.MinSQNR, "min-sqnr", "sqnr_db", false, output); err != nil {
		return err
	}
	if err := node(t.MaxRelL2, "max-rel-l2", "rel_l2", true, output); err != nil {
		return err
	}
	if err := node(t.MinNodeCos, "min-node-cosine", "cosine", false, func(report.Node) bool { return true }); err != nil {
		return err
	}
	if t.MaxDrop != nil {
		primary := slices.DeleteFunc(slices.Clone(r.Tasks), func(s report.TaskScore) bool { return !s.Primary || !s.Labelled })
		if len(primary) == 0 {
			return fmt.Errorf("--max-drop: no labelled task was scored: give --data with a folder a class, and --prompts")
		}
		for _, s := range primary {
			r.Bounds = append(r.Bounds, report.NewBound("drop of "+s.Name, *t.MaxDrop, s.Drop, true))
		}
	}
	if t.MinAgreement != nil {
		found := false
		for _, s := range r.Tasks {
			if s.Agreement >= 0 && (s.Primary || !s.Labelled) {
				found = true
				r.Bounds = append(r.Bounds, report.NewBound("agreement of "+s.Name, *t.MinAgreement, s.Agreement, false))
			}
		}
		if !found {
			return fmt.Errorf("--min-agreement: no task was scored")
		}
	}
	if t.MinSpeedup != nil {
		r.Bounds = append(r.Bounds, report.NewBound("speed-up", *t.MinSpeedup, r.Latency.Before/r.Latency.After, false))
	}
	if t.MaxBytes != nil {
		r.Bounds = append(r.Bounds, report.NewBound("size after over before", *t.MaxBytes, float64(r.Bytes.After)/float64(r.Bytes.Before), true))
	}
	return nil
}
