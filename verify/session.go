package verify

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/exec"
	"github.com/mmconv/mmconv/graph/fuse"
	"github.com/mmconv/mmconv/graph/models"
	"github.com/mmconv/mmconv/quant"
	"github.com/mmconv/mmconv/verify/audio"
)

// Session is a model, source or converted, that is ready to run.
type Session struct {
	*quant.Loaded
	Path   string
	Engine *exec.Engine
	// MaxPixels bounds the size of a picture that is decoded; 0 is the decoder's default.
	MaxPixels int

	cache   map[string]any // what feeders keep between runs: a tokenizer
	cleanup func()

	kernel audio.Kernel // resamples clips
}

// SessionOptions say how a model is opened.
type SessionOptions struct {
	Threads int // 0: one for each processor
	Models  models.Options
	// MaxPixels bounds the size of a picture that is decoded; 0 is the decoder's default.
	MaxPixels int
	// Resampling names the kernel that brings clips to the model's rate: hann (the default, torchaudio's) or kaiser (sharper).
	Resampling string
}

// OpenSession opens a source checkpoint or a converted folder.
func OpenSession(path string, o SessionOptions) (*Session, error) {
	kernel, err := audio.KernelByName(o.Resampling)
	if err != nil {
		return nil, err
	}
	l, err := quant.Load(path, o.Models)
	if err != nil {
		return nil, err
	}
	e, err := exec.New(l.Model.Graph, exec.Options{Threads: o.Threads})
	if err != nil {
		l.Close()
		return nil, err
	}
	return &Session{Loaded: l, Path: path, Engine: e, MaxPixels: o.MaxPixels, kernel: kernel, cache: map[string]any{}}, nil
}

// Close ends the engine and releases the files.
func (s *Session) Close() {
	s.Engine.Close()
	s.Loaded.Close()
	if s.cleanup != nil {
		s.cleanup()
	}
}

// Fused returns a session of the same model whose graph went through the fusion passes, with an engine of its own.
func (s *Session) Fused() (*Session, error) {
	g := s.Graph()
	if s.Manifest == nil {
		var err error
		if g, _, err = fuse.Run(g, fuse.Options{}); err != nil {
			return nil, err
		}
	}
	e, err := exec.New(g, exec.Options{Threads: s.Engine.Threads()})
	if err != nil {
		return nil, err
	}
	loaded, model := *s.Loaded, *s.Model
	model.Graph = g
	loaded.Model = &model
	return &Session{Loaded: &loaded, Path: s.Path, Engine: e, MaxPixels: s.MaxPixels, kernel: s.kernel, cache: s.cache}, nil
}

// Graph returns the model's graph.
func (s *Session) Graph() *graph.Graph { return s.Model.Graph }

// Has reports whether the graph has a value of that name, or can be fed with it.
func (s *Session) Has(name string) bool { return s.Graph().Value(name) != nil || s.alternate(name) }

// alternate reports whether an input that a pass has removed can still be fed.
func (s *Session) alternate(name string) bool {
	for _, n := range s.Graph().Alternates {
		for _, m := range graph.Sort(n) {
			if _, ok := m.Op.(graph.Input); ok && slices.Contains(m.Names, name) {
				return true
			}
		}
	}
	return false
}

// Missing returns the inputs that the named value needs beyond those that are fed.
func (s *Session) Missing(feeds map[string]*graph.Tensor, name string) []string {
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
			if alt := s.Graph().Alternates[n.Name()]; alt != nil && len(s.missingOf(alt, feeds)) == 0 {
				return
			}
			missing = append(missing, n.Name())
			return
		}
		for _, in := range n.In {
			visit(in)
		}
	}
	if n := s.Graph().Value(name); n != nil {
		visit(n)
	}
	return missing
}

func (s *Session) missingOf(root *graph.Node, feeds map[string]*graph.Tensor) []string {
	var missing []string
	for _, n := range graph.Sort(root) {
		if _, ok := n.Op.(graph.Input); ok && !slices.ContainsFunc(n.Names, func(name string) bool { return feeds[name] != nil }) {
			missing = append(missing, n.Name())
		}
	}
	return missing
}

// cached returns what a feeder keeps with a session, made by build when it is first asked for.
func cached[T any](s *Session, key string, build func() (T, error)) (T, error) {
	if v, ok := s.cache[key]; ok {
		return v.(T), nil
	}
	v, err := build()
	if err == nil {
		s.cache[key] = v
	}
	return v, err
}

// SizeError says that images of a size come in for which the model was not trained: it can be opened again with its
// position tables interpolated.
type SizeError struct {
	Height, Width int
	Err           error
}

func (e *SizeError) Error() string {
	return e.Err.Error() + "; --image-size interpolates position tables"
}

// Unwrap returns the engine's or the input's message.
func (e *SizeError) Unwrap() error { return e.Err }

// checkSizes compares the images that are fed with the graph's input.
func (s *Session) checkSizes(feeds map[string]*graph.Tensor) error {
	for _, in := range s.Graph().Inputs() {
		op, ok := in.Op.(graph.Input)
		if !ok || len(op.Dims) != 4 || (in.Name() != "pixels" && in.Name() != "pixel_values") {
			continue
		}
		for _, name := range []string{"pixels", "pixel_values"} {
			t := feeds[name]
			if t == nil {
				continue
			}
			err := op.Accepts(t.Shape)
			if err == nil {
				continue
			}
			err = fmt.Errorf("input %q: %w", name, err)
			if len(t.Shape) == 4 && (op.Dims[2] >= 0 || op.Dims[3] >= 0) {
				return &SizeError{Height: t.Shape[2], Width: t.Shape[3], Err: err}
			}
			return err
		}
	}
	return nil
}

// atSize runs a step on a session and, if the images turn out to be of another size than the model was trained for, once
// more on one that open makes for that size.
func atSize(o SessionOptions, open func(SessionOptions) (*Session, error), step func(*Session) error) error {
	for again := true; ; again = false {
		s, err := open(o)
		if err != nil {
			return err
		}
		err = step(s)
		s.Close()
		var size *SizeError
		if !again || !errors.As(err, &size) || o.Models.ImageSize != [2]int{} {
			return err
		}
		o.Models.ImageSize = [2]int{size.Height, size.Width}
	}
}

// computed returns the names of the values that the graph computes, outputs included, that is all but its inputs and
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

// quoted lists names for a message.
func quoted(names []string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(q, ", ")
}
