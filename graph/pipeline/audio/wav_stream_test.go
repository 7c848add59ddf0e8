package audio

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"
)

// streamed is a WAV file of 16-bit samples whose lengths are as a writer left them.
func streamed(riff, data uint32, align uint16, samples []byte) []byte {
	var b bytes.Buffer
	le := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	b.WriteString("RIFF")
	le(riff)
	b.WriteString("WAVEfmt ")
	le(uint32(16))
	le([]uint16{1, 1})
	le([]uint32{16000, 32000})
	le([]uint16{align, 16})
	b.WriteString("data")
	le(data)
	b.Write(samples)
	return b.Bytes()
}

// Writers that stream cannot come back to the header. Whatever it says, libsndfile reads what is there.
func TestStreamedHeaders(t *testing.T) {
	const n = 3001
	samples := make([]byte, 2*n)
	for i := range n {
		binary.LittleEndian.PutUint16(samples[2*i:], uint16(i*7919))
	}
	const size = uint32(2 * n)
	for _, c := range []struct {
		name string
		raw  []byte
		note string
	}{
		{"right", streamed(36+size, size, 2, samples), ""},
		{"arecord to a pipe", streamed(0x80000024, 0x80000000, 2, samples), ""},
		{"sox to a pipe", streamed(0x7ffff024, 0x7ffff000, 2, samples), ""},
		{"ffmpeg to a pipe", streamed(math.MaxUint32, math.MaxUint32, 2, samples), ""},
		{"only the data unknown", streamed(36+size, math.MaxUint32, 2, samples), ""},
		{"largest signed", streamed(0x7fffffff, 0x7fffffff, 2, samples), ""},
		{"zeros", streamed(0, 0, 2, samples), ""},
		{"never closed", streamed(36, 0, 2, samples), ""},
		{"header counted in", streamed(36+size, size+44, 2, samples), "6046 bytes of samples, 6002 are there"},
		{"half a frame more", streamed(37+size, size+1, 2, append(slices.Clone(samples), 9)), "the last 1 make no frame"},
		{"frames of 0 bytes", streamed(36+size, size, 0, samples), "frames of 0 bytes"},
		{"behind an ID3 tag", append([]byte("ID3\x03\x00\x00\x00\x00\x00\x02ab"), streamed(36+size, size, 2, samples)...), ""},
		{"in 64 bits, never closed", slices.Concat([]byte("RF64\xff\xff\xff\xffWAVE"), streamed(0, math.MaxUint32, 2, samples)[12:]), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := NewReader(bytes.NewReader(c.raw), "clip")
			if err != nil {
				t.Fatal(err)
			}
			wave, err := ReadAll(r, 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(wave) != n || wave[n-1] != float32(int16(binary.LittleEndian.Uint16(samples[2*n-2:])))/32768 {
				t.Errorf("%d samples, want %d", len(wave), n)
			}
			if got := strings.Join(r.Notes(), "; "); (got == "") != (c.note == "") || !strings.Contains(got, c.note) {
				t.Errorf("noted %q, want %q", got, c.note)
			}
		})
	}
}
