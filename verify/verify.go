package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline/text"
	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/verify/report"
)

// Options of Verify.
type Options struct {
	run.Options
	Data      string // folder of samples
	Prompts   string // file of texts
	Batch     int    // samples at a time; 0 is 8
	KeepGoing bool   // skip samples that cannot be read, and count them
	NoLatency bool
	Thresholds
	Baseline *Baseline
	// Progress, if set, is called as samples are done.
	Progress func(done, of int)
}

const defaultBatch = 8

// Verify compares a converted model with its source on data: value by value, task by task, in size and in time.
func Verify(ctx context.Context, reference, candidate string, o Options) (*report.Report, error) {
	data, err := LoadDataset(o.Data, o.Prompts)
	if err != nil {
		return nil, err
	}
	o.NoPadding = true // padding is in no figure
	before, err := run.Open(reference, o.Options)
	if err != nil {
		return nil, err
	}
	defer before.Close()
	after, err := run.Open(candidate, o.Options)
	if err != nil {
		return nil, err
	}
	defer after.Close()
	return compareModels(ctx, before, after, data, o)
}

func compareModels(ctx context.Context, before, after *run.Model, data *Dataset, o Options) (*report.Report, error) {
	if before.Model.System != after.Model.System {
		return nil, fmt.Errorf("%s is a model of system %s, %s of %s: they cannot be compared",
			before.Path, before.Model.System, after.Path, after.Model.System)
	}
	r := &report.Report{Reference: modelInfo(before), Candidate: modelInfo(after)}
	r.Bytes.Before, r.Bytes.After = before.Bytes(), after.Bytes()
	if after.Weights != nil {
		r.Converted = report.DescribeWeights(after.Weights)
	}
	c := newComparison(before, after)
	tc := &TaskContext{Before: before, After: after, Data: data,
		Note: func(format string, args ...any) { r.Notes = append(r.Notes, fmt.Sprintf(format, args...)) }}
	if err := c.texts(ctx, tc, r); err != nil {
		return nil, err
	}
	var scorers []Scorer
	var want []string
	for _, t := range tasks {
		s, err := t.Start(tc)
		if err != nil {
			return nil, fmt.Errorf("task %s: %w", t.Name, err)
		}
		if s != nil {
			scorers, want = append(scorers, s), append(want, s.Fetch()...)
		}
	}
	size := o.Batch
	if size <= 0 {
		size = defaultBatch
	}
	var keyBefore, keyAfter map[string]*graph.Tensor
	if tc.TextBefore != nil {
		key := before.Pipeline.Task.Key
		keyBefore = map[string]*graph.Tensor{key: tc.TextBefore[key]}
		keyAfter = map[string]*graph.Tensor{key: tc.TextAfter[key]}
	}
	score := func(items []Item) error {
		in, err := inputsOf(items)
		if err != nil {
			return err
		}
		parts, err := c.pass(ctx, in, want, keyBefore, keyAfter)
		if err != nil {
			return err
		}
		for _, p := range parts {
			some := items
			if p.samples != nil {
				some = nil
				for _, i := range p.samples {
					some = append(some, items[i])
				}
			}
			for _, s := range scorers {
				if err := s.Add(some, p.before, p.after); err != nil {
					return err
				}
			}
		}
		r.Samples += len(items)
		return nil
	}
	var timed []Item // a sample that could be read
	for _, batch := range data.batches(size) {
		good, err := runBatch(ctx, batch, score, o.KeepGoing, &r.Skipped)
		if err != nil {
			return nil, err
		}
		if timed == nil {
			timed = good
		}
		if o.Progress != nil {
			o.Progress(r.Samples+len(r.Skipped), len(data.Items))
		}
	}
	if len(data.Items) > 0 && r.Samples == 0 {
		return nil, fmt.Errorf("%s: none of the %d samples could be read; the first: %s", o.Data, len(data.Items), r.Skipped[0])
	}
	for _, s := range scorers {
		r.Tasks = append(r.Tasks, s.Scores()...)
	}
	r.AddNodes(c.stats())
	if !o.NoLatency {
		if err := measure(ctx, r, before, after, data, timed); err != nil {
			return nil, err
		}
	}
	if err := o.Thresholds.apply(r); err != nil {
		return nil, err
	}
	if o.Baseline != nil {
		if err := o.Baseline.apply(r); err != nil {
			return nil, err
		}
	}
	r.OK = !slices.ContainsFunc(r.Bounds, func(b report.Bound) bool { return !b.OK })
	return r, nil
}

// texts passes the data's texts through both text towers.
func (c *comparison) texts(ctx context.Context, tc *TaskContext, r *report.Report) error {
	texts := tc.Data.Texts()
	p := c.before.Pipeline
	if len(texts) == 0 || p.Text == nil || p.Task == nil || p.Task.Key == "" {
		return nil
	}
	if c.after.Pipeline.Text == nil || c.after.Value(p.Task.Key) == nil {
		r.Notes = append(r.Notes, "the converted model has no text tower: its texts were not verified")
		return nil
	}
	parts, err := c.pass(ctx, map[string]run.Input{"text": {Texts: texts}}, []string{p.Task.Key}, nil, nil)
	var missing *text.MissingError
	if errors.As(err, &missing) {
		r.Notes = append(r.Notes, missing.Error())
		return nil
	}
	if err != nil {
		return err
	}
	tc.TextBefore, tc.TextAfter = parts[0].before, parts[0].after
	r.Texts = len(texts)
	return nil
}

func modelInfo(m *run.Model) report.ModelInfo {
	return report.ModelInfo{Path: m.Path, System: m.Model.System, Naming: m.Model.Naming}
}

// runBatch scores a batch; if a sample in it cannot be read and keepGoing is set, the rest one by one. It returns a sample
// that was read.
func runBatch(ctx context.Context, batch []Item, score func([]Item) error, keepGoing bool, skipped *[]string) ([]Item, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err := score(batch)
	var bad *run.InputError
	if err == nil {
		return batch[:1], nil
	}
	if !errors.As(err, &bad) {
		return nil, err
	}
	if !keepGoing {
		return nil, fmt.Errorf("%w; --keep-going skips such samples", err)
	}
	if len(batch) == 1 {
		*skipped = append(*skipped, err.Error())
		return nil, nil
	}
	var good []Item
	for i := range batch {
		one, err := runBatch(ctx, batch[i:i+1], score, keepGoing, skipped)
		if err != nil {
			return nil, err
		}
		if good == nil {
			good = one
		}
	}
	return good, nil
}

// measure times both models on one sample, or on one text where there are no samples.
func measure(ctx context.Context, r *report.Report, before, after *run.Model, data *Dataset, sample []Item) error {
	in := map[string]run.Input{}
	if sample != nil {
		var err error
		if in, err = inputsOf(sample); err != nil {
			return err
		}
	} else if texts := data.Texts(); len(texts) > 0 {
		in["text"] = run.Input{Texts: texts[:1]}
	}
	// What a user would otherwise run is the source with its graph fused: the gain shown is that of the numbers alone.
	rb, err := before.NewPass(ctx, in)
	if err != nil {
		return err
	}
	ra, err := after.NewPass(ctx, in)
	if err != nil {
		return err
	}
	names := timed(rb, after)
	if len(names) == 0 {
		return nil
	}
	r.Latency.Before, r.Latency.After, err = latency(ctx, rb, ra, names)
	r.Latency.Of, r.Latency.Threads = names, before.Threads()
	return err
}
