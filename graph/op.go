package graph

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// Op is what a node computes: a small struct whose fields are the operation's attributes.
type Op interface {
	// Infer returns the value's shape, given those of the inputs and of the weights (nil where one is absent).
	Infer(in []Shape, params []Shape) (Shape, error)
}

// ops maps the names under which operations are written to files to their types.
var ops = map[string]reflect.Type{}

// register makes operations known to the reader of graph files; each file of operations calls it for its own.
func register(list ...Op) (none struct{}) {
	for _, op := range list {
		ops[OpName(op)] = reflect.TypeOf(op)
	}
	return none
}

// OpName returns the operation's name: that of its type.
func OpName(op Op) string { return reflect.TypeOf(op).Name() }

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// InferNode returns the shape of a node's value, given those of its inputs.
func InferNode(n *Node, in []Shape) (Shape, error) {
	params := make([]Shape, len(n.Params))
	for i, w := range n.Params {
		if w != nil {
			params[i] = w.Shape()
		}
	}
	s, err := n.Op.Infer(in, params)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", describe(n), err)
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("%s: inputs %v: %w", describe(n), in, err)
	}
	return s, nil
}

// ExampleShapes infers the shapes of nodes for inputs of example sizes. Passes go by them where they need to know that two
// values always have the same shape. Nodes whose shapes cannot be had are left out.
func (g *Graph) ExampleShapes() map[*Node]Shape {
	shapes := map[*Node]Shape{}
next:
	for _, n := range g.Nodes() {
		in := make([]Shape, len(n.In))
		for i, x := range n.In {
			s, ok := shapes[x]
			if !ok {
				continue next
			}
			in[i] = s
		}
		if s, err := InferNode(n, in); err == nil {
			shapes[n] = s
		}
	}
	return shapes
}

// describe says which node an error is about: its operation, and its name or that of its first weight.
func describe(n *Node) string {
	s := OpName(n.Op)
	if n.Name() != "" {
		return s + " " + n.Name()
	}
	for _, w := range n.Params {
		if w != nil {
			return s + " of " + w.Name
		}
	}
	return s
}

func arity(in []Shape, least, most int) error {
	if len(in) < least || len(in) > most {
		return fmt.Errorf("takes %d to %d inputs, has %d", least, most, len(in))
	}
	return nil
}

// same is the rule of operations that keep the shape of their only input.
func same(in []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	return in[0], nil
}

func param(params []Shape, slot int) Shape {
	if slot >= len(params) {
		return nil
	}
	return params[slot]
}
