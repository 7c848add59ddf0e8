package exec_test

import (
	"math"
	"testing"

	"github.com/mmconv/mmconv/graph"
)

func TestMedia(t *testing.T) {
	marks := &graph.Tensor{Shape: graph.Shape{2, 5}, Data: []float32{0, 1, 0, 1, 1, 1, 0, 0, 0, 0}}
	text, media := graph.NewTensor(2, 5, 3), graph.NewTensor(2, 2, 3, 4)
	times := func(b, s int, cached bool) int {
		n := 0
		for i := range 5 {
			if i <= s || cached {
				n += int(at(marks, b, i))
			}
		}
		return n
	}
	for _, cached := range []bool{false, true} {
		for _, previous := range []bool{false, true} {
			got := run1(t, graph.MediaBias{Previous: previous, Cached: cached}, marks, text, media)
			if !got.Shape.Equal(graph.Shape{2, 1, 5, 6}) {
				t.Fatalf("shape %v", got.Shape)
			}
			for i, v := range got.Data {
				picture, n := i%6/3+1, times(i/30, i/6%5, cached)
				if sees := picture == n || previous && picture < n; sees != (v == 0) || !sees && v != -math.MaxFloat32 {
					t.Errorf("cached %v, previous %v: element %d is %g, and %d pictures were seen", cached, previous, i, v, n)
				}
			}
		}
		check(t, "seen", run1(t, graph.MediaSeen{Cached: cached}, marks, text), graph.Shape{2, 5, 1}, func(i []int) float64 {
			return float64(min(times(i[0], i[1], cached), 1))
		})
	}
	check(t, "equals", run1(t, graph.Equals{Value: 1}, marks), marks.Shape, func(i []int) float64 { return at(marks, i...) })
	if _, err := (graph.MediaBias{}).Infer([]graph.Shape{{2, 6}, {2, 5, 3}, {2, 2, 3, 4}}, nil); err == nil {
		t.Error("six marks were taken for a text of five tokens")
	}
}
