package graph

import (
	"fmt"
	"slices"
	"strings"
)

// Shape holds the sizes of a tensor's axes, outermost first. A tensor of no axes is a scalar.
type Shape []int

// Len returns the number of elements.
func (s Shape) Len() int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

// check refuses what no value of a model can be: a file's attributes can ask for anything.
func (s Shape) check() error {
	const most = 1 << 36 // elements
	size := 1
	for _, d := range s {
		if d < 0 || d > most || size > most/max(d, 1) {
			return fmt.Errorf("the shape %v is impossible", s)
		}
		size *= max(d, 1)
	}
	return nil
}

// Equal reports whether both have the same axes.
func (s Shape) Equal(t Shape) bool { return slices.Equal(s, t) }

// Last returns the size of the innermost axis, 1 for a scalar.
func (s Shape) Last() int {
	if len(s) == 0 {
		return 1
	}
	return s[len(s)-1]
}

// Rows returns the number of innermost rows: the product of all axes but the last.
func (s Shape) Rows() int {
	if len(s) == 0 {
		return 1
	}
	return s[:len(s)-1].Len()
}

// With returns a copy in which one axis has another size.
func (s Shape) With(axis, size int) Shape {
	t := slices.Clone(s)
	t[axis] = size
	return t
}

// Axis turns an axis counted from the end (negative) into one counted from the start.
func (s Shape) Axis(a int) (int, error) {
	b := a
	if b < 0 {
		b += len(s)
	}
	if b < 0 || b >= len(s) {
		return 0, fmt.Errorf("axis %d of shape %v: there is none", a, s)
	}
	return b, nil
}

func (s Shape) String() string {
	var b strings.Builder
	b.WriteByte('[')
	for i, d := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, d)
	}
	b.WriteByte(']')
	return b.String()
}

// Broadcast returns the shape that two operands are stretched to, by numpy's rule: aligned at the innermost axis, sizes
// equal or one of them 1.
func Broadcast(a, b Shape) (Shape, error) {
	n := max(len(a), len(b))
	out := make(Shape, n)
	for i := 1; i <= n; i++ {
		x, y := 1, 1
		if i <= len(a) {
			x = a[len(a)-i]
		}
		if i <= len(b) {
			y = b[len(b)-i]
		}
		switch {
		case x == y || y == 1:
			out[n-i] = x
		case x == 1:
			out[n-i] = y
		default:
			return nil, fmt.Errorf("shapes %v and %v do not broadcast", a, b)
		}
	}
	return out, nil
}

// Tensor is a dense float32 tensor in row-major order.
type Tensor struct {
	Shape Shape
	Data  []float32
}

// NewTensor returns a tensor of zeros.
func NewTensor(shape ...int) *Tensor {
	return &Tensor{Shape: shape, Data: make([]float32, Shape(shape).Len())}
}
