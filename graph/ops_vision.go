package graph

import "fmt"

var _ = register(Pool{}, AdaptivePool{}, Resize{}, GridSample{})

// Pool is average or max pooling over channels-last maps [B, H, W, C].
type Pool struct {
	Max             bool `json:",omitempty"`
	Kernel          [2]int
	Stride          [2]int
	Pad             [4]int // top, left, bottom, right
	Ceil            bool   `json:",omitempty"`
	CountIncludePad bool   `json:",omitempty"` // averages divide by the kernel's size at the border too
}

// Infer applies torch's rule: with Ceil, a last window must start inside the input or its left padding.
func (o Pool) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	x := in[0]
	if len(x) != 4 {
		return nil, fmt.Errorf("input %v: expected [B, H, W, C]", x)
	}
	if min(o.Stride[0], o.Stride[1], o.Kernel[0], o.Kernel[1]) < 1 || min(o.Pad[0], o.Pad[1], o.Pad[2], o.Pad[3]) < 0 {
		return nil, fmt.Errorf("kernel %v, stride %v and padding %v make no pooling", o.Kernel, o.Stride, o.Pad)
	}
	out := append(Shape{}, x...)
	for i := range 2 {
		size := x[1+i] + o.Pad[i] + o.Pad[i+2] - o.Kernel[i]
		if size < 0 {
			return nil, fmt.Errorf("input %v is smaller than the window %v", x, o.Kernel)
		}
		n := size/o.Stride[i] + 1
		if o.Ceil && size%o.Stride[i] != 0 && n*o.Stride[i] < x[1+i]+o.Pad[i] {
			n++
		}
		out[1+i] = n
	}
	return out, nil
}

// AdaptivePool averages maps [B, H, W, C] to a given size, as torch's adaptive_avg_pool2d.
type AdaptivePool struct {
	H, W int
}

// Infer takes the size over.
func (o AdaptivePool) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	if len(in[0]) != 4 {
		return nil, fmt.Errorf("input %v: expected [B, H, W, C]", in[0])
	}
	return Shape{in[0][0], o.H, o.W, in[0][3]}, nil
}

// Resize interpolates maps [B, H, W, C] to a given size, as torch's F.interpolate. ScaleH and ScaleW, where not 0, are the
// scale factors that coordinates are computed with instead of the quotient of the sizes.
type Resize struct {
	H, W           int
	Mode           string  // bilinear, bicubic
	AlignCorners   bool    `json:",omitempty"`
	Antialias      bool    `json:",omitempty"`
	ScaleH, ScaleW float64 `json:",omitempty"`
}

// Infer takes the size over.
func (o Resize) Infer(in, _ []Shape) (Shape, error) { return AdaptivePool{o.H, o.W}.Infer(in, nil) }

// GridSample reads maps at fractional places, bilinearly, zeros outside, align_corners false. In: x [B, H, W, C], grid
// [B, H', W', 2] of (x, y) in -1..1.
type GridSample struct{}

// Infer joins the grid's places with the map's channels.
func (o GridSample) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	x, g := in[0], in[1]
	if len(x) != 4 || len(g) != 4 || g[3] != 2 || g[0] != x[0] {
		return nil, fmt.Errorf("grid %v does not fit map %v", g, x)
	}
	return Shape{x[0], g[1], g[2], x[3]}, nil
}
