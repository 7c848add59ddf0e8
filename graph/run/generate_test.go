package run

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/graph/pipeline/audio"
)

const digits = "../../testdata/goldens/digits-whisper"

type hypothesis struct {
	File       string
	Hypothesis string
	IDs        []int
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func recordedDigits(t *testing.T) []hypothesis {
	t.Helper()
	raw, err := os.ReadFile(digits + "/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var expected struct {
		Clips []hypothesis `json:"per_clip"`
	}
	if err := json.Unmarshal(raw, &expected); err != nil {
		t.Fatal(err)
	}
	return expected.Clips
}

func openDigits(t *testing.T) *Model {
	t.Helper()
	s, err := Open(digits+"/checkpoint", Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// A really trained Whisper writes of every clip the very ids that the original wrote, eight clips at a time where those were
// written one by one. Some of the clips are kept with the tests; all are tried where they lie beside the repository.
func TestEveryHypothesis(t *testing.T) {
	s := openDigits(t)
	clips := recordedDigits(t)
	for i, c := range clips {
		for _, dir := range []string{"../../../shared/real/digits-whisper", digits} {
			if path := filepath.Join(dir, c.File); exists(path) {
				clips[i].File = path
				break
			}
		}
	}
	clips = slices.DeleteFunc(clips, func(c hypothesis) bool { return !exists(c.File) })
	if len(clips) < 10 {
		t.Fatalf("%d clips are at hand; expected at least 10", len(clips))
	}
	for batch := range slices.Chunk(clips, 8) {
		var in Input
		for _, c := range batch {
			in.Samples = append(in.Samples, []string{c.File})
		}
		r, err := s.NewPass(t.Context(), map[string]Input{"audio": in})
		if err != nil {
			t.Fatal(err)
		}
		texts, err := s.Generate(t.Context(), s.Pipeline.Decode, r.Feeds)
		if err != nil {
			t.Fatal(err)
		}
		written, err := r.Transcribe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range batch {
			if !slices.Equal(texts[i], c.IDs) {
				t.Errorf("%s: ids %v, recorded %v", c.File, texts[i], c.IDs)
			}
			if got := trimmed(written[i]); got != c.Hypothesis {
				t.Errorf("%s: %q, recorded %q", c.File, got, c.Hypothesis)
			}
		}
	}
}

func trimmed(s string) string { return string(bytes.TrimSpace([]byte(s))) }

// A recording longer than the window is written window by window: three clips, each filled up to the window, give the three
// texts one after the other.
func TestLongRecording(t *testing.T) {
	s := openDigits(t)
	clips := recordedDigits(t)[:3]
	p := s.Pipeline.Audio
	var wave []float32
	want := ""
	for _, c := range clips {
		clip, err := audio.Load(filepath.Join(digits, c.File), p.SampleRate)
		if err != nil {
			t.Fatal(err)
		}
		padded := make([]float32, p.Samples)
		copy(padded, clip)
		wave = append(wave, padded...)
		want += " " + c.Hypothesis
	}
	wave = append(wave, make([]float32, p.Samples+100)...) // silence says nothing
	file := filepath.Join(t.TempDir(), "long.wav")
	writeFloatWAV(t, file, wave, p.SampleRate)
	r, err := s.NewPass(t.Context(), map[string]Input{"audio": {Samples: [][]string{{file}}}})
	if err != nil {
		t.Fatal(err)
	}
	texts, err := r.Transcribe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := trimmed(texts[0]); got != want[1:] {
		t.Errorf("written %q, want %q", got, want[1:])
	}
	first, err := r.Fetch(t.Context(), FirstWindow)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(first[FirstWindow].Data); n != len(clips[0].IDs) {
		t.Errorf("%d ids of the first window, want %d", n, len(clips[0].IDs))
	}
}

func writeFloatWAV(t *testing.T, file string, wave []float32, rate int) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("RIFF")
	le := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	le(uint32(36 + 4*len(wave)))
	b.WriteString("WAVEfmt ")
	le(uint32(16))
	le([]uint16{3, 1})
	le([]uint32{uint32(rate), uint32(4 * rate)})
	le([]uint16{4, 32})
	b.WriteString("data")
	le(uint32(4 * len(wave)))
	le(wave)
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A text ends at its bound, the prompt included, and languages are chosen among those that there are.
func TestGenerateBounds(t *testing.T) {
	s := openDigits(t)
	r, err := s.NewPass(t.Context(), map[string]Input{"audio": {Samples: [][]string{{digits + "/audio/000.flac"}}}})
	if err != nil {
		t.Fatal(err)
	}
	want := recordedDigits(t)[0].IDs
	for most := 1; most <= len(want)+1; most++ {
		d := *s.Pipeline.Decode
		d.MaxLength = most
		texts, err := s.Generate(t.Context(), &d, r.Feeds)
		if err != nil {
			t.Fatal(err)
		}
		if n := min(most, len(want)); !slices.Equal(texts[0], want[:n]) {
			t.Errorf("at most %d ids: %v, want %v", most, texts[0], want[:n])
		}
	}
	d := *s.Pipeline.Decode
	d.Languages, d.Prompt = []int{320}, d.Prompt[1:]
	if texts, err := s.Generate(t.Context(), &d, r.Feeds); err != nil || !slices.Equal(texts[0], want) {
		t.Errorf("with one language to choose from: %v, %v", texts, err)
	}
	d = *s.Pipeline.Decode
	d.Suppress, d.BeginSuppress = []int{want[5]}, []int{want[4]}
	texts, err := s.Generate(t.Context(), &d, r.Feeds)
	if err != nil || slices.Contains(texts[0][4:], want[5]) || texts[0][4] == want[4] {
		t.Errorf("suppressed %d, and %d at the start: %v, %v", want[5], want[4], texts, err)
	}
	if _, err := s.Generate(t.Context(), &pipeline.Decode{MaxLength: -1}, r.Feeds); err == nil {
		t.Error("a text of -1 ids was written")
	}
}

// Steps with a cache compute what one passage over the whole text does.
func TestCacheEqualsWhole(t *testing.T) {
	s := openDigits(t)
	r, err := s.NewPass(t.Context(), map[string]Input{"audio": {Samples: [][]string{{digits + "/audio/003.flac"}, {digits + "/audio/004.flac"}}}})
	if err != nil {
		t.Fatal(err)
	}
	d := s.Pipeline.Decode
	g, err := s.newGeneration(t.Context(), d, r.Feeds)
	if err != nil {
		t.Fatal(err)
	}
	ids := []int{319, 320, 322, 326, 297, 275, 309, 5}
	whole := graph.NewTensor(2, len(ids))
	for i := range whole.Data {
		whole.Data[i] = float32(ids[i%len(ids)])
	}
	feeds := map[string]*graph.Tensor{"decoder_input_ids": whole, "input_features": r.Feeds["input_features"]}
	out, err := s.Run(t.Context(), feeds, "decoder.logits")
	if err != nil {
		t.Fatal(err)
	}
	v := out["decoder.logits"].Shape.Last()
	at := 0
	for _, n := range []int{3, 1, 1, 2, 1} {
		step := slices.Concat(ids[at:at+n], ids[at:at+n])
		rows, err := g.step(t.Context(), step, n)
		if err != nil {
			t.Fatal(err)
		}
		at += n
		for clip, row := range rows {
			for i, got := range row {
				want := out["decoder.logits"].Data[(clip*len(ids)+at-1)*v+i]
				if math.Abs(float64(got-want)) > 1e-4 {
					t.Fatalf("clip %d, position %d, logit %d: %v with a cache, %v without", clip, at-1, i, got, want)
				}
			}
		}
	}
}

// The rules for marks of time, over a vocabulary of 4 words, the end (4), no timestamps (5) and marks from 6 on.
func TestTimestampRules(t *testing.T) {
	d := &pipeline.Decode{Start: 0, End: []int{4}, Timestamps: &pipeline.Timestamps{On: true, NoTimestamps: 5, MaxInitial: 2}}
	for _, c := range []struct {
		text   []int
		logits []float32
		want   []int // what may still be chosen
	}{
		{nil, []float32{9, 9, 9, 9, 9, 9, 0, 0, 0, 0}, []int{6, 7, 8}},                     // a mark first, up to the largest allowed
		{[]int{7}, []float32{1, 1, 1, 1, 1, 9, 0, 0, 0, 0}, []int{0, 1, 2, 3, 4}},          // a word behind the first mark
		{[]int{7, 1}, []float32{5, 1, 1, 1, 1, 9, 0, 0, 0, 0}, []int{0, 1, 2, 3, 4, 8, 9}}, // marks never fall, nor stay behind words
		{[]int{7, 1, 8}, []float32{9, 9, 9, 9, 1, 9, 0, 0, 0, 0}, []int{4, 8, 9}},          // the end or the pair's second mark
		{[]int{7, 1, 8, 8}, []float32{1, 1, 1, 1, 1, 9, 9, 9, 9, 9}, []int{0, 1, 2, 3, 4}}, // words behind a pair
		{[]int{7, 1}, []float32{1, 1, 1, 1, 1, 9, 0, 0, 0.8, 0.8}, []int{8, 9}},            // marks likelier together than any word
	} {
		logits := slices.Clone(c.logits)
		(&tokenRules{d: d, begin: 1}).apply(logits, append([]int{0}, c.text...))
		var got []int
		for i, v := range logits {
			if !math.IsInf(float64(v), -1) {
				got = append(got, i)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("behind %v: %v can be chosen, want %v", c.text, got, c.want)
		}
	}
}
