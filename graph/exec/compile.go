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

// compilation is a program in the making: what each step learns, the next ones go by.
type compilation struct {
	e      *Engine
	feeds  []string
	shapes map[string]graph.Shape // of the feeds
	fetch  []string

	// Of resolve.
	fed    map[*graph.Node]string
	byName map[string]*graph.Node // the nodes that are fed
	roots  []*graph.Node
	isRoot map[*graph.Node]bool

	// Of schedule: the nodes that are computed or fed, each after its inputs, alternates resolved.
	order  []*graph.Node
	inputs map[*graph.Node][]*graph.Node
	users  map[*graph.Node][]*graph.Node

	// Of layOut.
	values  map[*graph.Node]*value
	buffers []*buffer
}

// compile makes a program. Its result depends on the graph, the shapes and the names alone.
func (e *Engine) compile(feeds []string, shapes map[string]graph.Shape, fetch []string) (*Program, error) {
	c := &compilation{e: e, feeds: feeds, shapes: shapes, fetch: fetch}
	if err := c.resolve(); err != nil {
		return nil, err
	}
	if err := c.schedule(); err != nil {
		return nil, err
	}
	if err := c.layOut(); err != nil {
		return nil, err
	}
	c.live()
	c.takeOver()
	size := place(c.buffers)
	e.grow(size)
	return c.build(size)
}

// resolve finds the nodes that the names stand for.
func (c *compilation) resolve() error {
	c.fed, c.byName = map[*graph.Node]string{}, map[string]*graph.Node{}
	for _, name := range c.feeds {
		n := c.e.g.Value(name)
		if n == nil {
			return fmt.Errorf("input %s: no value of this model has that name; inputs: %s", name, strings.Join(c.e.inputNames(), ", "))
		}
		if in, ok := n.Op.(graph.Input); ok {
			if err := in.Accepts(c.shapes[name]); err != nil {
				return fmt.Errorf("input %s: %w", name, err)
			}
		}
		c.fed[n] = name
	}
	for n, name := range c.fed {
		c.byName[name] = n
	}
	c.isRoot = map[*graph.Node]bool{}
	for _, name := range c.fetch {
		n := c.e.g.Value(name)
		if n == nil {
			return fmt.Errorf("value %s: this model has none of that name", name)
		}
		c.roots = append(c.roots, n)
		c.isRoot[n] = true
	}
	return nil
}

// schedule orders the nodes that the roots need, given those that are fed.
func (c *compilation) schedule() error {
	c.inputs, c.users = map[*graph.Node][]*graph.Node{}, map[*graph.Node][]*graph.Node{}
	for _, r := range c.roots {
		if err := c.visit(r); err != nil {
			return err
		}
	}
	for _, n := range c.order {
		for _, in := range c.inputs[n] {
			c.users[in] = append(c.users[in], n)
		}
	}
	return nil
}

// visit puts a node into the order, behind what it needs.
func (c *compilation) visit(n *graph.Node) error {
	if _, ok := c.inputs[n]; ok {
		return nil
	}
	c.inputs[n] = nil
	if !c.isFed(n) {
		if _, isInput := n.Op.(graph.Input); isInput {
			return fmt.Errorf("input %s is needed and was not given", n.Name())
		}
		ins := make([]*graph.Node, len(n.In))
		for i, in := range n.In {
			ins[i] = c.stand(in)
			if err := c.visit(ins[i]); err != nil {
				return err
			}
		}
		c.inputs[n] = ins
	}
	c.order = append(c.order, n)
	return nil
}

// stand returns what stands for a node: for an input that is not fed, its alternate if it has one.
func (c *compilation) stand(n *graph.Node) *graph.Node {
	if _, isInput := n.Op.(graph.Input); !isInput || c.isFed(n) {
		return n
	}
	for _, name := range n.Names {
		if alt := c.e.g.Alternates[name]; alt != nil {
			return alt
		}
	}
	return n
}

func (c *compilation) isFed(n *graph.Node) bool {
	_, ok := c.fed[n]
	return ok
}

// build makes the program's steps over the placed values.
func (c *compilation) build(size int) (*Program, error) {
	p := &Program{e: c.e, feeds: c.feeds, fetch: c.fetch, arena: size}
	for _, name := range c.feeds {
		n := c.byName[name]
		if c.values[n] == nil { // fed, but nothing needs it
			s := c.shapes[name]
			p.fed = append(p.fed, view{s, make([]float32, s.Len()), s.Last()})
			continue
		}
		p.fed = append(p.fed, c.at(n))
	}
	for _, n := range c.roots {
		p.fetched = append(p.fetched, c.at(n))
	}
	for _, n := range c.order {
		if v := c.values[n]; c.isFed(n) || v.fixed != nil || v.isView {
			continue
		}
		one := &call{e: c.e, node: n, out: c.at(n)}
		for _, in := range c.inputs[n] {
			one.in = append(one.in, c.at(in))
		}
		run, err := impls[reflect.TypeOf(n.Op)].build(one)
		if err != nil {
			return nil, err
		}
		if run != nil {
			p.steps = append(p.steps, step{n, run})
		}
	}
	return p, nil
}

// at returns the memory of a value.
func (c *compilation) at(n *graph.Node) view {
	v := c.values[n]
	size := extent(v.shape, v.ld)
	if v.fixed != nil {
		return view{v.shape, v.fixed[:size], v.ld}
	}
	start := v.root.home().offset + v.offset
	return view{v.shape, c.e.arena[start : start+size : start+size], v.ld}
}

func (e *Engine) inputNames() []string {
	var names []string
	for _, n := range e.g.Inputs() {
		names = append(names, n.Name())
	}
	return names
}
