package imageproc

import (
	"encoding/hex"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// squares draws two dark and two bright squares, as Pillow's accuracy tests do.
func squares(n int, color uint8) *RGB {
	m := New(n, n)
	for i := range n * n {
		v := 255 - color
		if (i/n < n/2) == (i%n < n/2) {
			v = color
		}
		m.set(i, v, v, v)
	}
	return m
}

// TestResizeKnown holds the values of Tests/test_image_resample.py in Pillow: the upper left quarter of the result; the
// others are its mirror images, inverted where they lie beside it.
func TestResizeKnown(t *testing.T) {
	for _, test := range []struct {
		filter   pipeline.Filter
		from, to int
		quarter  string
	}{
		{pipeline.Box, 8, 4, "e1e1 e1e1"},
		{pipeline.Bilinear, 8, 4, "e1c9 c9b7"},
		{pipeline.Hamming, 8, 4, "e1da dad3"},
		{pipeline.Bicubic, 12, 6, "e1e3d4 e3e5d6 d4d6c9"},
		{pipeline.Lanczos, 16, 8, "e1e0e4d7 e0dfe3d6 e4e3e7da d7d6d9ce"},
		{pipeline.Box, 2, 4, "e1e1 e1e1"},
		{pipeline.Bilinear, 2, 4, "e1b0 b098"},
		{pipeline.Hamming, 2, 4, "e1d2 d2c5"},
		{pipeline.Bicubic, 4, 8, "e1e5eeb9 e5e9f3bc eef3fdc1 b9bcc1a2"},
		{pipeline.Lanczos, 6, 12, "e1e0dbedf5b8 e0dfdaecf3b7 dbdbd6e7eeb5 edece6fbffbf f5f4eeffffc4 b8b7b4bfc4a0"},
		{pipeline.Nearest, 2, 4, "e1e1 e1e1"},
	} {
		quarter, err := hex.DecodeString(strings.ReplaceAll(test.quarter, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		got, n := squares(test.from, 0xe1).Resize(test.to, test.to, test.filter), test.to
		for i := range n * n {
			y, x := i/n, i%n
			want := quarter[min(y, n-1-y)*(n/2)+min(x, n-1-x)]
			if (y < n/2) != (x < n/2) {
				want = 255 - want
			}
			for c, v := range got.Pix[3*i : 3*i+3] {
				if v != want {
					t.Errorf("%s, %d to %d: %#x at (%d, %d) channel %d, expected %#x", test.filter, test.from, n, v, x, y, c, want)
				}
			}
		}
	}
}

func noise(w, h int) *RGB {
	rng := rand.New(rand.NewPCG(uint64(w), uint64(h)))
	m := New(w, h)
	for i := range m.Pix {
		m.Pix[i] = uint8(rng.Uint32())
	}
	return m
}

// slowResize sums in float64 with a second formula of each filter, rounding once between the passes.
func slowResize(m *RGB, width, height int, filter pipeline.Filter) []float64 {
	weight := map[pipeline.Filter]func(x float64) float64{
		pipeline.Box:      func(x float64) float64 { return map[bool]float64{true: 1}[x > -0.5 && x <= 0.5] },
		pipeline.Bilinear: func(x float64) float64 { return math.Max(0, 1-math.Abs(x)) },
		pipeline.Bicubic: func(x float64) float64 {
			x = math.Abs(x)
			if x < 1 {
				return 1.5*x*x*x - 2.5*x*x + 1
			}
			return math.Max(0, math.Copysign(1, 2-x)) * (-0.5*x*x*x + 2.5*x*x - 4*x + 2)
		},
	}[filter]
	pass := func(in []float64, n, stride, step, lines, out int) []float64 {
		scale := float64(n) / float64(out)
		wide := math.Max(scale, 1)
		dst := make([]float64, 0, lines*out)
		for l := range lines {
			for o := range out {
				var sum, total float64
				for i := range n {
					w := weight((float64(i) + 0.5 - (float64(o)+0.5)*scale) / wide)
					sum += w * in[l*stride+i*step]
					total += w
				}
				dst = append(dst, math.Max(0, math.Min(255, math.Floor(sum/total+0.5))))
			}
		}
		return dst
	}
	var all []float64
	for c := range 3 {
		plane := make([]float64, m.Width*m.Height)
		for i := range plane {
			plane[i] = float64(m.Pix[3*i+c])
		}
		rows := pass(plane, m.Width, m.Width, 1, m.Height, width)
		columns := pass(rows, m.Height, 1, width, width, height) // transposed
		for y := range height {
			for x := range width {
				all = append(all, columns[x*height+y])
			}
		}
	}
	return all
}

func TestResizeAgainstFloat64(t *testing.T) {
	for _, filter := range []pipeline.Filter{pipeline.Box, pipeline.Bilinear, pipeline.Bicubic} {
		for _, s := range [][4]int{{1, 1, 7, 5}, {7, 5, 1, 1}, {13, 31, 31, 13}, {97, 3, 11, 11}, {64, 64, 64, 17}, {101, 53, 29, 53}} {
			m := noise(s[0], s[1])
			got, _ := planar(m.Resize(s[2], s[3], filter))
			want := slowResize(m, s[2], s[3], filter)
			off := 0
			for i, v := range want {
				d := math.Abs(float64(got[i]) - v)
				if d > 1 {
					t.Fatalf("%s %v: %v, expected %v", filter, s, got[i], v)
				}
				if d != 0 {
					off++
				}
			}
			// 22 bits of fraction decide otherwise than float64 only at exact halves.
			if float64(off) > 0.01*float64(len(want))+1 {
				t.Errorf("%s %v: %d of %d values are off by one", filter, s, off, len(want))
			}
		}
	}
}

func TestResizeWindow(t *testing.T) {
	m := noise(57, 43)
	for _, filter := range []pipeline.Filter{pipeline.Nearest, pipeline.Box, pipeline.Bilinear, pipeline.Hamming, pipeline.Bicubic, pipeline.Lanczos} {
		for _, size := range [][2]int{{30, 80}, {57, 20}, {90, 43}, {57, 43}} {
			whole := m.Resize(size[0], size[1], filter)
			part := m.source().resize(size[0], size[1], filter, window{7, 3, 11, 13})
			if string(part.Pix) != string(whole.crop(7, 3, 11, 13, nil).Pix) {
				t.Errorf("%s to %v: a part differs from the whole", filter, size)
			}
		}
	}
}

// TestResizeOnSquare: a canvas that is never built gives what a built one gives.
func TestResizeOnSquare(t *testing.T) {
	fill := []uint8{122, 116, 104}
	for _, size := range [][2]int{{57, 21}, {21, 57}, {300, 1}, {1, 300}, {8, 8}} {
		m := noise(size[0], size[1])
		s := m.onSquare(fill)
		built := m.crop(-s.x, -s.y, s.width, s.height, fill)
		for _, filter := range []pipeline.Filter{pipeline.Nearest, pipeline.Bilinear, pipeline.Lanczos} {
			for _, n := range []int{3, 31, 80} {
				part := window{0, 0, n, n}
				if string(s.resize(n, n, filter, part).Pix) != string(built.Resize(n, n, filter).Pix) {
					t.Errorf("%s of %v to %d differs", filter, size, n)
				}
			}
		}
	}
}

// TestResizeAlpha: colour below opacity zero must not bleed, as it would without premultiplication.
func TestResizeAlpha(t *testing.T) {
	m := New(8, 8)
	m.Alpha = make([]uint8, 64)
	for i := range m.Alpha {
		m.set(i, 255, 0, 0)
		if i%8 >= 4 {
			m.set(i, 10, 20, 30)
			m.Alpha[i] = 255
		}
	}
	out := m.resizeNative(4, 4, pipeline.Bicubic, window{0, 0, 4, 4})
	for i := range 16 {
		// Pillow cuts the quotient by the opacity, so a level may be lost.
		if p := out.Pix[3*i : 3*i+3]; i%4 >= 2 && (p[0] < 9 || p[0] > 10 || p[1] != 20 || p[2] != 30) {
			t.Errorf("pixel %d is %v", i, p)
		}
	}
}

func BenchmarkResize1MP(b *testing.B) {
	m := noise(1152, 896)
	for b.Loop() {
		m.Resize(288, 224, pipeline.Bicubic)
	}
}
