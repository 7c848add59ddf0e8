package exec

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// Options of an engine.
type Options struct {
	Threads int // 0: one for each processor

	// Observe, if set, is called with the input of every product with a weight before it is computed: what calibration
	// looks at. X is [rows, K], valid during the call only.
	Observe func(w *graph.Weight, x *graph.Tensor)

	// Packed holds the weights in the forms that kernels take. Engines of one model that are given the same share them: the
	// weights that fusion leaves alone are those of the graph before it. nil: the engine's own.
	Packed *Packed
}

// Engine runs the values of one graph. Weights are evaluated and packed for the kernels when a program first needs them
// and shared by all programs; programs are compiled for the shapes that they are fed and kept. It is safe for several
// goroutines: one Run is under way at a time, a second caller waits.
type Engine struct {
	g       *graph.Graph
	options Options
	pool    *kernels.Pool
	scratch *kernels.Scratch
	packed  *Packed

	busy     chan struct{} // holds a token while a run or a compilation is under way
	programs map[string]*Program
	recent   []string // keys of programs, the latest last
	arena    []float32
	profile  map[*graph.Node]time.Duration
}

// keptPrograms bounds how many compiled shapes an engine remembers.
const keptPrograms = 16

// New returns an engine for a graph.
func New(g *graph.Graph, o Options) (*Engine, error) {
	if err := kernels.CheckISA(); err != nil {
		return nil, err
	}
	if o.Packed == nil {
		o.Packed = new(Packed)
	}
	return &Engine{
		g: g, options: o, pool: kernels.NewPool(o.Threads), scratch: &kernels.Scratch{},
		packed: o.Packed, busy: make(chan struct{}, 1), programs: map[string]*Program{},
	}, nil
}

// Packed holds weights in the forms that kernels take, for the engines of one model. The zero value is ready to use; it is
// safe for several goroutines.
type Packed struct {
	mu    sync.Mutex
	forms map[packKey]*packing
}

// packing is a weight in one form, made once.
type packing struct {
	once sync.Once
	form any
	err  error
}

// cached returns the packed form of a weight, making it when it is first asked for.
func cached[T any](e *Engine, k packKey, pack func() (T, error)) (T, error) {
	p := e.packed
	p.mu.Lock()
	if p.forms == nil {
		p.forms = map[packKey]*packing{}
	}
	one := p.forms[k]
	if one == nil {
		one = new(packing)
		p.forms[k] = one
	}
	p.mu.Unlock()
	one.once.Do(func() {
		one.err = formats.Guard(func() (err error) {
			one.form, err = pack()
			return err
		})
	})
	form, _ := one.form.(T)
	return form, one.err
}

// lock waits until nobody else computes.
func (e *Engine) lock(ctx context.Context) error {
	select {
	case e.busy <- struct{}{}:
		return nil
	default:
	}
	select {
	case e.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *Engine) unlock() { <-e.busy }

// Threads returns the number of workers.
func (e *Engine) Threads() int { return e.pool.Threads() }

// Close ends the workers.
func (e *Engine) Close() { e.pool.Close() }

// Run computes the named values from those that are fed. Any named value can be fed: what it is computed from is then not
// needed. It ends early with the context's error when that is done.
func (e *Engine) Run(ctx context.Context, feeds map[string]*graph.Tensor, fetch ...string) (map[string]*graph.Tensor, error) {
	if err := e.lock(ctx); err != nil {
		return nil, err
	}
	defer e.unlock()
	p, err := e.program(feeds, fetch)
	if err != nil {
		return nil, err
	}
	for i, name := range p.feeds {
		copy(p.fed[i].Data, feeds[name].Data)
	}
	if err := e.execute(ctx, p); err != nil {
		return nil, err
	}
	out := make(map[string]*graph.Tensor, len(fetch))
	for i, name := range p.fetch {
		out[name] = p.fetched[i].tensor()
	}
	return out, nil
}

// Compile prepares the computation of the named values from inputs of the given shapes, so that a later Run, or
// [Program.Run], does nothing but compute.
func (e *Engine) Compile(shapes map[string]graph.Shape, fetch ...string) (*Program, error) {
	_ = e.lock(context.Background())
	defer e.unlock()
	feeds := map[string]*graph.Tensor{}
	for name, s := range shapes {
		feeds[name] = &graph.Tensor{Shape: s}
	}
	return e.compiled(feeds, fetch)
}

func (e *Engine) program(feeds map[string]*graph.Tensor, fetch []string) (*Program, error) {
	for name, t := range feeds {
		if len(t.Data) != t.Shape.Len() {
			return nil, fmt.Errorf("input %s: shape %v needs %d values, has %d", name, t.Shape, t.Shape.Len(), len(t.Data))
		}
	}
	return e.compiled(feeds, fetch)
}

func (e *Engine) compiled(feeds map[string]*graph.Tensor, fetch []string) (*Program, error) {
	var key strings.Builder
	names := make([]string, 0, len(feeds))
	for name := range feeds {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&key, "%s%v;", name, feeds[name].Shape)
	}
	fmt.Fprintf(&key, ">%q", fetch)
	k := key.String()
	if p := e.programs[k]; p != nil {
		e.recent = append(slices.DeleteFunc(e.recent, func(s string) bool { return s == k }), k)
		return p, nil
	}
	shapes := map[string]graph.Shape{}
	for name, t := range feeds {
		shapes[name] = t.Shape
	}
	p, err := e.compile(names, shapes, fetch)
	if err != nil {
		return nil, err
	}
	if len(e.recent) == keptPrograms {
		delete(e.programs, e.recent[0])
		e.recent = e.recent[1:]
	}
	e.programs[k] = p
	e.recent = append(e.recent, k)
	return p, nil
}

func (e *Engine) execute(ctx context.Context, p *Program) error {
	return formats.Guard(func() error { return e.steps(ctx, p) }) // float weights are read where they lie in the file
}

func (e *Engine) steps(ctx context.Context, p *Program) error {
	done := ctx.Done()
	for _, s := range p.steps {
		select {
		case <-done:
			return ctx.Err()
		default:
		}
		if e.profile == nil {
			s.run()
			continue
		}
		start := time.Now()
		s.run()
		e.profile[s.node] += time.Since(start)
	}
	return nil
}

// Program is a compiled computation. It belongs to its engine, whose arena it uses.
type Program struct {
	e       *Engine
	feeds   []string
	fed     []view
	fetch   []string
	fetched []view
	steps   []step
	arena   int // values of the arena that it uses
}

type step struct {
	node *graph.Node
	run  func()
}

// Input returns the memory of a fed value, to be filled before Run.
func (p *Program) Input(name string) []float32 { return p.fed[slices.Index(p.feeds, name)].Data }

// Run computes with what the inputs hold. It allocates nothing.
func (p *Program) Run() {
	_ = p.e.lock(context.Background())
	_ = p.e.execute(context.Background(), p)
	p.e.unlock()
}

// Output returns a copy of a fetched value.
func (p *Program) Output(name string) *graph.Tensor {
	return p.fetched[slices.Index(p.fetch, name)].tensor()
}

// ArenaBytes returns the memory that the program's values share.
func (p *Program) ArenaBytes() int { return 4 * p.arena }

// NodeTime is the time that was spent in one node.
type NodeTime struct {
	Node *graph.Node
	Time time.Duration
}

// Profile starts to measure the time of each node when on, and returns what was measured since it was last called, the
// longest first.
func (e *Engine) Profile(on bool) []NodeTime {
	_ = e.lock(context.Background())
	defer e.unlock()
	var times []NodeTime
	for n, d := range e.profile {
		times = append(times, NodeTime{n, d})
	}
	slices.SortFunc(times, func(a, b NodeTime) int { return int(b.Time - a.Time) })
	e.profile = nil
	if on {
		e.profile = map[*graph.Node]time.Duration{}
	}
	return times
}
