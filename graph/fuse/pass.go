// Package fuse rewrites graphs so that they compute the same with less work: passes from graph to graph, one file each.
// Weights are composed as expressions; nothing is loaded. After every pass the graph is held against its rules.
package fuse

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/graph"
)

// Pass is a rewriting of a graph. Each registers itself from its own file.
type Pass struct {
	Name  string
	Doc   string // what it does, in a line
	After []string
	// Patterns are tried on every node, each after its inputs, until none matches any more.
	Patterns []Pattern
}

// Pattern returns the node that computes the value in n's place, or nil if it does not apply to n. It may change nodes
// that only n uses.
type Pattern func(m *Matcher, n *graph.Node) *graph.Node

var passes []*Pass

func register(p *Pass) (none struct{}) {
	passes = append(passes, p)
	return none
}

// Passes returns all passes in the order in which they run.
func Passes() []*Pass {
	left := slices.Clone(passes)
	slices.SortFunc(left, func(a, b *Pass) int { return strings.Compare(a.Name, b.Name) })
	var order []*Pass
	for len(left) > 0 {
		i := slices.IndexFunc(left, func(p *Pass) bool {
			return !slices.ContainsFunc(left, func(q *Pass) bool { return slices.Contains(p.After, q.Name) })
		})
		order = append(order, left[i])
		left = slices.Delete(left, i, i+1)
	}
	return order
}

// Options of a run.
type Options struct {
	Skip []string          // passes to leave out
	Only []graph.Component // keep the outputs of these components only; all if empty
}

// Report says what a run did.
type Report struct {
	Rewrites []Rewrites `json:"rewrites"`
	Before   int        `json:"nodes_before"` // nodes that the outputs need
	After    int        `json:"nodes_after"`
}

// Rewrites counts what one pass did.
type Rewrites struct {
	Pass  string `json:"pass"`
	Count int    `json:"count"`
}

// Run returns a rewritten copy of a graph that computes the same outputs. Values that no output needs are dropped; others
// keep their names where they survive.
func Run(g *graph.Graph, o Options) (*graph.Graph, *Report, error) {
	for _, name := range o.Skip {
		if !slices.ContainsFunc(passes, func(p *Pass) bool { return p.Name == name }) {
			var known []string
			for _, p := range Passes() {
				known = append(known, p.Name)
			}
			return nil, nil, fmt.Errorf("no fusion pass is named %q; passes: %s", name, strings.Join(known, ", "))
		}
	}
	g = g.Clone()
	if err := g.Prune(o.Only...); err != nil {
		return nil, nil, err
	}
	r := &Report{Before: len(g.Nodes())}
	for _, p := range Passes() {
		if slices.Contains(o.Skip, p.Name) {
			continue
		}
		n := p.apply(g)
		if err := g.Prune(); err != nil {
			return nil, nil, err
		}
		if err := g.Check(); err != nil {
			return nil, nil, fmt.Errorf("after pass %s: %w", p.Name, err)
		}
		r.Rewrites = append(r.Rewrites, Rewrites{p.Name, n})
	}
	r.After = len(g.Nodes())
	return g, r, nil
}

// apply rewrites until no pattern matches and returns the number of rewrites.
func (p *Pass) apply(g *graph.Graph) int {
	count := 0
	m := newMatcher(g)
	for again := true; again; {
		again = false
		for _, n := range g.Nodes() {
			for _, pattern := range p.Patterns {
				by := pattern(m, n)
				if by == nil {
					continue
				}
				if by != n {
					g.Replace(n, by, m.users)
				}
				m.look()
				count++
				again = true
				break
			}
		}
	}
	return count
}

// Matcher is what patterns look at, and get new weights from.
type Matcher struct {
	g       *graph.Graph
	users   map[*graph.Node][]*graph.Node
	shapes  map[*graph.Node]graph.Shape
	weights weights
	done    map[*graph.Node]bool // what a pattern has changed that would match it again
}

func newMatcher(g *graph.Graph) *Matcher {
	m := &Matcher{g: g, done: map[*graph.Node]bool{}}
	m.look()
	return m
}

// look takes in what the graph has become.
func (m *Matcher) look() {
	m.users, m.shapes = m.g.Users(), m.g.ExampleShapes()
	m.weights.look(m.g)
}

// Single reports whether a value may vanish into its only user.
func (m *Matcher) Single(n *graph.Node) bool {
	return len(m.users[n]) == 1 && !m.g.IsOutput(n) && !m.isAlternate(n)
}

// isAlternate reports whether an input can be replaced by this value.
func (m *Matcher) isAlternate(n *graph.Node) bool {
	for _, alt := range m.g.Alternates {
		if alt == n {
			return true
		}
	}
	return false
}

// Users returns the nodes that use a value, once for each place.
func (m *Matcher) Users(n *graph.Node) []*graph.Node { return m.users[n] }

// SameShape reports whether two values always have the same shape.
func (m *Matcher) SameShape(a, b *graph.Node) bool {
	x, ok := m.shapes[a]
	y, ok2 := m.shapes[b]
	return ok && ok2 && x.Equal(y)
}

// is returns the node's operation as type O.
func is[O graph.Op](n *graph.Node) (O, bool) {
	op, ok := n.Op.(O)
	return op, ok
}

// expr returns a weight's expression, nil for an absent one.
func expr(w *graph.Weight) graph.Expr {
	if w == nil {
		return nil
	}
	return w.Expr
}

// product reports whether a node is a product with a weight, whose rows belong to output channels.
func product(n *graph.Node) bool {
	switch op := n.Op.(type) {
	case graph.Linear:
		return !op.Gated
	case graph.Conv:
		return true
	}
	return false
}

// activated reports whether a product has an activation already.
func activated(n *graph.Node) bool {
	switch op := n.Op.(type) {
	case graph.Linear:
		return op.Act != 0
	case graph.Conv:
		return op.Act != 0
	}
	return false
}
