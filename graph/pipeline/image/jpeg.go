package imageproc

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
)

// The standard library undoes the entropy coding and the DCT. What follows, chroma upsampling and colour conversion, is
// done here as libjpeg-turbo does it by default (jdsample.c, jdcolor.c), because encoders were trained on its pixels.

// jpegHeader is what the markers before the first scan say.
type jpegHeader struct {
	components  int
	h, v        [4]int // sampling factors
	adobe       int    // offset of the transform byte of the Adobe segment, 0 where there is none
	transform   byte
	orientation int
}

// readJPEGHeader walks the markers up to the first scan. The decoder proper checks them; faults only end the walk.
func readJPEGHeader(data []byte) (h jpegHeader) {
	for at := 2; at+4 <= len(data); {
		if data[at] != 0xff {
			at++
			continue
		}
		marker := data[at+1]
		if marker == 0xff || marker == 0 || marker >= 0xd0 && marker <= 0xd8 {
			if marker == 0xff {
				at++
			} else {
				at += 2
			}
			continue
		}
		n := int(data[at+2])<<8 | int(data[at+3])
		if marker == 0xda || n < 2 || at+2+n > len(data) {
			return h
		}
		body := data[at+4 : at+2+n]
		switch {
		case marker >= 0xc0 && marker <= 0xc2 && len(body) >= 6:
			h.components = min(int(body[5]), 4)
			for i := range min(h.components, (len(body)-6)/3) {
				c := body[6+3*i:]
				h.h[i], h.v[i] = int(c[1]>>4), int(c[1]&15)
			}
		case marker == 0xe1 && bytes.HasPrefix(body, []byte("Exif\x00\x00")) && h.orientation == 0:
			h.orientation = exifOrientation(body[6:])
		case marker == 0xee && len(body) >= 12 && string(body[:5]) == "Adobe":
			h.adobe, h.transform = at+4+11, body[11]
		}
		at += 2 + n
	}
	return h
}

func decodeJPEG(data []byte) (*RGB, error) {
	h := readJPEGHeader(data)
	if h.components == 4 {
		data = h.asPlainCMYK(data)
	}
	src, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var m *RGB
	switch s := src.(type) {
	case *image.YCbCr:
		m, err = fromYCbCr(s)
	case *image.CMYK:
		m = h.fromCMYK(s)
	default: // grey, or RGB as it is stored
		m, err = convert(src)
	}
	if err != nil {
		return nil, err
	}
	m.Orientation = h.orientation
	return m, nil
}

// plane is one channel. Its rows may be longer than width; what lies beyond is padding of the coding.
type plane struct {
	pix           []uint8
	stride        int
	width, height int
}

func (p plane) row(y int) []uint8 { return p.pix[y*p.stride:][:p.width:p.width] }

func fromYCbCr(s *image.YCbCr) (*RGB, error) {
	w, h := s.Rect.Dx(), s.Rect.Dy()
	var fx, fy int
	switch s.SubsampleRatio {
	case image.YCbCrSubsampleRatio444:
		fx, fy = 1, 1
	case image.YCbCrSubsampleRatio422:
		fx, fy = 2, 1
	case image.YCbCrSubsampleRatio420:
		fx, fy = 2, 2
	case image.YCbCrSubsampleRatio440:
		fx, fy = 1, 2
	case image.YCbCrSubsampleRatio411:
		fx, fy = 4, 1
	case image.YCbCrSubsampleRatio410:
		fx, fy = 4, 2
	default:
		return nil, fmt.Errorf("chroma subsampling %v is not supported", s.SubsampleRatio)
	}
	cw, ch := (w+fx-1)/fx, (h+fy-1)/fy
	m := New(w, h)
	cbs := newUpsampler(plane{s.Cb, s.CStride, cw, ch}, fx, fy, w)
	crs := newUpsampler(plane{s.Cr, s.CStride, cw, ch}, fx, fy, w)
	for y := range h {
		ys, cb, cr := s.Y[y*s.YStride:][:w], cbs.row(y), crs.row(y)
		ycbcrRow(m.Pix[3*y*w:][:3*w], ys, cb[:w], cr[:w])
	}
	return m, nil
}

// ycbcrRow converts one row as jdcolor.c does: fixed-point with 16 fractional bits.
func ycbcrRow(dst, ys, cbs, crs []uint8) {
	for x, v := range ys {
		y, cb, cr := int32(v), int32(cbs[x])-128, int32(crs[x])-128
		d := dst[3*x : 3*x+3 : 3*x+3]
		d[0] = clip8(y + (91881*cr+1<<15)>>16)           // 1.40200
		d[1] = clip8(y + (-22554*cb-46802*cr+1<<15)>>16) // 0.34414, 0.71414
		d[2] = clip8(y + (116130*cb+1<<15)>>16)          // 1.77200
	}
}

func clip8(v int32) uint8 {
	if uint32(v) > 255 {
		return uint8(^(v >> 31)) // 0 below, 255 above
	}
	return uint8(v)
}

// asPlainCMYK returns the file with its Adobe segment set to transform 0, or with such a segment put in: the decoder then
// hands out the four planes as they are stored (inverted, its way of undoing Adobe's inversion), whatever they mean.
func (h *jpegHeader) asPlainCMYK(data []byte) []byte {
	if h.adobe != 0 {
		data = bytes.Clone(data)
		data[h.adobe] = 0
		return data
	}
	segment := "\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
	return append(append([]byte("\xff\xd8"), segment...), data[2:]...)
}

// fromCMYK converts four planes: CMYK, or YCCK where the Adobe segment says so. Pillow takes all such files as inverted.
func (h *jpegHeader) fromCMYK(s *image.CMYK) *RGB {
	w, height := s.Rect.Dx(), s.Rect.Dy()
	m := New(w, height)
	if h.adobe == 0 || h.transform == 0 {
		for y := range height {
			for x := range w {
				c := s.Pix[y*s.Stride+4*x:][:4]
				r, g, b := cmykToRGB(c[0], c[1], c[2], c[3])
				m.set(y*w+x, r, g, b)
			}
		}
		return m
	}
	// The decoder repeated the samples of subsampled planes (2x2, the only kind that it takes): picking every second
	// gives the planes back.
	f := 1
	if h.h[1] != h.h[0] || h.v[1] != h.v[0] {
		f = 2
	}
	cw, ch := (w+f-1)/f, (height+f-1)/f
	chroma := func(channel int) *upsampler {
		p := plane{make([]uint8, cw*ch), cw, cw, ch}
		for y := range ch {
			for x := range cw {
				p.pix[y*cw+x] = 255 - s.Pix[y*f*s.Stride+4*x*f+channel]
			}
		}
		return newUpsampler(p, f, f, w)
	}
	cbs, crs := chroma(1), chroma(2)
	luma := make([]uint8, w)
	for y := range height {
		row := s.Pix[y*s.Stride:][:4*w]
		for x := range w {
			luma[x] = 255 - row[4*x]
		}
		out := m.Pix[3*y*w:][:3*w]
		ycbcrRow(out, luma, cbs.row(y)[:w], crs.row(y)[:w])
		// ycck_cmyk_convert gives 255 minus the red, which Pillow inverts back: red, green and blue are the inks.
		for x := range w {
			p := out[3*x : 3*x+3 : 3*x+3]
			p[0], p[1], p[2] = cmykToRGB(p[0], p[1], p[2], row[4*x+3])
		}
	}
	return m
}
