package graph

import (
	"fmt"

	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

var _ = register(Unary{}, Binary{}, Affine{}, Scale{}, Normalize{}, Denormalize{}, LayerNorm{}, RMSNorm{}, GroupNorm{}, L2Norm{}, Softmax{},
	CausalMask{}, KeyMask{}, Rotary{}, Reduce{}, ArgMax{}, FirstEqual{})

// Unary applies a pointwise function. In: x.
type Unary struct {
	Act kernels.Activation
}

// Infer keeps the shape.
func (o Unary) Infer(in, _ []Shape) (Shape, error) { return same(in) }

// Arithmetic is the operation of a [Binary].
type Arithmetic string

// The arithmetic that graphs need.
const (
	Add Arithmetic = "add"
	Sub Arithmetic = "sub"
	Mul Arithmetic = "mul"
	Div Arithmetic = "div"
)

// Binary combines two values elementwise, stretching them by numpy's rule. In: a, b.
type Binary struct {
	Kind Arithmetic
}

// Infer broadcasts.
func (o Binary) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	return Broadcast(in[0], in[1])
}

// Affine is x * scale + shift by channel (the innermost axis): a batch norm at inference, a layer scale, a learned gain.
// In: x [..., C]. Params: scale [C] or nil, shift [C] or nil.
type Affine struct{}

// Infer keeps the shape.
func (o Affine) Infer(in, p []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	return in[0], channels(in[0], p)
}

func channels(x Shape, params []Shape) error {
	for _, p := range params {
		if p != nil && p.Len() != x.Last() {
			return fmt.Errorf("input %v does not fit weight %v", x, p)
		}
	}
	return nil
}

// Scale is x * Mul + Add with constants.
type Scale struct {
	Mul float32
	Add float32 `json:",omitempty"`
}

// Infer keeps the shape.
func (o Scale) Infer(in, _ []Shape) (Shape, error) { return same(in) }

// Normalize turns the pixels 0..255 of an image [B, C, H, W] into (x * scale - mean) / std by channel, with the float32
// rounding of the originals' processors after each step.
type Normalize struct {
	pipeline.Normalize
}

// Infer keeps the shape.
func (o Normalize) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	if len(in[0]) != 4 || len(o.Mean) != len(o.Std) || len(o.Mean) != 0 && in[0][1] != len(o.Mean) {
		return nil, fmt.Errorf("input %v does not have the %d channels of mean and std", in[0], len(o.Mean))
	}
	return in[0], nil
}

// Denormalize undoes [Normalize], for inputs that come normalised.
type Denormalize struct {
	pipeline.Normalize
}

// Infer keeps the shape.
func (o Denormalize) Infer(in, p []Shape) (Shape, error) { return Normalize(o).Infer(in, p) }

// LayerNorm normalises the innermost axis to zero mean and unit variance (Ba et al. 2016). Params: gain [C] or nil, bias
// [C] or nil.
type LayerNorm struct {
	Eps float32
}

// Infer keeps the shape.
func (o LayerNorm) Infer(in, p []Shape) (Shape, error) { return Affine{}.Infer(in, p) }

// RMSNorm divides the innermost axis by its root mean square (Zhang and Sennrich 2019). Params: gain [C] or nil.
type RMSNorm struct {
	Eps float32
}

// Infer keeps the shape.
func (o RMSNorm) Infer(in, p []Shape) (Shape, error) { return Affine{}.Infer(in, p) }

// GroupNorm normalises over positions and the channels of a group (Wu and He 2018). In: x [B, ..., C]. Params: gain [C]
// or nil, bias [C] or nil.
type GroupNorm struct {
	Groups int
	Eps    float32
}

// Infer keeps the shape.
func (o GroupNorm) Infer(in, p []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	if len(in[0]) < 3 || o.Groups < 1 || in[0].Last()%o.Groups != 0 {
		return nil, fmt.Errorf("input %v does not split into %d groups of channels", in[0], o.Groups)
	}
	return in[0], channels(in[0], p)
}

// L2Norm divides the innermost axis by max(its Euclidean norm, Eps).
type L2Norm struct {
	Eps float32
}

// Infer keeps the shape.
func (o L2Norm) Infer(in, _ []Shape) (Shape, error) { return same(in) }

// Softmax normalises the innermost axis; Log gives the logarithm.
type Softmax struct {
	Log bool `json:",omitempty"`
}

// Infer keeps the shape.
func (o Softmax) Infer(in, _ []Shape) (Shape, error) { return same(in) }

// CausalMask sets scores [..., Sq, Sk] to minus infinity where key j lies after query i, that is j > i + Sk - Sq.
type CausalMask struct{}

// Infer keeps the shape.
func (o CausalMask) Infer(in, _ []Shape) (Shape, error) { return same(in) }

// KeyMask turns a mask [B, S] of 1 (seen) and 0 (hidden) into an additive bias [B, 1, 1, S] of 0 and Value. Originals
// differ in Value: -10000, or the least float32.
type KeyMask struct {
	Value float32
}

// Infer adds the two axes.
func (o KeyMask) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	if len(in[0]) != 2 {
		return nil, fmt.Errorf("mask %v: expected [B, S]", in[0])
	}
	return Shape{in[0][0], 1, 1, in[0][1]}, nil
}

// Rotary turns pairs of channels by position-dependent angles (Su et al. 2021): x cos + rotate(x) sin. In: x [..., S, D],
// cos and sin that broadcast to it. Interleaved pairs channels 2i and 2i+1, otherwise i and i+D/2.
type Rotary struct {
	Interleaved bool `json:",omitempty"`
}

// Infer keeps the shape.
func (o Rotary) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 3, 3); err != nil {
		return nil, err
	}
	for _, t := range in[1:] {
		if s, err := Broadcast(in[0], t); err != nil || !s.Equal(in[0]) || t.Last() != in[0].Last() || t.Last()%2 != 0 {
			return nil, fmt.Errorf("angles %v do not fit input %v", t, in[0])
		}
	}
	return in[0], nil
}

// Reduction is the kind of a [Reduce].
type Reduction string

// The reductions that graphs need.
const (
	Mean Reduction = "mean"
	Sum  Reduction = "sum"
	Max  Reduction = "max"
)

// Reduce folds one axis, which vanishes.
type Reduce struct {
	Kind Reduction
	Axis int
}

// Infer drops the axis.
func (o Reduce) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	a, err := in[0].Axis(o.Axis)
	if err != nil {
		return nil, err
	}
	return append(append(Shape{}, in[0][:a]...), in[0][a+1:]...), nil
}

// ArgMax is the index of the first largest element of the innermost axis, which vanishes.
type ArgMax struct{}

// Infer drops the axis.
func (o ArgMax) Infer(in, _ []Shape) (Shape, error) { return Reduce{Axis: -1}.Infer(in, nil) }

// FirstEqual is the index of the first element of the innermost axis that equals Value, 0 where none does (as argmax over
// a comparison gives). The axis vanishes.
type FirstEqual struct {
	Value float32
}

// Infer drops the axis.
func (o FirstEqual) Infer(in, _ []Shape) (Shape, error) { return Reduce{Axis: -1}.Infer(in, nil) }
