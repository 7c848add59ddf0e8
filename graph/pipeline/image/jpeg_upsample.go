package imageproc

// upsampler brings a subsampled chroma plane to full size, a row at a time, as libjpeg-turbo's jdsample.c does with
// do_fancy_upsampling: a triangle filter where a direction is halved (1/4 of the far neighbour, 3/4 of the near one),
// repetition otherwise. Rounding alternates so that no shade is favoured.
type upsampler struct {
	plane  plane
	fx, fy int
	out    []uint8
	sums   []int32 // vertical sums of a row, for the 2x2 case
}

func newUpsampler(p plane, fx, fy, width int) *upsampler {
	return &upsampler{plane: p, fx: fx, fy: fy, out: make([]uint8, max(width, p.width*fx)), sums: make([]int32, p.width)}
}

// row returns row y of the picture. It is valid until the next call.
func (u *upsampler) row(y int) []uint8 {
	in := u.plane.row(y / u.fy)
	switch {
	case u.fx == 1 && u.fy == 1:
		return in
	case u.fx == 2 && u.fy == 1 && u.plane.width > 2:
		u.h2v1(in)
	case u.fx == 2 && u.fy == 2 && u.plane.width > 2:
		u.h2v2(in, u.neighbour(y))
	case u.fx == 1 && u.fy == 2:
		u.h1v2(in, u.neighbour(y), int32(1+y&1))
	default:
		for x := range u.out[:u.plane.width*u.fx] {
			u.out[x] = in[x/u.fx]
		}
	}
	return u.out
}

// neighbour is the chroma row next in distance: above for even rows of the picture, below for odd ones, the row itself at
// the edges.
func (u *upsampler) neighbour(y int) []uint8 {
	n := y/2 - 1 + 2*(y&1)
	return u.plane.row(max(0, min(n, u.plane.height-1)))
}

func (u *upsampler) h2v1(in []uint8) {
	out, last := u.out, len(in)-1
	out[0] = in[0]
	out[1] = uint8((3*int32(in[0]) + int32(in[1]) + 2) >> 2)
	for i := 1; i < last; i++ {
		c := 3 * int32(in[i])
		out[2*i] = uint8((c + int32(in[i-1]) + 1) >> 2)
		out[2*i+1] = uint8((c + int32(in[i+1]) + 2) >> 2)
	}
	out[2*last] = uint8((3*int32(in[last]) + int32(in[last-1]) + 1) >> 2)
	out[2*last+1] = in[last]
}

func (u *upsampler) h2v2(near, far []uint8) {
	sums := u.sums
	for i, v := range near {
		sums[i] = 3*int32(v) + int32(far[i])
	}
	out, last := u.out, len(near)-1
	out[0] = uint8((4*sums[0] + 8) >> 4)
	out[1] = uint8((3*sums[0] + sums[1] + 7) >> 4)
	for i := 1; i < last; i++ {
		c := 3 * sums[i]
		out[2*i] = uint8((c + sums[i-1] + 8) >> 4)
		out[2*i+1] = uint8((c + sums[i+1] + 7) >> 4)
	}
	out[2*last] = uint8((3*sums[last] + sums[last-1] + 8) >> 4)
	out[2*last+1] = uint8((4*sums[last] + 7) >> 4)
}

func (u *upsampler) h1v2(near, far []uint8, bias int32) {
	for i, v := range near {
		u.out[i] = uint8((3*int32(v) + int32(far[i]) + bias) >> 2)
	}
}
