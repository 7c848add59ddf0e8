package exec

import "github.com/mmconv/mmconv/graph"

// view is a value in the arena: rows of the innermost axis, each contiguous, LD apart. Most values are dense (LD is the
// innermost size); a slice of the innermost axis is not.
type view struct {
	Shape graph.Shape
	Data  []float32
	LD    int
}

func (v view) dense() bool { return v.LD == v.Shape.Last() || v.Shape.Rows() <= 1 }

func (v view) tensor() *graph.Tensor {
	t := graph.NewTensor(v.Shape...)
	cols := v.Shape.Last()
	for r := range v.Shape.Rows() {
		if cols > 0 {
			copy(t.Data[r*cols:(r+1)*cols], v.Data[r*v.LD:])
		}
	}
	return t
}

// extent is how many values of memory a view with these rows spans.
func extent(s graph.Shape, ld int) int {
	if s.Len() == 0 {
		return 0
	}
	return (s.Rows()-1)*ld + s.Last()
}
