package graph

import (
	"fmt"

	"github.com/mmconv/mmconv/kernels"
)

var _ = register(Input{}, Parameter{}, Linear{}, MatMul{}, Embedding{}, Conv{}, Attention{})

// Input is a value that comes from outside. In Dims, a negative number stands for a free size: the same number in two
// inputs for the same size. -1 is the batch, by convention, and -2 the length of a text.
type Input struct {
	Dims []int
	// Example, if given, is a shape that the graph accepts, where small numbers for the free sizes would not do.
	Example []int `json:",omitempty"`
}

// Infer returns a shape that the input may have; a program replaces it by the one that it is compiled for.
func (o Input) Infer(in, _ []Shape) (Shape, error) {
	if o.Example != nil {
		return o.Example, arity(in, 0, 0)
	}
	s := append(Shape{}, o.Dims...)
	for i, d := range s {
		if d < 0 {
			s[i] = exampleSizes[min(-d, len(exampleSizes))-1]
		}
	}
	return s, arity(in, 0, 0)
}

// exampleSizes are what -1, -2, … stand for in an example: distinct, so that equal shapes are equal for a reason.
var exampleSizes = []int{2, 7, 5, 3, 11, 13, 17}

// Accepts returns an error if a tensor of that shape cannot be fed.
func (o Input) Accepts(s Shape) error {
	ok := len(s) == len(o.Dims)
	for i := 0; ok && i < len(s); i++ {
		ok = o.Dims[i] < 0 || o.Dims[i] == s[i]
	}
	if !ok {
		return fmt.Errorf("expected shape %v (negative: any size), found %v", Shape(o.Dims), s)
	}
	return nil
}

// Parameter is a weight as a value: a class token, a position table, learned queries. Params: the weight.
type Parameter struct{}

// Infer returns the weight's shape.
func (o Parameter) Infer(in, p []Shape) (Shape, error) { return p[0], arity(in, 0, 0) }

// Linear is Act(x W^T + bias) + residual over the innermost axis. In: x [..., K], optionally residual [..., N].
// Params: W [N, K], bias [N] or nil. With Gated, W holds 2 N rows, those of the gate first, and the value is
// Act(x Wgate^T) * (x Wup^T) + residual.
type Linear struct {
	Act   kernels.Activation `json:",omitempty"`
	Gated bool               `json:",omitempty"`
	// Unsigned says that inputs are not centred on zero (an activation's values): where they are quantized, it is with a
	// zero point.
	Unsigned bool `json:",omitempty"`
}

// Infer applies the rule above.
func (o Linear) Infer(in, p []Shape) (Shape, error) {
	if err := arity(in, 1, 2); err != nil {
		return nil, err
	}
	x, w := in[0], p[0]
	if len(x) == 0 || len(w) != 2 || x.Last() != w[1] {
		return nil, fmt.Errorf("input %v does not fit weight %v", x, w)
	}
	n := w[0]
	if o.Gated {
		n /= 2
	}
	out := x.With(len(x)-1, n)
	if len(in) == 2 && !in[1].Equal(out) {
		return nil, fmt.Errorf("residual %v does not fit output %v", in[1], out)
	}
	if b := param(p, 1); b != nil && b.Len() != w[0] {
		return nil, fmt.Errorf("bias %v does not fit weight %v", b, w)
	}
	return out, nil
}

// MatMul is Alpha a b over the two innermost axes, or Alpha a b^T with TransposeB; outer axes broadcast.
// In: a [..., M, K], b [..., K, N] or [..., N, K].
type MatMul struct {
	TransposeB bool    `json:",omitempty"`
	Alpha      float32 // 1 for the plain product
}

// Infer applies the rule above.
func (o MatMul) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	a, b := in[0], in[1]
	if len(a) < 2 || len(b) < 2 {
		return nil, fmt.Errorf("operands %v and %v need two axes", a, b)
	}
	k, n := b[len(b)-2], b[len(b)-1]
	if o.TransposeB {
		k, n = n, k
	}
	if a.Last() != k {
		return nil, fmt.Errorf("inner sizes of %v and %v differ", a, b)
	}
	outer, err := Broadcast(a[:len(a)-2], b[:len(b)-2])
	if err != nil {
		return nil, err
	}
	return append(outer, a[len(a)-2], n), nil
}

// Embedding looks ids up in a table. In: ids [...]. Params: table [V, D]. The value is [..., D].
type Embedding struct{}

// Infer applies the rule above.
func (o Embedding) Infer(in, p []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	return append(append(Shape{}, in[0]...), p[0].Last()), nil
}

// Conv is a convolution over channels-last maps, Act(conv(x) + bias) + residual; a 1-D convolution has height 1.
// In: x [B, H, W, C], optionally residual [B, H', W', O]. Params: weight [O, KH, KW, C/Groups], bias [O] or nil.
type Conv struct {
	Stride   [2]int
	Pad      [4]int // top, left, bottom, right
	Dilation [2]int
	Groups   int
	// Same pads as TensorFlow's "SAME", whatever the input's size: so that the output has size/stride positions, rounded up,
	// the odd one of the padding at the end. Pad is not used.
	Same bool `json:",omitempty"`
	// Unsigned says that inputs are not centred on zero (pixels): where they are quantized, it is with a zero point.
	Unsigned bool               `json:",omitempty"`
	Act      kernels.Activation `json:",omitempty"`
}

// Padding returns the padding for an input and a weight of these shapes.
func (o Conv) Padding(x, w Shape) [4]int {
	if !o.Same {
		return o.Pad
	}
	var pad [4]int
	for i := range 2 {
		stride := max(o.Stride[i], 1)
		total := max(((x[1+i]-1)/stride)*stride+o.Dilation[i]*(w[1+i]-1)+1-x[1+i], 0)
		pad[i], pad[i+2] = total/2, total-total/2
	}
	return pad
}

// Infer applies the usual rule: floor((size + pad - dilation (k-1) - 1) / stride) + 1.
func (o Conv) Infer(in, p []Shape) (Shape, error) {
	if err := arity(in, 1, 2); err != nil {
		return nil, err
	}
	x, w := in[0], p[0]
	if len(x) != 4 || len(w) != 4 || o.Groups < 1 || x[3] != w[3]*o.Groups || w[0]%o.Groups != 0 {
		return nil, fmt.Errorf("input %v does not fit weight %v in %d groups", x, w, o.Groups)
	}
	if min(o.Stride[0], o.Stride[1], o.Dilation[0], o.Dilation[1], w[1], w[2]) < 1 || min(o.Pad[0], o.Pad[1], o.Pad[2], o.Pad[3]) < 0 {
		return nil, fmt.Errorf("stride %v, dilation %v and padding %v of weight %v make no convolution", o.Stride, o.Dilation, o.Pad, w)
	}
	out := Shape{x[0], 0, 0, w[0]}
	pad := o.Padding(x, w)
	for i := range 2 {
		size := x[1+i] + pad[i] + pad[i+2] - o.Dilation[i]*(w[1+i]-1) - 1
		if size < 0 {
			return nil, fmt.Errorf("input %v is smaller than the kernel of weight %v", x, w)
		}
		out[1+i] = size/o.Stride[i] + 1
	}
	if len(in) == 2 && !in[1].Equal(out) {
		return nil, fmt.Errorf("residual %v does not fit output %v", in[1], out)
	}
	return out, nil
}

// Attention is softmax(Scale q k^T + bias) v, by heads, as one operation. In: q [B, Sq, Heads*D], k [B, Sk, KVHeads*D],
// v [B, Sk, KVHeads*Dv], optionally bias that broadcasts to [B, Heads, Sq, Sk]. With Causal, query i sees keys up to
// i + Sk - Sq. The value is [B, Sq, Heads*Dv]. (Vaswani et al. 2017, section 3.2.)
type Attention struct {
	Heads   int
	KVHeads int
	Scale   float32
	Causal  bool `json:",omitempty"`
}

// Infer applies the rule above.
func (o Attention) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 3, 4); err != nil {
		return nil, err
	}
	q, k, v := in[0], in[1], in[2]
	if len(q) != 3 || len(k) != 3 || len(v) != 3 || o.Heads < 1 || o.KVHeads < 1 || o.Heads%o.KVHeads != 0 ||
		q[2]%o.Heads != 0 || k[2]%o.KVHeads != 0 || v[2]%o.KVHeads != 0 || q[2]/o.Heads != k[2]/o.KVHeads ||
		q[0] != k[0] || k[0] != v[0] || k[1] != v[1] {
		return nil, fmt.Errorf("q %v, k %v, v %v do not fit %d heads (%d of k and v)", q, k, v, o.Heads, o.KVHeads)
	}
	if len(in) == 4 {
		full := Shape{q[0], o.Heads, q[1], k[1]}
		if s, err := Broadcast(full, in[3]); err != nil || !s.Equal(full) {
			return nil, fmt.Errorf("bias %v does not broadcast to %v", in[3], full)
		}
	}
	return Shape{q[0], q[1], o.Heads * (v[2] / o.KVHeads)}, nil
}
