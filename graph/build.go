package graph

import (
	"fmt"
	"iter"
	"math"

	"github.com/mmconv/mmconv/kernels"
)

// Params supplies a builder with weights by their canonical names.
type Params interface {
	// Param returns the tensor of that name, which must have that shape; an error names the tensor, what was expected and
	// what was found.
	Param(name string, shape ...int) (Expr, error)
	// Has reports whether there is a tensor of that name.
	Has(name string) bool
}

// Builder makes a graph. Its methods return the new value; the first error sticks and is returned by [Builder.Graph], so
// that a model's builder reads as its paper does.
type Builder struct {
	Params  Params
	g       *Graph
	weights map[string]*Weight
	err     error
}

// NewBuilder returns a builder of an empty graph.
func NewBuilder(p Params) *Builder {
	return &Builder{Params: p, g: New(), weights: map[string]*Weight{}}
}

// Graph returns the finished graph, or the first error.
func (b *Builder) Graph() (*Graph, error) {
	if b.err == nil && len(b.g.Outputs) == 0 {
		b.err = fmt.Errorf("graph: no outputs")
	}
	return b.g, b.err
}

// Fail records an error, if it is the first.
func (b *Builder) Fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// Layers counts from 0 to n-1, but no further than the first error: a configuration can ask for more layers than there are
// tensors for.
func (b *Builder) Layers(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := 0; i < n && b.err == nil; i++ {
			if !yield(i) {
				return
			}
		}
	}
}

// Op adds an operation; the methods below are shorthand for it.
func (b *Builder) Op(op Op, params []*Weight, in ...*Node) *Node {
	return &Node{Op: op, Params: params, In: in}
}

// Name records a value under another name and returns it.
func (b *Builder) Name(x *Node, name string) *Node {
	if err := b.g.SetName(x, name); err != nil {
		b.Fail(err)
	}
	return x
}

// Named returns the value of that name.
func (b *Builder) Named(name string) *Node {
	n := b.g.Value(name)
	if n == nil {
		b.Fail(fmt.Errorf("graph: no value is named %q", name))
		n = &Node{Op: FillLike{}}
	}
	return n
}

// Namef is Name with a formatted name.
func (b *Builder) Namef(x *Node, format string, args ...any) *Node {
	return b.Name(x, fmt.Sprintf(format, args...))
}

// Output names a value that the model exists for.
func (b *Builder) Output(x *Node, c Component, name string) *Node {
	b.g.Outputs = append(b.g.Outputs, Output{name, c})
	return b.Name(x, name)
}

// SetOutput makes a value that has a name already one that the model exists for.
func (b *Builder) SetOutput(name string, c Component) {
	b.g.Outputs = append(b.g.Outputs, Output{name, c})
}

// Input adds an input; negative numbers stand for free sizes, see [Input].
func (b *Builder) Input(name string, dims ...int) *Node {
	return b.Name(b.Op(Input{Dims: dims}, nil), name)
}

// OptionalInput adds an input that counts as full of value where it is not given. It has the shape of like, or of like's first
// axes, if dims are fewer: a mask [B, R] of features [B, R, D].
func (b *Builder) OptionalInput(name string, like *Node, value float32, dims ...int) *Node {
	fill := FillLike{Value: value}
	g := &Graph{names: map[string]*Node{"": like}, order: []string{""}}
	if s := g.ExampleShapes()[like]; len(s) > len(dims) {
		fill.Axes = len(dims)
	}
	return b.InputOr(name, b.Op(fill, nil, like), dims...)
}

// InputOr adds an input that is computed as alt where it is not given.
func (b *Builder) InputOr(name string, alt *Node, dims ...int) *Node {
	b.g.Alternates[name] = alt
	return b.Input(name, dims...)
}

// Weight returns the weight of that canonical name, the same object each time.
func (b *Builder) Weight(kind Kind, name string, shape ...int) *Weight {
	if w := b.weights[name]; w != nil {
		return w
	}
	e, err := b.Params.Param(name, shape...)
	if err != nil {
		b.Fail(err)
		e = Values("missing", nil, shape...)
	}
	return b.Derived(kind, name, e)
}

// Derived returns a weight of another expression than a single tensor, the same object each time. A name stands for one
// weight.
func (b *Builder) Derived(kind Kind, name string, e Expr) *Weight {
	if w := b.weights[name]; w != nil {
		if w.Kind != kind || w.Expr != e {
			b.Fail(fmt.Errorf("weight %s: it is %s of kind %s, and %s of kind %s", name, w.Expr, w.Kind, e, kind))
		}
		return w
	}
	if err := exprError(e); err != nil {
		b.Fail(fmt.Errorf("weight %s: %w", name, err))
	}
	w := &Weight{Name: name, Kind: kind, Expr: e}
	b.weights[name] = w
	return w
}

// Tensor returns the expression of a canonical tensor, for use in [Builder.Derived].
func (b *Builder) Tensor(name string, shape ...int) Expr {
	e, err := b.Params.Param(name, shape...)
	if err != nil {
		b.Fail(err)
		return Values("missing", nil, shape...)
	}
	return e
}

// Parameter is a weight as a value.
func (b *Builder) Parameter(kind Kind, name string, shape ...int) *Node {
	return b.Value(b.Weight(kind, name, shape...))
}

// Value is a weight as a value.
func (b *Builder) Value(w *Weight) *Node { return b.Op(Parameter{}, []*Weight{w}) }

// Linear is x W^T + bias with the tensors stem.weight [out, in] and stem.bias.
func (b *Builder) Linear(x *Node, stem string, in, out int) *Node {
	return b.Op(Linear{}, []*Weight{b.Weight(Matrix, stem+".weight", out, in), b.Weight(Bias, stem+".bias", out)}, x)
}

// LinearNoBias is x W^T with the tensor stem.weight [out, in].
func (b *Builder) LinearNoBias(x *Node, stem string, in, out int) *Node {
	return b.Op(Linear{}, []*Weight{b.Weight(Matrix, stem+".weight", out, in), nil}, x)
}

// LinearIf is Linear where bias, else LinearNoBias.
func (b *Builder) LinearIf(bias bool, x *Node, stem string, in, out int) *Node {
	if bias {
		return b.Linear(x, stem, in, out)
	}
	return b.LinearNoBias(x, stem, in, out)
}

// ConvSpec describes a convolution. Zero strides, dilations and groups mean 1; Pad2 pads all sides alike.
type ConvSpec struct {
	In, Out, KH, KW int
	Stride          [2]int
	Pad             [4]int // top, left, bottom, right
	Dilation        [2]int
	Groups          int
	Same            bool // pad as [Conv] says, instead of by Pad
	NoBias          bool
}

// Pad2 is a symmetric padding of h rows and w columns.
func Pad2(h, w int) [4]int { return [4]int{h, w, h, w} }

// Op returns the operation that the spec describes.
func (s ConvSpec) Op() Conv {
	one := func(v [2]int) [2]int { return [2]int{max(v[0], 1), max(v[1], 1)} }
	return Conv{Stride: one(s.Stride), Pad: s.Pad, Dilation: one(s.Dilation), Groups: max(s.Groups, 1), Same: s.Same}
}

// Conv convolves a channels-last map with the tensors stem.weight, [out, in/groups, kh, kw] as torch holds it, and
// stem.bias.
func (b *Builder) Conv(x *Node, stem string, s ConvSpec) *Node {
	w := b.weights[stem+".weight"]
	if w == nil {
		e := b.Tensor(stem+".weight", s.Out, s.In/max(s.Groups, 1), s.KH, s.KW)
		w = b.Derived(Kernel, stem+".weight", RearrangeExpr(e, "o i h w -> o h w i", nil))
	}
	var bias *Weight
	if !s.NoBias {
		bias = b.Weight(Bias, stem+".bias", s.Out)
	}
	return b.Op(s.Op(), []*Weight{w, bias}, x)
}

// Conv1d convolves a sequence [B, T, C] with the tensors stem.weight, [out, in/groups, k] as torch holds it, and stem.bias.
// It uses KW, Stride[1], Pad[1], Pad[3] and Dilation[1] of the spec.
func (b *Builder) Conv1d(x *Node, stem string, s ConvSpec) *Node {
	var bias *Weight
	if !s.NoBias {
		bias = b.Weight(Bias, stem+".bias", s.Out)
	}
	w := b.weights[stem+".weight"]
	if w == nil {
		e := b.Tensor(stem+".weight", s.Out, s.In/max(s.Groups, 1), s.KW)
		w = b.Derived(Kernel, stem+".weight", RearrangeExpr(e, "o i (h w) -> o h w i", map[string]int{"h": 1}))
	}
	return b.Conv1dOf(x, s, w, bias)
}

// Conv1dOf is Conv1d with given weights, [out, 1, k, in/groups] and [out] or nil.
func (b *Builder) Conv1dOf(x *Node, s ConvSpec, w, bias *Weight) *Node {
	x = b.Rearrange(x, "b t c -> b 1 t c")
	return b.Rearrange(b.Op(s.Op(), []*Weight{w, bias}, x), "b 1 t c -> b t c")
}

// LayerNorm uses the tensors stem.weight and stem.bias.
func (b *Builder) LayerNorm(x *Node, stem string, dim int, eps float64) *Node {
	return b.Op(LayerNorm{float32(eps)}, []*Weight{b.Weight(Norm, stem+".weight", dim), b.Weight(Norm, stem+".bias", dim)}, x)
}

// RMSNorm uses the tensor stem.weight.
func (b *Builder) RMSNorm(x *Node, stem string, dim int, eps float64) *Node {
	return b.Op(RMSNorm{float32(eps)}, []*Weight{b.Weight(Norm, stem+".weight", dim)}, x)
}

// GroupNorm uses the tensors stem.weight and stem.bias.
func (b *Builder) GroupNorm(x *Node, stem string, groups, dim int, eps float64) *Node {
	return b.Op(GroupNorm{groups, float32(eps)}, []*Weight{b.Weight(Norm, stem+".weight", dim), b.Weight(Norm, stem+".bias", dim)}, x)
}

// BatchNorm is a batch norm at inference over the innermost axis, with the tensors stem.weight, bias, running_mean and
// running_var.
func (b *Builder) BatchNorm(x *Node, stem string, dim int, eps float64) *Node {
	scale, shift := BatchNormExpr(b.Tensor(stem+".weight", dim), b.Tensor(stem+".bias", dim),
		b.Tensor(stem+".running_mean", dim), b.Tensor(stem+".running_var", dim), eps)
	return b.Affine(x, b.Derived(Norm, stem+".scale", scale), b.Derived(Norm, stem+".shift", shift))
}

// Affine is x * scale + shift by channel; either may be nil.
func (b *Builder) Affine(x *Node, scale, shift *Weight) *Node {
	return b.Op(Affine{}, []*Weight{scale, shift}, x)
}

// Embedding looks ids up in the table stem.weight [vocabulary, dim].
func (b *Builder) Embedding(ids *Node, stem string, vocabulary, dim int) *Node {
	return b.Op(Embedding{}, []*Weight{b.Weight(Table, stem+".weight", vocabulary, dim)}, ids)
}

// Act applies a pointwise function.
func (b *Builder) Act(x *Node, a kernels.Activation) *Node {
	if a == kernels.ActNone {
		return x
	}
	return b.Op(Unary{a}, nil, x)
}

// Add is x + y.
func (b *Builder) Add(x, y *Node) *Node { return b.Op(Binary{Add}, nil, x, y) }

// Sub is x - y.
func (b *Builder) Sub(x, y *Node) *Node { return b.Op(Binary{Sub}, nil, x, y) }

// Mul is x * y.
func (b *Builder) Mul(x, y *Node) *Node { return b.Op(Binary{Mul}, nil, x, y) }

// Div is x / y.
func (b *Builder) Div(x, y *Node) *Node { return b.Op(Binary{Div}, nil, x, y) }

// Scale is x * by.
func (b *Builder) Scale(x *Node, by float32) *Node { return b.Op(Scale{Mul: by}, nil, x) }

// L2Norm divides by max(the norm of the innermost axis, eps).
func (b *Builder) L2Norm(x *Node, eps float64) *Node { return b.Op(L2Norm{float32(eps)}, nil, x) }

// MatMul is a b.
func (b *Builder) MatMul(x, y *Node) *Node { return b.Op(MatMul{Alpha: 1}, nil, x, y) }

// MatMulT is a b^T.
func (b *Builder) MatMulT(x, y *Node) *Node {
	return b.Op(MatMul{TransposeB: true, Alpha: 1}, nil, x, y)
}

// Softmax normalises the innermost axis.
func (b *Builder) Softmax(x *Node) *Node { return b.Op(Softmax{}, nil, x) }

// Rearrange reorders axes; sizes are pairs of an axis's name and its size.
func (b *Builder) Rearrange(x *Node, pattern string, sizes ...any) *Node {
	op := Rearrange{Pattern: pattern}
	for i := 0; i+1 < len(sizes); i += 2 {
		if op.Sizes == nil {
			op.Sizes = map[string]int{}
		}
		op.Sizes[sizes[i].(string)] = sizes[i+1].(int)
	}
	return b.Op(op, nil, x)
}

// Concat joins values along an axis.
func (b *Builder) Concat(axis int, x ...*Node) *Node { return b.Op(Concat{axis}, nil, x...) }

// Slice keeps elements start to end (0: to the last) of an axis.
func (b *Builder) Slice(x *Node, axis, start, end int) *Node {
	return b.Op(Slice{Axis: axis, Start: start, End: end}, nil, x)
}

// Token returns position i of each sample of [B, S, D] as [B, D].
func (b *Builder) Token(x *Node, i int) *Node {
	return b.Rearrange(b.Slice(x, 1, i, i+1), "b 1 d -> b d")
}

// Prepend puts the same tokens [1, T, D] before those of each sample of [B, S, D].
func (b *Builder) Prepend(tokens, x *Node) *Node {
	return b.Concat(1, b.Op(Expand{0}, nil, tokens, x), x)
}

// AttentionSpec describes a softmax attention.
type AttentionSpec struct {
	Heads   int
	KVHeads int     // 0: as many as Heads
	Scale   float64 // 0: 1/sqrt(head dim), which HeadDim gives
	HeadDim int
	Causal  bool
	Bias    *Node // broadcasts to [B, Heads, Sq, Sk]; nil if none
}

// Attention is softmax attention by heads over q [B, Sq, Heads*D], k and v [B, Sk, KVHeads*D], written out in its steps; a
// fusion pass makes one operation of it.
func (b *Builder) Attention(q, k, v *Node, s AttentionSpec) *Node {
	if s.Scale == 0 {
		s.Scale = 1 / math.Sqrt(float64(s.HeadDim))
	}
	if s.KVHeads == 0 {
		s.KVHeads = s.Heads
	}
	const split = "b s (h d) -> b h s d"
	bias := s.Bias
	if grouped := s.KVHeads != s.Heads; grouped {
		q = b.Rearrange(q, "b s (g r d) -> b g r s d", "g", s.KVHeads, "r", s.Heads/s.KVHeads)
		k = b.Rearrange(k, "b s (g d) -> b g 1 s d", "g", s.KVHeads)
		v = b.Rearrange(v, "b s (g d) -> b g 1 s d", "g", s.KVHeads)
		if bias != nil {
			bias = b.Rearrange(bias, "b 1 q k -> b 1 1 q k")
		}
	} else {
		q = b.Rearrange(q, split, "h", s.Heads)
		k = b.Rearrange(k, split, "h", s.Heads)
		v = b.Rearrange(v, split, "h", s.Heads)
	}
	scores := b.Op(MatMul{TransposeB: true, Alpha: float32(s.Scale)}, nil, q, k)
	if bias != nil {
		scores = b.Add(scores, bias)
	}
	if s.Causal {
		scores = b.Op(CausalMask{}, nil, scores)
	}
	out := b.MatMul(b.Softmax(scores), v)
	if s.KVHeads != s.Heads {
		return b.Rearrange(out, "b g r s d -> b s (g r d)")
	}
	return b.Rearrange(out, "b h s d -> b s (h d)")
}
