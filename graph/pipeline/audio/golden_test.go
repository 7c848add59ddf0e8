package audio

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// golden is a case.json as far as these tests need it.
type golden struct {
	dir      string
	System   string
	Inputs   map[string]json.RawMessage
	Expected map[string]goldenRow
	tensors  map[string][]float32
}

type goldenRow struct {
	Shape      []int
	Slice      string
	Atol, Rtol float64
}

func loadGolden(t *testing.T, dir string) *golden {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "case.json"))
	if err != nil {
		t.Fatal(err)
	}
	g := &golden{dir: dir}
	if err := json.Unmarshal(raw, g); err != nil {
		t.Fatal(err)
	}
	g.tensors = readTensors(t, filepath.Join(dir, "expected.safetensors"))
	return g
}

// readTensors reads a whole safetensors file as float32.
func readTensors(t *testing.T, path string) map[string][]float32 {
	t.Helper()
	c, err := formats.Open(path, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	out := map[string][]float32{}
	for _, name := range c.Names() {
		tensor, _ := c.Tensor(name)
		v := make([]float32, tensor.Len())
		if tensor.DType == formats.I64 || tensor.DType == formats.I32 {
			n := make([]int64, len(v))
			err = tensor.Int64s(n, 0)
			for i, x := range n {
				v[i] = float32(x)
			}
		} else {
			err = tensor.Float32s(v, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		out[name] = v
	}
	return out
}

func (g *golden) input(t *testing.T, name string) (string, bool) {
	var s string
	if json.Unmarshal(g.Inputs[name], &s) != nil {
		return "", false
	}
	return filepath.Join(g.dir, s), true
}

func (g *golden) inputTensor(t *testing.T, name string) []float32 {
	path, ok := g.input(t, name)
	if !ok {
		return nil
	}
	file, tensor, _ := strings.Cut(path, ".safetensors:")
	return readTensors(t, file+".safetensors")[tensor]
}

// row compares a whole tensor with the stored part of it.
func (g *golden) row(t *testing.T, name string, data []float32, shape []int) {
	t.Helper()
	want, row := g.tensors[name], g.Expected[name]
	got := slice(t, data, shape, row.Slice)
	if len(want) == 0 || len(got) != len(want) {
		t.Errorf("%s: %d values of shape %v%s, expected %d", name, len(got), shape, row.Slice, len(want))
		return
	}
	worst, share, at := 0.0, 0.0, 0
	for i, w := range want {
		d := math.Abs(float64(got[i]) - float64(w))
		worst = max(worst, d)
		if s := d / (row.Atol + row.Rtol*math.Abs(float64(w))); !(s <= share) {
			share, at = s, i
		}
	}
	t.Logf("%-24s max abs %.2e, %4.1f %% of the bound", name, worst, 100*share)
	if !(share <= 1) {
		t.Errorf("%s: value %d is %g, expected %g", name, at, got[at], want[at])
	}
}

// slice takes numpy basic slices, all of them from:to:step, of a tensor.
func slice(t *testing.T, data []float32, shape []int, expr string) []float32 {
	t.Helper()
	if expr == "" {
		return data
	}
	axes := strings.Split(strings.Trim(expr, "[]"), ",")
	if len(axes) != len(shape) {
		t.Fatalf("slice %s of shape %v", expr, shape)
	}
	index := []int{0}
	for a, axis := range axes {
		part := strings.Split(strings.TrimSpace(axis), ":")
		lim := [3]int{0, shape[a], 1}
		for i, s := range part {
			if s != "" {
				n, err := strconv.Atoi(s)
				if err != nil {
					t.Fatal(err)
				}
				lim[i] = n
			}
		}
		var next []int
		for _, base := range index {
			for i := lim[0]; i < min(lim[1], shape[a]); i += lim[2] {
				next = append(next, base*shape[a]+i)
			}
		}
		index = next
	}
	out := make([]float32, len(index))
	for i, at := range index {
		out[i] = data[at]
	}
	return out
}

func extracted(t *testing.T, p *pipeline.Audio, wave []float32) *Features {
	t.Helper()
	f, err := Extract(p, wave, Choices{})
	if err != nil {
		t.Fatal(err)
	}
	n := 1
	for _, d := range f.Shape {
		n *= d
	}
	if n != len(f.Data) {
		t.Fatalf("shape %v with %d values", f.Shape, len(f.Data))
	}
	return f
}

func parse(t *testing.T, config string) *pipeline.Audio {
	t.Helper()
	p, err := pipeline.ParseAudioExtractor([]byte(config), "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPreprocessing holds every row of the recorded preprocessing of soundfile, torchaudio and transformers.
func TestPreprocessing(t *testing.T) {
	g := loadGolden(t, "../../../testdata/goldens/preprocess-audio")
	whisper80 := parse(t, `{"feature_extractor_type":"WhisperFeatureExtractor"}`)
	whisper128 := parse(t, `{"feature_extractor_type":"WhisperFeatureExtractor","feature_size":128}`)
	fused := parse(t, `{"feature_extractor_type":"ClapFeatureExtractor","frequency_min":50,"truncation":"fusion"}`)
	unfused := parse(t, `{"feature_extractor_type":"ClapFeatureExtractor","frequency_min":50,"truncation":"rand_trunc"}`)
	hubert := parse(t, `{"feature_extractor_type":"Wav2Vec2FeatureExtractor"}`)
	rows := 0
	for clip := range g.Inputs {
		path, _ := g.input(t, clip)
		r, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		mono, err := ReadAll(r, 0)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		wave16, err := Load(path, 16000)
		if err != nil {
			t.Fatal(err)
		}
		wave48, err := Load(path, 48000)
		if err != nil {
			t.Fatal(err)
		}
		for name := range g.Expected {
			var f *Features
			of, what, _ := strings.Cut(name, ".")
			if of != clip {
				continue
			}
			rows++
			switch what {
			case "mono":
				f = &Features{Data: mono, Shape: []int{len(mono)}}
			case "wave16k":
				f = &Features{Data: wave16, Shape: []int{len(wave16)}}
			case "wave48k":
				f = &Features{Data: wave48, Shape: []int{len(wave48)}}
			case "whisper80", "whisper80.pad":
				f = extracted(t, whisper80, wave16)
			case "whisper128", "whisper128.pad":
				f = extracted(t, whisper128, wave16)
			case "clap_fused":
				f = extracted(t, fused, wave48)
				f.Shape[1], f.Data = 1, f.Data[:len(f.Data)/4]
			case "clap_unfused":
				f = extracted(t, unfused, wave48)
			case "hubert":
				f = extracted(t, hubert, wave16)
			default:
				t.Fatalf("no such row: %s", name)
			}
			if strings.HasSuffix(what, ".pad") {
				f = lastFrames(t, f)
			}
			g.row(t, name, f.Data, f.Shape)
		}
	}
	if rows != len(g.Expected) || rows == 0 {
		t.Errorf("%d of %d rows compared", rows, len(g.Expected))
	}
}

// lastFrames is the value that the last 100 frames of a clip's log-mel all have.
func lastFrames(t *testing.T, f *Features) *Features {
	bins, frames := f.Shape[1], f.Shape[2]
	v := f.Data[len(f.Data)-1]
	for b := range bins {
		for i := frames - 100; i < frames; i++ {
			if f.Data[b*frames+i] != v {
				t.Fatalf("frame %d, bin %d: %g, expected %g", i, b, f.Data[b*frames+i], v)
			}
		}
	}
	return &Features{Data: []float32{v}, Shape: []int{1}}
}

// pipelineOf builds the pipeline of a case's checkpoint as its system would.
func pipelineOf(t *testing.T, dir string) *pipeline.Audio {
	t.Helper()
	if raw, err := os.ReadFile(filepath.Join(dir, "preprocessor_config.json")); err == nil {
		return parse(t, string(raw))
	}
	raw, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Project      string
		ModelType    string                   `json:"model_type"`
		Mels         int                      `json:"n_mels"`
		EnableFusion bool                     `json:"enable_fusion"`
		AudioCfg     pipeline.LAIONCLAPConfig `json:"audio_cfg"`
		SamplingRate int                      `json:"sampling_rate"`
		Duration     int
		Normalize    bool `json:"normalize_waveform"`
		Cfg          struct {
			Task struct {
				SampleRate int `json:"sample_rate"`
				Normalize  bool
			}
		}
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	switch {
	case c.Mels > 0:
		return pipeline.WhisperAudio(c.Mels)
	case c.Project == "LAION-AI/CLAP":
		return pipeline.LAIONCLAPAudio(c.AudioCfg, c.EnableFusion)
	case c.Project == "microsoft/CLAP":
		return pipeline.MicrosoftCLAPAudio(c.SamplingRate, c.Duration)
	case strings.HasPrefix(c.ModelType, "torchaudio"):
		return pipeline.TorchaudioAudio(16000, c.Normalize)
	case c.Cfg.Task.SampleRate > 0:
		return pipeline.FairseqAudio(c.Cfg.Task.SampleRate, c.Cfg.Task.Normalize)
	}
	t.Fatalf("%s: whose configuration is this?", dir)
	return nil
}

// TestCases holds the audio inputs of every recorded audio system, here and in ../shared where that is.
func TestCases(t *testing.T) {
	var dirs []string
	seen := map[string]bool{}
	for _, root := range []string{"../../../testdata/goldens", "../../../../shared/goldens", "../../../../shared/real"} {
		found, _ := filepath.Glob(filepath.Join(root, "*", "case.json"))
		for _, f := range found {
			if dir := filepath.Dir(f); !seen[filepath.Base(dir)] {
				seen[filepath.Base(dir)] = true
				dirs = append(dirs, dir)
			}
		}
	}
	for _, dir := range dirs {
		raw, err := os.ReadFile(filepath.Join(dir, "case.json"))
		if err != nil {
			t.Fatal(err)
		}
		var head struct{ System string }
		if err := json.Unmarshal(raw, &head); err != nil {
			t.Fatal(err)
		}
		switch head.System {
		case "Whisper", "CLAP", "HuBERT", "wav2vec2":
		default:
			continue
		}
		g := loadGolden(t, dir)
		if _, ok := g.input(t, "audio"); !ok {
			continue
		}
		t.Run(filepath.Base(dir), func(t *testing.T) { testCase(t, g) })
	}
}

func testCase(t *testing.T, g *golden) {
	p := pipelineOf(t, filepath.Join(g.dir, "checkpoint"))
	rows := 0
	var batch [][]float32
	for input := range g.Inputs {
		if input != "audio" && !strings.HasPrefix(input, "audio_") {
			continue
		}
		path, _ := g.input(t, input)
		wave, err := Load(path, p.SampleRate)
		if err != nil {
			t.Fatal(err)
		}
		prefix := ""
		if x := strings.TrimPrefix(input, "audio_"); x != input && x != "1" {
			prefix = x + "."
		}
		var c Choices
		for _, s := range g.inputTensor(t, "fusion_chunk_starts") {
			c.ChunkStarts = append(c.ChunkStarts, int(s))
		}
		f, err := Extract(p, wave, c)
		if err != nil {
			t.Fatal(err)
		}
		if input == "audio" {
			batch = append([][]float32{wave}, batch...)
		} else {
			batch = append(batch, wave)
			if prefix == "" {
				continue
			}
		}
		for name := range g.Expected {
			what, mine := strings.CutPrefix(name, prefix)
			if !mine {
				continue
			}
			data, shape := f.Data, f.Shape
			switch what {
			case fmt.Sprintf("waveform_%dk", p.SampleRate/1000):
				data, shape = wave, []int{len(wave)}
			case "input_features", "input_values", "mel_fusion":
				if what == "input_features" && p.Truncate == pipeline.TruncateFusion && g.Expected[name].Shape[1] == 1 {
					shape = []int{1, 1, shape[2], shape[3]}
					data = data[:len(data)/4]
				}
			case "input_features.pad":
				f := lastFrames(t, f)
				data, shape = f.Data, f.Shape
			case "logmel":
				data, shape = storedLogMel(t, g, f.Data)
			default:
				continue
			}
			rows++
			g.row(t, name, data, shape)
		}
		for _, name := range []string{"is_longer", "longer"} {
			if v := g.inputTensor(t, name); v != nil {
				rows++
				if (v[0] != 0) != f.IsLonger[0] {
					t.Errorf("%s is %v, expected %v", name, f.IsLonger[0], v[0])
				}
			}
		}
	}
	if g.Expected["batch.input_values"].Shape != nil {
		f, err := ExtractBatch(p, batch, nil)
		if err != nil {
			t.Fatal(err)
		}
		rows += 2
		g.row(t, "batch.input_values", f.Data, f.Shape)
		mask := make([]float32, len(f.Mask))
		for i, m := range f.Mask {
			mask[i] = float32(m)
		}
		g.row(t, "batch.attention_mask", mask, f.Shape)
	}
	if rows == 0 {
		t.Error("no row compared")
	}
}

// storedLogMel computes the spectrogram that CLAP's original projects compute inside the model, by the checkpoint's own
// matrices (torchlibrosa), to judge the waveform that goes in.
func storedLogMel(t *testing.T, g *golden, wave []float32) ([]float32, []int) {
	weights := readTensors(t, filepath.Join(g.dir, "checkpoint", "model.safetensors"))
	find := func(suffix string) []float32 {
		for name, w := range weights {
			if strings.HasSuffix(name, suffix) {
				return w
			}
		}
		t.Fatalf("no tensor %s", suffix)
		return nil
	}
	re, im, mel := find("stft.conv_real.weight"), find("stft.conv_imag.weight"), find("melW")
	shape := g.Expected["logmel"].Shape
	frames, bins := shape[2], shape[3]
	freqs := len(mel) / bins
	size := len(re) / freqs
	var c struct {
		Hop      int `json:"hop_size"`
		AudioCfg struct {
			Hop int `json:"hop_size"`
		} `json:"audio_cfg"`
		Htsat struct {
			Hop int `json:"hop_size"`
		} `json:"htsat_config"`
	}
	raw, err := os.ReadFile(filepath.Join(g.dir, "checkpoint", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	hop := max(c.Hop, c.AudioCfg.Hop)
	if c.Htsat.Hop > 0 {
		hop = c.Htsat.Hop
	}
	if got := len(wave)/hop + 1; got != frames {
		t.Fatalf("%d frames of %d samples, expected %d", got, len(wave), frames)
	}
	out := make([]float32, frames*bins)
	ones, frame := make([]float64, size), make([]float64, size)
	for i := range ones {
		ones[i] = 1
	}
	power := make([]float64, freqs)
	for f := range frames {
		windowed(frame, ones, wave, f*hop-size/2)
		for k := range freqs {
			var a, b float64
			for i, v := range frame {
				a += v * float64(re[k*size+i])
				b += v * float64(im[k*size+i])
			}
			power[k] = a*a + b*b
		}
		for m := range bins {
			var sum float64
			for k, p := range power {
				sum += p * float64(mel[k*bins+m])
			}
			out[f*bins+m] = float32(10 * math.Log10(max(sum, 1e-10)))
		}
	}
	return out, []int{1, 1, frames, bins}
}
