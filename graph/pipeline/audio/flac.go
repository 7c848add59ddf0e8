package audio

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/mewkiz/flac"
	"github.com/mewkiz/flac/frame"
)

// flacStream decodes FLAC by mewkiz/flac, which checks every frame's CRC.
type flacStream struct {
	s       *flac.Stream
	f       Format
	bits    int
	fr      *frame.Frame
	pos     int   // in fr
	decoded int64 // samples a channel, fr included
}

func newFLAC(r *bufio.Reader) (d *flacStream, err error) {
	defer recoverFLAC(&err)
	s, err := flac.New(r)
	if err != nil {
		return nil, fmt.Errorf("damaged FLAC header: %w", err)
	}
	d = &flacStream{s: s, bits: int(s.Info.BitsPerSample)}
	d.f = Format{Container: "FLAC", Encoding: fmt.Sprintf("%d-bit integer", d.bits), Rate: int(s.Info.SampleRate),
		Channels: int(s.Info.NChannels), Frames: int64(s.Info.NSamples)}
	if d.f.Frames == 0 {
		d.f.Frames = -1 // 0 means unknown
	}
	if d.bits < 4 || d.bits > 24 {
		return nil, fmt.Errorf("FLAC with %d bits a sample: 4 to 24 are read, convert it first", d.bits)
	}
	return d, nil
}

// recoverFLAC makes an error of a panic in the FLAC library, which indexes by some values of damaged streams.
func recoverFLAC(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("damaged FLAC stream: %v", r)
	}
}

func (d *flacStream) format() Format { return d.f }

func (d *flacStream) read(dst []float32) (n int, err error) {
	if d.fr == nil || d.pos == len(d.fr.Subframes[0].Samples) {
		if err := d.next(); err != nil {
			return 0, err
		}
	}
	subs := d.fr.Subframes
	ch := len(subs)
	count := min(len(dst)/ch, len(subs[0].Samples)-d.pos)
	scale := 1 / float32(int64(1)<<(d.bits-1))
	for c, sub := range subs {
		for i, v := range sub.Samples[d.pos : d.pos+count] {
			dst[i*ch+c] = float32(v) * scale
		}
	}
	d.pos += count
	return count * ch, nil
}

// next decodes the next frame that holds samples.
func (d *flacStream) next() (err error) {
	defer recoverFLAC(&err)
	for {
		if d.decoded == d.f.Frames {
			return io.EOF // whatever tags follow
		}
		fr, err := d.s.Next()
		if err == nil {
			if fr.BitsPerSample == 0 {
				fr.BitsPerSample = uint8(d.bits) // the frame refers to the header
			}
			err = fr.Parse()
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			switch {
			case d.f.Frames < 0 && err == io.EOF:
				return io.EOF
			case d.f.Frames < 0:
				return fmt.Errorf("truncated FLAC stream: it ends within a frame after %d samples", d.decoded)
			}
			return fmt.Errorf("truncated FLAC stream: its header says %d samples, %d are there", d.f.Frames, d.decoded)
		}
		if err != nil {
			return fmt.Errorf("damaged FLAC stream after %d samples: %w", d.decoded, err)
		}
		if len(fr.Subframes) != d.f.Channels {
			return fmt.Errorf("FLAC frame after %d samples has %d channels, the header says %d", d.decoded, len(fr.Subframes), d.f.Channels)
		}
		if b := int(fr.BitsPerSample); b != d.bits {
			return fmt.Errorf("FLAC frame after %d samples has %d bits a sample, the header says %d", d.decoded, b, d.bits)
		}
		if r := int(fr.SampleRate); r != 0 && r != d.f.Rate {
			return fmt.Errorf("FLAC frame after %d samples has a rate of %d Hz, the header says %d", d.decoded, r, d.f.Rate)
		}
		size := len(fr.Subframes[0].Samples)
		for _, sub := range fr.Subframes {
			if len(sub.Samples) != size {
				return fmt.Errorf("damaged FLAC stream after %d samples: channels of different length", d.decoded)
			}
		}
		if size == 0 {
			continue
		}
		d.fr, d.pos = fr, 0
		d.decoded += int64(size)
		return nil
	}
}
