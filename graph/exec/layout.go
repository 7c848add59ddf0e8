package exec

import (
	"fmt"
	"reflect"

	"github.com/mmconv/mmconv/graph"
)

// value is what the compiler knows of a node's value.
type value struct {
	shape  graph.Shape
	ld     int
	isView bool      // of its first input's memory
	root   *buffer   // the memory that it lies in
	offset int       // within that memory
	fixed  []float32 // memory outside the arena: a weight's
}

// layOut infers shapes, in the order of the schedule, and says what is a view of what. Every other value gets a buffer.
func (c *compilation) layOut() error {
	c.values = map[*graph.Node]*value{}
	for at, n := range c.order {
		v := &value{}
		c.values[n] = v
		if err := c.shape(n, v); err != nil {
			return err
		}
		v.ld = v.shape.Last()
		if c.isFed(n) {
			c.own(v, at)
			continue
		}
		if _, ok := n.Op.(graph.Parameter); ok {
			data, err := (&call{e: c.e, node: n}).floats(0)
			if err != nil {
				return err
			}
			if v.fixed = data; data == nil {
				v.fixed = []float32{}
			}
			continue
		}
		im := impls[reflect.TypeOf(n.Op)]
		if im == nil {
			return fmt.Errorf("operation %s: not known to the executor", graph.OpName(n.Op))
		}
		if im.alias == nil || !c.alias(n, v, im) {
			c.own(v, at)
		}
	}
	return nil
}

// shape finds the shape of a value: as it is fed, or inferred from those of the inputs.
func (c *compilation) shape(n *graph.Node, v *value) (err error) {
	if name, ok := c.fed[n]; ok {
		v.shape = c.shapes[name]
		return nil
	}
	in := make([]graph.Shape, len(c.inputs[n]))
	for i, src := range c.inputs[n] {
		in[i] = c.values[src].shape
	}
	v.shape, err = graph.InferNode(n, in)
	return err
}

// own gives a value memory of its own.
func (c *compilation) own(v *value, at int) {
	v.root = &buffer{size: v.shape.Len(), first: at, last: at}
	c.buffers = append(c.buffers, v.root)
}

// alias makes a value a view of its first input, if it can be one and whoever reads it takes it as it lies. A value without
// elements is none: the place where it would begin can lie behind the input's memory.
func (c *compilation) alias(n *graph.Node, v *value, im *impl) bool {
	if v.shape.Len() == 0 {
		return false
	}
	src := c.values[c.inputs[n][0]]
	offset, ld, ok := im.alias(n, view{Shape: src.shape, LD: src.ld}, v.shape)
	if !ok {
		return false
	}
	if strided := ld != v.shape.Last() && v.shape.Rows() > 1; strided && (c.isRoot[n] || !c.takenStrided(n)) {
		return false
	}
	v.isView, v.ld = true, ld
	if src.fixed != nil {
		v.fixed = src.fixed[offset:]
		return true
	}
	v.root, v.offset = src.root, src.offset+offset
	return true
}

// takenStrided reports whether every reader of a value takes rows that are apart.
func (c *compilation) takenStrided(n *graph.Node) bool {
	for _, u := range c.users[n] {
		im := impls[reflect.TypeOf(u.Op)]
		for i, in := range c.inputs[u] {
			if in == n && (im == nil || im.strided == nil || !im.strided(i)) {
				return false
			}
		}
	}
	return true
}
