package imageproc

import (
	"bytes"
	"image"

	"golang.org/x/image/webp"
)

// decodeWebP decodes a still picture. Lossy ones hold chroma at half size in both directions and luma in 16..235; both are
// brought to RGB as libwebp does it (src/dsp/upsampling.c and yuv.h), which is what Pillow uses.
func decodeWebP(data []byte) (*RGB, error) {
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
