package graph

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"

	"github.com/mmconv/mmconv/formats"
)

type nodeFile struct {
	Op     string          `json:"op"`
	Attrs  json.RawMessage `json:"attrs,omitempty"`
	In     []int           `json:"in,omitempty"`
	Params []string        `json:"params,omitempty"` // "" where absent
	Names  []string        `json:"names,omitempty"`
}

type graphFile struct {
	Outputs    []Output       `json:"outputs"`
	Names      []string       `json:"names"` // in their order
	Alternates map[string]int `json:"alternates,omitempty"`
	Nodes      []nodeFile     `json:"nodes"` // each after its inputs
}

// MarshalJSON writes the graph without its weights, which stand by name.
func (g *Graph) MarshalJSON() ([]byte, error) {
	f := graphFile{Outputs: g.Outputs, Names: g.order}
	index := map[*Node]int{}
	for i, n := range g.Nodes() {
		index[n] = i
		attrs, err := json.Marshal(n.Op)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", describe(n), err)
		}
		if string(attrs) == "{}" {
			attrs = nil
		}
		nf := nodeFile{Op: OpName(n.Op), Attrs: attrs, Names: n.Names}
		for _, in := range n.In {
			nf.In = append(nf.In, index[in])
		}
		for _, w := range n.Params {
			name := ""
			if w != nil {
				name = w.Name
			}
			nf.Params = append(nf.Params, name)
		}
		f.Nodes = append(f.Nodes, nf)
	}
	for name, n := range g.Alternates {
		if f.Alternates == nil {
			f.Alternates = map[string]int{}
		}
		f.Alternates[name] = index[n]
	}
	return json.Marshal(f)
}

// Decode reads a graph that MarshalJSON wrote; weight returns the weight of a name. The file may be hostile: every name
// and index in it is checked, and the graph obeys [Graph.Check].
func Decode(data []byte, weight func(name string) (*Weight, error)) (*Graph, error) {
	var f graphFile
	if err := formats.JSON("", data, &f); err != nil {
		return nil, fmt.Errorf("graph: %w", err)
	}
	g := New()
	nodes := make([]*Node, 0, len(f.Nodes))
	byName := map[string]*Node{}
	for i, nf := range f.Nodes {
		t := ops[nf.Op]
		if t == nil {
			return nil, fmt.Errorf("graph: node %d: unknown operation %q; a newer mmconv may have written this", i, nf.Op)
		}
		op := reflect.New(t)
		if len(nf.Attrs) > 0 {
			if err := formats.JSON("", nf.Attrs, op.Interface()); err != nil {
				return nil, fmt.Errorf("graph: node %d (%s): %w", i, nf.Op, err)
			}
		}
		n := &Node{Op: op.Elem().Interface().(Op)}
		for _, in := range nf.In {
			if in < 0 || in >= i {
				return nil, fmt.Errorf("graph: node %d (%s): input %d is not an earlier node", i, nf.Op, in)
			}
			n.In = append(n.In, nodes[in])
		}
		for _, name := range nf.Params {
			var w *Weight
			if name != "" {
				var err error
				if w, err = weight(name); err != nil {
					return nil, err
				}
			}
			n.Params = append(n.Params, w)
		}
		for _, name := range nf.Names {
			if byName[name] != nil {
				return nil, fmt.Errorf("graph: two values are named %q", name)
			}
			byName[name] = n
		}
		nodes = append(nodes, n)
	}
	for _, name := range f.Names {
		n := byName[name]
		if n == nil {
			return nil, fmt.Errorf("graph: no value is named %q", name)
		}
		if err := g.SetName(n, name); err != nil {
			return nil, err
		}
	}
	for _, name := range sortedKeys(f.Alternates) {
		i := f.Alternates[name]
		if i < 0 || i >= len(nodes) {
			return nil, fmt.Errorf("graph: alternate of %q is node %d of %d", name, i, len(nodes))
		}
		g.Alternates[name] = nodes[i]
	}
	g.Outputs = f.Outputs
	return g, g.Check()
}

// Check holds the graph against the rules of the representation: outputs and alternates exist, each name stands for one
// node that knows of it, every operation has the inputs and weights that it needs. Shapes are checked when a program is
// compiled. It runs after every pass.
func (g *Graph) Check() error {
	if len(g.Outputs) == 0 {
		return fmt.Errorf("graph: no outputs")
	}
	for _, o := range g.Outputs {
		if g.names[o.Name] == nil {
			return fmt.Errorf("graph: output %q is not computed", o.Name)
		}
	}
	for name := range maps.Keys(g.Alternates) {
		if n := g.names[name]; n == nil {
			return fmt.Errorf("graph: alternate of %q, which is no value", name)
		}
	}
	weights := map[string]*Weight{}
	for _, n := range g.Nodes() {
		for _, name := range n.Names {
			if g.names[name] != n {
				return fmt.Errorf("graph: value %q and its node do not know each other", name)
			}
		}
		if rule, ok := n.Op.(interface{ slots() (least, most int) }); ok {
			least, most := rule.slots()
			for i := range least {
				if n.Param(i) == nil {
					return fmt.Errorf("graph: %s lacks weight %d", describe(n), i)
				}
			}
			if len(n.Params) > most {
				return fmt.Errorf("graph: %s has %d weights, takes %d", describe(n), len(n.Params), most)
			}
		} else if len(n.Params) > 0 {
			return fmt.Errorf("graph: %s takes no weights", describe(n))
		}
		for _, w := range n.Params {
			if w == nil {
				continue
			}
			if err := exprError(w.Expr); err != nil {
				return fmt.Errorf("graph: weight %s: %w", w.Name, err)
			}
			if other := weights[w.Name]; other != nil && other != w {
				return fmt.Errorf("graph: two weights are named %q", w.Name)
			}
			weights[w.Name] = w
		}
	}
	return nil
}

// slots gives the number of weights that an operation needs and takes.
func (Parameter) slots() (least, most int) { return 1, 1 }
func (Linear) slots() (least, most int)    { return 1, 2 }
func (Embedding) slots() (least, most int) { return 1, 1 }
func (Conv) slots() (least, most int)      { return 1, 2 }
func (Affine) slots() (least, most int)    { return 0, 2 }
func (LayerNorm) slots() (least, most int) { return 0, 2 }
func (RMSNorm) slots() (least, most int)   { return 0, 1 }
func (GroupNorm) slots() (least, most int) { return 0, 2 }
