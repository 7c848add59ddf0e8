package run

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/exec"
	"github.com/mmconv/mmconv/graph/fuse"
	"github.com/mmconv/mmconv/graph/models"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/graph/pipeline/audio"
)

// Options say how a model is opened.
type Options struct {
	Threads int // 0: one for each processor
	Models  models.Options
	// MaxPixels bounds the size of a picture that is decoded; 0 is the decoder's default.
	MaxPixels int
	// Resampling names the kernel that brings clips to the model's rate: hann (the default, torchaudio's) or kaiser (sharper).
	Resampling string
	// NoPadding lets clips of different length never share a passage, also where the model is told which frames are padding: then
	// no value holds any.
	NoPadding bool
	// Unfused runs a source's graph as it was imported, for the values that fusion takes away. Without, only what asks for
	// such a value goes through that graph.
	Unfused bool
}

// Model is a source or a converted folder that is ready to run. It is safe for several goroutines.
type Model struct {
	*Loaded
	Path     string
	Pipeline *pipeline.Pipeline // never nil

	options Options
	kernel  audio.Kernel // resamples clips
	packed  *exec.Packed // shared by the engines
	fused   *graph.Graph // what runs; nil: the graph as it was read

	mu      sync.Mutex
	engines map[*graph.Graph]*exec.Engine
	kept    map[string]any // what feeders keep between passes: a tokenizer
	cleanup []func()
}

// Open opens a source checkpoint or a converted folder.
func Open(path string, o Options) (*Model, error) {
	kernel, err := audio.KernelByName(o.Resampling)
	if err != nil {
		return nil, err
	}
	l, err := Load(path, o.Models)
	if err != nil {
		return nil, err
	}
	m := &Model{Loaded: l, Path: path, Pipeline: l.Model.Pipeline, options: o, kernel: kernel, packed: new(exec.Packed), engines: map[*graph.Graph]*exec.Engine{},
		kept: map[string]any{}}
	if m.Pipeline == nil {
		m.Pipeline = new(pipeline.Pipeline)
	}
	if l.Manifest == nil && !o.Unfused {
		if m.fused, _, err = fuse.Run(l.Model.Graph, fuse.Options{}); err != nil {
			l.Close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if _, err := m.engine(m.Graph()); err != nil {
		l.Close()
		return nil, err
	}
	return m, nil
}

// OnClose adds what is to be done when the model is closed.
func (m *Model) OnClose(f func()) { m.cleanup = append(m.cleanup, f) }

// Close ends the engines and releases the files. Nothing may run on the model then, or be asked of it.
func (m *Model) Close() {
	for _, e := range m.engines {
		e.Close()
	}
	m.Loaded.Close()
	for _, f := range m.cleanup {
		f()
	}
}

// Graph returns the graph that runs: a source's with its graph fused, unless it was opened unfused.
func (m *Model) Graph() *graph.Graph {
	if m.fused != nil {
		return m.fused
	}
	return m.Model.Graph
}

// Threads returns the number of workers of an engine.
func (m *Model) Threads() int {
	e, err := m.engine(m.Graph())
	if err != nil {
		return 0
	}
	return e.Threads()
}

// Profile starts to measure the time of each node when on, and returns what was measured since it was last called.
func (m *Model) Profile(on bool) []exec.NodeTime {
	e, err := m.engine(m.Graph())
	if err != nil {
		return nil
	}
	return e.Profile(on)
}

// engine returns the engine of a graph, made when it is first asked for.
func (m *Model) engine(g *graph.Graph) (*exec.Engine, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.engines[g]; e != nil {
		return e, nil
	}
	e, err := exec.New(g, exec.Options{Threads: m.options.Threads, Packed: m.packed})
	if err == nil {
		m.engines[g] = e
	}
	return e, err
}

// Run computes named values of the graph from others. Values that fusion has taken away come from the graph as it was
// imported.
func (m *Model) Run(ctx context.Context, feeds map[string]*graph.Tensor, names ...string) (map[string]*graph.Tensor, error) {
	e, err := m.engine(m.graphFor(feeds, names))
	if err != nil {
		return nil, err
	}
	return e.Run(ctx, feeds, names...)
}

// graphFor returns the fused graph, or the one before fusion where a name asks for what fusion has taken away.
func (m *Model) graphFor(feeds map[string]*graph.Tensor, names []string) *graph.Graph {
	if m.fused == nil {
		return m.Model.Graph
	}
	for _, name := range names {
		if m.fused.Value(name) == nil && m.Model.Graph.Value(name) != nil {
			return m.Model.Graph
		}
	}
	for name := range feeds {
		if !knows(m.fused, name) {
			return m.Model.Graph
		}
	}
	return m.fused
}

// Value returns the node of a name in the graph that runs, or in the one before fusion; nil if there is none.
func (m *Model) Value(name string) *graph.Node {
	if n := m.Graph().Value(name); n != nil {
		return n
	}
	return m.Model.Graph.Value(name)
}

// Has reports whether the graph has a value of that name, or can be fed with it.
func (m *Model) Has(name string) bool { return m.Value(name) != nil || knows(m.Graph(), name) }

// knows reports whether a graph can be fed with a name: a value's, or that of an input which a pass has removed.
func knows(g *graph.Graph, name string) bool {
	if g.Value(name) != nil {
		return true
	}
	for _, n := range g.Alternates {
		for _, m := range graph.Sort(n) {
			if _, ok := m.Op.(graph.Input); ok && slices.Contains(m.Names, name) {
				return true
			}
		}
	}
	return false
}

// IsInput reports whether a name is that of an input of the graph, or of nothing in it.
func (m *Model) IsInput(name string) bool {
	n := m.Value(name)
	if n == nil {
		return true
	}
	_, ok := n.Op.(graph.Input)
	return ok
}

// Missing returns the inputs that the named value needs beyond those that are fed.
func (m *Model) Missing(feeds map[string]*graph.Tensor, name string) []string {
	g := m.graphFor(feeds, []string{name})
	var missing []string
	seen := map[*graph.Node]bool{}
	var visit func(n *graph.Node)
	visit = func(n *graph.Node) {
		if seen[n] {
			return
		}
		seen[n] = true
		for _, name := range n.Names {
			if feeds[name] != nil {
				return
			}
		}
		if _, ok := n.Op.(graph.Input); ok {
			if alt := g.Alternates[n.Name()]; alt != nil && len(missingOf(alt, feeds)) == 0 {
				return
			}
			missing = append(missing, n.Name())
			return
		}
		for _, in := range n.In {
			visit(in)
		}
	}
	if n := g.Value(name); n != nil {
		visit(n)
	}
	return missing
}

func missingOf(root *graph.Node, feeds map[string]*graph.Tensor) []string {
	var missing []string
	for _, n := range graph.Sort(root) {
		if _, ok := n.Op.(graph.Input); ok && !slices.ContainsFunc(n.Names, func(name string) bool { return feeds[name] != nil }) {
			missing = append(missing, n.Name())
		}
	}
	return missing
}

// kept returns what a feeder keeps with a model, made by build when it is first asked for.
func kept[T any](m *Model, key string, build func() (T, error)) (T, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.kept[key]; ok {
		return v.(T), nil
	}
	v, err := build()
	if err == nil {
		m.kept[key] = v
	}
	return v, err
}

// MaxPixels is the bound on pictures that the model was opened with.
func (m *Model) MaxPixels() int { return m.options.MaxPixels }
