package graph

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/formats"
)

// Leaf is a tensor of a checkpoint.
type Leaf struct{ Tensor *formats.Tensor }

// Shape returns the tensor's shape.
func (l Leaf) Shape() Shape { return l.Tensor.Shape }

// Eval converts the tensor to float32, or lends its memory where it is float32 already.
func (l Leaf) Eval() ([]float32, error) {
	if view, ok := l.Tensor.Float32View(); ok {
		return view, nil
	}
	out := make([]float32, l.Tensor.Len())
	return out, l.Tensor.Float32s(out, 0)
}

func (l Leaf) String() string { return l.Tensor.Name }

// Values is a table that a system computes rather than reads, such as sine positions.
func Values(label string, data []float32, shape ...int) Expr {
	return &call{name: label, shape: shape, f: func([][]float32) ([]float32, error) { return data, nil }}
}

// Func is an expression of others: f gets their values, which it must not change, and returns that of the given shape.
// Name says what it computes, for people.
func Func(name string, shape Shape, f func(args [][]float32) ([]float32, error), args ...Expr) Expr {
	return &call{name, shape, f, args}
}

type call struct {
	name  string
	shape Shape
	f     func([][]float32) ([]float32, error)
	args  []Expr
}

func (c *call) Shape() Shape { return c.shape }

func (c *call) Eval() ([]float32, error) {
	values := make([][]float32, len(c.args))
	for i, a := range c.args {
		v, err := a.Eval()
		if err != nil {
			return nil, err
		}
		values[i] = v
	}
	out, err := c.f(values)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	if len(out) != c.shape.Len() {
		return nil, fmt.Errorf("%s: %d values for shape %v", c, len(out), c.shape)
	}
	return out, nil
}

func (c *call) String() string {
	if len(c.args) == 0 {
		return c.name
	}
	parts := make([]string, len(c.args))
	for i, a := range c.args {
		parts[i] = a.String()
	}
	return c.name + "(" + strings.Join(parts, ", ") + ")"
}

// Leaves returns the checkpoint tensors that an expression reads.
func Leaves(e Expr) []*formats.Tensor {
	switch e := e.(type) {
	case Leaf:
		return []*formats.Tensor{e.Tensor}
	case *call:
		var all []*formats.Tensor
		for _, a := range e.args {
			all = append(all, Leaves(a)...)
		}
		return all
	}
	return nil
}

// ConcatExpr joins expressions along the outermost axis.
func ConcatExpr(parts ...Expr) Expr {
	shape := parts[0].Shape().With(0, 0)
	for _, p := range parts {
		shape[0] += p.Shape()[0]
	}
	return Func("concat", shape, func(v [][]float32) ([]float32, error) { return slices.Concat(v...), nil }, parts...)
}

// SliceExpr keeps elements start to end of the outermost axis.
func SliceExpr(x Expr, start, end int) Expr {
	s := x.Shape()
	row := s[1:].Len()
	return Func(fmt.Sprintf("slice[%d:%d]", start, end), s.With(0, end-start), func(v [][]float32) ([]float32, error) {
		return v[0][start*row : end*row], nil
	}, x)
}

// ReshapeExpr gives the elements another shape of as many.
func ReshapeExpr(x Expr, shape ...int) Expr {
	if x.Shape().Equal(shape) {
		return x
	}
	return Func("reshape"+Shape(shape).String(), shape, func(v [][]float32) ([]float32, error) { return v[0], nil }, x)
}

// RearrangeExpr reorders axes as [Rearrange] does. The pattern must fit: it is the program's, not the user's.
func RearrangeExpr(x Expr, pattern string, sizes map[string]int) Expr {
	p, err := Rearrange{pattern, sizes}.Solve(x.Shape())
	if err != nil {
		panic(err)
	}
	return Func("rearrange["+pattern+"]", p.Out, func(v [][]float32) ([]float32, error) {
		if p.Identity() {
			return v[0], nil
		}
		out := make([]float32, len(v[0]))
		p.Apply(out, v[0])
		return out, nil
	}, x)
}

// TransposeExpr swaps the two axes of a matrix.
func TransposeExpr(x Expr) Expr { return RearrangeExpr(x, "a b -> b a", nil) }

// ScaleExpr multiplies by a constant.
func ScaleExpr(x Expr, by float32) Expr {
	return Func(fmt.Sprintf("%g*", by), x.Shape(), func(v [][]float32) ([]float32, error) {
		out := make([]float32, len(v[0]))
		for i, a := range v[0] {
			out[i] = a * by
		}
		return out, nil
	}, x)
}

// ScaleRowsExpr multiplies row i of w (its outermost axis) by s[i].
func ScaleRowsExpr(w, s Expr) Expr {
	row := w.Shape()[1:].Len()
	return Func("scaleRows", w.Shape(), func(v [][]float32) ([]float32, error) {
		out := make([]float32, len(v[0]))
		for i, a := range v[1] {
			dst, src := out[i*row:(i+1)*row], v[0][i*row:(i+1)*row]
			for j, x := range src {
				dst[j] = x * a
			}
		}
		return out, nil
	}, w, s)
}

// ScaleColumnsExpr multiplies column j of w (its innermost axis) by s[j].
func ScaleColumnsExpr(w, s Expr) Expr {
	cols := w.Shape().Last()
	return Func("scaleColumns", w.Shape(), func(v [][]float32) ([]float32, error) {
		out := make([]float32, len(v[0]))
		g := v[1][:cols]
		for i := 0; i < len(out); i += cols {
			dst, src := out[i:i+cols], v[0][i:i+cols]
			for j, a := range g {
				dst[j] = src[j] * a
			}
		}
		return out, nil
	}, w, s)
}

// AddExpr adds two expressions of one shape; a nil one counts as zero.
func AddExpr(a, b Expr) Expr {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	return Func("add", a.Shape(), func(v [][]float32) ([]float32, error) {
		out := make([]float32, len(v[0]))
		for i, x := range v[0] {
			out[i] = x + v[1][i]
		}
		return out, nil
	}, a, b)
}

// MulExpr multiplies two expressions of one shape elementwise.
func MulExpr(a, b Expr) Expr {
	return ReshapeExpr(ScaleRowsExpr(ReshapeExpr(a, a.Shape().Len()), ReshapeExpr(b, b.Shape().Len())), a.Shape()...)
}

// MatVecExpr is w v, summed in float64, w being taken as [N, the rest].
func MatVecExpr(w, v Expr) Expr {
	n := w.Shape()[0]
	k := w.Shape()[1:].Len()
	return Func("matvec", Shape{n}, func(a [][]float32) ([]float32, error) {
		out := make([]float32, n)
		vec := a[1]
		for i := range out {
			// Four sums keep the additions from waiting for each other.
			var s [4]float64
			row := a[0][i*k : (i+1)*k]
			j := 0
			for ; j+4 <= k; j += 4 {
				s[0] += float64(row[j]) * float64(vec[j])
				s[1] += float64(row[j+1]) * float64(vec[j+1])
				s[2] += float64(row[j+2]) * float64(vec[j+2])
				s[3] += float64(row[j+3]) * float64(vec[j+3])
			}
			for ; j < k; j++ {
				s[0] += float64(row[j]) * float64(vec[j])
			}
			out[i] = float32(s[0] + s[1] + s[2] + s[3])
		}
		return out, nil
	}, w, v)
}

// BatchNormExpr returns the scale and the shift that a batch norm amounts to at inference: gain / sqrt(variance + eps) and
// bias - mean * scale. Gain and bias may be nil (1 and 0). (Ioffe and Szegedy 2015, algorithm 2.)
func BatchNormExpr(gain, bias, mean, variance Expr, eps float64) (scale, shift Expr) {
	args := []Expr{variance}
	if gain != nil {
		args = append(args, gain)
	}
	scale = Func("batchNormScale", variance.Shape(), func(v [][]float32) ([]float32, error) {
		out := make([]float32, len(v[0]))
		for i, x := range v[0] {
			s := 1 / math.Sqrt(float64(x)+eps)
			if len(v) == 2 {
				s *= float64(v[1][i])
			}
			out[i] = float32(s)
		}
		return out, nil
	}, args...)
	return scale, AddExpr(bias, ScaleExpr(MulExpr(mean, scale), -1))
}

// WeightNormExpr is v * g / |v|, the norm being taken over all axes but axis (Salimans and Kingma 2016); g has the size
// of that axis.
func WeightNormExpr(g, v Expr, axis int) Expr {
	s := v.Shape()
	outer, n, inner := s[:axis].Len(), s[axis], s[axis+1:].Len()
	return Func("weightNorm", s, func(a [][]float32) ([]float32, error) {
		sum := make([]float64, n)
		for o := range outer {
			for i := range n {
				for _, x := range a[1][(o*n+i)*inner:][:inner] {
					sum[i] += float64(x) * float64(x)
				}
			}
		}
		out := make([]float32, len(a[1]))
		for o := range outer {
			for i := range n {
				f := float64(a[0][i]) / math.Sqrt(sum[i])
				src := a[1][(o*n+i)*inner:][:inner]
				for j, x := range src {
					out[(o*n+i)*inner+j] = float32(float64(x) * f)
				}
			}
		}
		return out, nil
	}, g, v)
}
