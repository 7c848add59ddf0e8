package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	imageproc "github.com/mmconv/mmconv/graph/pipeline/image"
)

// Input is one logical input: a tensor, files grouped by sample, pictures in memory, or texts.
type Input struct {
	Tensor  *graph.Tensor
	Samples [][]string // paths of the files of each sample
	Images  []*imageproc.RGB
	Waves   [][]float32 // clips at the model's rate; Samples, where given too, are their files
	Texts   []string
}

// Files is the input of one file a sample.
func Files(paths ...string) Input {
	var in Input
	for _, p := range paths {
		in.Samples = append(in.Samples, []string{p})
	}
	return in
}

// Files returns all files of an input in their order.
func (in Input) Files() []string { return slices.Concat(in.Samples...) }

// Feeder carries out one part of a pipeline: it turns logical inputs into what the graph is fed with, and may offer values
// that come before or after the graph (preprocessed pixels, generated ids).
type Feeder struct {
	Name string
	Feed func(context.Context, *Pass) error
}

// The stages of feeding, in their order. Within one the order is that of the feeders' names.
const (
	StageMedia  = iota // files and texts
	StageTensor        // tensors that are given as they are
	StageAfter         // what follows the graph
	stages
)

var feeders [stages][]Feeder

// RegisterFeeder makes a feeder known.
func RegisterFeeder(stage int, f Feeder) (none struct{}) {
	feeders[stage] = append(feeders[stage], f)
	slices.SortFunc(feeders[stage], func(a, b Feeder) int { return strings.Compare(a.Name, b.Name) })
	return none
}

// Recording is what another implementation did with the same inputs. A pass that is held against one follows it where the
// original chose freely.
type Recording interface {
	// Value returns what was recorded under a name, nil if nothing was.
	Value(name string) (*graph.Tensor, error)
	// Decoded returns what the original's decoder made of a picture's file, nil if that was not recorded.
	Decoded(file string) (*imageproc.RGB, error)
	// Compare takes in our decoder's picture beside the original's.
	Compare(file string, ours, theirs *imageproc.RGB)
}

// Pass is one passage of inputs through a model's pipeline. It belongs to one goroutine.
type Pass struct {
	*Model
	Feeds     map[string]*graph.Tensor // by the names of graph values
	Notes     []string
	Recording Recording // nil: none

	in     map[string]Input
	values map[string]*graph.Tensor
	offers map[string]func(context.Context) (*graph.Tensor, error)
	clips  []string // audio files, in the order of the batch
	waves  []int    // the lengths of the clips
	parts  []Part   // nil: all samples go together
}

// NewPass lets the feeders take in logical inputs: "images", "audio", "text", or the names of tensors.
func (m *Model) NewPass(ctx context.Context, in map[string]Input) (*Pass, error) {
	return m.NewRecordedPass(ctx, in, nil)
}

// NewRecordedPass is NewPass for inputs that another implementation has gone through already.
func (m *Model) NewRecordedPass(ctx context.Context, in map[string]Input, rec Recording) (*Pass, error) {
	p := &Pass{Model: m, Feeds: map[string]*graph.Tensor{}, Recording: rec, in: maps.Clone(in), values: map[string]*graph.Tensor{},
		offers: map[string]func(context.Context) (*graph.Tensor, error){}}
	for _, stage := range feeders {
		for _, f := range stage {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := f.Feed(ctx, p); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range p.Inputs() {
		return nil, fmt.Errorf("input %q: the pipeline of %s has no place for it", name, m.Model.System)
	}
	return p, m.checkSizes(p.Feeds)
}

// Inputs returns the names of the logical inputs that no feeder has taken yet.
func (p *Pass) Inputs() []string { return slices.Sorted(maps.Keys(p.in)) }

// Peek returns an input that no feeder has taken yet, and leaves it there.
func (p *Pass) Peek(name string) (Input, bool) {
	in, ok := p.in[name]
	return in, ok
}

// Take returns an input and marks it as taken.
func (p *Pass) Take(name string) (Input, bool) {
	in, ok := p.in[name]
	delete(p.in, name)
	return in, ok
}

// Set offers a value that does not come from the graph. It is preferred to the graph's value of that name.
func (p *Pass) Set(name string, t *graph.Tensor) { p.values[name] = t }

// Offer offers a value that is computed when it is asked for.
func (p *Pass) Offer(name string, compute func(context.Context) (*graph.Tensor, error)) {
	p.offers[name] = compute
}

// Offers reports whether a feeder computes a value of that name.
func (p *Pass) Offers(name string) bool { return p.offers[name] != nil }

// Note records a remark for the report.
func (p *Pass) Note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// ErrNoValue is the error of a name that neither the graph nor a feeder knows.
var ErrNoValue = errors.New("no such value in this graph")

// Check says whether a value can be had: ErrNoValue, or which inputs are missing.
func (p *Pass) Check(name string) error {
	for _, part := range p.parts {
		if err := part.Check(name); err != nil {
			return err
		}
	}
	if p.parts != nil {
		return nil
	}
	if p.values[name] != nil || p.offers[name] != nil || p.Feeds[name] != nil {
		return nil
	}
	if p.Value(name) == nil {
		return ErrNoValue
	}
	if missing := p.Missing(p.Feeds, name); len(missing) > 0 {
		return fmt.Errorf("needs the input %s, which is not given", quoted(missing))
	}
	return nil
}

// Outputs returns the model's outputs that these inputs reach; the error says why where there is none.
func (p *Pass) Outputs() ([]string, error) {
	var names []string
	for _, o := range p.Graph().Outputs {
		if p.Check(o.Name) == nil {
			names = append(names, o.Name)
		}
	}
	if names == nil {
		first := p.Graph().Outputs[0].Name
		return nil, fmt.Errorf("no output can be had from these inputs: %s %w", first, p.Check(first))
	}
	return names, nil
}

// Embedding names the value that a text, a clip or a picture is embedded as: what the model's task compares, else its first
// output that the inputs reach.
func (p *Pass) Embedding() (string, error) {
	if t := p.Pipeline.Task; t != nil {
		for _, name := range []string{t.Query, t.Key} {
			if name != "" && p.Check(name) == nil {
				return name, nil
			}
		}
	}
	names, err := p.Outputs()
	if err != nil {
		return "", err
	}
	return names[0], nil
}

// Fetch returns values by name, those of the graph from one run of it.
func (p *Pass) Fetch(ctx context.Context, names ...string) (map[string]*graph.Tensor, error) {
	if p.parts != nil {
		return p.join(ctx, names)
	}
	out := map[string]*graph.Tensor{}
	var fromGraph []string
	for _, name := range names {
		if err := p.Check(name); err != nil {
			return nil, fmt.Errorf("value %q: %w", name, err)
		}
		switch {
		case p.values[name] != nil:
			out[name] = p.values[name]
		case p.offers[name] != nil:
			t, err := p.offers[name](ctx)
			if err != nil {
				return nil, fmt.Errorf("value %q: %w", name, err)
			}
			p.values[name] = t
			out[name] = t
		case p.Feeds[name] != nil:
			out[name] = p.Feeds[name]
		case !slices.Contains(fromGraph, name):
			fromGraph = append(fromGraph, name)
		}
	}
	if len(fromGraph) == 0 {
		return out, nil
	}
	got, err := p.Run(ctx, p.Feeds, fromGraph...)
	if err != nil {
		return nil, p.blame(ctx, err, fromGraph)
	}
	maps.Copy(out, got)
	return out, nil
}

// Depends reports whether a value is computed from something that is fed, by a way that does not lead through the values in
// except: constants are not, nor what follows from those values alone.
func (p *Pass) Depends(name string, except map[string]*graph.Tensor) bool {
	seen := map[*graph.Node]bool{}
	var visit func(n *graph.Node) bool
	visit = func(n *graph.Node) bool {
		if seen[n] {
			return false
		}
		seen[n] = true
		fed := false
		for _, s := range n.Names {
			if except[s] != nil {
				return false
			}
			fed = fed || p.Feeds[s] != nil
		}
		_, input := n.Op.(graph.Input)
		return fed || input || slices.ContainsFunc(n.In, visit)
	}
	return visit(p.Value(name))
}

// InputError is a file that cannot be read as what it should be.
type InputError struct {
	File string
	Err  error
}

func (e *InputError) Error() string { return e.File + ": " + e.Err.Error() }

// Unwrap returns the decoder's message.
func (e *InputError) Unwrap() error { return e.Err }

// ReadTensors adds the tensors of a safetensors file to logical inputs, by their names.
func ReadTensors(path string, in map[string]Input) error {
	c, err := formats.Open(path, formats.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	for _, name := range c.Names() {
		t, _ := c.Tensor(name)
		values, err := graph.ReadTensor(t)
		if err != nil {
			return err
		}
		in[name] = Input{Tensor: values}
	}
	return nil
}

// quoted lists names for a message.
func quoted(names []string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(q, ", ")
}
