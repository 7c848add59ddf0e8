package audio

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// slowLogMel is the definition, by a plain DFT: (frames, bins).
func slowLogMel(m *pipeline.Mel, rate int, wave []float32) []float64 {
	frames := (len(wave)+2*(m.FFT/2)-m.FFT)/m.Hop + 1
	if m.DropLast {
		frames--
	}
	bank := melFilters(m, rate)
	out := make([]float64, 0, frames*m.Bins)
	peak := math.Inf(-1)
	for f := range frames {
		power := make([]float64, m.FFT/2+1)
		for k := range power {
			var re, im float64
			for i := range m.FFT {
				at := f*m.Hop + i - m.FFT/2
				if at < 0 {
					at = -at
				}
				if at >= len(wave) {
					at = 2*(len(wave)-1) - at
				}
				w := 0.5 * (1 - math.Cos(2*math.Pi*float64(i)/float64(m.FFT)))
				s, c := math.Sincos(2 * math.Pi * float64(k*i%m.FFT) / float64(m.FFT))
				re += w * float64(wave[at]) * c
				im -= w * float64(wave[at]) * s
			}
			power[k] = re*re + im*im
		}
		for _, flt := range bank {
			sum := 0.0
			for i, w := range flt.weights {
				sum += w * power[flt.first+i]
			}
			v := math.Log10(max(sum, m.Floor))
			if m.Log == pipeline.MelDB {
				v *= 10
			}
			peak = max(peak, v)
			out = append(out, v)
		}
	}
	for i, v := range out {
		if m.Range > 0 {
			v = max(v, peak-m.Range)
		}
		if m.Divide != 0 {
			v = (v + m.Add) / m.Divide
		}
		out[i] = v
	}
	return out
}

// TestLogMel holds the spectrogram against the definition on even, odd, prime and short lengths.
func TestLogMel(t *testing.T) {
	for _, c := range []struct{ fft, hop, bins, samples int }{
		{400, 160, 80, 1600}, {64, 10, 5, 33}, {63, 7, 4, 100}, {2, 1, 1, 2}, {37, 40, 3, 211}, {512, 480, 16, 1000}, {128, 13, 128, 1501},
	} {
		for _, db := range []bool{false, true} {
			t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
				m := &pipeline.Mel{FFT: c.fft, Hop: c.hop, Bins: c.bins, MaxHz: 8000, Scale: pipeline.MelHTK, Log: pipeline.MelDB, Floor: 1e-10}
				if !db {
					m = &pipeline.Mel{FFT: c.fft, Hop: c.hop, Bins: c.bins, MaxHz: 8000, Scale: pipeline.MelSlaney, AreaNorm: true,
						Log: pipeline.MelLog10, Floor: 1e-10, Range: 8, Add: 4, Divide: 4, BinsFirst: true, DropLast: true}
				}
				x := noise(c.samples, 5)
				want := slowLogMel(m, 16000, x)
				got := make([]float32, len(want))
				logMel(m, 16000, x, got)
				frames := len(want) / c.bins
				for i, w := range want {
					at := i
					if m.BinsFirst {
						at = i%c.bins*frames + i/c.bins
					}
					if d := math.Abs(float64(got[at]) - w); d > 1e-5 {
						t.Fatalf("frame %d, bin %d: %g, expected %g", i/c.bins, i%c.bins, got[at], w)
					}
				}
			})
		}
	}
}

// TestMelFilters holds both filter banks against values of librosa.filters.mel and torchaudio.functional.melscale_fbanks
// that can be computed by hand, and float32 filters against float64 ones.
func TestMelFilters(t *testing.T) {
	// Slaney, 16 kHz, n_fft 400: the first of 80 bands peaks at 37.238 Hz, so that only the bin at 40 Hz is in it.
	m := pipeline.WhisperAudio(80).Mel
	bank := melFilters(m, 16000)
	step := (slaneyBendMel + math.Log(8)/slaneyLogStep) / 81 * slaneyHzPerMel
	if want := (2*step - 40) / step * 2 / (2 * step); bank[0].first != 1 || len(bank[0].weights) != 1 || math.Abs(bank[0].weights[0]-want) > 1e-12 {
		t.Errorf("first Slaney filter %+v, expected %g at 1", bank[0], want)
	}
	// HTK without a norm: the triangles of neighbours add up to 1 between the first and the last peak.
	m = &pipeline.Mel{FFT: 1024, Hop: 480, Bins: 64, MinHz: 50, MaxHz: 14000, Scale: pipeline.MelHTK, Log: pipeline.MelDB, Floor: 1e-10}
	exact := melFilters(m, 48000)
	sums := make([]float64, 513)
	for _, f := range exact {
		for i, w := range f.weights {
			sums[f.first+i] += w
		}
	}
	for i := 3; i < 280; i++ {
		if math.Abs(sums[i]-1) > 1e-9 {
			t.Errorf("HTK filters add up to %g at bin %d", sums[i], i)
		}
	}
	single := *m
	single.Float32Filters = true
	differs := false
	for b, f := range melFilters(&single, 48000) {
		if f.first != exact[b].first || len(f.weights) != len(exact[b].weights) {
			t.Fatalf("filter %d covers other bins in float32", b)
		}
		for i, w := range f.weights {
			differs = differs || w != exact[b].weights[i]
			if float64(float32(w)) != w || math.Abs(w-exact[b].weights[i]) > 1e-4 {
				t.Errorf("filter %d, weight %d: %g in float32, %g in float64", b, i, w, exact[b].weights[i])
			}
		}
	}
	if !differs {
		t.Error("float32 filters equal float64 ones")
	}
}

func ints(t *testing.T, f *Features, shape ...int) {
	t.Helper()
	if !slices.Equal(f.Shape, shape) {
		t.Fatalf("shape %v, expected %v", f.Shape, shape)
	}
}

// TestPadding holds the ways to fill up and to cut a clip.
func TestPadding(t *testing.T) {
	clip := []float32{1, 2, 3}
	start := 1
	for _, c := range []struct {
		name string
		p    pipeline.Audio
		wave []float32
		c    Choices
		want []float32
		mask []int32
		long bool
	}{
		{"zeros", pipeline.Audio{Samples: 7, Mask: true}, clip, Choices{}, []float32{1, 2, 3, 0, 0, 0, 0}, []int32{1, 1, 1, 0, 0, 0, 0}, false},
		{"value before", pipeline.Audio{Samples: 5, PadLeft: true, PadValue: 9, Mask: true}, clip, Choices{}, []float32{9, 9, 1, 2, 3}, []int32{0, 0, 1, 1, 1}, false},
		{"repeat", pipeline.Audio{Samples: 7, Pad: pipeline.PadRepeat}, clip, Choices{}, []float32{1, 2, 3, 1, 2, 3, 1}, nil, false},
		{"repeatpad", pipeline.Audio{Samples: 8, Pad: pipeline.PadRepeatPad}, clip, Choices{}, []float32{1, 2, 3, 1, 2, 3, 0, 0}, nil, false},
		{"as long as the window", pipeline.Audio{Samples: 3, Pad: pipeline.PadRepeatPad}, clip, Choices{}, clip, nil, false},
		{"head", pipeline.Audio{Samples: 2}, clip, Choices{TruncStart: &start}, []float32{1, 2}, nil, true},
		{"crop", pipeline.Audio{Samples: 2, Truncate: pipeline.TruncateCrop}, clip, Choices{TruncStart: &start}, []float32{2, 3}, nil, true},
		{"crop without a choice", pipeline.Audio{Samples: 2, Truncate: pipeline.TruncateCrop}, clip, Choices{}, []float32{1, 2}, nil, true},
		{"no window", pipeline.Audio{}, clip, Choices{}, clip, nil, false},
		{"16 bits", pipeline.Audio{RoundInt16: true}, []float32{2, -2, 0.5, -0.5, 1.6 / 32767}, Choices{}, []float32{1, -1, 16383.0 / 32767, -16383.0 / 32767, 1.0 / 32767}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.p.SampleRate = 16000
			f, err := Extract(&c.p, c.wave, c.c)
			if err != nil {
				t.Fatal(err)
			}
			ints(t, f, 1, len(c.want))
			same(t, f.Data, c.want)
			if !slices.Equal(f.Mask, c.mask) || f.IsLonger[0] != c.long {
				t.Errorf("mask %v, longer %v", f.Mask, f.IsLonger)
			}
		})
	}
}

// TestNormalize holds Wav2Vec2FeatureExtractor's two ways with a padded batch: by the clip with a mask, padding included
// without one.
func TestNormalize(t *testing.T) {
	waves := [][]float32{{1, 2, 3, 4}, {5, 7}}
	norm := func(x []float32, of []float32) []float32 {
		mean, variance := 0.0, 0.0
		for _, v := range of {
			mean += float64(v) / float64(len(of))
		}
		for _, v := range of {
			variance += (float64(v) - mean) * (float64(v) - mean) / float64(len(of))
		}
		out := make([]float32, len(x))
		for i, v := range x {
			out[i] = float32((float64(v) - mean) / math.Sqrt(variance+1e-7))
		}
		return out
	}
	for _, mask := range []bool{true, false} {
		p := parse(t, fmt.Sprintf(`{"feature_extractor_type":"Wav2Vec2FeatureExtractor","return_attention_mask":%v}`, mask))
		f, err := ExtractBatch(p, waves, nil)
		if err != nil {
			t.Fatal(err)
		}
		ints(t, f, 2, 4)
		want := append(norm(waves[0], waves[0]), append(norm(waves[1], waves[1]), 0, 0)...)
		if !mask {
			padded := append(slices.Clone(waves[1]), 0, 0)
			want = append(norm(waves[0], waves[0]), norm(padded, padded)...)
		}
		for i, w := range want {
			if math.Abs(float64(f.Data[i]-w)) > 1e-6 {
				t.Errorf("mask %v, value %d: %g, expected %g", mask, i, f.Data[i], w)
			}
		}
		if mask != (f.Mask != nil) || (mask && !slices.Equal(f.Mask, []int32{1, 1, 1, 1, 1, 1, 0, 0})) {
			t.Errorf("mask %v", f.Mask)
		}
	}
}

// TestFusion holds the four spectrograms of a long clip, their starts with and without choices, and the clip that is longer
// by less than a frame.
func TestFusion(t *testing.T) {
	p := parse(t, `{"feature_extractor_type":"ClapFeatureExtractor","sampling_rate":8000,"max_length_s":1,"hop_length":80,"fft_window_size":256,"feature_size":8,"frequency_max":4000}`)
	const chunk, bins = 101, 8
	size := chunk * bins
	x := noise(8000+80*10, 4) // 111 frames, 11 starts
	whole := make([]float32, 111*bins)
	logMel(p.Mel, p.SampleRate, x, whole)
	for name, starts := range map[string][]int{"first of each third": nil, "chosen": {1, 5, 10}} {
		f, err := Extract(p, x, Choices{ChunkStarts: starts})
		if err != nil {
			t.Fatal(err)
		}
		ints(t, f, 1, 4, chunk, bins)
		if !f.IsLonger[0] {
			t.Error("not longer")
		}
		if starts == nil {
			starts = []int{0, 4, 8} // numpy.array_split of 11 in 4, 4 and 3
		}
		for i, s := range starts {
			t.Run(fmt.Sprintf("%s %d", name, i), func(t *testing.T) {
				same(t, f.Data[(i+1)*size:(i+2)*size], whole[s*bins:(s+chunk)*bins])
			})
		}
		// Output 50 lies at 111/101 * 50.5 - 0.5 = 55.
		for b := range bins {
			if got, want := f.Data[50*bins+b], whole[55*bins+b]; math.Abs(float64(got-want)) > 1e-3 {
				t.Errorf("the shrunk spectrogram is %g in the middle, expected %g", got, want)
			}
		}
	}
	f, err := Extract(p, x[:8079], Choices{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, f.Data[3*size:], f.Data[:size])
	if !f.IsLonger[0] {
		t.Error("the only clip of a batch counts as longer with ClapFeatureExtractor")
	}
	laion := pipeline.LAIONCLAPAudio(pipeline.LAIONCLAPConfig{SampleRate: 8000, ClipSamples: 8000, WindowSize: 256, HopSize: 80, MelBins: 8, MaxHz: 4000}, true)
	if f, err = Extract(laion, x[:4000], Choices{}); err != nil {
		t.Fatal(err)
	}
	ints(t, f, 1, 4, chunk, bins)
	if f.IsLonger[0] {
		t.Error("a short clip counts as longer with LAION-AI/CLAP")
	}
	for possible, want := range map[int][]int{1: {0, 0, 0}, 2: {0, 1, 0}, 3: {0, 1, 2}, 100: {0, 34, 67}} {
		if got := chunkStarts(possible); !slices.Equal(got, want) {
			t.Errorf("starts of %d: %v, expected %v", possible, got, want)
		}
	}
}

// TestExtractRefuses holds the error lines for clips and choices that cannot be used.
func TestExtractRefuses(t *testing.T) {
	whisper := pipeline.WhisperAudio(80)
	crop := pipeline.MicrosoftCLAPAudio(8000, 1)
	fused := parse(t, `{"feature_extractor_type":"ClapFeatureExtractor"}`)
	late := 2
	for _, c := range []struct {
		p    *pipeline.Audio
		wave []float32
		c    Choices
		want string
	}{
		{whisper, nil, Choices{}, "no samples"},
		{whisper, []float32{0, float32(math.NaN())}, Choices{}, "sample 1 is NaN"},
		{whisper, []float32{float32(math.Inf(-1))}, Choices{}, "sample 0 is -Inf"},
		{crop, make([]float32, 8001), Choices{TruncStart: &late}, "starts at sample 2: expected 0 to 1"},
		{fused, make([]float32, 490000), Choices{ChunkStarts: []int{0, 1}}, "2 starts of crops: expected 3"},
		{fused, make([]float32, 490000), Choices{ChunkStarts: []int{0, 1, 21}}, "crop 2 starts at frame 21: expected 0 to 20"},
		{&pipeline.Audio{}, []float32{1}, Choices{}, "sampling rate 0 Hz"},
	} {
		_, err := Extract(c.p, c.wave, c.c)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, expected %q", err, c.want)
		}
	}
	if _, err := ExtractBatch(whisper, nil, nil); err == nil {
		t.Error("no clips: no error")
	}
	if _, err := ExtractBatch(whisper, [][]float32{{1}, {1}}, []Choices{{}}); err == nil {
		t.Error("one choice for two clips: no error")
	}
}

// TestSilence holds that a silent clip has the constant log-mel of the floor.
func TestSilence(t *testing.T) {
	x := make([]float32, 100)
	if !Silent(x) || Silent([]float32{0, 1e-30}) {
		t.Error("Silent is wrong")
	}
	f := extracted(t, pipeline.WhisperAudio(80), x)
	ints(t, f, 1, 80, 3000)
	for i, v := range f.Data {
		if v != -1.5 {
			t.Fatalf("value %d is %g, expected -1.5", i, v)
		}
	}
}

func BenchmarkWhisper30s(b *testing.B) {
	p, x := pipeline.WhisperAudio(80), noise(480000, 1)
	for b.Loop() {
		if _, err := Extract(p, x, Choices{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCLAP10s(b *testing.B) {
	a, err := pipeline.ParseAudioExtractor([]byte(`{"truncation":"rand_trunc"}`), "ClapFeatureExtractor")
	if err != nil {
		b.Fatal(err)
	}
	x := noise(480000, 1)
	for b.Loop() {
		if _, err := Extract(a, x, Choices{}); err != nil {
			b.Fatal(err)
		}
	}
}
