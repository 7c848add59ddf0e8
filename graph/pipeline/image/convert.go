package imageproc

import (
	"fmt"
	"image"
	"image/color"
)

// convert makes 8-bit RGB of a decoder's picture by the rules of Pillow's modes (libImaging/Convert.c and Unpack.c). It is
// not for pictures with chroma planes, whose upsampling depends on the format.
func convert(src image.Image) (*RGB, error) {
	r := src.Bounds()
	m := New(r.Dx(), r.Dy())
	w := m.Width
	switch s := src.(type) {
	case *image.Gray:
		for y := range m.Height {
			for x, v := range s.Pix[y*s.Stride:][:w] {
				m.set(y*w+x, v, v, v)
			}
		}
	case *image.Gray16: // mode I or I;16, clipped to 8 bits
		for y := range m.Height {
			row := s.Pix[y*s.Stride:][:2*w]
			for x := range w {
				v := row[2*x+1]
				if row[2*x] != 0 {
					v = 255
				}
				m.set(y*w+x, v, v, v)
			}
		}
	case *image.Paletted:
		colors := palette(s.Palette)
		m.Indexed = true
		for y := range m.Height {
			for x, v := range s.Pix[y*s.Stride:][:w] {
				m.set(y*w+x, colors[v][0], colors[v][1], colors[v][2])
			}
		}
	case *image.NRGBA:
		m.fill4(s.Pix, s.Stride, 4, 1, !s.Opaque())
	case *image.NRGBA64:
		m.fill4(s.Pix, s.Stride, 8, 2, !s.Opaque())
	case *image.RGBA: // premultiplied where it is not opaque: TIFF's associated alpha
		opaque := s.Opaque()
		m.fill4(s.Pix, s.Stride, 4, 1, !opaque)
		if !opaque {
			for i, a := range m.Alpha {
				unpremultiply(m.Pix[3*i:3*i+3], a)
			}
		}
	case *image.RGBA64:
		opaque := s.Opaque()
		m.fill4(s.Pix, s.Stride, 8, 2, !opaque)
		if !opaque {
			for i, a := range m.Alpha {
				unpremultiply(m.Pix[3*i:3*i+3], a)
			}
		}
	case *image.CMYK:
		for y := range m.Height {
			for x := range w {
				c := s.Pix[y*s.Stride+4*x:][:4]
				r, g, b := cmykToRGB(c[0], c[1], c[2], c[3])
				m.set(y*w+x, r, g, b)
			}
		}
	default:
		return nil, fmt.Errorf("pictures of the kind %T are not supported; convert the file to PNG", src)
	}
	return m, nil
}

func (m *RGB) set(i int, r, g, b uint8) {
	p := m.Pix[3*i : 3*i+3 : 3*i+3]
	p[0], p[1], p[2] = r, g, b
}

// fill4 takes four channels of the given bytes a pixel and bytes a channel, high byte first.
func (m *RGB) fill4(pix []uint8, stride, pixel, channel int, alpha bool) {
	if alpha {
		m.Alpha = make([]uint8, m.Width*m.Height)
	}
	for y := range m.Height {
		row := pix[y*stride:][:pixel*m.Width]
		for x := range m.Width {
			i, p := y*m.Width+x, row[pixel*x:][:pixel]
			m.set(i, p[0], p[channel], p[2*channel])
			if alpha {
				m.Alpha[i] = p[3*channel]
			}
		}
	}
}

// palette returns the colours as stored, black beyond the palette's end.
func palette(p color.Palette) (out [256][3]uint8) {
	for i := range min(len(p), 256) {
		switch c := p[i].(type) {
		case color.NRGBA:
			out[i] = [3]uint8{c.R, c.G, c.B}
		case color.RGBA:
			out[i] = [3]uint8{c.R, c.G, c.B}
		default:
			r, g, b, _ := c.RGBA()
			out[i] = [3]uint8{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8)}
		}
	}
	return out
}

// mulDiv255 is a * b / 255, rounded, as Pillow's MULDIV255 computes it.
func mulDiv255(a, b uint8) uint8 {
	t := uint32(a)*uint32(b) + 128
	return uint8((t>>8 + t) >> 8)
}

// cmykToRGB is cmyk2rgb of Pillow's Convert.c.
func cmykToRGB(c, m, y, k uint8) (r, g, b uint8) {
	nk := 255 - k
	return nk - mulDiv255(c, nk), nk - mulDiv255(m, nk), nk - mulDiv255(y, nk)
}

// unpremultiply divides colours by their opacity, as rgba2rgbA of Pillow's Convert.c does.
func unpremultiply(p []uint8, a uint8) {
	if a == 0 || a == 255 {
		return
	}
	for i, v := range p {
		p[i] = uint8(min(255*int(v)/int(a), 255))
	}
}
