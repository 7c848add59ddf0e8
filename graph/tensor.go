package graph

import "github.com/mmconv/mmconv/formats"

// ReadTensor reads a stored tensor as float32.
func ReadTensor(t *formats.Tensor) (*Tensor, error) {
	out := &Tensor{Shape: append(Shape{}, t.Shape...), Data: make([]float32, t.Len())}
	return out, t.Float32s(out.Data, 0)
}

// Tensors returns the distinct tensors that weights read.
func Tensors(ws []*Weight) []*formats.Tensor {
	var out []*formats.Tensor
	seen := map[*formats.Tensor]bool{}
	for _, w := range ws {
		for _, t := range Leaves(w.Expr) {
			if !seen[t] {
				seen[t] = true
				out = append(out, t)
			}
		}
	}
	return out
}
