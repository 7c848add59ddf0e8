package verify

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
)

// NodeStat is the difference at one value of the graph, over all samples.
type NodeStat struct {
	Name    string
	Output  bool
	Moments Moments
}

// comparison runs two models on the same inputs and gathers the statistics of the values that both have a name for.
type comparison struct {
	before, after *Session
	nodes         map[string]*NodeStat
	order         []string
}

func newComparison(before, after *Session) *comparison {
	return &comparison{before: before, after: after, nodes: map[string]*NodeStat{}}
}

// inputsOf turns samples into logical inputs.
func inputsOf(items []Item) (map[string]Input, error) {
	in := map[string]Input{}
	if items[0].Kind != "tensors" {
		var files Input
		for _, it := range items {
			files.Samples = append(files.Samples, []string{it.Path})
		}
		in[items[0].Kind] = files
		return in, nil
	}
	for _, it := range items {
		if err := ReadTensors(it.Path, in); err != nil {
			return nil, &InputError{it.Path, err}
		}
	}
	return in, nil
}

// ReadTensors adds the tensors of a safetensors file to logical inputs, by their names.
func ReadTensors(path string, in map[string]Input) error {
	c, err := formats.Open(path, formats.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	for _, name := range c.Names() {
		t, _ := c.Tensor(name)
		values, err := tensorOf(t)
		if err != nil {
			return err
		}
		in[name] = Input{Tensor: values}
	}
	return nil
}

// pass runs both models on one set of inputs. extra are values fed to each of them besides, by name (the embeddings of the
// texts, while images pass). It returns the values named by want of both models.
func (c *comparison) pass(in map[string]Input, want []string, extraBefore, extraAfter map[string]*graph.Tensor) (before, after map[string]*graph.Tensor, err error) {
	rb, err := c.before.NewRun(in)
	if err != nil {
		return nil, nil, err
	}
	ra, err := c.after.NewRun(in)
	if err != nil {
		return nil, nil, err
	}
	var fetch []string
	for name, t := range extraBefore {
		rb.Feeds[name] = t
	}
	for name, t := range extraAfter {
		ra.Feeds[name] = t
	}
	for _, step := range shared {
		if err := step(rb, ra); err != nil {
			return nil, nil, err
		}
	}
	for _, name := range computed(c.before.Graph()) {
		if extraBefore[name] != nil || rb.Feeds[name] != nil || c.after.Graph().Value(name) == nil {
			continue
		}
		if rb.Check(name) == nil && ra.Check(name) == nil && rb.fresh(name, extraBefore) {
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
		return nil, nil, errors.New("the two models have no value in common that these inputs reach: are they of one system?")
	}
	if before, err = rb.Fetch(all...); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", c.before.Path, err)
	}
	if after, err = ra.Fetch(all...); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", c.after.Path, err)
	}
	for _, name := range fetch {
		b, a := before[name], after[name]
		if !b.Shape.Equal(a.Shape) {
			return nil, nil, fmt.Errorf("value %q has shape %v in %s and %v in %s", name, b.Shape, c.before.Path, a.Shape, c.after.Path)
		}
		s := c.nodes[name]
		if s == nil {
			g := c.before.Graph()
			s = &NodeStat{Name: name, Output: g.IsOutput(g.Value(name))}
			c.nodes[name] = s
			c.order = append(c.order, name)
		}
		s.Moments.Add(b.Data, a.Data)
	}
	return before, after, nil
}

// fresh reports whether a value is computed from something that is fed in this pass: constants are not compared, nor what
// was compared in an earlier pass, whose results are in extra.
func (r *Run) fresh(name string, extra map[string]*graph.Tensor) bool {
	seen := map[*graph.Node]bool{}
	var visit func(n *graph.Node) bool
	visit = func(n *graph.Node) bool {
		if seen[n] {
			return false
		}
		seen[n] = true
		fed := false
		for _, s := range n.Names {
			if extra[s] != nil {
				return false
			}
			fed = fed || r.Feeds[s] != nil
		}
		_, input := n.Op.(graph.Input)
		return fed || input || slices.ContainsFunc(n.In, visit)
	}
	return visit(r.Graph().Value(name))
}

// stats returns the statistics with the worst first: by SQNR.
func (c *comparison) stats() []*NodeStat {
	out := make([]*NodeStat, 0, len(c.order))
	for _, name := range c.order {
		out = append(out, c.nodes[name])
	}
	slices.SortStableFunc(out, func(a, b *NodeStat) int { return cmp.Compare(sqnr(&a.Moments), sqnr(&b.Moments)) })
	return out
}
