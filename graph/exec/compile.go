package exec

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// impl is how an operation runs. Exactly one of build and alias is used for a node: alias says that the value is a part of
// its first input's memory.
type impl struct {
	build func(c *call) (func(), error)
	// alias returns the offset and the row distance of the value within its input, if it can be a view of it.
	alias func(n *graph.Node, in view, out graph.Shape) (offset, ld int, ok bool)
	// strided lists the inputs that need not be dense.
	strided func(input int) bool
	// inPlace allows the value to take its first input's memory, when nobody needs that any more.
	inPlace bool
}

var impls = map[reflect.Type]*impl{}

// on registers the implementation of an operation.
func on[O graph.Op](build func(c *call, op O) (func(), error), set ...func(*impl)) (none struct{}) {
	im := &impl{build: func(c *call) (func(), error) { return build(c, c.node.Op.(O)) }}
	for _, s := range set {
		s(im)
	}
	impls[reflect.TypeFor[O]()] = im
	return none
}

func inPlace(im *impl) { im.inPlace = true }

func strided(inputs ...int) func(*impl) {
	return func(im *impl) { im.strided = func(i int) bool { return slices.Contains(inputs, i) } }
}

// call is what an implementation is built from: a node with the places of its inputs and of its value.
type call struct {
	e    *Engine
	node *graph.Node
	in   []view
	out  view
}

func (c *call) pool() *kernels.Pool { return c.e.pool }

// floats returns a weight's values, nil for an absent one.
func (c *call) floats(slot int) ([]float32, error) {
	w := c.node.Param(slot)
	if w == nil {
		return nil, nil
	}
	v, err := cached(c.e, packKey{w, "float"}, w.Expr.Eval)
	if err != nil {
		return nil, fmt.Errorf("weight %s: %w", w.Name, err)
	}
	return v, nil
}

// packKey names a weight in one of the forms that kernels take it in.
type packKey struct {
	w    *graph.Weight
	form string
}

// value is what the compiler knows of a node's value.
type value struct {
	shape   graph.Shape
	ld      int
	root    *buffer // the memory that it lies in
	offset  int     // within that memory
	lastUse int
	fixed   []float32 // memory outside the arena: a weight's
}

// buffer is a piece of the arena.
type buffer struct {
	size        int
	first, last int // schedule positions between which it is alive
	offset      int
}

// compile makes a program. Its result depends on the graph, the shapes and the names alone.
func (e *Engine) compile(feeds []string, shapes map[string]graph.Shape, fetch []string) (*Program, error) {
	fed := map[*graph.Node]string{}
	for _, name := range feeds {
		n := e.g.Value(name)
		if n == nil {
			return nil, fmt.Errorf("input %s: no value of this model has that name; inputs: %s", name, strings.Join(e.inputNames(), ", "))
		}
		if in, ok := n.Op.(graph.Input); ok {
			if err := in.Accepts(shapes[name]); err != nil {
				return nil, fmt.Errorf("input %s: %w", name, err)
			}
		}
		fed[n] = name
	}
	var roots []*graph.Node
	for _, name := range fetch {
		n := e.g.Value(name)
		if n == nil {
			return nil, fmt.Errorf("value %s: this model has none of that name", name)
		}
		roots = append(roots, n)
	}
	order, inputs, err := e.schedule(roots, fed)
	if err != nil {
		return nil, err
	}

	// Shapes, and what is a view of what.
	values := map[*graph.Node]*value{}
	users := map[*graph.Node][]*graph.Node{}
	for _, n := range order {
		for _, in := range inputs[n] {
			users[in] = append(users[in], n)
		}
	}
	isRoot := map[*graph.Node]bool{}
	for _, r := range roots {
		isRoot[r] = true
	}
	var buffers []*buffer
	for at, n := range order {
		v := &value{lastUse: at}
		values[n] = v
		if name, ok := fed[n]; ok {
			v.shape = shapes[name]
		} else {
			in := make([]graph.Shape, len(inputs[n]))
			for i, src := range inputs[n] {
				in[i] = values[src].shape
			}
			if v.shape, err = graph.InferNode(n, in); err != nil {
				return nil, err
			}
			if _, ok := n.Op.(graph.Parameter); ok {
				c := &call{e: e, node: n}
				if v.fixed, err = c.floats(0); err != nil {
					return nil, err
				}
				v.ld = v.shape.Last()
				continue
			}
			im := impls[reflect.TypeOf(n.Op)]
			if im == nil {
				return nil, fmt.Errorf("operation %s: not known to the executor", graph.OpName(n.Op))
			}
			if im.alias != nil {
				src := values[inputs[n][0]]
				offset, ld, ok := im.alias(n, view{Shape: src.shape, LD: src.ld}, v.shape)
				if ok && ld != v.shape.Last() && v.shape.Rows() > 1 {
					ok = !isRoot[n] && allTakeStrided(n, users[n], inputs)
				}
				if ok {
					v.ld, v.root, v.offset, v.fixed = ld, src.root, src.offset+offset, src.fixed
					if v.fixed != nil {
						v.fixed = v.fixed[offset:]
						v.offset = 0
					}
					continue
				}
			}
		}
		v.ld = v.shape.Last()
		v.root = &buffer{size: v.shape.Len(), first: at, last: at}
		buffers = append(buffers, v.root)
	}
	for at, n := range order {
		for _, in := range inputs[n] {
			if r := values[in].root; r != nil {
				r.last = max(r.last, at)
			}
		}
		if r := values[n].root; r != nil {
			if isRoot[n] {
				r.last = len(order)
			}
			if _, ok := fed[n]; ok {
				// Inputs stay as they were fed, so that a program can run again.
				r.first, r.last = -1, len(order)
			}
		}
	}
	// Values that take their input's memory over.
	merged := map[*buffer]*buffer{}
	find := func(b *buffer) *buffer {
		for merged[b] != nil {
			b = merged[b]
		}
		return b
	}
	for at, n := range order {
		v := values[n]
		if v.root == nil {
			continue
		}
		if _, ok := fed[n]; ok || len(inputs[n]) == 0 || v.root.first != at {
			continue
		}
		if im := impls[reflect.TypeOf(n.Op)]; im == nil || !im.inPlace {
			continue
		}
		src := values[inputs[n][0]]
		if src.root == nil || src.ld != src.shape.Last() || !src.shape.Equal(v.shape) || slices.Contains(inputs[n][1:], inputs[n][0]) {
			continue
		}
		old := find(src.root)
		if old.last != at || old.size != v.root.size || src.offset != 0 {
			continue
		}
		old.last = v.root.last
		merged[v.root] = old
	}
	buffers = slices.DeleteFunc(buffers, func(b *buffer) bool { return merged[b] != nil })
	size := place(buffers)
	if size > len(e.arena) {
		// Grown with room to spare, because sequences of a decoder grow step by step. Programs hold the old memory.
		e.arena = make([]float32, size+size/4+arenaAlign)
		clear(e.programs)
		e.recent = nil
	}

	p := &Program{e: e, feeds: feeds, fetch: fetch, arena: size}
	at := func(n *graph.Node) view {
		v := values[n]
		if v.fixed != nil {
			return view{v.shape, v.fixed[:extent(v.shape, v.ld)], v.ld}
		}
		start := find(v.root).offset + v.offset
		end := start + extent(v.shape, v.ld)
		return view{v.shape, e.arena[start:end:end], v.ld}
	}
	byName := map[string]*graph.Node{}
	for n, name := range fed {
		byName[name] = n
	}
	for _, name := range feeds {
		if values[byName[name]] == nil { // fed, but nothing needs it
			p.fed = append(p.fed, view{shapes[name], make([]float32, shapes[name].Len()), shapes[name].Last()})
			continue
		}
		p.fed = append(p.fed, at(byName[name]))
	}
	for _, n := range roots {
		p.fetched = append(p.fetched, at(n))
	}
	for _, n := range order {
		v := values[n]
		if _, ok := fed[n]; ok || v.fixed != nil {
			continue
		}
		if len(inputs[n]) > 0 {
			if src := values[inputs[n][0]]; src.root == v.root {
				continue // a view
			}
		}
		c := &call{e: e, node: n, out: at(n)}
		for _, in := range inputs[n] {
			c.in = append(c.in, at(in))
		}
		run, err := impls[reflect.TypeOf(n.Op)].build(c)
		if err != nil {
			return nil, err
		}
		if run != nil {
			p.steps = append(p.steps, step{n, run})
		}
	}
	return p, nil
}

// schedule orders the nodes that the roots need, given those that are fed, and returns each node's inputs, alternates
// resolved.
func (e *Engine) schedule(roots []*graph.Node, fed map[*graph.Node]string) ([]*graph.Node, map[*graph.Node][]*graph.Node, error) {
	inputs := map[*graph.Node][]*graph.Node{}
	var order []*graph.Node
	var visit func(n *graph.Node) error
	resolve := func(n *graph.Node) *graph.Node {
		if _, isInput := n.Op.(graph.Input); isInput {
			if _, ok := fed[n]; !ok {
				for _, name := range n.Names {
					if alt := e.g.Alternates[name]; alt != nil {
						return alt
					}
				}
			}
		}
		return n
	}
	visit = func(n *graph.Node) error {
		if _, ok := inputs[n]; ok {
			return nil
		}
		inputs[n] = nil
		if _, ok := fed[n]; !ok {
			if _, isInput := n.Op.(graph.Input); isInput {
				return fmt.Errorf("input %s is needed and was not given", n.Name())
			}
			ins := make([]*graph.Node, len(n.In))
			for i, in := range n.In {
				ins[i] = resolve(in)
				if err := visit(ins[i]); err != nil {
					return err
				}
			}
			inputs[n] = ins
		}
		order = append(order, n)
		return nil
	}
	for _, r := range roots {
		if err := visit(r); err != nil {
			return nil, nil, err
		}
	}
	return order, inputs, nil
}

func (e *Engine) inputNames() []string {
	var names []string
	for _, n := range e.g.Inputs() {
		names = append(names, n.Name())
	}
	return names
}

func allTakeStrided(n *graph.Node, users []*graph.Node, inputs map[*graph.Node][]*graph.Node) bool {
	for _, u := range users {
		im := impls[reflect.TypeOf(u.Op)]
		for i, in := range inputs[u] {
			if in == n && (im == nil || im.strided == nil || !im.strided(i)) {
				return false
			}
		}
	}
	return true
}

// arenaAlign keeps buffers on cache lines.
const arenaAlign = 16

// place gives every buffer an offset such that no two that are alive together overlap, and returns the arena's size.
// Largest first, each in the lowest gap (Pisarchyk and Lee 2020, "greedy by size").
func place(buffers []*buffer) int {
	bySize := slices.Clone(buffers)
	slices.SortStableFunc(bySize, func(a, b *buffer) int { return b.size - a.size })
	var placed []*buffer // by offset
	total := 0
	for _, b := range bySize {
		offset := 0
		for _, o := range placed {
			if o.last < b.first || b.last < o.first {
				continue
			}
			if offset+b.size <= o.offset {
				break
			}
			offset = max(offset, (o.offset+o.size+arenaAlign-1)/arenaAlign*arenaAlign)
		}
		b.offset = offset
		total = max(total, offset+b.size)
		i, _ := slices.BinarySearchFunc(placed, offset, func(p *buffer, off int) int { return p.offset - off })
		placed = slices.Insert(placed, i, b)
	}
	return total
}
