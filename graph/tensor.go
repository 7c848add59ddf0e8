package graph

import "github.com/mmconv/mmconv/formats"

// ReadTensor reads a stored tensor as float32.
func ReadTensor(t *formats.Tensor) (*Tensor, error) {
	out := &Tensor{Shape: append(Shape{}, t.Shape...), Data: make([]float32, t.Len())}
	return out, t.Float32s(out.Data, 0)
}
