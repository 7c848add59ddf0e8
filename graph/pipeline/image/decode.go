package imageproc

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/png"
	"io"
	"os"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

// DefaultMaxPixels is the number of pixels from which Pillow refuses a picture as a decompression bomb.
const DefaultMaxPixels = 178956970

// DefaultMaxBytes bounds the file itself.
const DefaultMaxBytes = 1 << 29

// Limits bound what a file may ask for; zero fields mean the defaults.
type Limits struct {
	MaxPixels int
	MaxBytes  int64
}

func (l Limits) withDefaults() Limits {
	if l.MaxPixels <= 0 {
		l.MaxPixels = DefaultMaxPixels
	}
	if l.MaxBytes <= 0 {
		l.MaxBytes = DefaultMaxBytes
	}
	return l
}

// ErrTooLarge is wrapped by the errors on pictures and files beyond the Limits.
var ErrTooLarge = errors.New("picture too large")

// decoder reads one kind of file.
type decoder struct {
	name   string
	magic  func(head []byte) bool
	config func(io.Reader) (image.Config, error)
	decode func(data []byte) (*RGB, error)
}

var decoders = []decoder{
	{"JPEG", prefix("\xff\xd8\xff"), jpegConfig, decodeJPEG},
	{"PNG", prefix("\x89PNG\r\n\x1a\n"), png.DecodeConfig, decodeWith(png.Decode, false)},
	{"WebP", func(h []byte) bool { return len(h) >= 12 && string(h[:4]) == "RIFF" && string(h[8:12]) == "WEBP" }, webpConfig, decodeWebP},
	{"GIF", prefix("GIF8"), gif.DecodeConfig, decodeGIF},
	{"BMP", prefix("BM"), bmp.DecodeConfig, decodeWith(bmp.Decode, false)},
	{"TIFF", func(h []byte) bool { return prefix("II*\x00")(h) || prefix("MM\x00*")(h) }, tiff.DecodeConfig, decodeWith(tiff.Decode, true)},
}

func prefix(magic string) func([]byte) bool {
	return func(head []byte) bool { return bytes.HasPrefix(head, []byte(magic)) }
}

// Open decodes the file at path. The error names the file.
func Open(path string, limits Limits) (*RGB, error) {
	limits = limits.withDefaults()
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limits.MaxBytes+1))
	if err != nil {
		return nil, err
	}
	m, err := Decode(data, limits)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// Decode reads a picture as Pillow's Image.open(...).convert("RGB") does: the first frame of an animation, alpha dropped,
// palettes and grey expanded, 16-bit colour cut to its high byte, 16-bit grey clipped at 255 (that is what Pillow does).
func Decode(data []byte, limits Limits) (m *RGB, err error) {
	limits = limits.withDefaults()
	if int64(len(data)) > limits.MaxBytes {
		return nil, fmt.Errorf("%w: the file has more than the %d bytes allowed", ErrTooLarge, limits.MaxBytes)
	}
	f := sniff(data)
	if f == nil {
		return nil, notRead(data)
	}
	// The decoders are other people's code, and files are hostile: whatever they do with one is that file's error.
	defer func() {
		if r := recover(); r != nil {
			m, err = nil, fmt.Errorf("damaged %s file: %v", f.name, r)
		}
	}()
	config, err := f.config(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("cannot read the %s header: %w", f.name, err)
	}
	if err := checkSize(config.Width, config.Height, limits.MaxPixels); err != nil {
		return nil, fmt.Errorf("%s file: %w", f.name, err)
	}
	m, err = f.decode(data)
	if err != nil {
		return nil, fmt.Errorf("cannot decode the %s data: %w", f.name, err)
	}
	if len(m.Pix) != 3*m.Width*m.Height || len(m.Pix) == 0 {
		return nil, fmt.Errorf("cannot decode the %s data: it has no pixels", f.name)
	}
	return m, nil
}

// otherPictures are formats that are known and not read, by what stands in their first bytes.
var otherPictures = []struct {
	at          int
	magic, name string
}{
	{4, "ftypavif", "AVIF"}, {4, "ftypavis", "AVIF"}, {4, "ftyphei", "HEIC"}, {4, "ftyphev", "HEIC"}, {4, "ftypmif1", "HEIC or AVIF"}, {4, "ftypmsf1", "HEIC or AVIF"},
	{4, "jP  \r\n\x87\n", "JPEG 2000"}, {0, "\xff\x4f\xff\x51", "JPEG 2000"}, {4, "JXL \r\n\x87\n", "JPEG XL"}, {0, "\xff\x0a", "JPEG XL"},
	{0, "\x00\x00\x01\x00", "ICO"}, {0, "8BPS", "Photoshop"}, {0, "%PDF", "PDF"}, {0, "<svg", "SVG"}, {0, "<?xml", "SVG or other XML"},
	{0, "P1", "PBM"}, {0, "P2", "PGM"}, {0, "P3", "PPM"}, {0, "P4", "PBM"}, {0, "P5", "PGM"}, {0, "P6", "PPM"}, {0, "version https://git-lfs", "Git LFS pointer"},
	{4, "ftyp", "MP4 or another video"}, {0, "\x1a\x45\xdf\xa3", "Matroska or WebM"},
}

// notRead says what a file is that no decoder takes.
func notRead(data []byte) error {
	const read = "PNG, JPEG, WebP, TIFF, BMP and GIF are read"
	for _, o := range otherPictures {
		if len(data) >= o.at+len(o.magic) && string(data[o.at:o.at+len(o.magic)]) == o.magic {
			return fmt.Errorf("a file in the format %s: %s; convert it first", o.name, read)
		}
	}
	if len(data) == 0 {
		return fmt.Errorf("the file is empty: expected a picture; %s", read)
	}
	return fmt.Errorf("not a picture: %s; found a file that starts with %q", read, data[:min(len(data), 8)])
}

func sniff(data []byte) *decoder {
	for i := range decoders {
		if decoders[i].magic(data) {
			return &decoders[i]
		}
	}
	return nil
}

func checkSize(width, height, maxPixels int) error {
	if width <= 0 || height <= 0 {
		return fmt.Errorf("a picture of %d x %d pixels", width, height)
	}
	if width > maxPixels/height {
		return fmt.Errorf("%w: %d x %d pixels, the limit is %d pixels in all; raise it if the file is to be trusted", ErrTooLarge, width, height, maxPixels)
	}
	return nil
}

// decodeWith returns the decoder of a format whose stored values the library hands out as they are.
func decodeWith(decode func(io.Reader) (image.Image, error), orientation bool) func([]byte) (*RGB, error) {
	return func(data []byte) (*RGB, error) {
		src, err := decode(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		m, err := convert(src)
		if err == nil {
			m.Orientation = orientationOf(data, orientation)
		}
		return m, err
	}
}
