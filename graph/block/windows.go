package block

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
)

// Windows lays the tokens of a map out in square windows, for attention within them (Liu et al. 2021, Swin Transformer,
// section 3.2). Maps that windows do not fill are padded with zeros below and on the right.
type Windows struct {
	Height, Width int // of the map, in tokens
	Size          int // tokens a side
	Shift         int // how far up and left the map is shifted, cyclically, before it is cut
}

func (w Windows) full() (height, width int) {
	fill := func(n int) int { return n + (w.Size-n%w.Size)%w.Size }
	return fill(w.Height), fill(w.Width)
}

func (w Windows) op() graph.Windows {
	height, width := w.full()
	return graph.Windows{H: height, W: width, Size: w.Size, Shift: w.Shift}
}

// Count returns the number of windows of a map.
func (w Windows) Count() int { return w.op().Count() }

// Cut maps [B, Height * Width, C] to [B * windows, Size * Size, C].
func (w Windows) Cut(b *graph.Builder, x *graph.Node) *graph.Node {
	if height, width := w.full(); height != w.Height || width != w.Width {
		x = b.Rearrange(x, "b (h w) c -> b h w c", "h", w.Height, "w", w.Width)
		x = b.Op(graph.Pad{Axis: 2, After: width - w.Width}, nil, b.Op(graph.Pad{Axis: 1, After: height - w.Height}, nil, x))
		x = b.Rearrange(x, "b h w c -> b (h w) c")
	}
	return b.Op(w.op(), nil, x)
}

// Join is the way back.
func (w Windows) Join(b *graph.Builder, x *graph.Node) *graph.Node {
	op := w.op()
	op.Join = true
	x = b.Op(op, nil, x)
	if height, width := w.full(); height != w.Height || width != w.Width {
		x = b.Rearrange(x, "b (h w) c -> b h w c", "h", height, "w", width)
		x = b.Rearrange(b.Slice(b.Slice(x, 1, 0, w.Height), 2, 0, w.Width), "b h w c -> b (h w) c")
	}
	return x
}

// With returns an attention within the windows, with a bias [1, heads, N, N] (nil for none) of the N tokens of a window. In
// shifted windows, tokens that the shift has wrapped in from the other end of the map do not attend to the others. like is a
// value whose first axis is the batch.
func (w Windows) With(b *graph.Builder, bias, like *graph.Node) With {
	if w.Shift > 0 {
		bias = w.masked(b, bias, like)
	}
	return With{Bias: bias, Cut: func(x *graph.Node) *graph.Node { return w.Cut(b, x) }, Join: func(x *graph.Node) *graph.Node { return w.Join(b, x) }}
}

// masked adds -100 to the bias where two tokens of a window come from different ends of the map, as the originals have it:
// [B * windows, heads, N, N].
func (w Windows) masked(b *graph.Builder, bias, like *graph.Node) *graph.Node {
	op := w.op()
	name := fmt.Sprintf("window_mask[%dx%d,%d,%d]", op.H, op.W, w.Size, w.Shift)
	mask := graph.Apply(shiftMask{op})
	sum := b.Value(b.Derived(graph.Position, name, mask))
	if bias != nil {
		sum = b.Add(bias, sum)
	}
	sum = b.Op(graph.Expand{Axis: 0}, nil, b.Rearrange(sum, "w h q k -> 1 w h q k"), like)
	return b.Rearrange(sum, "b w h q k -> (b w) h q k")
}

var _ = graph.RegisterExpr(shiftMask{}, windowBias{})

// shiftMask is the mask of shifted windows, [windows, 1, N, N].
type shiftMask struct{ graph.Windows }

func (o shiftMask) Infer(args []graph.Shape) (graph.Shape, error) {
	if err := checkGrid([2]int{o.H, o.W}); err != nil {
		return nil, err
	}
	if len(args) != 0 || o.Size < 1 || o.Size > o.H || o.Size > o.W || o.H%o.Size != 0 || o.W%o.Size != 0 || o.Shift < 0 || o.Shift >= o.Size {
		return nil, fmt.Errorf("windows of %d shifted by %d on a map of %d x %d", o.Size, o.Shift, o.H, o.W)
	}
	n := o.Size * o.Size
	return graph.Shape{o.Count(), 1, n, n}, nil
}

func (o shiftMask) Eval([]*graph.Tensor) ([]float32, error) {
	op := o.Windows
	n := op.Size * op.Size
	region := func(at, size int) int {
		switch {
		case at < size-op.Size:
			return 0
		case at < size-op.Shift:
			return 1
		}
		return 2
	}
	mask := make([]float32, op.Count()*n*n)
	across := op.W / op.Size
	for w := range op.Count() {
		regions := make([]int, n)
		for i := range n {
			regions[i] = 3*region(w/across*op.Size+i/op.Size, op.H) + region(w%across*op.Size+i%op.Size, op.W)
		}
		for i := range n {
			for j := range n {
				if regions[i] != regions[j] {
					mask[(w*n+i)*n+j] = -100
				}
			}
		}
	}
	return mask, nil
}

// RelativeBias is the relative position bias [1, heads, N, N] of the N = size^2 tokens of a window, called name, out of a table
// [(2 size - 1)^2, heads] of the differences of rows and columns (Swin Transformer, equation 4).
func RelativeBias(b *graph.Builder, name, table string, size, heads int) *graph.Node {
	side := 2*size - 1
	e := graph.Apply(windowBias{size}, b.Tensor(table, side*side, heads))
	return b.Value(b.Derived(graph.Position, name, e))
}

// windowBias is the value of [RelativeBias].
type windowBias struct{ Size int }

func (o windowBias) Infer(args []graph.Shape) (graph.Shape, error) {
	if o.Size < 1 || o.Size > 1<<10 || len(args) != 1 || len(args[0]) != 2 || args[0][0] != (2*o.Size-1)*(2*o.Size-1) {
		return nil, fmt.Errorf("the table does not hold the differences of windows of %d", o.Size)
	}
	n := o.Size * o.Size
	return graph.Shape{1, args[0][1], n, n}, nil
}

func (o windowBias) Eval(args []*graph.Tensor) ([]float32, error) {
	size, n, heads := o.Size, o.Size*o.Size, args[0].Shape[1]
	out := make([]float32, heads*n*n)
	for i := range n {
		for j := range n {
			row := (i/size-j/size+size-1)*(2*size-1) + i%size - j%size + size - 1
			for head := range heads {
				out[(head*n+i)*n+j] = args[0].Data[row*heads+head]
			}
		}
	}
	return out, nil
}
