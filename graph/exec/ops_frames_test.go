package exec_test

import (
	"testing"

	"github.com/mmconv/mmconv/graph"
)

func TestSlidingWindows(t *testing.T) {
	x := counted(2, 7, 3, 5)
	for _, c := range [][3]int{{2, 2, 4}, {3, 1, 7}, {2, 3, 3}, {9, 4, 2}, {7, 7, 1}} {
		size, stride, windows := c[0], c[1], c[2]
		got := run1(t, graph.SlidingWindows{Size: size, Stride: stride}, x)
		check(t, "sliding windows", got, graph.Shape{2, windows, size, 3, 5}, func(i []int) float64 {
			at7 := i[1]*stride + i[2]
			if at7 >= 7 {
				return 0
			}
			return at(x, i[0], at7, i[3], i[4])
		})
	}
	for _, op := range []graph.SlidingWindows{{}, {Size: 2}, {Size: -1, Stride: 1}} {
		if _, err := op.Infer([]graph.Shape{{1, 5}}, nil); err == nil {
			t.Errorf("%+v was accepted", op)
		}
	}
}

func TestSplitLike(t *testing.T) {
	x, like := counted(6, 4), counted(2, 3, 7)
	check(t, "split like", run1(t, graph.SplitLike{}, x, like), graph.Shape{2, 3, 4}, func(i []int) float64 { return at(x, i[0]*3+i[1], i[2]) })
	if _, err := (graph.SplitLike{}).Infer([]graph.Shape{{5, 4}, {2, 3}}, nil); err == nil {
		t.Error("5 samples were split into 2 times 3")
	}
}
