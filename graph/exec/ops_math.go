package exec

import (
	"math"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

var (
	_ = on(unary, inPlace)
	_ = on(binary, inPlace)
	_ = on(affine, inPlace)
	_ = on(scale, inPlace)
	_ = on(normalize, inPlace)
	_ = on(denormalize, inPlace)
	_ = on(layerNorm, inPlace)
	_ = on(rmsNorm, inPlace)
	_ = on(groupNorm)
	_ = on(l2Norm, inPlace)
	_ = on(softmax, inPlace)
	_ = on(causalMask, inPlace)
	_ = on(keyMask)
	_ = on(rotary)
	_ = on(reduce)
	_ = on(argMax)
	_ = on(firstEqual)
)

// rows runs f over the innermost rows of the value, with the number of columns.
func (c *call) rows(f func(dst, x []float32, rows, cols int)) (func(), error) {
	dst, x := c.out.Data, c.in[0].Data
	cols := c.out.Shape.Last()
	return overRows(c.pool(), c.out.Shape.Rows(), cols, func(r0, r1 int) {
		f(dst[r0*cols:r1*cols], x[r0*cols:r1*cols], r1-r0, cols)
	}), nil
}

// elements runs f over the value's elements.
func (c *call) elements(f func(dst, x []float32)) (func(), error) {
	dst, x := c.out.Data, c.in[0].Data
	return overElements(c.pool(), len(dst), func(i, j int) { f(dst[i:j], x[i:j]) }), nil
}

func unary(c *call, op graph.Unary) (func(), error) {
	return c.elements(func(dst, x []float32) { kernels.Activate(op.Act, dst, x) })
}

func scale(c *call, op graph.Scale) (func(), error) {
	return c.elements(func(dst, x []float32) { kernels.Affine(dst, x, op.Mul, op.Add) })
}

var arithmetic = map[graph.Arithmetic]kernels.Binary{
	graph.Add: kernels.OpAdd, graph.Sub: kernels.OpSub, graph.Mul: kernels.OpMul, graph.Div: kernels.OpDiv,
}

func binary(c *call, op graph.Binary) (func(), error) {
	kind := arithmetic[op.Kind]
	a, b, out := c.in[0], c.in[1], c.out
	if len(out.Shape) == 0 {
		return func() { kernels.Broadcast(kind, out.Data, []int{1}, a.Data, []int{0}, b.Data, []int{0}) }, nil
	}
	sa, sb := broadcastStrides(a.Shape, out.Shape), broadcastStrides(b.Shape, out.Shape)
	if a.Shape.Equal(b.Shape) {
		return overElements(c.pool(), len(out.Data), func(i, j int) {
			kernels.Broadcast(kind, out.Data[i:j], []int{j - i}, a.Data[i:j], []int{1}, b.Data[i:j], []int{1})
		}), nil
	}
	// Parts along the outermost axis that is not one; a stretched operand starts anew in each.
	first := 0
	for first < len(out.Shape)-1 && out.Shape[first] == 1 {
		first++
	}
	inner := out.Shape[first:]
	row := inner[1:].Len()
	return overRows(c.pool(), inner[0], row, func(r0, r1 int) {
		shape := inner.With(0, r1-r0)
		kernels.Broadcast(kind, out.Data[r0*row:r1*row], shape, a.Data[r0*sa[first]:], sa[first:], b.Data[r0*sb[first]:], sb[first:])
	}), nil
}

// gainAndShift returns the two weights of a norm, nil for an absent one.
func (c *call) gainAndShift() (gain, shift []float32, err error) {
	if gain, err = c.floats(0); err == nil {
		shift, err = c.floats(1)
	}
	return gain, shift, err
}

func affine(c *call, _ graph.Affine) (func(), error) {
	gain, shift, err := c.gainAndShift()
	if err != nil {
		return nil, err
	}
	return c.rows(func(dst, x []float32, rows, cols int) { kernels.AffineRows(dst, x, gain, shift) })
}

func normalize(c *call, op graph.Normalize) (func(), error) {
	s := c.out.Shape
	plane := s[2] * s[3]
	dst, x := c.out.Data, c.in[0].Data
	table := normalizeTable(op, s[1])
	return overRows(c.pool(), s[0]*s[1], plane, func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			values := &table[r%s[1]]
			to, from := dst[r*plane:(r+1)*plane], x[r*plane:(r+1)*plane]
			for i, v := range from {
				to[i] = values[min(max(int(v), 0), 255)]
			}
		}
	}), nil
}

func denormalize(c *call, op graph.Denormalize) (func(), error) {
	s := c.out.Shape
	plane := s[2] * s[3]
	dst, x := c.out.Data, c.in[0].Data
	return overRows(c.pool(), s[0]*s[1], plane, func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			mul, add := 1/op.Scale(), 0.0
			if ch := r % s[1]; len(op.Mean) > 0 {
				mul, add = op.Std[ch]/op.Scale(), op.Mean[ch]/op.Scale()
			}
			kernels.Affine(dst[r*plane:(r+1)*plane], x[r*plane:(r+1)*plane], float32(mul), float32(add))
		}
	}), nil
}

// normalizeTable holds the normalised value of every byte, for each channel.
func normalizeTable(op graph.Normalize, channels int) [][256]float32 {
	table := make([][256]float32, channels)
	for ch := range table {
		for i := range table[ch] {
			v := float32(float64(i) * op.Scale())
			if op.ToTensor {
				v = float32(i) / 255
			}
			if len(op.Mean) > 0 {
				v = float32(v-float32(op.Mean[ch])) / float32(op.Std[ch])
			}
			table[ch][i] = v
		}
	}
	return table
}

func layerNorm(c *call, op graph.LayerNorm) (func(), error) {
	gain, bias, err := c.gainAndShift()
	if err != nil {
		return nil, err
	}
	return c.rows(func(dst, x []float32, rows, cols int) { kernels.LayerNorm(dst, x, rows, cols, gain, bias, op.Eps) })
}

func rmsNorm(c *call, op graph.RMSNorm) (func(), error) {
	gain, err := c.floats(0)
	if err != nil {
		return nil, err
	}
	return c.rows(func(dst, x []float32, rows, cols int) { kernels.RMSNorm(dst, x, rows, cols, gain, op.Eps) })
}

func groupNorm(c *call, op graph.GroupNorm) (func(), error) {
	gain, bias, err := c.gainAndShift()
	if err != nil {
		return nil, err
	}
	s := c.out.Shape
	channels := s.Last()
	positions := s[1:].Len() / max(channels, 1)
	sample := positions * channels
	dst, x := c.out.Data, c.in[0].Data
	return overRows(c.pool(), s[0], sample, func(b0, b1 int) {
		kernels.GroupNorm(dst[b0*sample:b1*sample], x[b0*sample:b1*sample], b1-b0, positions, channels, op.Groups, gain, bias, op.Eps)
	}), nil
}

func l2Norm(c *call, op graph.L2Norm) (func(), error) {
	return c.rows(func(dst, x []float32, rows, cols int) { kernels.L2Normalize(dst, x, rows, cols, op.Eps) })
}

func softmax(c *call, op graph.Softmax) (func(), error) {
	if op.Log {
		return c.rows(kernels.LogSoftmax)
	}
	return c.rows(kernels.Softmax)
}

func causalMask(c *call, _ graph.CausalMask) (func(), error) {
	s := c.out.Shape
	queries, keys := s[len(s)-2], s.Last()
	dst, x := c.out.Data, c.in[0].Data
	hidden := float32(math.Inf(-1))
	return overRows(c.pool(), s.Rows(), keys, func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			row := dst[r*keys : (r+1)*keys]
			copy(row, x[r*keys:(r+1)*keys])
			for j := max(r%queries+keys-queries+1, 0); j < keys; j++ {
				row[j] = hidden
			}
		}
	}), nil
}

func keyMask(c *call, op graph.KeyMask) (func(), error) {
	return c.elements(func(dst, x []float32) {
		for i, v := range x {
			dst[i] = (1 - v) * op.Value
		}
	})
}

func rotary(c *call, op graph.Rotary) (func(), error) {
	x, cos, sin, out := c.in[0], c.in[1], c.in[2], c.out
	d := x.Shape.Last()
	rows := x.Shape.Rows()
	// The row of the angle tables for each row of x.
	table := func(v view) []int {
		strides := broadcastStrides(v.Shape, x.Shape)
		at := make([]int, rows)
		for r := range at {
			rest := r
			for ax := len(x.Shape) - 2; ax >= 0; ax-- {
				at[r] += rest % x.Shape[ax] * strides[ax]
				rest /= x.Shape[ax]
			}
		}
		return at
	}
	atCos, atSin := table(cos), table(sin)
	return overRows(c.pool(), rows, d, func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			from, to := x.Data[r*d:(r+1)*d], out.Data[r*d:(r+1)*d]
			co, si := cos.Data[atCos[r]:][:d], sin.Data[atSin[r]:][:d]
			if op.Interleaved {
				for i := 0; i+1 < d; i += 2 {
					a, b := from[i], from[i+1]
					to[i], to[i+1] = a*co[i]-b*si[i], b*co[i+1]+a*si[i+1]
				}
				continue
			}
			for i := range d / 2 {
				j := i + d/2
				a, b := from[i], from[j]
				to[i], to[j] = a*co[i]-b*si[i], b*co[j]+a*si[j]
			}
		}
	}), nil
}

func reduce(c *call, op graph.Reduce) (func(), error) {
	s := c.in[0].Shape
	axis, err := s.Axis(op.Axis)
	if err != nil {
		return nil, err
	}
	outer, n, inner := s[:axis].Len(), s[axis], s[axis+1:].Len()
	dst, x := c.out.Data, c.in[0].Data
	return overRows(c.pool(), outer, n*inner, func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			for i := range inner {
				column := x[r*n*inner+i:]
				acc := 0.0
				if op.Kind == graph.Max {
					acc = math.Inf(-1)
				}
				for j := range n {
					v := float64(column[j*inner])
					if op.Kind == graph.Max {
						acc = max(acc, v)
					} else {
						acc += v
					}
				}
				if op.Kind == graph.Mean {
					acc /= float64(n)
				}
				dst[r*inner+i] = float32(acc)
			}
		}
	}), nil
}

// indexed runs f, which finds an index, over the innermost rows.
func (c *call) indexed(f func(row []float32) int) (func(), error) {
	dst, x := c.out.Data, c.in[0].Data
	cols := c.in[0].Shape.Last()
	return func() {
		for r := range dst {
			dst[r] = float32(f(x[r*cols : (r+1)*cols]))
		}
	}, nil
}

func argMax(c *call, _ graph.ArgMax) (func(), error) {
	return c.indexed(func(row []float32) int {
		best := 0
		for i, v := range row {
			if v > row[best] {
				best = i
			}
		}
		return best
	})
}

func firstEqual(c *call, op graph.FirstEqual) (func(), error) {
	return c.indexed(func(row []float32) int {
		for i, v := range row {
			if v == op.Value {
				return i
			}
		}
		return 0
	})
}
