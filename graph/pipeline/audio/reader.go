package audio

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
)

// Source gives the samples of one channel, block by block.
type Source interface {
	// Read fills dst from its start and returns how many samples it wrote. It returns io.EOF, and no samples, after the
	// last one; any other error is final.
	Read(dst []float32) (int, error)
	// Rate is the sampling rate in Hz.
	Rate() int
}

// Format says how a file stores its samples.
type Format struct {
	Container string // "WAV" or "FLAC"
	Encoding  string // for example "16-bit integer", "A-law"
	Rate      int    // Hz
	Channels  int
	Frames    int64 // samples a channel, as the header says; -1 where it does not
}

// decoder reads the interleaved samples of a container.
type decoder interface {
	format() Format
	// read fills dst with whole frames, interleaved, and returns the number of values; io.EOF after the last.
	read(dst []float32) (int, error)
}

// Reader streams an audio file as mono float32 samples at the file's own rate, its channels averaged. Integer samples are
// divided by 2^(bits-1); float samples are taken as they are, also above 1. It is a [Source].
type Reader struct {
	name   string
	dec    decoder
	fmt    Format
	buf    []float32 // interleaved
	frames int64     // read so far
	err    error     // final
	file   io.Closer
}

// maxRate bounds the sampling rates that are believed: ten times what ultrasonic recorders write.
const maxRate = 10_000_000

// blockSamples is how many interleaved values are decoded at once.
const blockSamples = 1 << 14

// Open opens a WAV or FLAC file. The caller closes it.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := NewReader(f, path)
	if err != nil {
		f.Close()
		return nil, err
	}
	r.file = f
	return r, nil
}

// NewReader reads a WAV or FLAC stream; name stands for it in errors. The format is known by the content, never by the
// name.
func NewReader(src io.Reader, name string) (*Reader, error) {
	br := bufio.NewReaderSize(src, 1<<16)
	dec, err := newDecoder(br)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r := &Reader{name: name, dec: dec, fmt: dec.format()}
	switch f := r.fmt; {
	case f.Channels < 1:
		return nil, fmt.Errorf("%s: %s header says %d channels: expected at least 1", name, f.Container, f.Channels)
	case f.Rate < 1 || f.Rate > maxRate:
		return nil, fmt.Errorf("%s: %s header says a sampling rate of %d Hz: expected 1 to %d", name, f.Container, f.Rate, maxRate)
	case f.Frames == 0:
		return nil, fmt.Errorf("%s: %s file holds no samples", name, f.Container)
	}
	r.buf = make([]float32, max(1, blockSamples/r.fmt.Channels)*r.fmt.Channels)
	return r, nil
}

func newDecoder(br *bufio.Reader) (decoder, error) {
	head, err := br.Peek(16)
	switch {
	case len(head) == 0 && errors.Is(err, io.EOF):
		return nil, errors.New("the file is empty: expected WAV or FLAC")
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	}
	if bytes.HasPrefix(head, []byte("ID3")) && len(head) >= 10 {
		// An ID3v2 tag stands before MP3 mostly, and before some FLAC. Its length is four times seven bits.
		size := int(head[6]&127)<<21 | int(head[7]&127)<<14 | int(head[8]&127)<<7 | int(head[9]&127)
		if _, err := br.Discard(10 + size); err != nil {
			return nil, fmt.Errorf("truncated within its ID3 tag of %d bytes", size)
		}
		if head, _ = br.Peek(16); !bytes.HasPrefix(head, []byte("fLaC")) && !isWAV(head) {
			return nil, otherFormat("MP3")
		}
	}
	switch {
	case bytes.HasPrefix(head, []byte("fLaC")):
		return newFLAC(br)
	case isWAV(head):
		return newWAV(br)
	}
	for _, s := range signatures {
		if len(head) >= s.at+len(s.magic) && string(head[s.at:s.at+len(s.magic)]) == s.magic {
			return nil, otherFormat(s.name)
		}
	}
	if len(head) >= 2 && head[0] == 0xff && head[1]&0xe0 == 0xe0 {
		return nil, otherFormat("MP3 or AAC")
	}
	return nil, fmt.Errorf("neither WAV nor FLAC: the file starts with %q", head[:min(4, len(head))])
}

// signatures names the formats that users try, so that the error can say what was found.
var signatures = []struct {
	at          int
	magic, name string
}{
	{0, "OggS", "Ogg (Vorbis, Opus or FLAC)"},
	{4, "ftyp", "MP4/M4A"},
	{0, "FORM", "AIFF"},
	{0, ".snd", "AU"},
	{0, "caff", "CAF"},
	{0, "riff", "Wave64"},
	{0, "#!AMR", "AMR"},
	{0, "wvpk", "WavPack"},
	{0, "MAC ", "Monkey's Audio"},
	{0, "\x1a\x45\xdf\xa3", "Matroska/WebM"},
	{0, "\x30\x26\xb2\x75", "WMA/ASF"},
	{0, "NIST_1A", "NIST SPHERE"},
}

func otherFormat(name string) error {
	return fmt.Errorf("found %s audio: only WAV and FLAC are read, convert it first (for example: ffmpeg -i FILE OUT.wav)", name)
}

// Format says how the file stores its samples.
func (r *Reader) Format() Format { return r.fmt }

// Rate is the file's sampling rate in Hz.
func (r *Reader) Rate() int { return r.fmt.Rate }

// Read gives the next samples. A sample that is NaN or infinite is an error that says where it is; so is, in a FLAC file, an
// end before the length that the header gives.
func (r *Reader) Read(dst []float32) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(dst) == 0 {
		return 0, nil
	}
	ch := r.fmt.Channels
	n, err := r.dec.read(r.buf[:min(len(dst)*ch, len(r.buf))])
	n /= ch
	if i := firstBad(r.buf[:n*ch]); i >= 0 {
		at := r.frames + int64(i/ch)
		r.err = fmt.Errorf("%s: sample %d of channel %d (%.3f s) is %v: expected finite values", r.name, at, i%ch+1,
			float64(at)/float64(r.fmt.Rate), r.buf[i])
		return 0, r.err
	}
	average(dst[:n], r.buf[:n*ch], ch)
	r.frames += int64(n)
	if n > 0 {
		return n, nil // an error of the decoder comes again with the next call
	}
	if err == nil || (err == io.EOF && r.frames == 0) {
		err = errors.New("holds no samples")
	}
	if err != io.EOF {
		err = fmt.Errorf("%s: %w", r.name, err)
	}
	r.err = err
	return 0, err
}

// Notes says what is wrong with the file's header, of what has been read so far, and did not keep its samples from being read.
func (r *Reader) Notes() []string {
	if d, ok := r.dec.(interface{ notes() []string }); ok {
		return d.notes()
	}
	return nil
}

// Close closes the file that Open opened.
func (r *Reader) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// average writes the mean of the channels of each frame.
func average(dst, interleaved []float32, channels int) {
	if channels == 1 {
		copy(dst, interleaved)
		return
	}
	for i := range dst {
		var sum float64
		for _, v := range interleaved[i*channels : (i+1)*channels] {
			sum += float64(v)
		}
		dst[i] = float32(sum / float64(channels))
	}
}

// firstBad is the index of the first NaN or infinity, or -1.
func firstBad(x []float32) int {
	for i, v := range x {
		if math.Float32bits(v)&0x7f800000 == 0x7f800000 {
			return i
		}
	}
	return -1
}

// ReadAll reads a source to its end, or to its first limit samples where limit is positive.
func ReadAll(src Source, limit int) ([]float32, error) {
	var wave []float32
	block := make([]float32, blockSamples)
	for limit <= 0 || len(wave) < limit {
		want := block
		if limit > 0 {
			want = block[:min(len(block), limit-len(wave))]
		}
		n, err := src.Read(want)
		wave = append(wave, want[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return wave, nil
}

// Load reads a whole file as mono samples at rate, resampled as torchaudio.functional.resample does by default.
func Load(path string, rate int) ([]float32, error) {
	wave, _, err := LoadKernel(path, rate, Hann, 0)
	return wave, err
}

// LoadKernel is Load with another resampling kernel, and at most limit samples where limit is positive. The notes are those of
// [Reader.Notes].
func LoadKernel(path string, rate int, k Kernel, limit int) (wave []float32, notes []string, err error) {
	r, err := Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	src, err := Resample(r, rate, k)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", filepath.Clean(path), err)
	}
	wave, err = ReadAll(src, limit)
	return wave, r.Notes(), err
}
