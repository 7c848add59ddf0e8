package exec_test

import (
	"testing"

	"github.com/mmconv/mmconv/graph"
)

func TestSquareGrid(t *testing.T) {
	for _, side := range []int{1, 3} {
		x := counted(2, side*side, 5)
		check(t, "square grid", run1(t, graph.SquareGrid{}, x), graph.Shape{2, side, side, 5}, func(i []int) float64 {
			return at(x, i[0], i[1]*side+i[2], i[3])
		})
	}
	if _, err := (graph.SquareGrid{}).Infer([]graph.Shape{{1, 12, 4}}, nil); err == nil {
		t.Error("12 tokens were laid out as a square")
	}
}

func TestGather(t *testing.T) {
	const rows, width = 11, 19
	x := random(1, rows, width)
	for _, terms := range []int{1, 4} {
		const tokens = 23
		index, weight := graph.NewTensor(tokens, terms), random(tokens, terms)
		for i := range index.Data {
			index.Data[i] = float32(i * 7 % rows)
		}
		weight.Data[3] = 0
		check(t, "gather", run1(t, graph.Gather{}, x, index, weight), graph.Shape{tokens, width}, func(i []int) float64 {
			sum := 0.0
			for k := range terms {
				sum += at(weight, i[0], k) * at(x, 0, int(at(index, i[0], k)), i[1])
			}
			return sum
		})
	}
}
