package imageproc

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// maxResizedSide bounds what a resize may ask for along a side before it is cropped. Beyond it neither the original nor a
// model could do anything with the picture.
const maxResizedSide = 1 << 26

// runSteps carries out steps on a picture. With native the picture is still in the mode of its file when it is resized.
func runSteps(m *RGB, steps []pipeline.ImageStep, native bool) (*RGB, error) {
	for i := 0; i < len(steps); i++ {
		s := steps[i]
		switch s.Op {
		case pipeline.CenterCrop:
			x, y := cropOffset(s, m.Width, m.Height)
			m = m.crop(x, y, s.Width, s.Height, s.Fill)
			continue
		case pipeline.ResizeHD:
			var err error
			if m, err = resizeHD(m, s); err != nil {
				return nil, err
			}
			continue
		}
		src := m.source()
		if s.Op == pipeline.PadSquare {
			src = m.onSquare(s.Fill)
			if i+1 == len(steps) || !resizes(steps[i+1].Op) {
				if src.width > DefaultMaxPixels/src.height {
					return nil, fmt.Errorf("%w: %s makes a square of %d x %d of its %d x %d pixels", ErrTooLarge, s.Op, src.width, src.height, m.Width, m.Height)
				}
				m = m.crop(-src.x, -src.y, src.width, src.height, s.Fill)
				continue
			}
			i++
			s, native = steps[i], false
		}
		width, height := targetSize(s, src.width, src.height)
		if width < 1 || height < 1 {
			return nil, fmt.Errorf("%s makes %d x %d of a picture of %d x %d pixels", s.Op, width, height, src.width, src.height)
		}
		part := window{0, 0, width, height}
		// Of a long, thin picture the crop that follows keeps little: only that is computed.
		if i+1 < len(steps) && steps[i+1].Op == pipeline.CenterCrop {
			c := steps[i+1]
			if x, y := cropOffset(c, width, height); x >= 0 && y >= 0 && c.Width <= width && c.Height <= height {
				part = window{x, y, c.Width, c.Height}
				i++
			}
		}
		if width > maxResizedSide || height > maxResizedSide || part.width > DefaultMaxPixels/part.height {
			return nil, fmt.Errorf("%w: %s makes %d x %d of its %d x %d pixels", ErrTooLarge, s.Op, width, height, src.width, src.height)
		}
		if s.Unrounded {
			m = unrounded(src, width, height, s.Filter)
			continue
		}
		if native {
			m = m.resizeNative(width, height, s.Filter, part)
		} else {
			m = src.resize(width, height, s.Filter, part)
		}
		native = false
	}
	return m, nil
}

// resizes says whether a step is one that targetSize knows.
func resizes(op pipeline.ImageOp) bool {
	switch op {
	case pipeline.CenterCrop, pipeline.PadSquare, pipeline.ResizeHD:
		return false
	}
	return true
}

// targetSize is the size that a resizing step gives a picture of w x h pixels.
func targetSize(s pipeline.ImageStep, w, h int) (width, height int) {
	fw, fh := float64(w), float64(h)
	short, long := min(fw, fh), max(fw, fh)
	switch s.Op {
	case pipeline.ResizeExact:
		return s.Width, s.Height
	case pipeline.ResizeShortest:
		newShort, newLong := s.Shortest, int(float64(s.Shortest)*long/short)
		if s.Longest != 0 && newLong > s.Longest {
			newShort, newLong = int(float64(s.Longest)*float64(newShort)/float64(newLong)), s.Longest
		}
		if w <= h {
			return newShort, newLong
		}
		return newLong, newShort
	case pipeline.ResizeCover, pipeline.ResizeInside:
		rw, rh := fw/float64(s.Width), fh/float64(s.Height)
		ratio := min(rw, rh)
		if s.Op == pipeline.ResizeInside {
			ratio = max(rw, rh)
		}
		return int(math.RoundToEven(fw / ratio)), int(math.RoundToEven(fh / ratio))
	case pipeline.ResizeLimit:
		width, height, aspect := w, h, fw/fh
		if w >= h && w > s.Longest {
			width = s.Longest
			height = int(float64(width) / aspect)
		} else if h > w && h > s.Longest {
			height = s.Longest
			width = int(float64(float64(height) * aspect))
		}
		return max(width, s.Shortest), max(height, s.Shortest)
	case pipeline.ResizeWithin:
		if ratio := max(fh/float64(s.Height), fw/float64(s.Width)); ratio > 1 {
			w, h = int(fw/ratio), int(fh/ratio)
		}
		return (w + s.Multiple - 1) / s.Multiple * s.Multiple, (h + s.Multiple - 1) / s.Multiple * s.Multiple
	case pipeline.ResizeLongest:
		size := float64(s.Longest)
		if s.Round {
			factor := size / long
			return max(int(math.RoundToEven(fw*factor)), s.Shortest), max(int(math.RoundToEven(fh*factor)), s.Shortest)
		}
		return max(int(float64(fw/long*size)), s.Shortest), max(int(float64(fh/long*size)), s.Shortest)
	case pipeline.ResizeMultiple:
		scale := float64(s.Shortest) / short
		nw, nh := float64(s.Shortest), float64(scale*fh)
		if h < w {
			nw, nh = float64(scale*fw), float64(s.Shortest)
		}
		if longest := max(nw, nh); longest > float64(s.Longest) {
			scale = float64(s.Longest) / longest
			nw, nh = float64(nw*scale), float64(nh*scale)
		}
		return int(nw+0.5) / s.Multiple * s.Multiple, int(nh+0.5) / s.Multiple * s.Multiple
	}
	panic("imageproc: no resizing step: " + string(s.Op)) // Process has called Check
}

// cropOffset is the upper left corner of a centre crop, negative where the picture is smaller.
func cropOffset(s pipeline.ImageStep, w, h int) (x, y int) {
	if s.HalfEven {
		return halfEven(w - s.Width), halfEven(h - s.Height)
	}
	return (w - s.Width) >> 1, (h - s.Height) >> 1
}

// halfEven is torchvision's offset: half of what is too much, halves to even; what is too little goes one more to the end.
func halfEven(n int) int {
	if n < 0 {
		return -(-n / 2)
	}
	return int(math.RoundToEven(float64(n) / 2))
}

// resizeHD is HD_transform of InternLM-XComposer. It works on pictures that are wider than high; others are transposed for
// it, which also swaps the order of the two passes of the resize.
func resizeHD(m *RGB, s pipeline.ImageStep) (*RGB, error) {
	if m.Width < m.Height {
		out, err := resizeHD(m.transpose(), s)
		if err != nil {
			return nil, err
		}
		return out.transpose(), nil
	}
	ratio := float64(m.Width) / float64(m.Height)
	tiles := 1
	for float64(tiles)*math.Ceil(float64(tiles)/ratio) <= float64(s.MaxTiles) {
		tiles++
	}
	tiles--
	if s.NoUpscale {
		tiles = min(tiles, (m.Width+s.Multiple-1)/s.Multiple)
	}
	width := tiles * s.Multiple
	height := int(float64(width) / ratio)
	padded := (height + s.Multiple - 1) / s.Multiple * s.Multiple
	if height < 1 || width > DefaultMaxPixels/padded {
		return nil, fmt.Errorf("%s makes %d x %d of a picture of %d x %d pixels", s.Op, width, height, m.Width, m.Height)
	}
	top := (padded - height) / 2
	if s.PadEnd {
		top = 0
	}
	return m.Resize(width, height, s.Filter).crop(0, -top, width, padded, s.Fill), nil
}
