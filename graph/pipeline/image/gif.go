package imageproc

import (
	"bytes"
	"errors"
	"image/gif"
)

// decodeGIF decodes the first frame on the file's whole canvas, which Pillow fills with the frame's transparent index, or
// with index 0. The decoder forgets the colour of the transparent index, so palettes are read here.
func decodeGIF(data []byte) (*RGB, error) {
	frame, err := gif.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	config, err := gif.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	h, err := readGIFHeader(data)
	if err != nil {
		return nil, err
	}
	s, ok := frame.(interface{ ColorIndexAt(x, y int) uint8 })
	if !ok {
		return nil, errors.New("the first frame has no palette")
	}
	m := New(config.Width, config.Height)
	m.Indexed = true
	r := frame.Bounds()
	for y := range m.Height {
		for x := range m.Width {
			index := h.background
			if x >= r.Min.X && x < r.Max.X && y >= r.Min.Y && y < r.Max.Y {
				index = s.ColorIndexAt(x, y)
			}
			c := h.palette[index]
			m.set(y*m.Width+x, c[0], c[1], c[2])
		}
	}
	return m, nil
}

type gifHeader struct {
	palette    [256][3]uint8
	background uint8 // index around the first frame
}

var errGIF = errors.New("the blocks before the first frame are damaged")

// readGIFHeader reads the palette and the transparent index of the first frame.
func readGIFHeader(data []byte) (h gifHeader, err error) {
	colors := func(at int, flags byte) (int, error) {
		if flags&0x80 == 0 {
			return at, nil
		}
		n := 2 << (flags & 7)
		if at+3*n > len(data) {
			return 0, errGIF
		}
		h.palette = [256][3]uint8{}
		for i := range n {
			copy(h.palette[i][:], data[at+3*i:])
		}
		return at + 3*n, nil
	}
	if len(data) < 13 {
		return h, errGIF
	}
	at, err := colors(13, data[10])
	for err == nil && at+10 <= len(data) {
		switch data[at] {
		case ',':
			_, err = colors(at+10, data[at+9])
			return h, err
		case '!':
			if data[at+1] == 0xf9 && data[at+2] >= 4 && data[at+3]&1 != 0 {
				h.background = data[at+6]
			}
			for at += 2; at < len(data) && data[at] != 0; {
				at += 1 + int(data[at])
			}
			at++
		default:
			at++
		}
	}
	return h, errGIF
}
