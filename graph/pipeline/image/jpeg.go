package imageproc

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
)

// JPEG is decoded here as libjpeg-turbo does it by default, because encoders were trained on its pixels: the accurate integer
// IDCT (jidctint.c), chroma upsampling with a triangle filter (jdsample.c) and its colour conversion (jdcolor.c). Baseline,
// extended sequential and progressive files of 8 bits are read.

// jpegComponent is a channel on its way.
type jpegComponent struct {
	id       uint8
	h, v     int // sampling factors
	table    uint8
	dc, ac   *jpegHuffman
	previous int32 // the last DC coefficient

	blocks  int // a row, whole units
	rows    int // of blocks
	plane   plane
	coef    []int16 // of progressive files, block by block
	quant   *[64]int32
	hasScan bool
}

// jpegDecoder reads a file.
type jpegDecoder struct {
	width, height int
	progressive   bool
	components    []*jpegComponent
	maxH, maxV    int
	restart       int // units between restarts, 0 for none
	quants        [4]*[64]int32
	dcs, acs      [4]jpegHuffman
	jfif          bool
	adobe         bool
	transform     uint8
	orientation   int
}

func decodeJPEG(data []byte) (*RGB, error) {
	d := &jpegDecoder{}
	if err := d.read(data, false); err != nil {
		return nil, err
	}
	for _, c := range d.components {
		if !c.hasScan {
			return nil, errors.New("a channel of the picture is missing")
		}
		d.finish(c)
	}
	m := d.picture()
	m.Orientation = d.orientation
	return m, nil
}

// jpegConfig reads the size.
func jpegConfig(r io.Reader) (image.Config, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return image.Config{}, err
	}
	d := &jpegDecoder{}
	if err := d.read(data, true); err != nil {
		return image.Config{}, err
	}
	return image.Config{Width: d.width, Height: d.height, ColorModel: color.YCbCrModel}, nil
}

// read goes through the markers, up to the frame's header where only that is wanted.
func (d *jpegDecoder) read(data []byte, headerOnly bool) error {
	if len(data) < 4 || data[0] != 0xff || data[1] != 0xd8 {
		return errors.New("no start of image")
	}
	for at := 2; ; {
		for at < len(data) && data[at] != 0xff { // rubbish between segments
			at++
		}
		for at < len(data) && data[at] == 0xff {
			at++
		}
		if at >= len(data) {
			return errJPEGEnds
		}
		marker := data[at]
		at++
		switch {
		case marker == 0xd9:
			if d.components == nil {
				return errors.New("no picture in it")
			}
			return nil
		case marker == 0 || marker == 1 || marker >= 0xd0 && marker <= 0xd8:
			continue
		}
		if at+2 > len(data) {
			return errJPEGEnds
		}
		n := int(data[at])<<8 | int(data[at+1])
		if n < 2 || at+n > len(data) {
			return errJPEGEnds
		}
		body := data[at+2 : at+n]
		at += n
		var err error
		switch {
		case marker == 0xc4:
			err = d.huffman(body)
		case marker == 0xdb:
			err = d.quantization(body)
		case marker == 0xdd:
			if len(body) < 2 {
				return errors.New("the restart interval is cut short")
			}
			d.restart = int(body[0])<<8 | int(body[1])
		case marker == 0xe0:
			d.jfif = d.jfif || bytes.HasPrefix(body, []byte("JFIF\x00"))
		case marker == 0xe1 && bytes.HasPrefix(body, []byte("Exif\x00\x00")) && d.orientation == 0:
			d.orientation = exifOrientation(body[6:])
		case marker == 0xee && len(body) >= 12 && string(body[:5]) == "Adobe":
			d.adobe, d.transform = true, body[11]
		case marker == 0xc0 || marker == 0xc1 || marker == 0xc2:
			d.progressive = marker == 0xc2
			if err = d.frame(body); err == nil && headerOnly {
				return nil
			}
		case marker > 0xc2 && marker <= 0xcf && marker != 0xc8 && marker != 0xcc:
			return fmt.Errorf("its coding (SOF%d) is lossless, hierarchical or arithmetic, which is not read", marker-0xc0)
		case marker == 0xda:
			at, err = d.scan(data, at, body)
		}
		if err != nil {
			return err
		}
	}
}

func (d *jpegDecoder) huffman(body []byte) error {
	for len(body) > 0 {
		class, id := body[0]>>4, body[0]&15
		if class > 1 || id > 3 {
			return fmt.Errorf("table %d of class %d for Huffman codes", id, class)
		}
		tables := &d.dcs
		if class == 1 {
			tables = &d.acs
		}
		var err error
		if body, err = tables[id].read(body[1:]); err != nil {
			return err
		}
	}
	return nil
}

func (d *jpegDecoder) quantization(body []byte) error {
	for len(body) > 0 {
		wide, id := body[0]>>4, body[0]&15
		size := 64 * (1 + int(wide))
		if wide > 1 || id > 3 || len(body) < 1+size {
			return fmt.Errorf("quantization table %d in %d bytes", id, len(body)-1)
		}
		t := new([64]int32)
		for i := range 64 {
			if wide == 1 {
				t[zigzag[i]] = int32(body[1+2*i])<<8 | int32(body[2+2*i])
			} else {
				t[zigzag[i]] = int32(body[1+i])
			}
		}
		d.quants[id] = t
		body = body[1+size:]
	}
	return nil
}

// frame reads the header of the picture and lays out its planes.
func (d *jpegDecoder) frame(body []byte) error {
	if d.components != nil {
		return errors.New("it holds two pictures in one")
	}
	if len(body) < 6 {
		return errors.New("the picture's header is cut short")
	}
	if body[0] != 8 {
		return fmt.Errorf("samples of %d bits: expected 8", body[0])
	}
	d.height, d.width = int(body[1])<<8|int(body[2]), int(body[3])<<8|int(body[4])
	n := int(body[5])
	if d.height == 0 || d.width == 0 {
		return fmt.Errorf("a picture of %d x %d pixels", d.width, d.height)
	}
	if n != 1 && n != 3 && n != 4 || len(body) != 6+3*n {
		return fmt.Errorf("%d channels: expected 1, 3 or 4", n)
	}
	for i := range n {
		c := &jpegComponent{id: body[6+3*i], h: int(body[7+3*i] >> 4), v: int(body[7+3*i] & 15), table: body[8+3*i]}
		if c.h < 1 || c.h > 4 || c.v < 1 || c.v > 4 || c.table > 3 {
			return fmt.Errorf("channel %d is sampled %d x %d by table %d", i, c.h, c.v, c.table)
		}
		d.maxH, d.maxV = max(d.maxH, c.h), max(d.maxV, c.v)
		d.components = append(d.components, c)
	}
	if n == 1 {
		// A single channel's sampling means nothing.
		d.components[0].h, d.components[0].v, d.maxH, d.maxV = 1, 1, 1, 1
	}
	for i, c := range d.components {
		if d.maxH%c.h != 0 || d.maxV%c.v != 0 {
			return fmt.Errorf("channel %d is sampled %d x %d where another is %d x %d: no whole multiple", i, c.h, c.v, d.maxH, d.maxV)
		}
		c.blocks = c.h * ((d.width + 8*d.maxH - 1) / (8 * d.maxH))
		c.rows = c.v * ((d.height + 8*d.maxV - 1) / (8 * d.maxV))
		c.plane = plane{stride: 8 * c.blocks, width: (d.width*c.h + d.maxH - 1) / d.maxH, height: (d.height*c.v + d.maxV - 1) / d.maxV}
	}
	return nil
}

// allocate makes the memory of a channel when its first scan comes, so that a header alone costs nothing.
func (c *jpegComponent) allocate(progressive bool) {
	if c.plane.pix == nil {
		c.plane.pix = make([]uint8, 64*c.blocks*c.rows)
		if progressive {
			c.coef = make([]int16, 64*c.blocks*c.rows)
		}
	}
}

// scan reads a scan and returns where the next marker is.
func (d *jpegDecoder) scan(data []byte, at int, body []byte) (int, error) {
	if d.components == nil {
		return 0, errors.New("a scan before the picture's header")
	}
	if len(body) < 1 || int(body[0]) < 1 || int(body[0]) > len(d.components) || len(body) != 4+2*int(body[0]) {
		return 0, errors.New("the header of a scan makes no sense")
	}
	n := int(body[0])
	s := &jpegScan{bits: jpegBits{data: data, at: at}, start: int(body[1+2*n]), end: int(body[2+2*n]), high: int(body[3+2*n] >> 4), low: int(body[3+2*n] & 15)}
	if !d.progressive {
		s.start, s.end, s.high, s.low = 0, 63, 0, 0
	}
	if s.end > 63 || s.start > s.end || s.low > 13 || s.start == 0 && s.end != 0 && d.progressive || s.start > 0 && n > 1 ||
		s.high != 0 && s.high != s.low+1 {
		return 0, fmt.Errorf("a scan of coefficients %d to %d, bits %d to %d", s.start, s.end, s.high, s.low)
	}
	var parts []*jpegComponent
	for i := range n {
		var c *jpegComponent
		for _, x := range d.components {
			if x.id == body[1+2*i] {
				c = x
			}
		}
		dc, ac := body[2+2*i]>>4, body[2+2*i]&15
		if c == nil || dc > 3 || ac > 3 {
			return 0, fmt.Errorf("a scan of channel %d by tables %d and %d", body[1+2*i], dc, ac)
		}
		for _, x := range parts {
			if x == c {
				return 0, fmt.Errorf("a scan has channel %d twice", c.id)
			}
		}
		c.dc, c.ac = &d.dcs[dc], &d.acs[ac]
		needDC, needAC := s.start == 0 && s.high == 0, s.end > 0
		if needDC && !c.dc.set || needAC && !c.ac.set {
			return 0, fmt.Errorf("channel %d: its Huffman table is missing", c.id)
		}
		if d.quants[c.table] == nil {
			return 0, fmt.Errorf("channel %d: quantization table %d is missing", c.id, c.table)
		}
		if c.quant == nil {
			c.quant = d.quants[c.table] // that of the first scan, as libjpeg latches it
		}
		c.hasScan = true
		c.allocate(d.progressive)
		parts = append(parts, c)
	}
	err := d.blocks(s, parts)
	if err == nil && s.bits.spent() {
		err = errJPEGEnds
	}
	return s.bits.at, err
}

// blocks reads the blocks of a scan: unit by unit where channels are interleaved, else those that hold samples.
func (d *jpegDecoder) blocks(s *jpegScan, parts []*jpegComponent) error {
	across, down := (d.width+8*d.maxH-1)/(8*d.maxH), (d.height+8*d.maxV-1)/(8*d.maxV)
	if len(parts) == 1 {
		across, down = (parts[0].plane.width+7)/8, (parts[0].plane.height+7)/8
	}
	var block [64]int16
	for unit := range across * down {
		if d.restart > 0 && unit > 0 && unit%d.restart == 0 {
			if err := s.bits.restart(); err != nil {
				return err
			}
			s.run = 0
			for _, c := range d.components {
				c.previous = 0
			}
		}
		if unit == 0 {
			for _, c := range parts {
				c.previous = 0
			}
		}
		for _, c := range parts {
			h, v := c.h, c.v
			if len(parts) == 1 {
				h, v = 1, 1
			}
			for i := range h * v {
				x, y := unit%across*h+i%h, unit/across*v+i/h
				if d.progressive {
					if err := s.progressive((*[64]int16)(c.coef[64*(y*c.blocks+x):]), c); err != nil {
						return err
					}
					continue
				}
				block = [64]int16{}
				if err := s.sequential(&block, c); err != nil {
					return err
				}
				idct(c.plane.pix[8*y*c.plane.stride+8*x:], c.plane.stride, &block, c.quant)
			}
		}
		if s.bits.behind > 1<<10 {
			return errJPEGEnds
		}
	}
	return nil
}

// finish makes the samples of a progressive file's channel.
func (d *jpegDecoder) finish(c *jpegComponent) {
	if c.coef == nil {
		return
	}
	for y := range c.rows {
		for x := range c.blocks {
			idct(c.plane.pix[8*y*c.plane.stride+8*x:], c.plane.stride, (*[64]int16)(c.coef[64*(y*c.blocks+x):]), c.quant)
		}
	}
	c.coef = nil
}

// picture upsamples the channels and converts them to RGB (jdapimin.c, default_decompress_parms, says what they are).
func (d *jpegDecoder) picture() *RGB {
	m := New(d.width, d.height)
	ups := make([]*upsampler, len(d.components))
	for i, c := range d.components {
		ups[i] = newUpsampler(c.plane, d.maxH/c.h, d.maxV/c.v, d.width)
	}
	ycc := len(d.components) > 1
	switch ids := d.ids(); {
	case len(ups) == 4:
		ycc = d.adobe && d.transform != 0
	case d.jfif:
	case d.adobe:
		ycc = ycc && d.transform != 0
	case ids == "RGB":
		ycc = false
	}
	for y := range d.height {
		out := m.Pix[3*y*d.width:][:3*d.width]
		first := ups[0].row(y)[:d.width]
		if len(ups) == 1 {
			for x, v := range first {
				out[3*x], out[3*x+1], out[3*x+2] = v, v, v
			}
			continue
		}
		second, third := ups[1].row(y)[:d.width], ups[2].row(y)[:d.width]
		if ycc {
			ycbcrRow(out, first, second, third)
		} else {
			for x := range first {
				out[3*x], out[3*x+1], out[3*x+2] = first[x], second[x], third[x]
			}
		}
		if len(ups) == 4 {
			// Pillow takes all files of four channels as inverted. Of YCCK (ycck_cmyk_convert gives 255 minus the red, which it
			// inverts back) red, green and blue are the inks; of CMYK, 255 minus the stored values.
			black := ups[3].row(y)[:d.width]
			for x, k := range black {
				p := out[3*x : 3*x+3 : 3*x+3]
				c, mg, ye := p[0], p[1], p[2]
				if !ycc {
					c, mg, ye = 255-c, 255-mg, 255-ye
				}
				p[0], p[1], p[2] = cmykToRGB(c, mg, ye, 255-k)
			}
		}
	}
	return m
}

// ids are the identifiers of the channels.
func (d *jpegDecoder) ids() string {
	var b []byte
	for _, c := range d.components {
		b = append(b, c.id)
	}
	return string(b)
}

// plane is one channel. Its rows may be longer than width; what lies beyond is padding of the coding.
type plane struct {
	pix           []uint8
	stride        int
	width, height int
}

func (p plane) row(y int) []uint8 { return p.pix[y*p.stride:][:p.width:p.width] }

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
