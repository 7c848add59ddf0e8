package imageproc

// RGB is a picture of 8 bits a channel.
type RGB struct {
	Width, Height int
	Pix           []uint8 // Height x Width x 3: red, green, blue

	// Unrounded, where not nil, are the values before they were rounded to Pix.
	Unrounded []float32

	// Orientation is the EXIF orientation that the file gives, 1 to 8; 0 where it gives none.
	Orientation int
	// Alpha is the opacity, Height x Width, of a file that has such a channel, else nil. Pix are the colours as stored,
	// not multiplied by it. Processors that convert to RGB before they resize never look at it.
	Alpha []uint8
	// Indexed says that the file holds indices into a palette, or black and white: Pillow resizes those by nearest
	// neighbour unless they have been converted.
	Indexed bool
}

// New returns a black picture.
func New(width, height int) *RGB {
	return &RGB{Width: width, Height: height, Pix: make([]uint8, 3*width*height)}
}

// Upright returns the picture as its Orientation means it to be seen (Pillow's ImageOps.exif_transpose).
func (m *RGB) Upright() *RGB {
	if m.Orientation < 2 || m.Orientation > 8 {
		return m
	}
	w, h := m.Width, m.Height
	if m.Orientation >= 5 {
		w, h = h, w
	}
	out := New(w, h)
	out.Indexed = m.Indexed
	if m.Alpha != nil {
		out.Alpha = make([]uint8, w*h)
	}
	for y := range h {
		for x := range w {
			sx, sy := x, y
			switch m.Orientation {
			case 2: // mirrored
				sx = w - 1 - x
			case 3: // upside down
				sx, sy = w-1-x, h-1-y
			case 4: // mirrored, upside down
				sy = h - 1 - y
			case 5: // transposed
				sx, sy = y, x
			case 6: // to be turned right
				sx, sy = y, w-1-x
			case 7: // transversed
				sx, sy = h-1-y, w-1-x
			case 8: // to be turned left
				sx, sy = h-1-y, x
			}
			from, to := sy*m.Width+sx, y*w+x
			copy(out.Pix[3*to:3*to+3], m.Pix[3*from:])
			if m.Alpha != nil {
				out.Alpha[to] = m.Alpha[from]
			}
		}
	}
	return out
}

// transpose swaps rows and columns.
func (m *RGB) transpose() *RGB {
	return (&RGB{Width: m.Width, Height: m.Height, Pix: m.Pix, Orientation: 5}).Upright()
}

// crop returns width x height pixels from (x, y) on, which may lie outside of the picture on any side; what does is fill.
func (m *RGB) crop(x, y, width, height int, fill []uint8) *RGB {
	out := New(width, height)
	x0, x1 := max(0, -x), min(width, m.Width-x)
	y0, y1 := max(0, -y), min(height, m.Height-y)
	if (x0 > 0 || y0 > 0 || x1 < width || y1 < height) && len(fill) == 3 {
		for i := 0; i < len(out.Pix); i += 3 {
			copy(out.Pix[i:i+3], fill)
		}
	}
	if x0 < x1 {
		for oy := y0; oy < y1; oy++ {
			copy(out.Pix[3*(oy*width+x0):3*(oy*width+x1)], m.Pix[3*((y+oy)*m.Width+x+x0):])
		}
	}
	return out
}
