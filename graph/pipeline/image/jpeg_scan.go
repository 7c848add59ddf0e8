package imageproc

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// jpegBits reads the entropy-coded bits of a scan. 0xff00 stands for 0xff; any other marker ends the data, behind which zeros
// are read, as many as a code may look ahead.
type jpegBits struct {
	data   []byte
	at     int // of the next byte to take in
	acc    uint64
	n      int // bits in acc
	behind int // bits that were taken from behind the end
}

// fill makes sure that at least 32 bits are at hand.
func (b *jpegBits) fill() {
	for b.n <= 32 {
		if b.at+4 <= len(b.data) {
			// Four bytes at once, where none of them is 0xff.
			w := binary.BigEndian.Uint32(b.data[b.at:])
			if x := ^w; (x-0x01010101)&^x&0x80808080 == 0 {
				b.acc |= uint64(w) << (32 - b.n)
				b.n += 32
				b.at += 4
				continue
			}
		}
		var v byte
		switch {
		case b.at >= len(b.data) || b.data[b.at] == 0xff && (b.at+1 >= len(b.data) || b.data[b.at+1] != 0):
			b.behind += 8
		case b.data[b.at] == 0xff:
			v = 0xff
			b.at += 2
		default:
			v = b.data[b.at]
			b.at++
		}
		b.acc |= uint64(v) << (56 - b.n)
		b.n += 8
	}
}

func (b *jpegBits) take(n int) uint32 {
	v := uint32(b.acc >> (64 - n))
	b.acc <<= n
	b.n -= n
	return v
}

// spent reports whether more was read than there is.
func (b *jpegBits) spent() bool { return b.behind > b.n }

// receive takes n bits as a number of either sign (ITU T.81, F.2.2.1).
func (b *jpegBits) receive(n int) int32 {
	if n == 0 {
		return 0
	}
	v := int32(b.take(n))
	if v < 1<<(n-1) {
		v += -1<<n + 1
	}
	return v
}

// restart goes on behind the next restart marker.
func (b *jpegBits) restart() error {
	b.acc, b.n, b.behind = 0, 0, 0
	for b.at+1 < len(b.data) {
		if b.data[b.at] == 0xff {
			switch m := b.data[b.at+1]; {
			case m >= 0xd0 && m <= 0xd7:
				b.at += 2
				return nil
			case m != 0 && m != 0xff:
				return fmt.Errorf("marker %#x where a restart was expected", m)
			}
		}
		b.at++
	}
	return errJPEGEnds
}

var errJPEGEnds = errors.New("the file ends in the middle of the picture")

// jpegHuffman is a code: a table for the short words, bounds for the long ones.
type jpegHuffman struct {
	set    bool
	fast   [1 << jpegFast]uint16 // value << 8 | length, 0 where the word is longer
	most   [18]int32             // the largest word of each length, -1 where there is none
	offset [18]int32             // what takes a word of a length to its place in values
	values [256]uint8
}

// jpegFast is the length of the words that one look decodes.
const jpegFast = 9

func (h *jpegHuffman) read(body []byte) (rest []byte, err error) {
	if len(body) < 16 {
		return nil, errors.New("a Huffman table is cut short")
	}
	counts := body[:16]
	total := 0
	for _, c := range counts {
		total += int(c)
	}
	if total > 256 || len(body) < 16+total {
		return nil, fmt.Errorf("a Huffman table of %d words in %d bytes", total, len(body))
	}
	*h = jpegHuffman{set: true}
	copy(h.values[:], body[16:16+total])
	code, place := int32(0), int32(0)
	for length := 1; length <= 16; length++ {
		h.offset[length] = place - code
		n := int32(counts[length-1])
		if code+n > 1<<length {
			return nil, errors.New("a Huffman table has more words than there are")
		}
		if length <= jpegFast {
			for i := range n {
				entry := uint16(h.values[place+i])<<8 | uint16(length)
				from := int(code+i) << (jpegFast - length)
				for j := range 1 << (jpegFast - length) {
					h.fast[from+j] = entry
				}
			}
		}
		code += n
		place += n
		h.most[length] = code - 1
		if n == 0 {
			h.most[length] = -1
		}
		code <<= 1
	}
	return body[16+total:], nil
}

// decode takes a word. It leaves at least 16 bits for what follows it.
func (h *jpegHuffman) decode(b *jpegBits) (uint8, error) {
	b.fill()
	if e := h.fast[b.acc>>(64-jpegFast)]; e != 0 {
		b.acc <<= e & 255
		b.n -= int(e & 255)
		return uint8(e >> 8), nil
	}
	for length := jpegFast + 1; length <= 16; length++ {
		code := int32(b.acc >> (64 - length))
		if code <= h.most[length] {
			b.acc <<= length
			b.n -= length
			return h.values[code+h.offset[length]], nil
		}
	}
	return 0, errors.New("a word that is in no Huffman table")
}

// zigzag takes a coefficient's place in the file to its place in the block, row by row.
var zigzag = [64]uint8{
	0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
	35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
}

// jpegScan is what a scan holds: coefficients from start to end of the zigzag, their bits from low up, of a refinement only low
// itself.
type jpegScan struct {
	bits       jpegBits
	start, end int
	high, low  int
	run        int // blocks that still end early (EOBRUN)
}

// sequential reads a whole block (ITU T.81, F.2.2).
func (s *jpegScan) sequential(block *[64]int16, c *jpegComponent) error {
	t, err := c.dc.decode(&s.bits)
	if err != nil {
		return err
	}
	if t > 15 {
		return fmt.Errorf("a difference of %d bits", t)
	}
	c.previous += s.bits.receive(int(t))
	block[0] = int16(c.previous)
	for k := 1; k < 64; k++ {
		rs, err := c.ac.decode(&s.bits)
		if err != nil {
			return err
		}
		r, size := int(rs>>4), int(rs&15)
		if size == 0 {
			if r != 15 {
				return nil
			}
			k += 15
			continue
		}
		if k += r; k > 63 {
			return errors.New("a run of zeros leaves the block")
		}
		block[zigzag[k]] = int16(s.bits.receive(size))
	}
	return nil
}

// progressive reads what a scan of a progressive file has of a block (ITU T.81, G.1.2).
func (s *jpegScan) progressive(block *[64]int16, c *jpegComponent) error {
	switch {
	case s.start == 0 && s.high == 0:
		t, err := c.dc.decode(&s.bits)
		if err != nil {
			return err
		}
		if t > 15 {
			return fmt.Errorf("a difference of %d bits", t)
		}
		c.previous += s.bits.receive(int(t))
		block[0] = int16(c.previous << s.low)
		return nil
	case s.start == 0:
		s.bits.fill()
		if s.bits.take(1) != 0 {
			block[0] |= 1 << s.low
		}
		return nil
	case s.high == 0:
		return s.first(block, c)
	}
	return s.refine(block, c)
}

func (s *jpegScan) first(block *[64]int16, c *jpegComponent) error {
	if s.run > 0 {
		s.run--
		return nil
	}
	for k := s.start; k <= s.end; k++ {
		rs, err := c.ac.decode(&s.bits)
		if err != nil {
			return err
		}
		r, size := int(rs>>4), int(rs&15)
		if size != 0 {
			if k += r; k > s.end {
				return errors.New("a run of zeros leaves the block")
			}
			block[zigzag[k]] = int16(s.bits.receive(size) << s.low)
			continue
		}
		if r < 15 {
			s.run = 1<<r - 1
			if r > 0 {
				s.run += int(s.bits.take(r))
			}
			return nil
		}
		k += 15
	}
	return nil
}

func (s *jpegScan) refine(block *[64]int16, c *jpegComponent) error {
	bit := int16(1) << s.low
	// correct takes the next bit of a coefficient that is not zero.
	correct := func(v *int16) {
		s.bits.fill()
		if s.bits.take(1) != 0 && *v&bit == 0 {
			if *v >= 0 {
				*v += bit
			} else {
				*v -= bit
			}
		}
	}
	k := s.start
	if s.run == 0 {
		for ; k <= s.end; k++ {
			rs, err := c.ac.decode(&s.bits)
			if err != nil {
				return err
			}
			r, size := int(rs>>4), int(rs&15)
			var fresh int16
			switch {
			case size == 1:
				fresh = -bit
				if s.bits.take(1) != 0 {
					fresh = bit
				}
			case size != 0:
				return fmt.Errorf("a refinement of %d bits", size)
			case r < 15:
				s.run = 1 << r
				if r > 0 {
					s.run += int(s.bits.take(r))
				}
			}
			if s.run > 0 {
				break
			}
			for ; k <= s.end; k++ {
				v := &block[zigzag[k]]
				if *v != 0 {
					correct(v)
					continue
				}
				if r == 0 {
					if fresh != 0 {
						*v = fresh
					}
					break
				}
				r--
			}
		}
	}
	if s.run > 0 {
		for ; k <= s.end; k++ {
			if v := &block[zigzag[k]]; *v != 0 {
				correct(v)
			}
		}
		s.run--
	}
	return nil
}
