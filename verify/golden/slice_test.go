package golden

import (
	"slices"
	"testing"

	"github.com/mmconv/mmconv/graph"
)

func iota3(shape ...int) *graph.Tensor {
	t := graph.NewTensor(shape...)
	for i := range t.Data {
		t.Data[i] = float32(i)
	}
	return t
}

func TestSlice(t *testing.T) {
	// Expected values are numpy's for arange(24).reshape(2, 3, 4).
	for _, c := range []struct {
		slice string
		shape graph.Shape
		data  []float32
	}{
		{"[:]", graph.Shape{2, 3, 4}, iota3(2, 3, 4).Data},
		{"[1, 2]", graph.Shape{4}, []float32{20, 21, 22, 23}},
		{"[:, ::2, -1:]", graph.Shape{2, 2, 1}, []float32{3, 11, 15, 23}},
		{"[..., 0]", graph.Shape{2, 3}, []float32{0, 4, 8, 12, 16, 20}},
		{"[0, None, ::-2, 1:3]", graph.Shape{1, 2, 2}, []float32{9, 10, 1, 2}},
		{"[-1, -1, -1]", graph.Shape{}, []float32{23}},
		{"[:, :, 5:]", graph.Shape{2, 3, 0}, []float32{}},
		{"[0, 0, 3:0:-1]", graph.Shape{3}, []float32{3, 2, 1}},
		{"[0, 0, ::-3]", graph.Shape{2}, []float32{3, 0}},
		{"[0, 0, -100:100:3]", graph.Shape{2}, []float32{0, 3}},
		{"1, ..., ::3", graph.Shape{3, 2}, []float32{12, 15, 16, 19, 20, 23}},
	} {
		s, err := ParseSlice(c.slice)
		if err != nil {
			t.Errorf("%s: %v", c.slice, err)
			continue
		}
		got, err := s.Apply(iota3(2, 3, 4))
		if err != nil {
			t.Errorf("%s: %v", c.slice, err)
			continue
		}
		if !got.Shape.Equal(c.shape) || !slices.Equal(got.Data, c.data) {
			t.Errorf("%s: got %v %v, want %v %v", c.slice, got.Shape, got.Data, c.shape, c.data)
		}
	}
}

func TestSliceRefused(t *testing.T) {
	for _, text := range []string{"", "[]", "[:", "[a]", "[1:2:3:4]", "[::0]", "[..., ...]", "[1.5]", "[99999999999]", "[,]"} {
		if s, err := ParseSlice(text); err == nil {
			t.Errorf("%q was read as %+v", text, s.items)
		}
	}
	for _, text := range []string{"[2]", "[0, 0, 0, 0]", "[:, -4]"} {
		s, err := ParseSlice(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Apply(iota3(2, 3, 4)); err == nil {
			t.Errorf("%s selected %v", text, got.Shape)
		}
	}
}

func FuzzSlice(f *testing.F) {
	for _, s := range []string{"[:, ::4, -40:]", "[..., 0]", "[None, 1:2:-1]", "[0]", "[::-9223372036854775808]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSlice(text)
		if err != nil {
			return
		}
		got, err := s.Apply(iota3(2, 3, 4))
		if err == nil && got.Shape.Len() > 24 {
			t.Errorf("%q selected %v of 24 elements", text, got.Shape)
		}
	})
}
