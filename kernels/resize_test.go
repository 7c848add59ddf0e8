package kernels

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/mmconv/mmconv/kernels/ref"
)

func TestResize(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 32))
	forEachISA(t, func(t *testing.T) {
		w := worst{t: t, limit: 1e-6}
		for _, sizes := range [][4]int{{4, 4, 7, 9}, {16, 16, 24, 24}, {24, 20, 7, 5}, {1, 1, 3, 3}, {5, 3, 1, 1}, {6, 6, 6, 6}, {2, 3, 40, 1}} {
			for _, filter := range []Interpolation{Nearest, Bilinear, Bicubic} {
				for variant := range 4 {
					s := Resize{Batch: 2, Height: sizes[0], Width: sizes[1], Channels: 5, OutHeight: sizes[2], OutWidth: sizes[3], Filter: filter,
						AlignCorners: variant == 1, Antialias: variant == 2}
					if filter == Nearest && variant > 0 {
						continue
					}
					if variant == 3 {
						s.ScaleH, s.ScaleW = (float64(sizes[2])+0.1)/float64(sizes[0]), (float64(sizes[3])+0.1)/float64(sizes[1])
					}
					x := copyOf(t, randomFloats(r, s.Batch*s.Height*s.Width*s.Channels))
					got := guarded(t, s.Batch*s.OutHeight*s.OutWidth*s.Channels)
					s.Run(got, x)
					want := make([]float64, len(got))
					for i := range want {
						ch, ox, oy, b := i%5, i/5%s.OutWidth, i/5/s.OutWidth%s.OutHeight, i/5/s.OutWidth/s.OutHeight
						column := make([]float64, s.Height)
						for y := range column {
							line := make([]float64, s.Width)
							for xx := range line {
								line[xx] = float64(x[((b*s.Height+y)*s.Width+xx)*5+ch])
							}
							column[y] = resizeLine(&s, line, ox, s.OutWidth, s.ScaleW)
						}
						want[i] = resizeLine(&s, column, oy, s.OutHeight, s.ScaleH)
					}
					w.see(relativeError(got, want), "%+v", s)
				}
			}
		}
		w.report()
	})
}

func resizeLine(s *Resize, line []float64, o, out int, given float64) float64 {
	scale := float64(len(line)) / float64(out)
	if given != 0 {
		scale = 1 / given
	}
	switch {
	case s.AlignCorners && out > 1:
		scale = float64(len(line)-1) / float64(out-1)
	case s.AlignCorners:
		scale = 0
	}
	kernel, support := ref.Triangle, 1.0
	if s.Filter == Bicubic {
		kernel, support = ref.Keys(-0.75), 2
	}
	switch {
	case s.Filter == Nearest:
		return line[min(int(float64(o)*scale), len(line)-1)]
	case s.Antialias && s.Filter == Bicubic:
		return ref.InterpolateWide(line, o, scale, ref.Keys(-0.5), support)
	case s.Antialias:
		return ref.InterpolateWide(line, o, scale, kernel, support)
	}
	return ref.Interpolate(line, o, scale, s.AlignCorners, kernel, 3, s.Filter == Bilinear)
}

// Figures that torch.nn.functional.interpolate documents or that follow from its definition by hand.
func TestResizeByHand(t *testing.T) {
	got := make([]float32, 4)
	(&Resize{Batch: 1, Height: 1, Width: 2, Channels: 1, OutHeight: 1, OutWidth: 4, Filter: Bilinear}).Run(got, []float32{0, 1})
	for i, want := range []float32{0, 0.25, 0.75, 1} {
		if got[i] != want {
			t.Errorf("bilinear %d: %g, want %g", i, got[i], want)
		}
	}
	(&Resize{Batch: 1, Height: 1, Width: 2, Channels: 1, OutHeight: 1, OutWidth: 4, Filter: Bilinear, AlignCorners: true}).Run(got, []float32{0, 3})
	for i, want := range []float64{0, 1, 2, 3} {
		if math.Abs(float64(got[i])-want) > 1e-6 {
			t.Errorf("aligned corners %d: %g, want %g", i, got[i], want)
		}
	}
}

func TestGridSample(t *testing.T) {
	r := rand.New(rand.NewPCG(33, 34))
	const height, width, channels, points = 5, 4, 19, 50
	x, grid := copyOf(t, randomFloats(r, 2*height*width*channels)), copyOf(t, randomFloats(r, 2*points*2))
	copy(grid, []float32{-1, -1, 1, 1, 0, 0, float32(math.NaN()), 0, 1e30, 0})
	forEachISA(t, func(t *testing.T) {
		w := worst{t: t, limit: 1e-6}
		for _, align := range []bool{false, true} {
			got := guarded(t, 2*points*channels)
			GridSample(got, x, grid, 2, height, width, channels, points, align)
			want := make([]float64, len(got))
			for i := range want {
				p := i / channels
				at := func(g float32, size int) float64 {
					if align {
						return (float64(g) + 1) / 2 * float64(size-1)
					}
					return ((float64(g)+1)*float64(size) - 1) / 2
				}
				px, py := at(grid[2*p], width), at(grid[2*p+1], height)
				for y := range height {
					for xx := range width {
						if f := ref.Triangle(math.Abs(px-float64(xx))) * ref.Triangle(math.Abs(py-float64(y))); f > 0 {
							want[i] += f * float64(x[((p/points*height+y)*width+xx)*channels+i%channels])
						}
					}
				}
			}
			w.see(relativeError(got, want), "align corners %v", align)
		}
		w.report()
	})
}
