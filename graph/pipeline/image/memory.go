package imageproc

import (
	"fmt"
	"image"
	"image/color"
)

// FromImage takes in a picture in memory: 8 bits a channel, the colours not multiplied by the opacity.
func FromImage(src image.Image) (*RGB, error) {
	r := src.Bounds()
	if r.Empty() {
		return nil, fmt.Errorf("a picture of %d x %d pixels", r.Dx(), r.Dy())
	}
	m := New(r.Dx(), r.Dy())
	alpha := make([]uint8, m.Width*m.Height)
	opaque := true
	for y := range m.Height {
		for x := range m.Width {
			c := color.NRGBAModel.Convert(src.At(r.Min.X+x, r.Min.Y+y)).(color.NRGBA)
			i := y*m.Width + x
			m.set(i, c.R, c.G, c.B)
			alpha[i] = c.A
			opaque = opaque && c.A == 255
		}
	}
	if !opaque {
		m.Alpha = alpha
	}
	return m, nil
}
