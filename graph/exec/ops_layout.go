package exec

import (
	"github.com/mmconv/mmconv/graph"
)

var (
	_ = on(rearrange, aliasing(rearrangeAlias))
	_ = on(slice, aliasing(sliceAlias), strided(0))
	_ = on(takeLike)
	_ = on(concat, func(im *impl) { im.strided = func(int) bool { return true } })
	_ = on(expand)
	_ = on(fillLike)
	_ = on(selectToken)
	_ = on(pad)
	_ = on(roll)
)

func aliasing(f func(n *graph.Node, in view, out graph.Shape) (int, int, bool)) func(*impl) {
	return func(im *impl) { im.alias = f }
}

// rearrangeAlias makes a view of a rearrangement that keeps the order of elements.
func rearrangeAlias(n *graph.Node, in view, out graph.Shape) (int, int, bool) {
	p, err := n.Op.(graph.Rearrange).Solve(in.Shape)
	return 0, out.Last(), err == nil && in.dense() && p.Identity()
}

func rearrange(c *call, op graph.Rearrange) (func(), error) {
	p, err := op.Solve(c.in[0].Shape)
	if err != nil {
		return nil, err
	}
	dst, x := c.out.Data, c.in[0].Data
	// A part is a slice of the outermost axis of the result, where that is a part of the source too.
	if len(p.Perm) > 1 && p.Perm[0] == 0 && p.From[0] > 1 {
		n := p.From[0]
		var inner []int
		for _, a := range p.Perm[1:] {
			inner = append(inner, a-1)
		}
		each := graph.NewPermutation(p.From[1:], inner)
		size := len(dst) / n
		return overRows(c.pool(), n, size, func(r0, r1 int) {
			for r := r0; r < r1; r++ {
				each.Apply(dst[r*size:(r+1)*size], x[r*size:(r+1)*size])
			}
		}), nil
	}
	return func() { p.Apply(dst, x) }, nil
}

// sliceAlias makes a view of a slice of the innermost axis, or of another one that has nothing but ones before it.
func sliceAlias(n *graph.Node, in view, out graph.Shape) (int, int, bool) {
	op := n.Op.(graph.Slice)
	axis, err := in.Shape.Axis(op.Axis)
	if err != nil {
		return 0, 0, false
	}
	start, _, step, err := op.Range(in.Shape[axis])
	if err != nil || step != 1 {
		return 0, 0, false
	}
	if axis == len(in.Shape)-1 {
		return start, in.LD, true
	}
	if in.Shape[:axis].Len() == 1 {
		return start * in.Shape[axis+1:len(in.Shape)-1].Len() * in.LD, in.LD, true
	}
	return 0, 0, false
}

func slice(c *call, op graph.Slice) (func(), error) {
	axis, err := c.in[0].Shape.Axis(op.Axis)
	if err != nil {
		return nil, err
	}
	start, _, step, err := op.Range(c.in[0].Shape[axis])
	if err != nil {
		return nil, err
	}
	return c.take(axis, start, step)
}

func takeLike(c *call, op graph.TakeLike) (func(), error) {
	shapes := make([]graph.Shape, len(c.in))
	for i, v := range c.in {
		shapes[i] = v.Shape
	}
	return c.take(op.Axis, op.Start(shapes), 1)
}

// take copies every step-th element of an axis from start on.
func (c *call) take(axis, start, step int) (func(), error) {
	in, out := c.in[0], c.out
	if axis == len(in.Shape)-1 {
		n := out.Shape.Last()
		return overRows(c.pool(), out.Shape.Rows(), n, func(r0, r1 int) {
			for r := r0; r < r1; r++ {
				to, from := out.Data[r*n:(r+1)*n], in.Data[r*in.LD+start:]
				if step == 1 {
					copy(to, from)
					continue
				}
				for i := range to {
					to[i] = from[i*step]
				}
			}
		}), nil
	}
	cols := in.Shape.Last()
	between := in.Shape[axis+1 : len(in.Shape)-1].Len() // rows of one element of the axis
	n, size := out.Shape[axis], in.Shape[axis]
	return overRows(c.pool(), out.Shape[:axis].Len()*n, between*cols, func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			o, i := r/n, r%n
			src := (o*size + start + i*step) * between
			for b := range between {
				copy(out.Data[(r*between+b)*cols:][:cols], in.Data[(src+b)*in.LD:])
			}
		}
	}), nil
}

func concat(c *call, op graph.Concat) (func(), error) {
	axis, err := c.out.Shape.Axis(op.Axis)
	if err != nil {
		return nil, err
	}
	out := c.out
	outer := out.Shape[:axis].Len()
	last := axis == len(out.Shape)-1
	var copies []func(o0, o1 int)
	width := out.Shape[axis:].Len()
	at := 0
	for _, in := range c.in {
		start := at
		size := in.Shape[axis:].Len()
		at += size
		if in.Shape.Len() == 0 {
			continue
		}
		cols := in.Shape.Last()
		rows := 1 // rows of the input in one element of the outer axes
		if !last {
			rows = in.Shape[axis : len(in.Shape)-1].Len()
		}
		copies = append(copies, func(o0, o1 int) {
			for o := o0; o < o1; o++ {
				to := out.Data[o*width+start:][:size]
				if in.LD == cols {
					copy(to, in.Data[o*size:][:size])
					continue
				}
				for r := range rows {
					copy(to[r*cols:(r+1)*cols], in.Data[(o*rows+r)*in.LD:])
				}
			}
		})
	}
	return overRows(c.pool(), outer, width, func(o0, o1 int) {
		for _, f := range copies {
			f(o0, o1)
		}
	}), nil
}

func expand(c *call, op graph.Expand) (func(), error) {
	in, out := c.in[0], c.out
	inner := in.Shape[op.Axis+1:].Len()
	n := out.Shape[op.Axis]
	return func() {
		for r := range out.Shape[:op.Axis].Len() * n {
			copy(out.Data[r*inner:(r+1)*inner], in.Data[r/n*inner:][:inner])
		}
	}, nil
}

func fillLike(c *call, op graph.FillLike) (func(), error) {
	dst := c.out.Data
	return func() { fill(dst, op.Value) }, nil
}

func selectToken(c *call, _ graph.Select) (func(), error) {
	x, index, out := c.in[0], c.in[1].Data, c.out
	size := x.Shape[2:].Len()
	positions := x.Shape[1]
	return func() {
		for b, i := range index {
			at := min(max(int(i), 0), positions-1)
			copy(out.Data[b*size:(b+1)*size], x.Data[(b*positions+at)*size:])
		}
	}, nil
}

func pad(c *call, op graph.Pad) (func(), error) {
	in, out := c.in[0], c.out
	axis, err := in.Shape.Axis(op.Axis)
	if err != nil {
		return nil, err
	}
	inner := in.Shape[axis+1:].Len()
	before, middle, after := op.Before*inner, in.Shape[axis]*inner, op.After*inner
	width := before + middle + after
	return overRows(c.pool(), in.Shape[:axis].Len(), width, func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			row := out.Data[r*width : (r+1)*width]
			fill(row[:before], op.Value)
			copy(row[before:before+middle], in.Data[r*middle:])
			fill(row[before+middle:], op.Value)
		}
	}), nil
}

func fill(x []float32, v float32) {
	for i := range x {
		x[i] = v
	}
}

func roll(c *call, op graph.Roll) (func(), error) {
	in, out := c.in[0], c.out
	axis, err := in.Shape.Axis(op.Axis)
	if err != nil {
		return nil, err
	}
	inner := in.Shape[axis+1:].Len()
	n := in.Shape[axis]
	width := n * inner
	shift := 0
	if n > 0 {
		shift = ((op.Shift%n + n) % n) * inner
	}
	return overRows(c.pool(), in.Shape[:axis].Len(), width, func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			to, from := out.Data[r*width:(r+1)*width], in.Data[r*width:(r+1)*width]
			copy(to[shift:], from[:width-shift])
			copy(to[:shift], from[width-shift:])
		}
	}), nil
}
