package graph

import "fmt"

var _ = register(FrameMask{}, Windows{}, ReflectPad{}, Decibel{}, TokenPositions{})

// FrameMask turns a mask of samples [B, S] of 1 (sound) and 0 (padding behind it) into one of the frames that a stack of
// convolutions makes of them: a frame counts if it is one of those that the clip alone would have. In: mask, frames
// [B, T, ...]. The value is [B, T].
type FrameMask struct {
	Kernel, Stride []int
}

// Frames returns how many frames the convolutions make of so many samples.
func (o FrameMask) Frames(samples int) int {
	for i, k := range o.Kernel {
		if samples < k {
			return 0
		}
		samples = (samples-k)/o.Stride[i] + 1
	}
	return samples
}

// Infer takes the number of frames over.
func (o FrameMask) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	mask, frames := in[0], in[1]
	if len(mask) != 2 || len(frames) < 2 || mask[0] != frames[0] || len(o.Kernel) != len(o.Stride) {
		return nil, fmt.Errorf("mask %v does not fit frames %v of %d convolutions", mask, frames, len(o.Kernel))
	}
	for i := range o.Kernel {
		if o.Kernel[i] < 1 || o.Stride[i] < 1 {
			return nil, fmt.Errorf("kernels %v and strides %v make no convolutions", o.Kernel, o.Stride)
		}
	}
	return Shape{frames[0], frames[1]}, nil
}

// Windows cuts a map of H x W tokens [B, H*W, C], shifted cyclically by Shift up and left, into square windows of Size
// tokens a side, [B*windows, Size*Size, C], row by row (Liu et al. 2021, Swin Transformer, section 3.2). Join is the way
// back.
type Windows struct {
	H, W, Size int
	Shift      int  `json:",omitempty"`
	Join       bool `json:",omitempty"`
}

// Count returns the number of windows of a map.
func (o Windows) Count() int { return (o.H / o.Size) * (o.W / o.Size) }

// Infer applies the rule above.
func (o Windows) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	const most = 1 << 20
	x := in[0]
	if o.Size < 1 || o.H < 1 || o.W < 1 || max(o.H, o.W) > most || o.H%o.Size != 0 || o.W%o.Size != 0 || o.Shift < 0 || o.Shift >= o.Size || len(x) != 3 {
		return nil, fmt.Errorf("windows of %d shifted by %d do not fit %d x %d tokens %v", o.Size, o.Shift, o.H, o.W, x)
	}
	if o.Join {
		if x[1] != o.Size*o.Size || x[0]%o.Count() != 0 {
			return nil, fmt.Errorf("windows %v do not make maps of %d x %d tokens", x, o.H, o.W)
		}
		return Shape{x[0] / o.Count(), o.H * o.W, x[2]}, nil
	}
	if x[1] != o.H*o.W {
		return nil, fmt.Errorf("input %v does not hold %d x %d tokens", x, o.H, o.W)
	}
	return Shape{x[0] * o.Count(), o.Size * o.Size, x[2]}, nil
}

// ReflectPad extends the innermost axis by its mirror image, the ends themselves not repeated (numpy's mode reflect).
type ReflectPad struct {
	Before, After int
}

// Infer adds the sizes.
func (o ReflectPad) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	if len(in[0]) == 0 {
		return nil, fmt.Errorf("a single value has no axis to pad")
	}
	n := in[0].Last()
	if o.Before < 0 || o.After < 0 || o.Before >= n || o.After >= n {
		return nil, fmt.Errorf("%d values do not mirror to %d before and %d behind them", n, o.Before, o.After)
	}
	return in[0].With(len(in[0])-1, n+o.Before+o.After), nil
}

// Decibel is 10 log10(max(x, Floor)).
type Decibel struct {
	Floor float32
}

// Infer keeps the shape.
func (o Decibel) Infer(in, _ []Shape) (Shape, error) { return same(in) }

// TokenPositions numbers the ids of a text that are not Pad, from Pad+1 on; padding has position Pad. In: ids [B, S].
// (transformers models/roberta/modeling_roberta.py, create_position_ids_from_input_ids.)
type TokenPositions struct {
	Pad int
}

// Infer keeps the shape.
func (o TokenPositions) Infer(in, _ []Shape) (Shape, error) { return same(in) }
