package audio

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Format tags of the fmt chunk (Microsoft, mmreg.h).
const (
	tagPCM        = 0x0001
	tagFloat      = 0x0003
	tagALaw       = 0x0006
	tagMuLaw      = 0x0007
	tagExtensible = 0xfffe
)

var tagNames = map[uint16]string{
	0x0002: "Microsoft ADPCM", 0x0011: "IMA ADPCM", 0x0031: "GSM 6.10", 0x0040: "G.721 ADPCM", 0x0050: "MPEG",
	0x0055: "MP3", 0x0092: "AC-3", 0x00ff: "AAC", 0x0161: "WMA", 0x1610: "AAC",
}

// wav decodes the RIFF family: RIFF, big-endian RIFX, and RF64/BW64 with 64-bit lengths (EBU Tech 3306).
type wav struct {
	r       *bufio.Reader
	f       Format
	convert func(dst []float32, src []byte)
	width   int   // bytes a sample
	frame   int   // bytes a frame
	left    int64 // bytes of the data chunk not yet read; -1: to the end of the stream
	size    int64 // of the data chunk; -1 as left
	buf     []byte
	faults  []string
}

func isWAV(head []byte) bool {
	if len(head) < 12 {
		return len(head) >= 4 && string(head[:4]) == "RIFF"
	}
	switch string(head[:4]) {
	case "RIFF", "RIFX", "RF64", "BW64":
		return string(head[8:12]) == "WAVE"
	}
	return false
}

var errTruncatedHeader = errors.New("truncated WAV header: the file ends before its samples")

// unknownSize stands in the length fields of RF64, and of WAV files written to a pipe. Other writers leave other numbers
// that no file of theirs has: sox 0x7ffff000, arecord 0x80000000, ffmpeg 0xffffffff. From placeholderSize on a length means
// "to the end of the file", if the file ends before it.
const (
	unknownSize     = 0xffffffff
	placeholderSize = 0x7fff0000
)

// emptyRIFF is the largest length of a RIFF chunk that holds a header and no samples: the writer never came back to it.
const emptyRIFF = 4 + 8 + 40 + 8

func newWAV(r *bufio.Reader) (*wav, error) {
	var head [12]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, errTruncatedHeader
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if string(head[:4]) == "RIFX" {
		order = binary.BigEndian
	}
	is64 := string(head[:4]) == "RF64" || string(head[:4]) == "BW64"
	riffSize := order.Uint32(head[4:])

	w := &wav{r: r}
	var data64 int64 = -1
	for {
		var chunk [8]byte
		if _, err := io.ReadFull(r, chunk[:]); err != nil {
			if w.convert == nil {
				return nil, errTruncatedHeader
			}
			return nil, errors.New("WAV file without a data chunk")
		}
		id, size := string(chunk[:4]), order.Uint32(chunk[4:])
		switch {
		case id == "data":
			if w.convert == nil {
				return nil, errors.New("WAV file with its data chunk before any fmt chunk")
			}
			w.size = int64(size)
			if size == unknownSize && is64 && data64 >= 0 {
				w.size = data64
			} else if size == unknownSize || size == 0 && riffSize <= emptyRIFF {
				w.size = -1
			}
			return w, w.start()
		case id == "fmt ":
			if err := w.readFormat(order, size); err != nil {
				return nil, err
			}
		case id == "ds64" && is64:
			var ds [16]byte
			if size < 24 {
				return nil, fmt.Errorf("WAV ds64 chunk of %d bytes: expected at least 24", size)
			}
			if _, err := io.ReadFull(r, ds[:]); err != nil {
				return nil, errTruncatedHeader
			}
			n := order.Uint64(ds[8:])
			if n > math.MaxInt64 {
				return nil, fmt.Errorf("WAV ds64 chunk says %d bytes of samples: too many", n)
			}
			data64 = int64(n)
			if err := w.skip(int64(size) - 16 + int64(size&1)); err != nil {
				return nil, err
			}
		default:
			if err := w.skip(int64(size) + int64(size&1)); err != nil {
				return nil, fmt.Errorf("truncated WAV file: chunk %q of %d bytes goes past its end", id, size)
			}
		}
	}
}

func (w *wav) skip(n int64) error {
	if _, err := io.CopyN(io.Discard, w.r, n); err != nil {
		return errTruncatedHeader
	}
	return nil
}

// readFormat reads the fmt chunk: WAVEFORMAT, WAVEFORMATEX or WAVEFORMATEXTENSIBLE.
func (w *wav) readFormat(order binary.ByteOrder, size uint32) error {
	if size < 16 {
		return fmt.Errorf("WAV fmt chunk of %d bytes: expected at least 16", size)
	}
	b := make([]byte, min(size, 40))
	if _, err := io.ReadFull(w.r, b); err != nil {
		return errTruncatedHeader
	}
	if err := w.skip(int64(size) - int64(len(b)) + int64(size&1)); err != nil {
		return err
	}
	tag, channels, rate := order.Uint16(b), int(order.Uint16(b[2:])), order.Uint32(b[4:])
	align, bits := int(order.Uint16(b[12:])), int(order.Uint16(b[14:]))
	if tag == tagExtensible {
		if len(b) < 40 {
			return fmt.Errorf("WAV fmt chunk of %d bytes is too short for WAVE_FORMAT_EXTENSIBLE: expected 40", size)
		}
		// The sub-format is a GUID whose first field is the tag proper.
		sub := order.Uint32(b[24:])
		if sub > math.MaxUint16 {
			return fmt.Errorf("WAV sub-format %x is not known: expected integer, float, A-law or mu-law samples", b[24:40])
		}
		tag = uint16(sub)
	}
	switch {
	case channels == 0:
		return errors.New("WAV header says 0 channels: expected at least 1")
	case rate == 0 || rate > maxRate:
		return fmt.Errorf("WAV header says a sampling rate of %d Hz: expected 1 to %d", rate, maxRate)
	case align == 0:
		// libsndfile takes samples of whole bytes then.
		align = channels * ((bits + 7) / 8)
		w.faults = append(w.faults, "its header says frames of 0 bytes")
		if align == 0 {
			return errors.New("WAV header says samples of 0 bits")
		}
	case align%channels != 0:
		return fmt.Errorf("WAV header says frames of %d bytes for %d channels: expected a multiple", align, channels)
	}
	// Samples sit at the upper end of their container, so that a 20-bit sample in 24 bits reads as one of 24.
	w.frame, w.width = align, align/channels
	if bits > 8*w.width {
		return fmt.Errorf("WAV header says %d-bit samples in %d bytes", bits, w.width)
	}
	switch {
	case tag == tagPCM && w.width <= 4:
		w.convert = pcm(order, w.width)
		w.f.Encoding = fmt.Sprintf("%d-bit integer", 8*w.width)
	case tag == tagFloat && (w.width == 4 || w.width == 8):
		w.convert = float(order, w.width)
		w.f.Encoding = fmt.Sprintf("%d-bit float", 8*w.width)
	case tag == tagALaw && w.width == 1:
		w.convert, w.f.Encoding = companded(&aLaw), "A-law"
	case tag == tagMuLaw && w.width == 1:
		w.convert, w.f.Encoding = companded(&muLaw), "mu-law"
	case tag == tagPCM || tag == tagFloat || tag == tagALaw || tag == tagMuLaw:
		return fmt.Errorf("WAV samples of format 0x%04x in %d bytes: expected 8, 16, 24 or 32-bit integer, 32 or 64-bit float, A-law or mu-law", tag, w.width)
	default:
		name := tagNames[tag]
		if name == "" {
			name = "unknown"
		}
		return fmt.Errorf("WAV samples are in format 0x%04x (%s): only integer, float, A-law and mu-law are read, convert it first", tag, name)
	}
	w.f.Container, w.f.Rate, w.f.Channels = "WAV", int(rate), channels
	return nil
}

// start prepares reading the data chunk, whose size is known.
func (w *wav) start() error {
	w.f.Frames = -1
	if w.size >= 0 {
		if odd := w.size % int64(w.frame); odd != 0 && w.size < placeholderSize {
			w.faults = append(w.faults, fmt.Sprintf("its header says %d bytes of samples, of which the last %d make no frame", w.size, odd))
			w.size -= odd
		}
		w.f.Frames = w.size / int64(w.frame)
		if w.size >= placeholderSize {
			w.f.Frames = -1
		}
	}
	w.left = w.size
	w.buf = make([]byte, max(1, blockSamples/w.f.Channels)*w.frame)
	return nil
}

func (w *wav) format() Format { return w.f }

// notes says what is wrong with the header, as far as it was read past.
func (w *wav) notes() []string { return w.faults }

func (w *wav) read(dst []float32) (int, error) {
	want := int64(len(dst) / w.f.Channels * w.frame)
	if w.left >= 0 {
		want = min(want, w.left)
	}
	buf := w.buf[:min(want, int64(len(w.buf)))]
	if len(buf) == 0 {
		return 0, io.EOF
	}
	n, err := io.ReadFull(w.r, buf)
	whole := n / w.frame * w.frame
	if w.left >= 0 {
		w.left -= int64(whole)
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		// As libsndfile: what is there counts, whatever the header says.
		err = nil
		if whole == 0 {
			err = io.EOF
			if w.left > 0 && w.size < placeholderSize {
				w.faults = append(w.faults, fmt.Sprintf("its header says %d bytes of samples, %d are there", w.size, w.size-w.left))
			}
			w.left = 0
		}
	}
	w.convert(dst[:whole/w.width], buf[:whole])
	return whole / w.width, err
}

// pcm converts integers of 1 to 4 bytes; those of one byte are unsigned.
func pcm(order binary.ByteOrder, width int) func([]float32, []byte) {
	switch width {
	case 1:
		return func(dst []float32, src []byte) {
			for i, b := range src {
				dst[i] = float32(int(b)-128) / 128
			}
		}
	case 2:
		return func(dst []float32, src []byte) {
			for i := range dst {
				dst[i] = float32(int16(order.Uint16(src[2*i:]))) / (1 << 15)
			}
		}
	case 3:
		at := [3]int{0, 1, 2}
		if order == binary.ByteOrder(binary.BigEndian) {
			at = [3]int{2, 1, 0}
		}
		return func(dst []float32, src []byte) {
			for i := range dst {
				s := src[3*i : 3*i+3]
				v := int32(uint32(s[at[0]])<<8|uint32(s[at[1]])<<16|uint32(s[at[2]])<<24) >> 8
				dst[i] = float32(v) / (1 << 23)
			}
		}
	}
	return func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = float32(int32(order.Uint32(src[4*i:]))) / (1 << 31)
		}
	}
}

func float(order binary.ByteOrder, width int) func([]float32, []byte) {
	if width == 8 {
		return func(dst []float32, src []byte) {
			for i := range dst {
				dst[i] = float32(math.Float64frombits(order.Uint64(src[8*i:])))
			}
		}
	}
	return func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = math.Float32frombits(order.Uint32(src[4*i:]))
		}
	}
}

func companded(table *[256]float32) func([]float32, []byte) {
	return func(dst []float32, src []byte) {
		for i, b := range src {
			dst[i] = table[b]
		}
	}
}
