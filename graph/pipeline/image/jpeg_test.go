package imageproc

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"testing"
)

// flatJPEG writes a baseline JPEG whose 8x8 blocks are flat: values[i] are the samples of component i, one a block. Flat
// blocks come out of every inverse DCT as they went in, so what follows it can be tested exactly.
type flatJPEG struct {
	width, height int
	ids           []byte
	h, v          []int
	values        [][]uint8 // by component: rows of blocks, as many as whole MCUs need
	segments      []byte    // put in after the start
}

// random fills the blocks.
func (f *flatJPEG) random(seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	bw, bh := f.mcus()
	f.values = make([][]uint8, len(f.h))
	for i := range f.h {
		f.values[i] = make([]uint8, bw*f.h[i]*bh*f.v[i])
		for j := range f.values[i] {
			f.values[i][j] = uint8(rng.Uint32())
		}
	}
}

func (f *flatJPEG) mcus() (w, h int) {
	return (f.width + 8*f.h[0] - 1) / (8 * f.h[0]), (f.height + 8*f.v[0] - 1) / (8 * f.v[0])
}

// sample is the value of component i at a pixel of its own plane.
func (f *flatJPEG) sample(i, x, y int) int {
	w, _ := f.mcus()
	return int(f.values[i][y/8*w*f.h[i]+x/8])
}

func (f *flatJPEG) encode() []byte {
	segment := func(marker byte, body []byte) []byte {
		return append([]byte{0xff, marker, byte((len(body) + 2) >> 8), byte(len(body) + 2)}, body...)
	}
	out := append([]byte{0xff, 0xd8}, f.segments...)
	out = append(out, segment(0xdb, append([]byte{0}, bytes.Repeat([]byte{8}, 64)...))...)
	n := len(f.h)
	sof := []byte{8, byte(f.height >> 8), byte(f.height), byte(f.width >> 8), byte(f.width), byte(n)}
	sos := []byte{byte(n)}
	for i := range n {
		sof = append(sof, f.ids[i], byte(f.h[i]<<4|f.v[i]), 0)
		sos = append(sos, f.ids[i], 0)
	}
	out = append(out, segment(0xc0, sof)...)
	dc := make([]byte, 17, 29) // ten categories with codes of four bits
	dc[4] = 10
	for i := range byte(10) {
		dc = append(dc, i)
	}
	ac := make([]byte, 18) // the end of a block, with the code 0
	ac[0], ac[1] = 0x10, 1
	out = append(out, segment(0xc4, dc)...)
	out = append(out, segment(0xc4, ac)...)
	out = append(out, segment(0xda, append(sos, 0, 63, 0))...)

	var acc uint64
	bits := 0
	put := func(v, n int) {
		acc, bits = acc<<n|uint64(v), bits+n
		for bits >= 8 {
			b := byte(acc >> (bits - 8))
			out = append(out, b)
			if b == 0xff {
				out = append(out, 0)
			}
			bits -= 8
		}
	}
	last := make([]int, n)
	w, h := f.mcus()
	for my := range h {
		for mx := range w {
			for i := range n {
				for b := range f.h[i] * f.v[i] {
					x, y := mx*f.h[i]+b%f.h[i], my*f.v[i]+b/f.h[i]
					v := int(f.values[i][y*w*f.h[i]+x]) - 128
					diff := v - last[i]
					last[i] = v
					size, magnitude := 0, max(diff, -diff)
					for ; magnitude>>size != 0; size++ {
					}
					put(size, 4)
					if diff < 0 {
						diff += 1<<size - 1
					}
					put(diff, size)
					put(0, 1)
				}
			}
		}
	}
	put(0x7f, 7)
	return append(out, 0xff, 0xd9)
}

// chroma is jdsample.c's triangle filter written down a pixel at a time: 3/4 of the nearest sample and 1/4 of the next.
func (f *flatJPEG) chroma(i, x, y int) int {
	fx, fy := f.h[0]/f.h[i], f.v[0]/f.v[i]
	w, h := (f.width+fx-1)/fx, (f.height+fy-1)/fy
	cx, cy := x/fx, y/fy
	nx, ny := max(0, min(w-1, cx-1+2*(x&1))), max(0, min(h-1, cy-1+2*(y&1)))
	at := func(x, y int) int { return f.sample(i, x, y) }
	switch {
	case fx == 2 && fy == 1 && w > 2:
		if nx == cx {
			return at(cx, cy)
		}
		return (3*at(cx, cy) + at(nx, cy) + 1 + x&1) / 4
	case fx == 1 && fy == 2:
		return (3*at(cx, cy) + at(cx, ny) + 1 + y&1) / 4
	case fx == 2 && fy == 2 && w > 2:
		near, next := 3*at(cx, cy)+at(cx, ny), 3*at(nx, cy)+at(nx, ny)
		return (3*near + next + 8 - x&1) / 16
	}
	return at(cx, cy)
}

func clamp(v int) uint8 { return uint8(max(0, min(255, v))) }

func toRGB(y, cb, cr int) (uint8, uint8, uint8) {
	cb, cr = cb-128, cr-128
	return clamp(y + (91881*cr+32768)>>16), clamp(y + (-22554*cb-46802*cr+32768)>>16), clamp(y + (116130*cb+32768)>>16)
}

var adobe = func(transform byte) []byte {
	return append([]byte("\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"), transform)
}

func TestJPEGColour(t *testing.T) {
	ycc := []byte{1, 2, 3}
	for _, f := range []flatJPEG{
		{width: 33, height: 17, ids: ycc, h: []int{1, 1, 1}, v: []int{1, 1, 1}},
		{width: 33, height: 17, ids: ycc, h: []int{2, 1, 1}, v: []int{1, 1, 1}},
		{width: 34, height: 40, ids: ycc, h: []int{2, 1, 1}, v: []int{2, 1, 1}},
		{width: 45, height: 23, ids: ycc, h: []int{2, 1, 1}, v: []int{2, 1, 1}},
		{width: 17, height: 35, ids: ycc, h: []int{1, 1, 1}, v: []int{2, 1, 1}},
		{width: 70, height: 9, ids: ycc, h: []int{4, 1, 1}, v: []int{1, 1, 1}},
		{width: 4, height: 40, ids: ycc, h: []int{2, 1, 1}, v: []int{2, 1, 1}}, // too narrow for the triangle filter
		{width: 3, height: 3, ids: ycc, h: []int{2, 1, 1}, v: []int{1, 1, 1}},
		{width: 1, height: 1, ids: ycc, h: []int{2, 1, 1}, v: []int{2, 1, 1}},
		{width: 20, height: 20, ids: []byte("RGB"), h: []int{1, 1, 1}, v: []int{1, 1, 1}},
		{width: 20, height: 20, ids: ycc, h: []int{1, 1, 1}, v: []int{1, 1, 1}, segments: adobe(0)},
		{width: 20, height: 20, ids: []byte{1}, h: []int{1}, v: []int{1}},
		{width: 20, height: 20, ids: []byte{1, 2, 3, 4}, h: []int{1, 1, 1, 1}, v: []int{1, 1, 1, 1}},
		{width: 20, height: 20, ids: []byte{1, 2, 3, 4}, h: []int{1, 1, 1, 1}, v: []int{1, 1, 1, 1}, segments: adobe(0)},
		{width: 20, height: 20, ids: []byte{1, 2, 3, 4}, h: []int{1, 1, 1, 1}, v: []int{1, 1, 1, 1}, segments: adobe(2)},
		{width: 37, height: 21, ids: []byte{1, 2, 3, 4}, h: []int{2, 1, 1, 2}, v: []int{2, 1, 1, 2}, segments: adobe(2)},
	} {
		f.random(uint64(f.width*f.height) + 7)
		m, err := Decode(f.encode(), Limits{})
		if err != nil {
			t.Fatalf("%+v: %v", f, err)
		}
		rgb := len(f.ids) == 3 && (f.ids[0] == 'R' || f.segments != nil)
		for y := range f.height {
			for x := range f.width {
				var r, g, b uint8
				switch {
				case len(f.ids) == 1:
					r = uint8(f.sample(0, x, y))
					g, b = r, r
				case rgb:
					r, g, b = uint8(f.sample(0, x, y)), uint8(f.sample(1, x, y)), uint8(f.sample(2, x, y))
				case len(f.ids) == 3:
					r, g, b = toRGB(f.sample(0, x, y), f.chroma(1, x, y), f.chroma(2, x, y))
				default: // stored inverted: 255 is no ink
					c, k := f.sample(0, x, y), f.sample(3, x, y)
					var mg, ye int
					if f.segments != nil && f.segments[len(f.segments)-1] == 2 {
						r, g, b = toRGB(c, f.chroma(1, x, y), f.chroma(2, x, y))
						c, mg, ye = 255-int(r), 255-int(g), 255-int(b)
					} else {
						mg, ye = f.sample(1, x, y), f.sample(2, x, y)
					}
					r, g, b = cmykToRGB(uint8(255-c), uint8(255-mg), uint8(255-ye), uint8(255-k))
				}
				if p := m.Pix[3*(y*f.width+x):]; p[0] != r || p[1] != g || p[2] != b {
					t.Fatalf("%d x %d, sampling %v %v, at (%d, %d): %v, expected %d %d %d", f.width, f.height, f.h, f.v, x, y, p[:3], r, g, b)
				}
			}
		}
	}
}

func TestJPEGOrientation(t *testing.T) {
	var buf bytes.Buffer
	src := image.NewGray(image.Rect(0, 0, 32, 16))
	for x := range 16 {
		for y := range 16 {
			src.SetGray(x, y, color.Gray{255}) // bright on the left
		}
	}
	if err := jpeg.Encode(&buf, src, nil); err != nil {
		t.Fatal(err)
	}
	exif := "Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
	data := append([]byte("\xff\xd8\xff\xe1\x00"), byte(len(exif)+2))
	data = append(append(data, exif...), buf.Bytes()[2:]...)
	m, err := Decode(data, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Orientation != 6 || m.Width != 32 {
		t.Fatalf("orientation %d, width %d; expected 6 and 32", m.Orientation, m.Width)
	}
	up := m.Upright() // turned right: the left side is at the top
	if up.Width != 16 || up.Height != 32 || up.Pix[0] < 200 || up.Pix[len(up.Pix)-1] > 50 {
		t.Errorf("%d x %d, first %d, last %d", up.Width, up.Height, up.Pix[0], up.Pix[len(up.Pix)-1])
	}
}

// The standard library's decoder has another IDCT: what ours makes of real coefficients stays within a few levels of it, for
// every kind of coding that its encoder and the recorded cases have. Exactness is held against recorded pixels (TestJPEGRecorded).
func TestJPEGAgainstStandardLibrary(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, size := range []image.Point{{1, 1}, {7, 9}, {8, 8}, {17, 31}, {64, 16}, {101, 67}} {
		src := image.NewRGBA(image.Rectangle{Max: size})
		for i := range src.Pix {
			src.Pix[i] = uint8(128 + 60*rng.NormFloat64())
		}
		grey := image.NewGray(src.Rect)
		copy(grey.Pix, src.Pix)
		for name, m := range map[string]image.Image{"colour": src, "grey": grey} {
			var b bytes.Buffer
			if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 90}); err != nil {
				t.Fatal(err)
			}
			ours, err := decodeJPEG(b.Bytes())
			if err != nil {
				t.Fatalf("%v %s: %v", size, name, err)
			}
			theirs, err := jpeg.Decode(&b)
			if err != nil {
				t.Fatal(err)
			}
			// Grey and luma pass through no upsampling.
			for y := range size.Y {
				for x := range size.X {
					p := ours.Pix[3*(y*size.X+x):]
					got := (19595*int(p[0]) + 38470*int(p[1]) + 7471*int(p[2]) + 1<<15) >> 16
					want := 0
					switch s := theirs.(type) {
					case *image.Gray:
						want = int(s.GrayAt(x, y).Y)
					case *image.YCbCr:
						want = int(s.Y[s.YOffset(x, y)])
						if p[0] == 0 || p[0] == 255 || p[1] == 0 || p[1] == 255 || p[2] == 0 || p[2] == 255 {
							continue // cut off in RGB
						}
					}
					if got-want > 3 || want-got > 3 {
						t.Fatalf("%v %s: luma %d at (%d, %d), the standard library has %d", size, name, got, x, y, want)
					}
				}
			}
		}
	}
}

// Faults are errors of one line, and a header that promises much allocates nothing.
func TestJPEGFaults(t *testing.T) {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewRGBA(image.Rect(0, 0, 40, 40)), nil); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	for n := range len(whole) {
		if m, err := decodeJPEG(whole[:n]); err == nil && n < len(whole)-2 {
			t.Fatalf("%d of %d bytes were taken for a picture of %d pixels", n, len(whole), len(m.Pix)/3)
		}
	}
	huge := []byte("\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00\xff\xd9")
	if _, err := decodeJPEG(huge); err == nil {
		t.Error("a header alone was taken for a picture")
	}
	for name, sof := range map[string]byte{"lossless": 0xc3, "arithmetic": 0xc9} {
		if _, err := decodeJPEG([]byte{0xff, 0xd8, 0xff, sof, 0, 2}); err == nil {
			t.Errorf("%s coding was read", name)
		}
	}
}
