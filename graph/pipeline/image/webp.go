package imageproc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"io"

	"golang.org/x/image/webp"
)

// decodeWebP decodes a still picture. Lossy ones hold chroma at half size in both directions and luma in 16..235; both are
// brought to RGB as libwebp does it (src/dsp/upsampling.c and yuv.h), which is what Pillow uses.
func decodeWebP(data []byte) (*RGB, error) {
	if f := webpFirstFrame(data); f != nil {
		return f.decode()
	}
	src, err := webp.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	switch s := src.(type) {
	case *image.YCbCr:
		return fromWebP(s), nil
	case *image.NYCbCrA:
		m := fromWebP(&s.YCbCr)
		m.Alpha = make([]uint8, m.Width*m.Height)
		for y := range m.Height {
			copy(m.Alpha[y*m.Width:][:m.Width], s.A[y*s.AStride:])
		}
		return m, nil
	}
	return convert(src)
}

func fromWebP(s *image.YCbCr) *RGB {
	w, h := s.Rect.Dx(), s.Rect.Dy()
	cw, ch := (w+1)/2, (h+1)/2
	cb, cr := plane{s.Cb, s.CStride, cw, ch}, plane{s.Cr, s.CStride, cw, ch}
	m := New(w, h)
	us, vs := make([]uint8, w), make([]uint8, w)
	for y := range h {
		near := y / 2
		far := max(0, min(near-1+2*(y&1), ch-1))
		webpChroma(us, cb.row(near), cb.row(far))
		webpChroma(vs, cr.row(near), cr.row(far))
		out := m.Pix[3*y*w:][:3*w]
		for x, luma := range s.Y[y*s.YStride:][:w] {
			l, u, v := int32(luma)*19077>>8, int32(us[x]), int32(vs[x])
			d := out[3*x : 3*x+3 : 3*x+3]
			d[0] = clip8((l + v*26149>>8 - 14234) >> 6)
			d[1] = clip8((l - u*6419>>8 - v*13320>>8 + 8708) >> 6)
			d[2] = clip8((l + u*33050>>8 - 17685) >> 6)
		}
	}
	return m
}

// webpChroma doubles one row of chroma between the near and the far row: weights 9, 3, 3, 1 of 16, in the order of
// rounding that UPSAMPLE_FUNC has.
func webpChroma(dst, near, far []uint8) {
	n := len(dst)
	ln, lf := int32(near[0]), int32(far[0])
	dst[0] = uint8((3*ln + lf + 2) >> 2)
	for x := 1; x <= (n-1)/2; x++ {
		rn, rf := int32(near[x]), int32(far[x])
		sum := ln + lf + rn + rf + 8
		dst[2*x-1] = uint8(((sum+2*(lf+rn))>>3 + ln) >> 1)
		dst[2*x] = uint8(((sum+2*(ln+rf))>>3 + rn) >> 1)
		ln, lf = rn, rf
	}
	if n&1 == 0 {
		dst[n-1] = uint8((3*ln + lf + 2) >> 2)
	}
}

// webpFrame is the first frame of an animation.
type webpFrame struct {
	x, y, width, height int // its place on the canvas, and the canvas
	still               []byte
}

// webpFirstFrame returns the first frame of an animated file, nil for a still picture (WebP container specification, ANMF).
func webpFirstFrame(data []byte) *webpFrame {
	if len(data) < 30 || string(data[12:16]) != "VP8X" || data[20]&2 == 0 {
		return nil
	}
	u24 := func(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }
	f := &webpFrame{width: u24(data[24:]) + 1, height: u24(data[27:]) + 1}
	for at := 12; at+8 <= len(data); {
		size := int(binary.LittleEndian.Uint32(data[at+4:]))
		if size < 0 || size > len(data)-at-8 {
			return nil
		}
		body := data[at+8 : at+8+size]
		if string(data[at:at+4]) == "ANMF" && size > 16 {
			f.x, f.y = 2*u24(body), 2*u24(body[3:])
			// As a file of its own, with a header that speaks of transparency where the frame has an ALPH chunk.
			head := []byte("RIFF\x00\x00\x00\x00WEBP")
			if string(body[16:20]) == "ALPH" {
				head = append(head, "VP8X\x0a\x00\x00\x00\x10\x00\x00\x00"...)
				head = append(append(head, body[6:9]...), body[9:12]...)
			}
			f.still = append(head, body[16:]...)
			binary.LittleEndian.PutUint32(f.still[4:], uint32(len(f.still)-8))
			return f
		}
		at += 8 + size + size&1
	}
	return nil
}

// decode puts the frame on the canvas, which is black and transparent.
func (f *webpFrame) decode() (*RGB, error) {
	m, err := decodeWebP(f.still)
	if err != nil {
		return nil, err
	}
	if m.Width == f.width && m.Height == f.height {
		return m, nil
	}
	if m.Width+f.x > f.width || m.Height+f.y > f.height {
		return nil, errors.New("a frame that leaves its canvas")
	}
	out := m.crop(-f.x, -f.y, f.width, f.height, nil)
	out.Alpha = make([]uint8, f.width*f.height)
	for y := range m.Height {
		row := out.Alpha[(y+f.y)*f.width+f.x:][:m.Width]
		for x := range row {
			row[x] = 255
			if m.Alpha != nil {
				row[x] = m.Alpha[y*m.Width+x]
			}
		}
	}
	return out, nil
}

// webpConfig reads the size, of an animation that of its canvas.
func webpConfig(r io.Reader) (image.Config, error) {
	head := make([]byte, 30)
	n, err := io.ReadFull(r, head)
	if err == nil && string(head[12:16]) == "VP8X" && head[20]&2 != 0 {
		u24 := func(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }
		return image.Config{Width: u24(head[24:]) + 1, Height: u24(head[27:]) + 1, ColorModel: color.NRGBAModel}, nil
	}
	return webp.DecodeConfig(io.MultiReader(bytes.NewReader(head[:n]), r))
}
