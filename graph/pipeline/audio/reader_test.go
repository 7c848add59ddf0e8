package audio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// wavFile is a WAV file to be built, with every field open to lies.
type wavFile struct {
	magic      string // "RIFF" where empty
	tag        uint16
	channels   uint16
	rate       uint32
	align      uint16 // 0: channels * bits/8
	bits       uint16
	extensible bool
	before     string // chunks before data, raw
	data       []byte
	dataSize   *uint32
	riffSize   *uint32
}

func (w wavFile) bytes() []byte {
	order := binary.ByteOrder(binary.LittleEndian)
	if w.magic == "" {
		w.magic = "RIFF"
	}
	if w.magic == "RIFX" {
		order = binary.BigEndian
	}
	u16 := func(b []byte, v uint16) []byte { return append(b, order16(order, v)...) }
	u32 := func(b []byte, v uint32) []byte { return append(b, order32(order, v)...) }
	if w.align == 0 {
		w.align = w.channels * (w.bits / 8)
	}
	tag := w.tag
	if w.extensible {
		tag = tagExtensible
	}
	var f []byte
	f = u16(f, tag)
	f = u16(f, w.channels)
	f = u32(f, w.rate)
	f = u32(f, w.rate*uint32(w.align))
	f = u16(f, w.align)
	f = u16(f, w.bits)
	if w.extensible {
		f = u16(f, 22)
		f = u16(f, w.bits)
		f = u32(f, 3)
		f = u32(f, uint32(w.tag))
		f = append(f, "\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"...)
	}
	body := []byte("WAVE")
	body = append(body, w.before...)
	body = append(body, "fmt "...)
	body = u32(body, uint32(len(f)))
	body = append(body, f...)
	// An odd chunk between, with its padding byte.
	body = append(body, "LIST"...)
	body = u32(body, 3)
	body = append(body, "abc\x00data"...)
	size := uint32(len(w.data))
	if w.dataSize != nil {
		size = *w.dataSize
	}
	body = u32(body, size)
	body = append(body, w.data...)
	riff := uint32(len(body))
	if w.riffSize != nil {
		riff = *w.riffSize
	}
	return append(u32([]byte(w.magic), riff), body...)
}

func order16(o binary.ByteOrder, v uint16) []byte {
	b := make([]byte, 2)
	o.PutUint16(b, v)
	return b
}

func order32(o binary.ByteOrder, v uint32) []byte {
	b := make([]byte, 4)
	o.PutUint32(b, v)
	return b
}

func order64(o binary.ByteOrder, v uint64) []byte {
	b := make([]byte, 8)
	o.PutUint64(b, v)
	return b
}

func readBytes(raw []byte) ([]float32, error) {
	r, err := NewReader(bytes.NewReader(raw), "clip")
	if err != nil {
		return nil, err
	}
	return ReadAll(r, 0)
}

// TestWAVEncodings reads the same ramp from every encoding, byte order and header.
func TestWAVEncodings(t *testing.T) {
	ramp := []float64{0, 0.5, -0.5, 0.25, -1, 0.75, -0.125, 0.0625}
	le, be := binary.ByteOrder(binary.LittleEndian), binary.ByteOrder(binary.BigEndian)
	encoders := []struct {
		name      string
		tag, bits uint16
		put       func(o binary.ByteOrder, x float64) []byte
	}{
		{"u8", tagPCM, 8, func(_ binary.ByteOrder, x float64) []byte { return []byte{byte(int(x*128) + 128)} }},
		{"s16", tagPCM, 16, func(o binary.ByteOrder, x float64) []byte { return order16(o, uint16(int16(x*(1<<15)))) }},
		{"s24", tagPCM, 24, func(o binary.ByteOrder, x float64) []byte {
			b := order32(o, uint32(int32(x*(1<<23))))
			if o == be {
				return b[1:]
			}
			return b[:3]
		}},
		{"s32", tagPCM, 32, func(o binary.ByteOrder, x float64) []byte { return order32(o, uint32(int32(x*(1<<31)))) }},
		{"f32", tagFloat, 32, func(o binary.ByteOrder, x float64) []byte { return order32(o, math.Float32bits(float32(x))) }},
		{"f64", tagFloat, 64, func(o binary.ByteOrder, x float64) []byte { return order64(o, math.Float64bits(x)) }},
	}
	for _, e := range encoders {
		for _, magic := range []string{"RIFF", "RIFX"} {
			for _, extensible := range []bool{false, true} {
				for _, channels := range []int{1, 2, 3, 7} {
					t.Run(fmt.Sprintf("%s/%s/extensible=%v/%d", e.name, magic, extensible, channels), func(t *testing.T) {
						order := le
						if magic == "RIFX" {
							order = be
						}
						w := wavFile{magic: magic, tag: e.tag, channels: uint16(channels), rate: 22050, bits: e.bits, extensible: extensible}
						var want []float32
						for i := range ramp {
							sum := 0.0
							for c := range channels {
								x := ramp[(i+c)%len(ramp)]
								sum += x
								w.data = append(w.data, e.put(order, x)...)
							}
							want = append(want, float32(sum/float64(channels)))
						}
						got, err := readBytes(w.bytes())
						if err != nil {
							t.Fatal(err)
						}
						same(t, got, want)
					})
				}
			}
		}
	}
}

func same(t *testing.T, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d samples, expected %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("sample %d is %g, expected %g", i, got[i], want[i])
		}
	}
}

// TestG711 holds the ends of both tables of ITU-T G.711, their symmetry and their order.
func TestG711(t *testing.T) {
	for _, c := range []struct {
		table *[256]float32
		at    byte
		want  float32
	}{
		{&muLaw, 0x00, -32124}, {&muLaw, 0x80, 32124}, {&muLaw, 0xff, 0}, {&muLaw, 0x7f, 0}, {&muLaw, 0xfe, 8}, {&muLaw, 0x8f, 16764},
		{&aLaw, 0x55, -8}, {&aLaw, 0xd5, 8}, {&aLaw, 0x2a, -32256}, {&aLaw, 0xaa, 32256}, {&aLaw, 0x00, -5504}, {&aLaw, 0x80, 5504},
	} {
		if got := c.table[c.at] * 32768; got != c.want {
			t.Errorf("byte %02x is %g, expected %g", c.at, got, c.want)
		}
	}
	for i := range 128 {
		if aLaw[i] != -aLaw[i+128] || muLaw[i] != -muLaw[i+128] {
			t.Errorf("byte %02x: no symmetry", i)
		}
		if i > 0 && (muLaw[i] <= muLaw[i-1] || aLaw[i^0x55] >= aLaw[(i-1)^0x55]) {
			t.Errorf("byte %02x: out of order", i)
		}
	}
	for _, tag := range []uint16{tagALaw, tagMuLaw} {
		table := map[uint16]*[256]float32{tagALaw: &aLaw, tagMuLaw: &muLaw}[tag]
		got, err := readBytes(wavFile{tag: tag, channels: 1, rate: 8000, bits: 8, data: []byte{0, 85, 170, 255}}.bytes())
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, []float32{table[0], table[85], table[170], table[255]})
	}
}

// TestWAVLengths reads files whose lengths stand elsewhere than in the data chunk.
func TestWAVLengths(t *testing.T) {
	data := []byte{0, 64, 0, 192, 0, 32}
	want := []float32{0.5, -0.5, 0.25}
	unknown, zero := uint32(unknownSize), uint32(0)
	ds64 := "ds64\x1c\x00\x00\x00" + strings.Repeat("\x00", 8) + "\x06" + strings.Repeat("\x00", 19)
	for name, w := range map[string]wavFile{
		"piped, all ones":  {dataSize: &unknown, riffSize: &unknown},
		"piped, all zeros": {dataSize: &zero, riffSize: &zero},
		"RF64":             {magic: "RF64", before: ds64, dataSize: &unknown, riffSize: &unknown},
		"BW64":             {magic: "BW64", before: ds64, dataSize: &unknown, riffSize: &unknown},
	} {
		t.Run(name, func(t *testing.T) {
			w.tag, w.channels, w.rate, w.bits, w.data = tagPCM, 1, 16000, 16, data
			raw := w.bytes()
			if w.magic != "" {
				raw = append(raw, "LIST\x04\x00\x00\x00abcd"...) // must not be read as samples
			}
			got, err := readBytes(raw)
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, want)
		})
	}
}

// TestBadFiles holds that every bad file has its one clear line.
func TestBadFiles(t *testing.T) {
	good := wavFile{tag: tagPCM, channels: 1, rate: 16000, bits: 16, data: make([]byte, 100)}
	with := func(change func(*wavFile)) []byte {
		w := good
		change(&w)
		return w.bytes()
	}
	nan := order32(binary.LittleEndian, math.Float32bits(float32(math.NaN())))
	big := order64(binary.LittleEndian, math.Float64bits(1e300))
	flac, err := os.ReadFile("../../../testdata/goldens/preprocess-audio/inputs/jfk_1s.flac")
	if err != nil {
		t.Fatal(err)
	}
	patched := func(at int, b ...byte) []byte {
		f := bytes.Clone(flac)
		copy(f[at:], b)
		return f
	}
	for _, c := range []struct {
		name string
		raw  []byte
		want string // part of the error
	}{
		{"empty", nil, "clip: the file is empty"},
		{"text", []byte("hello, world, this is text"), `starts with "hell"`},
		{"ogg", []byte("OggS\x00\x02 and so on, on and on"), "found Ogg"},
		{"mp3", []byte("\xff\xfb\x90\x64 and so on, on and on"), "found MP3"},
		{"mp3 with tag", []byte("ID3\x04\x00\x00\x00\x00\x00\x05hello\xff\xfb\x90\x64"), "found MP3"},
		{"cut in its tag", []byte("ID3\x04\x00\x00\x00\x7f\x00\x05hello"), "truncated within its ID3 tag"},
		{"m4a", []byte("\x00\x00\x00\x20ftypM4A \x00\x00\x00\x00"), "found MP4/M4A"},
		{"only RIFF", []byte("RIFF"), "truncated WAV header"},
		{"RIFF of something else", []byte("RIFF\x10\x00\x00\x00AVI LIST"), `starts with "RIFF"`},
		{"no chunks", []byte("RIFF\x04\x00\x00\x00WAVE"), "truncated WAV header"},
		{"cut within fmt", good.bytes()[:30], "truncated WAV header"},
		{"fmt only", good.bytes()[:36], "without a data chunk"},
		{"data first", []byte("RIFF\x10\x00\x00\x00WAVEdata\x04\x00\x00\x00abcd"), "before any fmt chunk"},
		{"short fmt", []byte("RIFF\x10\x00\x00\x00WAVEfmt \x04\x00\x00\x00abcd"), "fmt chunk of 4 bytes"},
		{"absurd chunk", []byte("RIFF\x10\x00\x00\x00WAVEjunk\xff\xff\xff\xffabcd"), "goes past its end"},
		{"no samples", with(func(w *wavFile) { w.data = nil }), "holds no samples"},
		{"zero channels", with(func(w *wavFile) { w.channels, w.align = 0, 2 }), "0 channels"},
		{"rate 0", with(func(w *wavFile) { w.rate = 0 }), "sampling rate of 0 Hz"},
		{"absurd rate", with(func(w *wavFile) { w.rate = 4e9 }), "sampling rate of 4000000000 Hz"},
		{"no bits", with(func(w *wavFile) { w.bits = 0 }), "samples of 0 bits"},
		{"align and channels", with(func(w *wavFile) { w.channels, w.align = 3, 4 }), "frames of 4 bytes for 3 channels"},
		{"bits over width", with(func(w *wavFile) { w.bits, w.align = 24, 2 }), "24-bit samples in 2 bytes"},
		{"ADPCM", with(func(w *wavFile) { w.tag = 0x11 }), "IMA ADPCM"},
		{"half floats", with(func(w *wavFile) { w.tag = tagFloat }), "format 0x0003 in 2 bytes"},
		{"NaN", with(func(w *wavFile) { w.tag, w.bits, w.data = tagFloat, 32, append(make([]byte, 8), nan...) }), "sample 2 of channel 1 (0.000 s) is NaN"},
		{"too big", with(func(w *wavFile) { w.tag, w.bits, w.channels, w.data = tagFloat, 64, 2, append(make([]byte, 8), big...) }), "channel 2 (0.000 s) is +Inf"},
		{"short extensible", with(func(w *wavFile) { w.tag = tagExtensible }), "too short for WAVE_FORMAT_EXTENSIBLE"},
		{"FLAC signature only", []byte("fLaC"), "damaged FLAC header"},
		{"FLAC cut", flac[:len(flac)/2], "truncated FLAC stream: its header says 16000 samples"},
		{"FLAC damaged", patched(len(flac)/2, 1, 2, 3, 4, 5), "FLAC stream after"},
		{"FLAC rate 0", patched(18, 0, 0, flac[20]&15), "sample rate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readBytes(c.raw)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q, expected one line with %q", err, c.want)
			}
			if !strings.HasPrefix(err.Error(), "clip: ") {
				t.Errorf("%q does not start with the file's name", err)
			}
		})
	}
}

// TestOpen holds errors and the end of files on disk.
func TestOpen(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "absent.wav")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a folder was opened")
	}
	path := "../../../testdata/goldens/preprocess-audio/inputs/stereo_44k.wav"
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if f := r.Format(); f != (Format{"WAV", "16-bit integer", 44100, 2, 35280}) {
		t.Errorf("format %+v", f)
	}
	all, err := ReadAll(r, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if n, err := r.Read(make([]float32, 10)); n != 0 || err != io.EOF {
			t.Errorf("after the end: %d, %v", n, err)
		}
	}
	// Any sizes of blocks give the same samples.
	r2, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r2.Close()
	var pieces []float32
	for size := 1; ; size = size*3%1009 + 1 {
		b := make([]float32, size)
		n, err := r2.Read(b)
		pieces = append(pieces, b[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	same(t, pieces, all)
	if some, _, err := LoadKernel(path, 44100, Hann, 1000); err != nil || len(some) != 1000 {
		t.Errorf("a limit of 1000 gave %d, %v", len(some), err)
	}
}

// endless is a WAV stream of any length, written as it is read.
type endless struct {
	head []byte
	left int64
}

func (e *endless) Read(b []byte) (int, error) {
	if len(e.head) > 0 {
		n := copy(b, e.head)
		e.head = e.head[n:]
		return n, nil
	}
	if e.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(b)), e.left)
	for i := range b[:n] {
		b[i] = byte(i >> 3)
	}
	e.left -= n
	return int(n), nil
}

// TestFlatMemory streams twenty minutes of stereo at 44.1 kHz into 30 s windows at 16 kHz: what is allocated must not grow with
// the length. MMCONV_LONG=1 makes it ten hours.
func TestFlatMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("streams twenty minutes of audio")
	}
	seconds := int64(1200)
	if os.Getenv("MMCONV_LONG") != "" {
		seconds *= 30
	}
	unknown := uint32(unknownSize)
	head := wavFile{tag: tagPCM, channels: 2, rate: 44100, bits: 16, dataSize: &unknown, riffSize: &unknown}.bytes()
	samples, windows := int64(0), 0
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := NewReader(&endless{head, seconds * 44100 * 4}, "long")
	if err != nil {
		t.Fatal(err)
	}
	src, err := Resample(r, 16000, Hann)
	if err != nil {
		t.Fatal(err)
	}
	for w, err := range Windows(src, 30*16000) {
		if err != nil {
			t.Fatal(err)
		}
		if w.Start != samples {
			t.Errorf("window %d starts at %d, expected %d", windows, w.Start, samples)
		}
		samples += int64(len(w.Samples))
		windows++
	}
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	if samples != seconds*16000 || windows != int(seconds/30) {
		t.Errorf("%d samples in %d windows", samples, windows)
	}
	if allocated > 16<<20 {
		t.Errorf("%d bytes allocated", allocated)
	}
	t.Logf("%d s of audio: %d bytes allocated", seconds, allocated)
}

// FuzzReader holds that no file whatever makes the readers panic, hang or invent samples.
func FuzzReader(f *testing.F) {
	inputs, _ := filepath.Glob("../../../testdata/goldens/preprocess-audio/inputs/*")
	for _, path := range inputs {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw[:min(len(raw), 4096)])
	}
	unknown := uint32(unknownSize)
	for _, magic := range []string{"RIFF", "RIFX", "RF64"} {
		for _, tag := range []uint16{tagPCM, tagFloat, tagALaw, tagMuLaw} {
			for _, bits := range []uint16{8, 16, 24, 32, 64} {
				w := wavFile{magic: magic, tag: tag, channels: 2, rate: 8000, bits: bits, extensible: bits == 32, data: make([]byte, 64)}
				if magic == "RF64" {
					w.dataSize, w.riffSize = &unknown, &unknown
				}
				f.Add(w.bytes())
			}
		}
	}
	f.Add([]byte("ID3\x04\x00\x00\x00\x00\x00\x05hellofLaC"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := NewReader(bytes.NewReader(raw), "clip")
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
			return
		}
		block := make([]float32, 4096)
		total := int64(0)
		for {
			n, err := r.Read(block)
			total += int64(n)
			for _, v := range block[:n] {
				if v != v || math.IsInf(float64(v), 0) {
					t.Fatalf("a sample of %g", v)
				}
			}
			if err != nil {
				break
			}
			if n == 0 {
				t.Fatal("no samples and no error")
			}
		}
		if f := r.Format(); f.Container == "WAV" && total > int64(len(raw)) {
			t.Errorf("%d samples of %d bytes", total, len(raw))
		}
	})
}
