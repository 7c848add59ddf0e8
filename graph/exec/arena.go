package exec

import (
	"reflect"
	"slices"
)

// buffer is a piece of the arena.
type buffer struct {
	size        int
	first, last int // schedule positions between which it is alive
	offset      int
	into        *buffer // the one that has taken its place
}

// home returns the buffer whose place this one has.
func (b *buffer) home() *buffer {
	for b.into != nil {
		b = b.into
	}
	return b
}

// live finds until when each buffer is needed.
func (c *compilation) live() {
	for at, n := range c.order {
		for _, in := range c.inputs[n] {
			if r := c.values[in].root; r != nil {
				r.last = max(r.last, at)
			}
		}
		r := c.values[n].root
		switch {
		case r == nil:
		case c.isFed(n):
			// Inputs stay as they were fed, so that a program can run again.
			r.first, r.last = -1, len(c.order)
		case c.isRoot[n]:
			r.last = len(c.order)
		}
	}
}

// takeOver lets values whose operation allows it have the memory of their first input, where nobody needs that any more.
func (c *compilation) takeOver() {
	for at, n := range c.order {
		v, in := c.values[n], c.inputs[n]
		if c.isFed(n) || len(in) == 0 || v.root == nil || v.isView || slices.Contains(in[1:], in[0]) {
			continue
		}
		if im := impls[reflect.TypeOf(n.Op)]; im == nil || !im.inPlace {
			continue
		}
		src := c.values[in[0]]
		if src.root == nil || src.ld != src.shape.Last() || src.offset != 0 || !src.shape.Equal(v.shape) {
			continue
		}
		if old := src.root.home(); old.last == at && old.size == v.root.size {
			old.last = v.root.last
			v.root.into = old
		}
	}
	c.buffers = slices.DeleteFunc(c.buffers, func(b *buffer) bool { return b.into != nil })
}

// grow makes the arena large enough, with room to spare, because sequences of a decoder grow step by step. Programs hold the
// old memory.
func (e *Engine) grow(size int) {
	if size <= len(e.arena) {
		return
	}
	e.arena = make([]float32, size+size/4+arenaAlign)
	clear(e.programs)
	e.recent = nil
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
