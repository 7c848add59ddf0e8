package graph

import "fmt"

var _ = register(FrameMask{})

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
