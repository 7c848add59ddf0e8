package verify

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/graph"
)

// Feeder carries out one part of a pipeline: it turns logical inputs into what the graph is fed with, and may offer values
// that come before or after the graph (preprocessed pixels, generated ids).
type Feeder struct {
	Name string
	Feed func(*Run) error
}

// The stages of feeding, in their order. Within one the order is that of the feeders' names.
const (
	StageSystem = iota // systems whose pipeline goes another way than its modality's
	StageMedia         // files and texts
	StageTensor        // tensors that are given as they are
	StageAfter         // what follows the graph
)

var feeders [StageAfter + 1][]Feeder

// RegisterFeeder makes a feeder known.
func RegisterFeeder(stage int, f Feeder) (none struct{}) {
	feeders[stage] = append(feeders[stage], f)
	slices.SortFunc(feeders[stage], func(a, b Feeder) int { return strings.Compare(a.Name, b.Name) })
	return none
}

// Run is one passage through a model's pipeline.
type Run struct {
	*Session
	Feeds map[string]*graph.Tensor // by the names of graph values
	Notes []string

	in       map[string]Input
	values   map[string]*graph.Tensor
	offers   map[string]func() (*graph.Tensor, error)
	recorded func(name string) *Expected

	given       map[string]Input // decoded pictures, by file
	clips       []string         // audio files, in the order of the batch
	comparisons []Comparison
}

// NewRun lets the feeders take in logical inputs: "images", "audio", "text", or the names of tensors.
func (s *Session) NewRun(in map[string]Input) (*Run, error) { return s.newRun(in, nil) }

func (s *Session) newRun(in map[string]Input, recorded func(string) *Expected) (*Run, error) {
	r := &Run{Session: s, Feeds: map[string]*graph.Tensor{}, in: maps.Clone(in), values: map[string]*graph.Tensor{},
		offers: map[string]func() (*graph.Tensor, error){}, given: map[string]Input{}, recorded: recorded}
	for _, stage := range feeders {
		for _, f := range stage {
			if err := f.Feed(r); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range r.Inputs() {
		return nil, fmt.Errorf("input %q: the pipeline of %s has no place for it", name, s.Model.System)
	}
	return r, s.checkSizes(r.Feeds)
}

// Inputs returns the names of the logical inputs that no feeder has taken yet.
func (r *Run) Inputs() []string { return slices.Sorted(maps.Keys(r.in)) }

// Peek returns an input that no feeder has taken yet, and leaves it there.
func (r *Run) Peek(name string) (Input, bool) {
	in, ok := r.in[name]
	return in, ok
}

// Take returns an input and marks it as taken.
func (r *Run) Take(name string) (Input, bool) {
	in, ok := r.in[name]
	delete(r.in, name)
	return in, ok
}

// Set offers a value that does not come from the graph. It is preferred to the graph's value of that name.
func (r *Run) Set(name string, t *graph.Tensor) { r.values[name] = t }

// Offer offers a value that is computed when it is asked for.
func (r *Run) Offer(name string, compute func() (*graph.Tensor, error)) { r.offers[name] = compute }

// Recorded returns what a golden case expects of a value, nil outside of golden cases: a generated text is as long as the
// recorded one.
func (r *Run) Recorded(name string) *Expected {
	if r.recorded == nil {
		return nil
	}
	return r.recorded(name)
}

// Note records a remark for the report.
func (r *Run) Note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// ErrNoValue is the error of a name that neither the graph nor a feeder knows.
var ErrNoValue = errors.New("no such value in this graph")

// Check says whether a value can be had: ErrNoValue, or which inputs are missing.
func (r *Run) Check(name string) error {
	if r.values[name] != nil || r.offers[name] != nil || r.Feeds[name] != nil {
		return nil
	}
	if r.Graph().Value(name) == nil {
		return ErrNoValue
	}
	if missing := r.Missing(r.Feeds, name); len(missing) > 0 {
		return fmt.Errorf("needs the input %s, which is not given", quoted(missing))
	}
	return nil
}

// Fetch returns values by name, those of the graph from one run of it.
func (r *Run) Fetch(names ...string) (map[string]*graph.Tensor, error) {
	out := map[string]*graph.Tensor{}
	var fromGraph []string
	for _, name := range names {
		if err := r.Check(name); err != nil {
			return nil, fmt.Errorf("value %q: %w", name, err)
		}
		switch {
		case r.values[name] != nil:
			out[name] = r.values[name]
		case r.offers[name] != nil:
			t, err := r.offers[name]()
			if err != nil {
				return nil, fmt.Errorf("value %q: %w", name, err)
			}
			r.values[name] = t
			out[name] = t
		case r.Feeds[name] != nil:
			out[name] = r.Feeds[name]
		case !slices.Contains(fromGraph, name):
			fromGraph = append(fromGraph, name)
		}
	}
	if len(fromGraph) == 0 {
		return out, nil
	}
	got, err := r.Engine.Run(r.Feeds, fromGraph...)
	if err != nil {
		return nil, err
	}
	maps.Copy(out, got)
	return out, nil
}

// InputError is a file that cannot be read as what it should be. Under KeepGoing such samples are skipped.
type InputError struct {
	File string
	Err  error
}

func (e *InputError) Error() string { return e.File + ": " + e.Err.Error() }

// Unwrap returns the decoder's message.
func (e *InputError) Unwrap() error { return e.Err }
