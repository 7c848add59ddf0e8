package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/verify/metric"
	"github.com/mmconv/mmconv/verify/report"
)

// comparison runs two models on the same inputs and gathers the statistics of the values that both have a name for.
type comparison struct {
	before, after *run.Model
	nodes         map[string]*report.NodeStat
	order         []string
}

func newComparison(before, after *run.Model) *comparison {
	return &comparison{before: before, after: after, nodes: map[string]*report.NodeStat{}}
}

// inputsOf turns samples into logical inputs.
func inputsOf(items []Item) (map[string]run.Input, error) {
	in := map[string]run.Input{}
	if items[0].Kind != "tensors" {
		var files run.Input
		for _, it := range items {
			files.Samples = append(files.Samples, []string{it.Path})
		}
		in[items[0].Kind] = files
		return in, nil
	}
	for _, it := range items {
		if err := run.ReadTensors(it.Path, in); err != nil {
			return nil, &run.InputError{File: it.Path, Err: err}
		}
	}
	return in, nil
}

// passed is what both models gave for some of the samples.
type passed struct {
	samples       []int // their places among those that went in; nil: all of them
	before, after map[string]*graph.Tensor
}

// pass runs both models on one set of inputs. extra are values fed to each of them besides, by name (the embeddings of the
// texts, while images pass). It returns the values named by want of both models, part by part.
func (c *comparison) pass(ctx context.Context, in map[string]run.Input, want []string, extraBefore, extraAfter map[string]*graph.Tensor) ([]passed, error) {
	rb, err := c.before.NewPass(ctx, in)
	if err != nil {
		return nil, err
	}
	ra, err := c.after.NewPass(ctx, in)
	if err != nil {
		return nil, err
	}
	before, after := rb.Parts(), ra.Parts()
	if len(before) != len(after) {
		return nil, fmt.Errorf("%s and %s cut the same samples differently: their pipelines differ", c.before.Path, c.after.Path)
	}
	var all []passed
	for i := range before {
		maps.Copy(before[i].Feeds, extraBefore)
		maps.Copy(after[i].Feeds, extraAfter)
		one, err := c.part(ctx, before[i].Pass, after[i].Pass, want, extraBefore)
		if err != nil {
			return nil, err
		}
		one.samples = before[i].Samples
		all = append(all, one)
	}
	return all, nil
}

// part compares what both models compute of some samples that go through the graph together.
func (c *comparison) part(ctx context.Context, rb, ra *run.Pass, want []string, extra map[string]*graph.Tensor) (p passed, err error) {
	for _, step := range shared {
		if err := step(ctx, rb, ra); err != nil {
			return p, err
		}
	}
	var fetch []string
	for _, name := range computed(c.before.Graph()) {
		if extra[name] != nil || rb.Feeds[name] != nil || c.after.Value(name) == nil {
			continue
		}
		if rb.Check(name) == nil && ra.Check(name) == nil && rb.Depends(name, extra) {
			fetch = append(fetch, name)
		}
	}
	all := slices.Clone(fetch)
	for _, name := range want {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	if len(all) == 0 {
		return p, errors.New("the two models have no value in common that these inputs reach: are they of one system?")
	}
	if p.before, err = rb.Fetch(ctx, all...); err != nil {
		return p, fmt.Errorf("%s: %w", c.before.Path, err)
	}
	if p.after, err = ra.Fetch(ctx, all...); err != nil {
		return p, fmt.Errorf("%s: %w", c.after.Path, err)
	}
	for _, name := range fetch {
		b, a := p.before[name], p.after[name]
		if !b.Shape.Equal(a.Shape) {
			return p, fmt.Errorf("value %q has shape %v in %s and %v in %s", name, b.Shape, c.before.Path, a.Shape, c.after.Path)
		}
		s := c.nodes[name]
		if s == nil {
			g := c.before.Graph()
			s = &report.NodeStat{Name: name, Output: g.IsOutput(g.Value(name))}
			c.nodes[name] = s
			c.order = append(c.order, name)
		}
		s.Moments.Add(b.Data, a.Data)
		if projected(c.before.Graph(), name) && len(b.Shape) > 1 {
			s.Tokens.Add(b.Data, a.Data, b.Shape.Last())
		}
	}
	return p, nil
}

// projected reports whether an output holds what a projector hands to a language model, a row a token.
func projected(g *graph.Graph, name string) bool {
	return !strings.HasSuffix(name, ".real") && slices.ContainsFunc(g.Outputs, func(o graph.Output) bool { return o.Name == name && o.Component == graph.Projector })
}

// computed returns the names of the values that a graph computes, outputs included, that is all but its inputs and
// parameters, in the order of their computation.
func computed(g *graph.Graph) []string {
	var names []string
	for _, n := range g.Nodes() {
		switch n.Op.(type) {
		case graph.Input, graph.Parameter:
			continue
		}
		names = append(names, n.Names...)
	}
	return names
}

// stats returns the statistics with the worst first: by SQNR.
func (c *comparison) stats() []*report.NodeStat {
	out := make([]*report.NodeStat, 0, len(c.order))
	for _, name := range c.order {
		out = append(out, c.nodes[name])
	}
	slices.SortStableFunc(out, func(a, b *report.NodeStat) int { return cmp.Compare(metric.SQNR(&a.Moments), metric.SQNR(&b.Moments)) })
	return out
}
