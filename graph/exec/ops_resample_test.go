package exec_test

import (
	"math"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

func TestResizeLike(t *testing.T) {
	x, like := random(2, 5, 3, 4), graph.NewTensor(1, 4, 7, 2)
	got := run1(t, graph.ResizeLike{Mode: "bicubic"}, x, like)
	want := graph.NewTensor(2, 4, 7, 4)
	(&kernels.Resize{Batch: 2, Height: 5, Width: 3, Channels: 4, OutHeight: 4, OutWidth: 7, Filter: kernels.Bicubic}).Run(want.Data, x.Data)
	check(t, "resize like", got, want.Shape, func(i []int) float64 { return at(want, i...) })
}

// Pictures of 2 x 3 and 5 x 1 tokens in a batch of 7; the third's size is nonsense.
func TestSizes(t *testing.T) {
	sizes := &graph.Tensor{Shape: graph.Shape{3, 2}, Data: []float32{2, 3, 5, 1, float32(math.NaN()), 9}}
	like := graph.NewTensor(3, 7, 1)
	count := []int{6, 5, 0}
	check(t, "size mask", run1(t, graph.SizeMask{}, sizes, like), graph.Shape{3, 7}, func(i []int) float64 {
		if i[1] < count[i[0]] {
			return 1
		}
		return 0
	})
	const dim = 12
	columns := []int{3, 1, 1}
	check(t, "sine grid", run1(t, graph.SineGrid{Dim: dim}, sizes, like), graph.Shape{3, 7, dim}, func(i []int) float64 {
		if i[1] >= count[i[0]] {
			return 0
		}
		place := i[1] % columns[i[0]]
		if i[2] >= dim/2 {
			place = i[1] / columns[i[0]]
		}
		wave := i[2] % (dim / 2)
		angle := float64(place) * math.Pow(10000, -float64(wave%(dim/4))/(dim/4))
		if wave < dim/4 {
			return math.Sin(angle)
		}
		return math.Cos(angle)
	})
}

func TestPatchMask(t *testing.T) {
	mask := graph.NewTensor(2, 7, 11)
	for _, at := range [][3]int{{0, 0, 0}, {0, 5, 8}, {1, 6, 0}, {1, 2, 10}} { // the last two lie in what no patch covers
		mask.Data[(at[0]*7+at[1])*11+at[2]] = 1
	}
	check(t, "patch mask", run1(t, graph.PatchMask{Size: 3}, mask), graph.Shape{2, 2, 3}, func(i []int) float64 {
		if i[0] == 0 && (i[1] == 0 && i[2] == 0 || i[1] == 1 && i[2] == 2) {
			return 1
		}
		return 0
	})
}

// A place is the bucket of the fraction i/n among those of the table, up to rounding where a fraction meets a boundary.
func TestFractionalPositions(t *testing.T) {
	const side = 7
	for _, c := range [][4]int{{7, 7, 7, 7}, {5, 3, 5, 3}, {9, 8, 6, 4}, {1, 20, 1, 13}, {4, 4, 0, 0}} {
		height, width, rows, columns := c[0], c[1], c[2], c[3]
		mask := graph.NewTensor(1, height, width)
		for y := range rows {
			for x := range columns {
				mask.Data[y*width+x] = 1
			}
		}
		near := func(got float64, i, n int) bool {
			f := float64(i) / float64(n) * side
			return got == math.Floor(f) || got == math.Floor(f+1e-5) || got == math.Floor(f-1e-5)
		}
		got := run1(t, graph.FractionalPositions{Side: side}, mask)
		for i, v := range got.Data {
			y, x := i/width, i%width
			if y >= rows || x >= columns {
				if v != 0 {
					t.Errorf("%v: masked patch %d has position %g", c, i, v)
				}
				continue
			}
			if at := int(v); !near(float64(at/side), y, rows) || !near(float64(at%side), x, columns) {
				t.Errorf("%v: patch (%d, %d) has position %g", c, y, x, v)
			}
		}
	}
	// Sizes that are given count instead of the mask: 12 patches in a row are a grid of 3 x 4.
	mask := graph.NewTensor(1, 1, 14)
	for i := range 12 {
		mask.Data[i] = 1
	}
	got := run1(t, graph.FractionalPositions{Side: 4}, mask, &graph.Tensor{Shape: graph.Shape{1, 2}, Data: []float32{3, 4}})
	check(t, "given sizes", got, graph.Shape{1, 14}, func(i []int) float64 {
		if i[1] >= 12 {
			return 0
		}
		return float64([]int{0, 1, 2}[i[1]/4]*4 + i[1]%4)
	})
}

// Regions are held against the definition of roi_align: bilinear samples at the centres of the parts of each bin, averaged.
func TestRegionAlign(t *testing.T) {
	for _, c := range [][3]int{{6, 6, 3}, {5, 9, 3}, {24, 18, 12}, {7, 3, 2}} {
		height, width, side := c[0], c[1], c[2]
		x := random(2, height, width, 3)
		op := graph.RegionAlign{Side: side}
		rows, columns := op.Places(height, width)
		read := func(b int, y, x0 float64, ch int) float64 {
			y, x0 = min(max(y, 0), float64(height-1)), min(max(x0, 0), float64(width-1))
			y1, x1 := int(y), int(x0)
			y2, x2 := min(y1+1, height-1), min(x1+1, width-1)
			fy, fx := y-float64(y1), x0-float64(x1)
			return (1-fy)*((1-fx)*at(x, b, y1, x1, ch)+fx*at(x, b, y1, x2, ch)) + fy*((1-fx)*at(x, b, y2, x1, ch)+fx*at(x, b, y2, x2, ch))
		}
		check(t, "region align", run1(t, op, x), graph.Shape{2 * side * side, rows * columns, 3}, func(i []int) float64 {
			b, ry, rx := i[0]/(side*side), i[0]/side%side, i[0]%side
			tall, wide := max(float64(height)/float64(side), 1), max(float64(width)/float64(side), 1)
			top, left := float64(ry)*float64(height)/float64(side), float64(rx)*float64(width)/float64(side)
			ny, nx := math.Ceil(float64(float32(tall))/float64(rows)-1e-6), math.Ceil(float64(float32(wide))/float64(columns)-1e-6)
			sum := 0.0
			for a := range int(ny) {
				for e := range int(nx) {
					sum += read(b, top+(float64(i[1]/columns)+(float64(a)+0.5)/ny)*tall/float64(rows), left+(float64(i[1]%columns)+(float64(e)+0.5)/nx)*wide/float64(columns), i[2])
				}
			}
			return sum / (ny * nx)
		})
	}
	for size, want := range map[[2]int][2]int{{24, 24}: {3, 3}, {24, 48}: {2, 4}, {48, 24}: {4, 2}, {10, 13}: {3, 4}} {
		if r, c := (graph.RegionAlign{Side: 3}).Places(size[0], size[1]); r != want[0] || c != want[1] {
			t.Errorf("a map of %v is read at %d x %d places, want %v", size, r, c, want)
		}
	}
}
