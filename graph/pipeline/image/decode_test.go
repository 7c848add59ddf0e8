package imageproc

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/png"
	"math"
	"strings"
	"testing"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"

	"github.com/mmconv/mmconv/graph/pipeline"
)

func encode(t testing.TB, m image.Image, how func(*bytes.Buffer, image.Image) error) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := how(&buf, m); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func asPNG(b *bytes.Buffer, m image.Image) error  { return png.Encode(b, m) }
func asBMP(b *bytes.Buffer, m image.Image) error  { return bmp.Encode(b, m) }
func asTIFF(b *bytes.Buffer, m image.Image) error { return tiff.Encode(b, m, nil) }

// TestModes: what convert("RGB") makes of each mode, at two pixels.
func TestModes(t *testing.T) {
	r := image.Rect(0, 0, 2, 1)
	nrgba := image.NewNRGBA(r)
	nrgba.SetNRGBA(0, 0, color.NRGBA{200, 100, 50, 7})
	nrgba.SetNRGBA(1, 0, color.NRGBA{1, 2, 3, 0})
	nrgba64 := image.NewNRGBA64(r)
	nrgba64.SetNRGBA64(0, 0, color.NRGBA64{0xc8ff, 0x6480, 0x3200, 0x700})
	nrgba64.SetNRGBA64(1, 0, color.NRGBA64{0x01ff, 0x0200, 0x03ff, 0})
	rgb64 := image.NewRGBA64(r)
	rgb64.SetRGBA64(0, 0, color.RGBA64{0xc8ff, 0x6480, 0x3200, 0xffff})
	rgb64.SetRGBA64(1, 0, color.RGBA64{0x01ff, 0x0200, 0x03ff, 0xffff})
	gray := image.NewGray(r)
	gray.Pix = []uint8{200, 3}
	gray16 := image.NewGray16(r)
	gray16.SetGray16(0, 0, color.Gray16{0x1234})
	gray16.SetGray16(1, 0, color.Gray16{0x0021})
	indexed := image.NewPaletted(r, color.Palette{color.NRGBA{1, 2, 3, 0}, color.NRGBA{200, 100, 50, 255}})
	indexed.Pix = []uint8{1, 0}
	opaque := image.NewPaletted(r, color.Palette{color.RGBA{1, 2, 3, 255}, color.RGBA{200, 100, 50, 255}})
	opaque.Pix = indexed.Pix
	plain := []uint8{200, 100, 50, 1, 2, 3}
	for _, test := range []struct {
		name    string
		data    []byte
		want    []uint8
		alpha   []uint8
		indexed bool
	}{
		{"RGBA", encode(t, nrgba, asPNG), plain, []uint8{7, 0}, false},
		{"RGBA 16", encode(t, nrgba64, asPNG), plain, []uint8{7, 0}, false},
		{"RGB 16", encode(t, rgb64, asPNG), plain, nil, false},
		{"grey", encode(t, gray, asPNG), []uint8{200, 200, 200, 3, 3, 3}, nil, false},
		{"grey 16", encode(t, gray16, asPNG), []uint8{255, 255, 255, 0x21, 0x21, 0x21}, nil, false},
		{"palette", encode(t, indexed, asPNG), plain, nil, true},
		{"palette GIF", encode(t, opaque, func(b *bytes.Buffer, m image.Image) error { return gif.Encode(b, m, nil) }), plain, nil, true},
		{"RGBA BMP", encode(t, nrgba, asBMP), plain, nil, false},
		{"grey BMP", encode(t, gray, asBMP), []uint8{200, 200, 200, 3, 3, 3}, nil, true},
		{"RGBA TIFF", encode(t, nrgba, asTIFF), plain, []uint8{7, 0}, false},
		{"RGB 16 TIFF", encode(t, rgb64, asTIFF), plain, nil, false},
		{"grey 16 TIFF", encode(t, gray16, asTIFF), []uint8{255, 255, 255, 0x21, 0x21, 0x21}, nil, false},
		{"palette TIFF", encode(t, opaque, asTIFF), plain, nil, true},
	} {
		m, err := Decode(test.data, Limits{})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if m.Width != 2 || m.Height != 1 || !bytes.Equal(m.Pix, test.want) || !bytes.Equal(m.Alpha, test.alpha) || m.Indexed != test.indexed {
			t.Errorf("%s: %+v, expected %v with alpha %v", test.name, m, test.want, test.alpha)
		}
	}
}

// rawPNG builds a PNG of one IDAT chunk from a header and already compressed data.
func rawPNG(width, height uint32, depth, colour byte, idat []byte) []byte {
	out := []byte("\x89PNG\r\n\x1a\n")
	chunk := func(name string, body []byte) {
		out = binary.BigEndian.AppendUint32(out, uint32(len(body)))
		start := len(out)
		out = append(append(out, name...), body...)
		out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[start:]))
	}
	header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height)
	chunk("IHDR", append(header, depth, colour, 0, 0, 0))
	chunk("IDAT", idat)
	chunk("IEND", nil)
	return out
}

func TestHostileFiles(t *testing.T) {
	small := encode(t, image.NewGray(image.Rect(0, 0, 4, 4)), asPNG)
	for _, test := range []struct {
		name   string
		data   []byte
		limits Limits
		want   string
	}{
		{"bomb", rawPNG(100000, 100000, 8, 2, nil), Limits{}, "100000 x 100000 pixels"},
		{"over the limit given", small, Limits{MaxPixels: 15}, "the limit is 15 pixels"},
		{"file over the limit given", small, Limits{MaxBytes: 10}, "more than the 10 bytes"},
		{"no pixels", rawPNG(0, 5, 8, 2, nil), Limits{}, "PNG"},
		{"no data", rawPNG(5, 5, 8, 2, nil), Limits{}, "PNG"},
		{"truncated", small[:len(small)-20], Limits{}, "PNG"},
		{"text", []byte("hello, world"), Limits{}, `starts with "hello, w"`},
		{"empty", nil, Limits{}, "PNG, JPEG"},
		{"only a marker", []byte("\xff\xd8\xff"), Limits{}, "JPEG"},
		{"only a GIF header", []byte("GIF89a\x01\x00\x01\x00\x00\x00\x00"), Limits{}, "GIF"},
	} {
		_, err := Decode(test.data, test.limits)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %q, expected one line with %q", test.name, err, test.want)
		}
		if strings.Contains(test.name, "limit") != errors.Is(err, ErrTooLarge) && test.name != "bomb" {
			t.Errorf("%s: %v is of the wrong kind", test.name, err)
		}
	}
}

// TestExtremeSizes runs 1 x 1 and 30000 x 20 pixels through a shortest-edge processor.
func TestExtremeSizes(t *testing.T) {
	p := pipeline.ImageOpenAICLIP(224)
	for _, s := range [][2]int{{1, 1}, {30000, 20}, {20, 30000}} {
		data := encode(t, image.NewGray(image.Rect(0, 0, s[0], s[1])), asPNG)
		m, err := Decode(data, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []*pipeline.Image{p, p.WithPadSquare()} {
			b, err := Process(p, []*RGB{m})
			if err != nil {
				t.Fatalf("%v: %v", s, err)
			}
			if v, err := b.PixelValues(); err != nil || fmt.Sprint(v.Shape) != "[1 3 224 224]" {
				t.Errorf("%v: %v, %v", s, v, err)
			}
		}
	}
	// One pixel high and as long as the limit allows: the short side cannot be brought to 224.
	if _, err := Process(p, []*RGB{New(1<<20, 1)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("1048576 x 1 pixels: %v", err)
	}
}

// TestGIFCanvas: around a frame smaller than the canvas is the transparent index, in its colour.
func TestGIFCanvas(t *testing.T) {
	colors := color.Palette{color.RGBA{9, 8, 7, 255}, color.RGBA{0, 0, 0, 0}, color.RGBA{50, 60, 70, 255}, color.RGBA{1, 1, 1, 255}}
	frame := image.NewPaletted(image.Rect(1, 1, 3, 2), colors)
	frame.Pix = []uint8{2, 0}
	var buf bytes.Buffer
	err := gif.EncodeAll(&buf, &gif.GIF{
		Image: []*image.Paletted{frame}, Delay: []int{0},
		Config: image.Config{Width: 4, Height: 3, ColorModel: colors},
	})
	if err != nil {
		t.Fatal(err)
	}
	data := buf.Bytes()
	copy(data[13+3:], []byte{200, 100, 50}) // the transparent index has a colour of its own
	m, err := Decode(data, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte{200, 100, 50}, 12)
	copy(want[3*5:], []byte{50, 60, 70, 9, 8, 7})
	if !bytes.Equal(m.Pix, want) {
		t.Errorf("%v, expected %v", m.Pix, want)
	}
}

// TestWebP: black, white and grey are at 16, 235 and between; chroma is interpolated with weights 9, 3, 3, 1.
func TestWebP(t *testing.T) {
	s := image.NewYCbCr(image.Rect(0, 0, 7, 5), image.YCbCrSubsampleRatio420)
	for i := range s.Y {
		s.Y[i] = uint8(16 + i*219/(len(s.Y)-1))
	}
	for i := range s.Cb {
		s.Cb[i], s.Cr[i] = uint8(100+i*4), uint8(150-i*3)
	}
	m := fromWebP(s)
	at := func(p []uint8, x, y int) float64 {
		cx, cy := x/2, y/2
		nx, ny := max(0, min(3, cx-1+2*(x&1))), max(0, min(2, cy-1+2*(y&1)))
		v := func(x, y int) float64 { return float64(p[y*s.CStride+x]) }
		return (9*v(cx, cy) + 3*v(nx, cy) + 3*v(cx, ny) + v(nx, ny)) / 16
	}
	for y := range 5 {
		for x := range 7 {
			l, u, v := 1.164*(float64(s.Y[y*s.YStride+x])-16), at(s.Cb, x, y)-128, at(s.Cr, x, y)-128
			want := []float64{l + 1.596*v, l - 0.392*u - 0.813*v, l + 2.017*u}
			for c, w := range want {
				w = math.Max(0, math.Min(255, w))
				if got := float64(m.Pix[3*(y*7+x)+c]); math.Abs(got-w) > 2.1 {
					t.Errorf("(%d, %d) channel %d: %v, expected about %.1f", x, y, c, got, w)
				}
			}
		}
	}
}

const tinyWebP = "UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA"

func TestWebPFile(t *testing.T) {
	data, err := base64.StdEncoding.DecodeString(tinyWebP)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Decode(data, Limits{})
	if err != nil || m.Width != 1 || m.Height != 1 {
		t.Fatalf("%+v, %v", m, err)
	}
}

func TestUpright(t *testing.T) {
	// A picture of 3 x 2 pixels with the values 0 to 5, row by row, and what each orientation makes of it.
	for o, want := range map[int]string{
		1: "[0 1 2 3 4 5]", 2: "[2 1 0 5 4 3]", 3: "[5 4 3 2 1 0]", 4: "[3 4 5 0 1 2]",
		5: "[0 3 1 4 2 5]", 6: "[3 0 4 1 5 2]", 7: "[5 2 4 1 3 0]", 8: "[2 5 1 4 0 3]",
	} {
		m := New(3, 2)
		for i := range 6 {
			m.set(i, uint8(i), 0, 0)
		}
		m.Orientation = o
		up := m.Upright()
		var got []uint8
		for i := range 6 {
			got = append(got, up.Pix[3*i])
		}
		if fmt.Sprint(got) != want || (o >= 5) != (up.Width == 2) {
			t.Errorf("orientation %d: %v at width %d, expected %s", o, got, up.Width, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	m := image.NewPaletted(image.Rect(0, 0, 5, 3), color.Palette{color.Black, color.White})
	f.Add(encode(f, m, asPNG))
	f.Add(encode(f, m, asBMP))
	f.Add(encode(f, m, asTIFF))
	f.Add(encode(f, m, func(b *bytes.Buffer, m image.Image) error { return gif.Encode(b, m, nil) }))
	webp, _ := base64.StdEncoding.DecodeString(tinyWebP)
	f.Add(webp)
	for _, sampling := range [][]int{{1}, {1, 1, 1}, {2, 1, 1}, {2, 1, 1, 2}} {
		j := flatJPEG{width: 9, height: 9, ids: []byte{1, 2, 3, 4}[:len(sampling)], h: sampling, v: sampling, segments: adobe(2)}
		j.random(3)
		f.Add(j.encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Decode(data, Limits{MaxPixels: 1 << 16})
		if err != nil {
			return
		}
		if m.Width < 1 || m.Height < 1 || m.Width*m.Height > 1<<16 || len(m.Pix) != 3*m.Width*m.Height {
			t.Fatalf("%d x %d pixels in %d bytes", m.Width, m.Height, len(m.Pix))
		}
		m.Upright()
	})
}
