package graph

import (
	"fmt"
	"slices"
)

// Node is one operation and the value it computes.
type Node struct {
	Op     Op
	In     []*Node
	Params []*Weight // the operation's weights, by its slots; nil where an optional one is absent
	Names  []string  // what the value is called, the first being the name to print
}

// Param returns the weight in a slot, nil if it is absent.
func (n *Node) Param(slot int) *Weight {
	if slot >= len(n.Params) {
		return nil
	}
	return n.Params[slot]
}

// Name returns the value's first name, "" if it has none.
func (n *Node) Name() string {
	if len(n.Names) == 0 {
		return ""
	}
	return n.Names[0]
}

// Component says which part of a model an output belongs to.
type Component string

// The components that `--only` takes.
const (
	Vision    Component = "vision"
	Text      Component = "text"
	Audio     Component = "audio"
	Projector Component = "projector"
	Decoder   Component = "decoder"
	Joint     Component = "joint"
)

// Output is a value that a model exists for; everything that no output needs may be removed by passes.
type Output struct {
	Name      string    `json:"name"`
	Component Component `json:"component"`
}

// Graph is a set of named values with what they are computed from.
type Graph struct {
	Outputs []Output
	names   map[string]*Node
	order   []string // names in the order they were given, for stable listings

	// Alternates computes an input from another one, where a pass has changed what the graph starts from: with the pixel
	// normalisation folded away, "pixels" can still be had from "pixel_values". The key is the input that is replaced.
	Alternates map[string]*Node
}

// New returns an empty graph.
func New() *Graph { return &Graph{names: map[string]*Node{}, Alternates: map[string]*Node{}} }

// SetName gives a value another name. A name stands for one value.
func (g *Graph) SetName(n *Node, name string) error {
	if old := g.names[name]; old != nil {
		if old == n {
			return nil
		}
		return fmt.Errorf("graph: two values are named %q", name)
	}
	g.names[name] = n
	g.order = append(g.order, name)
	n.Names = append(n.Names, name)
	return nil
}

// Value returns the node that computes the named value, nil if there is none.
func (g *Graph) Value(name string) *Node { return g.names[name] }

// Names returns all names in the order they were given.
func (g *Graph) Names() []string { return slices.Clone(g.order) }

// Inputs returns the graph's inputs in the order of their names' making.
func (g *Graph) Inputs() []*Node {
	var in []*Node
	for _, name := range g.order {
		if n := g.names[name]; !slices.Contains(in, n) {
			if _, ok := n.Op.(Input); ok {
				in = append(in, n)
			}
		}
	}
	return in
}

// OutputNodes returns the nodes of the outputs, those of some components only if any are given.
func (g *Graph) OutputNodes(only ...Component) []*Node {
	var out []*Node
	for _, o := range g.Outputs {
		if len(only) == 0 || slices.Contains(only, o.Component) {
			out = append(out, g.names[o.Name])
		}
	}
	return out
}

// IsOutput reports whether a node computes one of the graph's outputs.
func (g *Graph) IsOutput(n *Node) bool {
	return slices.ContainsFunc(g.Outputs, func(o Output) bool { return g.names[o.Name] == n })
}

// Sort returns the nodes that the roots need, each after its inputs. The order depends on the graph alone.
func Sort(roots ...*Node) []*Node {
	var order []*Node
	seen := map[*Node]bool{}
	type frame struct {
		n    *Node
		next int
	}
	for _, root := range roots {
		if seen[root] {
			continue
		}
		seen[root] = true
		stack := []frame{{n: root}}
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			if top.next == len(top.n.In) {
				order = append(order, top.n)
				stack = stack[:len(stack)-1]
				continue
			}
			in := top.n.In[top.next]
			top.next++
			if !seen[in] {
				seen[in] = true
				stack = append(stack, frame{n: in})
			}
		}
	}
	return order
}

// roots are all nodes by which something can be reached: named values, outputs and alternates.
func (g *Graph) roots() []*Node {
	var roots []*Node
	for _, name := range g.order {
		roots = append(roots, g.names[name])
	}
	for _, name := range sortedKeys(g.Alternates) {
		roots = append(roots, g.Alternates[name])
	}
	return roots
}

// Nodes returns all nodes of the graph, each after its inputs.
func (g *Graph) Nodes() []*Node { return Sort(g.roots()...) }

// Weights returns the distinct weights of the nodes in their order.
func Weights(nodes []*Node) []*Weight {
	var ws []*Weight
	seen := map[*Weight]bool{}
	for _, n := range nodes {
		for _, w := range n.Params {
			if w != nil && !seen[w] {
				seen[w] = true
				ws = append(ws, w)
			}
		}
	}
	return ws
}

// Clone returns a copy whose nodes can be changed without touching this graph's. Weights are shared: they are immutable.
func (g *Graph) Clone() *Graph {
	c := New()
	c.Outputs = slices.Clone(g.Outputs)
	copies := map[*Node]*Node{}
	for _, n := range g.Nodes() {
		m := &Node{Op: n.Op, Params: slices.Clone(n.Params), Names: slices.Clone(n.Names)}
		for _, in := range n.In {
			m.In = append(m.In, copies[in])
		}
		copies[n] = m
	}
	for _, name := range g.order {
		c.names[name] = copies[g.names[name]]
		c.order = append(c.order, name)
	}
	for name, n := range g.Alternates {
		c.Alternates[name] = copies[n]
	}
	return c
}

// Prune forgets every name that the outputs of the given components (all, if none are given) do not need, and those
// outputs that belong to others.
func (g *Graph) Prune(only ...Component) error {
	if len(only) > 0 {
		kept := slices.DeleteFunc(slices.Clone(g.Outputs), func(o Output) bool { return !slices.Contains(only, o.Component) })
		if len(kept) == 0 {
			return fmt.Errorf("this model has no outputs of %v; its components: %v", only, g.Components())
		}
		g.Outputs = kept
	}
	live := map[*Node]bool{}
	for _, n := range Sort(g.OutputNodes()...) {
		live[n] = true
	}
	for input, alt := range g.Alternates {
		if n := g.names[input]; n == nil || !live[n] {
			delete(g.Alternates, input)
			continue
		}
		for _, n := range Sort(alt) {
			live[n] = true
		}
	}
	g.order = slices.DeleteFunc(g.order, func(name string) bool {
		if live[g.names[name]] {
			return false
		}
		delete(g.names, name)
		return true
	})
	return nil
}

// Components returns the components that the outputs belong to, in their order.
func (g *Graph) Components() []Component {
	var cs []Component
	for _, o := range g.Outputs {
		if !slices.Contains(cs, o.Component) {
			cs = append(cs, o.Component)
		}
	}
	return cs
}

// Forget takes all names from a value that is about to vanish or to change its meaning.
func (g *Graph) Forget(n *Node) {
	for _, name := range n.Names {
		delete(g.names, name)
	}
	g.order = slices.DeleteFunc(g.order, func(name string) bool { return slices.Contains(n.Names, name) })
	n.Names = nil
}

// Replace lets every user of old use its replacement, which computes the same value and inherits its names.
func (g *Graph) Replace(old, by *Node, users map[*Node][]*Node) {
	for _, u := range users[old] {
		for i, in := range u.In {
			if in == old && u != by {
				u.In[i] = by
			}
		}
	}
	for _, name := range old.Names {
		g.names[name] = by
	}
	by.Names = append(by.Names, old.Names...)
	old.Names = nil
	for input, alt := range g.Alternates {
		if alt == old {
			g.Alternates[input] = by
		}
	}
}

// Users returns, for each node, the nodes that it is an input of, once for each place.
func (g *Graph) Users() map[*Node][]*Node {
	users := map[*Node][]*Node{}
	for _, n := range g.Nodes() {
		for _, in := range n.In {
			users[in] = append(users[in], n)
		}
	}
	return users
}
