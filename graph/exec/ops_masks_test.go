package exec_test

import (
	"math"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/graphtest"
)

// rectangles returns masks of pictures in the top left corner of a map.
func rectangles(h, w int, sides ...[2]int) *graph.Tensor {
	m := graph.NewTensor(len(sides), h, w)
	for b, s := range sides {
		for i := range h * w {
			if i/w < s[0] && i%w < s[1] {
				m.Data[b*h*w+i] = 1
			}
		}
	}
	return m
}

func TestGridMask(t *testing.T) {
	const h, w = 13, 9
	mask := rectangles(h, w, [2]int{13, 9}, [2]int{6, 5}, [2]int{1, 9})
	like := random(3, 4, 3, 2)
	for _, square := range []bool{false, true} {
		check(t, "grid mask", run1(t, graph.GridMask{Square: square}, mask, like), graph.Shape{3, 4, 3}, func(i []int) float64 {
			y, x := i[1]*h/4, i[2]*w/3
			if square {
				if x = i[2] * h / 3; x >= w {
					return 0
				}
			}
			return at(mask, i[0], y, x)
		})
	}
	if _, err := (graph.GridMask{}).Infer([]graph.Shape{{1, 3, 9}, {1, 4, 3, 2}}, nil); err == nil {
		t.Error("a mask smaller than its map was taken")
	}
}

func TestSinePositions(t *testing.T) {
	const h, w, d, eps = 5, 3, 12, 1e-6
	mask := rectangles(h, w, [2]int{5, 3}, [2]int{3, 1}, [2]int{2, 2})
	count := func(b, y, x, dy, dx int) float64 {
		n := 0.0
		for ; y >= 0 && x >= 0; y, x = y-dy, x-dx {
			n += at(mask, b, y, x)
		}
		return n
	}
	check(t, "sine positions", run1(t, graph.SinePositions{Dim: d, Eps: eps}, mask), graph.Shape{3, h, w, d}, func(i []int) float64 {
		b, y, x, c := i[0], i[1], i[2], i[3]
		n, last := count(b, y, x, 1, 0), count(b, h-1, x, 1, 0)
		if c >= d/2 {
			c -= d / 2
			n, last = count(b, y, x, 0, 1), count(b, y, w-1, 0, 1)
		}
		angle := n / (last + eps) * 2 * math.Pi / math.Pow(10000, 2*float64(c/2)/(d/2))
		if c%2 == 0 {
			return math.Sin(angle)
		}
		return math.Cos(angle)
	})
}

// Positions are interpolated to each picture's own grid, between the corners of the table.
func TestGridPositions(t *testing.T) {
	const rows, columns, h, w, d = 3, 2, 5, 4, 7
	table := random(rows*columns, d)
	sides := [][2]int{{5, 4}, {3, 2}, {1, 3}, {4, 1}}
	mask := rectangles(h, w, sides...)
	check(t, "grid positions", run1(t, graph.GridPositions{Rows: rows, Columns: columns}, table, mask), graph.Shape{4, h * w, d}, func(i []int) float64 {
		s := sides[i[0]]
		y, x := i[1]/w, i[1]%w
		if y >= s[0] || x >= s[1] {
			return 0
		}
		place := func(i, out, in int) (int, int, float64) {
			if out == 1 {
				return 0, 0, 0
			}
			p := float64(i) * float64(in-1) / float64(out-1)
			lo := int(p)
			return lo, min(lo+1, in-1), p - float64(lo)
		}
		y0, y1, fy := place(y, s[0], rows)
		x0, x1, fx := place(x, s[1], columns)
		v := func(y, x int) float64 { return at(table, y*columns+x, i[2]) }
		return (1-fy)*((1-fx)*v(y0, x0)+fx*v(y0, x1)) + fy*((1-fx)*v(y1, x0)+fx*v(y1, x1))
	})
}

func TestShownFirst(t *testing.T) {
	x := counted(2, 5, 3)
	mask := &graph.Tensor{Shape: graph.Shape{2, 5}, Data: []float32{0, 1, 0, 1, 1, 1, 1, 1, 1, 1}}
	order := [][]int{{1, 3, 4, 0, 2}, {0, 1, 2, 3, 4}}
	for _, most := range []int{0, 3, 9} {
		shape := x.Shape
		if most == 3 {
			shape = shape.With(1, most)
		}
		check(t, "shown first", run1(t, graph.ShownFirst{Most: most}, x, mask), shape, func(i []int) float64 {
			return at(x, i[0], order[i[0]][i[1]], i[2])
		})
	}
}

func TestEmbeddingMean(t *testing.T) {
	table := random(6, 5)
	ids := &graph.Tensor{Shape: graph.Shape{2, 2, 3}, Data: []float32{0, 5, -1, 3, -1, -1, -1, -1, -1, 2, 2, 4}}
	b := graph.NewBuilder(nil)
	w := b.Derived(graph.Position, "table", graph.Values("table", table.Data, 6, 5))
	b.Output(b.Op(graph.EmbeddingMean{}, []*graph.Weight{w}, b.Input("ids", 2, 2, 3)), graph.Text, "y")
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	check(t, "embedding mean", graphtest.Run(t, g, map[string]*graph.Tensor{"ids": ids}, "y")["y"], graph.Shape{2, 2, 5}, func(i []int) float64 {
		sum, n := 0.0, 0.0
		for k := range 3 {
			if id := at(ids, i[0], i[1], k); id >= 0 {
				sum, n = sum+at(table, int(id), i[2]), n+1
			}
		}
		return sum / max(n, 1)
	})
}

func TestSelectEach(t *testing.T) {
	x := counted(2, 5, 3)
	index := &graph.Tensor{Shape: graph.Shape{2, 3}, Data: []float32{4, 0, 4, 1, 9, -1}} // out of range: the nearest
	want := [][]int{{4, 0, 4}, {1, 4, 0}}
	check(t, "select each", run1(t, graph.SelectEach{}, x, index), graph.Shape{2, 3, 3}, func(i []int) float64 {
		return at(x, i[0], want[i[0]][i[1]], i[2])
	})
}

func TestJoinRows(t *testing.T) {
	for _, count := range []int{1, 2, 3} {
		for _, rows := range []int{1, 2, 5} {
			x := counted(rows, 3)
			check(t, "joined rows", run1(t, graph.JoinRows{Count: count}, x), graph.Shape{rows / count, 3 * count}, func(i []int) float64 {
				return float64(x.Data[i[0]*3*count+i[1]])
			})
		}
	}
}
