package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/formats"
)

// Audio says how a waveform becomes a model's input. It is data: a system's file fills it, a converted folder stores it as
// JSON, and package graph/pipeline/audio carries it out. The steps run in the order of the fields: the clip is averaged to one
// channel and resampled to SampleRate, rounded, cut or padded to Samples, normalised, and turned into log-mel frames where
// Mel is set.
type Audio struct {
	// SampleRate is the rate that the model was trained on, in Hz.
	SampleRate int `json:"sample_rate"`
	// Input names the model's input: input_features, input_values or waveform.
	Input string `json:"input"`
	// RoundInt16 sends samples through 16-bit integers first, scaled by 32767 and cut towards zero, as LAION-AI/CLAP does.
	RoundInt16 bool `json:"round_int16,omitempty"`
	// Samples is the length of the model's window at SampleRate; 0 leaves clips as long as they are, and pads the shorter
	// clips of a batch to its longest.
	Samples  int           `json:"samples,omitempty"`
	Pad      AudioPad      `json:"pad,omitempty"`
	PadLeft  bool          `json:"pad_left,omitempty"`
	PadValue float64       `json:"pad_value,omitempty"`
	Truncate AudioTruncate `json:"truncate,omitempty"`
	// PadMultiple pads clips of a batch to a multiple of so many samples where Samples is 0; 0 means 1.
	PadMultiple int `json:"pad_to_multiple_of,omitempty"`
	// OneLonger marks the first clip of a batch as longer than the window when none is, so that a model with feature
	// fusion always fuses: ClapFeatureExtractor does so (for a clip drawn at random).
	OneLonger bool `json:"one_longer,omitempty"`
	// Normalize brings each clip to zero mean and unit variance: (x - mean) / sqrt(variance + Epsilon).
	Normalize bool    `json:"normalize,omitempty"`
	Epsilon   float64 `json:"epsilon,omitempty"`
	// Mask asks for an attention mask: 1 where a sample (or, with Mel, a frame) belongs to the clip, 0 where it is padding.
	// With Normalize, mean and variance are then those of the clip without its padding.
	Mask bool `json:"attention_mask,omitempty"`
	// Mel is the spectrogram; nil gives the waveform itself to the model.
	Mel *Mel `json:"mel,omitempty"`
	// Bank is the spectrogram of models that were trained on Kaldi's or NeMo's, instead.
	Bank *Filterbank `json:"filterbank,omitempty"`
}

// AudioPad is how a clip shorter than the window is filled up.
type AudioPad string

// The ways to fill up a clip.
const (
	PadConstant  AudioPad = ""          // with PadValue, after the clip (before it with PadLeft)
	PadRepeat    AudioPad = "repeat"    // the clip again and again, the last time cut
	PadRepeatPad AudioPad = "repeatpad" // the clip as often as it fits whole, then zeros
)

// AudioTruncate is what becomes of a clip longer than the window.
type AudioTruncate string

// The ways to cut a clip.
const (
	TruncateHead   AudioTruncate = ""       // the first Samples samples
	TruncateCrop   AudioTruncate = "crop"   // Samples samples from a start that the original draws at random
	TruncateFusion AudioTruncate = "fusion" // four spectrograms: the whole clip shrunk, and three crops of it
)

// MelScale is the curve from Hz to mel.
type MelScale string

// The two scales that audio encoders use.
const (
	MelSlaney MelScale = "slaney" // linear to 1 kHz, logarithmic above (Slaney's Auditory Toolbox; librosa's default)
	MelHTK    MelScale = "htk"    // 2595 log10(1 + f/700)
)

// MelLog is the logarithm taken of the mel powers.
type MelLog string

// The two logarithms.
const (
	MelLog10 MelLog = "log10"
	MelDB    MelLog = "dB" // 10 log10
)

// Mel is a log-mel spectrogram: frames of FFT samples, Hop apart and centred (the ends of the clip mirrored), a periodic
// Hann window, powers, triangular filters, a logarithm.
type Mel struct {
	FFT   int      `json:"n_fft"`
	Hop   int      `json:"hop"`
	Bins  int      `json:"bins"`
	MinHz float64  `json:"min_hz"`
	MaxHz float64  `json:"max_hz"`
	Scale MelScale `json:"scale"`
	// AreaNorm scales every filter by 2 / its width in Hz (norm="slaney").
	AreaNorm bool `json:"area_norm,omitempty"`
	// Float32Filters computes the filters step by step in float32, as torchaudio does; librosa and transformers use float64.
	Float32Filters bool   `json:"float32_filters,omitempty"`
	Log            MelLog `json:"log"`
	// Floor is the least power that the logarithm sees.
	Floor float64 `json:"floor"`
	// Range raises everything lower than the clip's peak by more than this to peak - Range; 0 leaves it.
	Range float64 `json:"range,omitempty"`
	// Add and Divide finish the values: (x + Add) / Divide. Divide 0 means 1.
	Add    float64 `json:"add,omitempty"`
	Divide float64 `json:"divide,omitempty"`
	// DropLast leaves the last frame out.
	DropLast bool `json:"drop_last,omitempty"`
	// BinsFirst gives (clips, bins, frames); otherwise (clips, channels, frames, bins).
	BinsFirst bool `json:"bins_first,omitempty"`
}

// Limits on what a configuration may ask for: far above every published model, low enough to allocate.
const (
	maxAudioRate    = 10_000_000
	maxAudioSamples = 1 << 28
	maxFFT          = 1 << 16
	maxMelBins      = 4096
)

// Check reports the first thing in a that cannot be carried out.
func (a *Audio) Check() error {
	switch {
	case a.SampleRate < 1 || a.SampleRate > maxAudioRate:
		return fmt.Errorf("sampling rate %d Hz: expected 1 to %d", a.SampleRate, maxAudioRate)
	case a.Samples < 0 || a.Samples > maxAudioSamples:
		return fmt.Errorf("window of %d samples: expected at most %d", a.Samples, maxAudioSamples)
	case a.Pad != PadConstant && a.Pad != PadRepeat && a.Pad != PadRepeatPad:
		return fmt.Errorf("padding %q: expected %q, %q or none", a.Pad, PadRepeat, PadRepeatPad)
	case a.Truncate != TruncateHead && a.Truncate != TruncateCrop && a.Truncate != TruncateFusion:
		return fmt.Errorf("truncation %q: expected %q, %q or none", a.Truncate, TruncateCrop, TruncateFusion)
	case a.PadMultiple < 0 || a.PadMultiple > maxAudioSamples || a.PadMultiple > 0 && (a.Samples > 0 || a.Bank != nil):
		return fmt.Errorf("pad_to_multiple_of %d: expected 1 to %d, for clips of any length and without a filterbank", a.PadMultiple, maxAudioSamples)
	case a.Samples == 0 && (a.Pad != PadConstant || a.Truncate != TruncateHead):
		return fmt.Errorf("padding %q and truncation %q need a window length, and there is none", a.Pad, a.Truncate)
	case a.Truncate == TruncateFusion && (a.Mel == nil || a.Mel.BinsFirst || a.Mel.DropLast):
		return fmt.Errorf("truncation %q needs a mel spectrogram laid out by frames", a.Truncate)
	case a.Bank != nil && (a.Mel != nil || a.Samples != 0 || a.Truncate != TruncateHead || a.Normalize):
		return fmt.Errorf("a filterbank takes whole clips as they are")
	case a.Bank != nil && a.Bank.check(a.SampleRate) != nil:
		return a.Bank.check(a.SampleRate)
	case !finite(a.PadValue) || !finite(a.Epsilon) || a.Epsilon < 0:
		return fmt.Errorf("padding value %g and epsilon %g: expected finite values, epsilon not negative", a.PadValue, a.Epsilon)
	}
	if a.Mel == nil {
		return nil
	}
	return a.Mel.check(a.Samples)
}

func (m *Mel) check(samples int) error {
	switch {
	case m.FFT < 2 || m.FFT > maxFFT:
		return fmt.Errorf("FFT length %d: expected 2 to %d", m.FFT, maxFFT)
	case m.Hop < 1 || m.Hop > maxAudioSamples:
		return fmt.Errorf("hop length %d: expected at least 1", m.Hop)
	case m.Bins < 1 || m.Bins > maxMelBins:
		return fmt.Errorf("%d mel bins: expected 1 to %d", m.Bins, maxMelBins)
	case !finite(m.MinHz) || !finite(m.MaxHz) || m.MinHz < 0 || m.MinHz >= m.MaxHz:
		return fmt.Errorf("mel range %g to %g Hz: expected 0 <= low < high", m.MinHz, m.MaxHz)
	case m.Scale != MelSlaney && m.Scale != MelHTK:
		return fmt.Errorf("mel scale %q: expected %q or %q", m.Scale, MelSlaney, MelHTK)
	case m.Log != MelLog10 && m.Log != MelDB:
		return fmt.Errorf("logarithm %q: expected %q or %q", m.Log, MelLog10, MelDB)
	case !finite(m.Floor) || m.Floor <= 0:
		return fmt.Errorf("mel floor %g: expected a positive value", m.Floor)
	case !finite(m.Range) || m.Range < 0 || !finite(m.Add) || !finite(m.Divide):
		return fmt.Errorf("mel range %g, add %g, divide %g: expected finite values, range not negative", m.Range, m.Add, m.Divide)
	case samples > 0 && samples <= m.FFT/2:
		return fmt.Errorf("a window of %d samples is too short for frames of %d: expected more than %d", samples, m.FFT, m.FFT/2)
	case samples/m.Hop+1 > maxAudioSamples/m.Bins:
		return fmt.Errorf("a window of %d samples, hop %d and %d bins: too many values", samples, m.Hop, m.Bins)
	}
	return nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// WhisperAudio is the frontend of Whisper (Radford et al. 2022, section 2.2; openai/whisper audio.py): 16 kHz, 25 ms Hann
// frames every 10 ms, Slaney filters, log10 within 8 decades of the peak, (x+4)/4. bins is 80, or 128 for large-v3.
func WhisperAudio(bins int) *Audio {
	return whisper(bins, 16000, 400, 160, 30*16000)
}

func whisper(bins, rate, fft, hop, samples int) *Audio {
	return &Audio{
		SampleRate: rate, Input: "input_features", Samples: samples,
		Mel: &Mel{FFT: fft, Hop: hop, Bins: bins, MinHz: 0, MaxHz: 8000, Scale: MelSlaney, AreaNorm: true,
			Log: MelLog10, Floor: 1e-10, Range: 8, Add: 4, Divide: 4, DropLast: true, BinsFirst: true},
	}
}

// LAIONCLAPConfig is audio_cfg of LAION-AI/CLAP's model configurations (src/laion_clap/clap_module/model_configs).
type LAIONCLAPConfig struct {
	SampleRate  int     `json:"sample_rate"`
	ClipSamples int     `json:"clip_samples"`
	WindowSize  int     `json:"window_size"`
	HopSize     int     `json:"hop_size"`
	MelBins     int     `json:"mel_bins"`
	MinHz       float64 `json:"fmin"`
	MaxHz       float64 `json:"fmax"`
}

// LAIONCLAPAudio is the frontend of LAION-AI/CLAP (hook.py, training/data.py). Without fusion the model takes the waveform
// and computes its spectrogram from stored matrices; with it, four torchaudio spectrograms named mel_fusion.
func LAIONCLAPAudio(c LAIONCLAPConfig, fusion bool) *Audio {
	a := &Audio{SampleRate: c.SampleRate, Input: "waveform", RoundInt16: true, Samples: c.ClipSamples,
		Pad: PadRepeatPad, Truncate: TruncateCrop}
	if fusion {
		a.Input, a.Truncate = "mel_fusion", TruncateFusion
		a.Mel = &Mel{FFT: c.WindowSize, Hop: c.HopSize, Bins: c.MelBins, MinHz: c.MinHz, MaxHz: c.MaxHz, Scale: MelHTK,
			Float32Filters: true, Log: MelDB, Floor: 1e-10}
	}
	return a
}

// MicrosoftCLAPAudio is the frontend of microsoft/CLAP, 2022 and 2023 (msclap/CLAPWrapper.py): a short clip is repeated to
// duration seconds, a long one cropped. The spectrogram is the model's own.
func MicrosoftCLAPAudio(sampleRate, duration int) *Audio {
	return &Audio{SampleRate: sampleRate, Input: "waveform", Samples: sampleRate * duration, Pad: PadRepeat, Truncate: TruncateCrop}
}

// TorchaudioAudio is the input of torchaudio.models.wav2vec2_model and its bundles: the waveform, layer-normalised as a
// whole where the bundle says so (the large ones).
func TorchaudioAudio(sampleRate int, normalize bool) *Audio {
	a := &Audio{SampleRate: sampleRate, Input: "input_values", Normalize: normalize}
	if normalize {
		a.Epsilon = 1e-5
	}
	return a
}

// FairseqAudio is the input of fairseq's HuBERT and wav2vec 2.0: task.sample_rate, and layer_norm over the clip where
// task.normalize is set (fairseq/data/audio/raw_audio_dataset.py).
func FairseqAudio(sampleRate int, normalize bool) *Audio {
	return TorchaudioAudio(sampleRate, normalize)
}

// extractors holds a reader for each feature extractor class of Hugging Face transformers.
var extractors = map[string]func(raw []byte) (*Audio, error){}

// registerExtractor makes a class known, from the file that reads it.
func registerExtractor(class string, read func(raw []byte) (*Audio, error)) (none struct{}) {
	extractors[class] = read
	return none
}

var (
	_ = registerExtractor("WhisperFeatureExtractor", whisperExtractor)
	_ = registerExtractor("ClapFeatureExtractor", clapExtractor)
	_ = registerExtractor("Wav2Vec2FeatureExtractor", wav2vec2Extractor)
)

// ParseAudioExtractor reads a preprocessor_config.json of Hugging Face transformers (or a processor_config.json that holds
// one under feature_extractor). A key that is absent takes the default of its class. class names the class of files that
// do not say theirs; old ones do not. Stored values that the classes compute anew (n_samples, nb_max_samples, mel_filters)
// are not read.
func ParseAudioExtractor(raw []byte, class string) (*Audio, error) {
	var head struct {
		Type   *string         `json:"feature_extractor_type"`
		Nested json.RawMessage `json:"feature_extractor"`
	}
	if err := formats.JSON("", raw, &head); err != nil {
		return nil, err
	}
	if len(head.Nested) > 0 && head.Nested[0] == '{' {
		raw, head.Nested = head.Nested, nil
		if err := formats.JSON("", raw, &head); err != nil {
			return nil, fmt.Errorf("feature_extractor: %w", err)
		}
	}
	if head.Type != nil {
		class = *head.Type
	}
	// transformers 4.26 wrote some names with other capitals (CLAPFeatureExtractor).
	for name, read := range extractors {
		if !strings.EqualFold(name, class) {
			continue
		}
		a, err := read(raw)
		if err == nil {
			err = a.Check()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return a, nil
	}
	known := strings.Join(slices.Sorted(maps.Keys(extractors)), ", ")
	if class == "" {
		return nil, fmt.Errorf("feature_extractor_type is missing: expected one of %s", known)
	}
	return nil, fmt.Errorf("feature_extractor_type %q: expected one of %s", class, known)
}

// sequenceConfig is what every SequenceFeatureExtractor has.
type sequenceConfig struct {
	FeatureSize         int     `json:"feature_size"`
	SamplingRate        int     `json:"sampling_rate"`
	PaddingValue        float64 `json:"padding_value"`
	PaddingSide         string  `json:"padding_side"`
	ReturnAttentionMask bool    `json:"return_attention_mask"`
}

func (c *sequenceConfig) apply(a *Audio) error {
	a.PadValue, a.Mask = c.PaddingValue, c.ReturnAttentionMask
	switch c.PaddingSide {
	case "", "right":
	case "left":
		a.PadLeft = true
	default:
		return fmt.Errorf("padding_side %q: expected \"right\" or \"left\"", c.PaddingSide)
	}
	return nil
}

// windowSamples is seconds*rate where that is a whole number of samples.
func windowSamples(key string, seconds float64, rate int) (int, error) {
	n := seconds * float64(rate)
	if !(n >= 1 && n <= maxAudioSamples) || n != math.Trunc(n) {
		return 0, fmt.Errorf("%s %g at %d Hz: expected a whole number of samples, 1 to %d", key, seconds, rate, maxAudioSamples)
	}
	return int(n), nil
}

func whisperExtractor(raw []byte) (*Audio, error) {
	c := struct {
		sequenceConfig
		HopLength   int     `json:"hop_length"`
		ChunkLength float64 `json:"chunk_length"`
		FFT         int     `json:"n_fft"`
		Dither      float64 `json:"dither"`
	}{sequenceConfig{FeatureSize: 80, SamplingRate: 16000}, 160, 30, 400, 0}
	if err := formats.JSON("", raw, &c); err != nil {
		return nil, err
	}
	if c.Dither != 0 {
		return nil, fmt.Errorf("dither %g adds random noise to every clip, which cannot be verified: set it to 0", c.Dither)
	}
	samples, err := windowSamples("chunk_length", c.ChunkLength, c.SamplingRate)
	if err != nil {
		return nil, err
	}
	a := whisper(c.FeatureSize, c.SamplingRate, c.FFT, c.HopLength, samples)
	return a, c.apply(a)
}

func clapExtractor(raw []byte) (*Audio, error) {
	c := struct {
		sequenceConfig
		HopLength  int     `json:"hop_length"`
		MaxLengthS float64 `json:"max_length_s"`
		FFT        int     `json:"fft_window_size"`
		MinHz      float64 `json:"frequency_min"`
		MaxHz      float64 `json:"frequency_max"`
		Truncation string  `json:"truncation"`
		Padding    string  `json:"padding"`
	}{sequenceConfig{FeatureSize: 64, SamplingRate: 48000}, 480, 10, 1024, 0, 14000, "fusion", "repeatpad"}
	if err := formats.JSON("", raw, &c); err != nil {
		return nil, err
	}
	samples, err := windowSamples("max_length_s", c.MaxLengthS, c.SamplingRate)
	if err != nil {
		return nil, err
	}
	// padding_side, padding_value and return_attention_mask are stored by the class and used by none of its steps.
	a := &Audio{SampleRate: c.SamplingRate, Input: "input_features", Samples: samples,
		Mel: &Mel{FFT: c.FFT, Hop: c.HopLength, Bins: c.FeatureSize, MinHz: c.MinHz, MaxHz: c.MaxHz, Log: MelDB, Floor: 1e-10}}
	switch c.Truncation {
	case "fusion":
		a.Truncate, a.OneLonger, a.Mel.Scale = TruncateFusion, true, MelHTK
	case "rand_trunc":
		a.Truncate, a.Mel.Scale, a.Mel.AreaNorm = TruncateCrop, MelSlaney, true
	default:
		return nil, fmt.Errorf("truncation %q: expected \"fusion\" or \"rand_trunc\"", c.Truncation)
	}
	switch c.Padding {
	case "repeatpad":
		a.Pad = PadRepeatPad
	case "repeat":
		a.Pad = PadRepeat
	case "pad":
	default:
		return nil, fmt.Errorf("padding %q: expected \"repeatpad\", \"repeat\" or \"pad\"", c.Padding)
	}
	return a, nil
}

func wav2vec2Extractor(raw []byte) (*Audio, error) {
	c := struct {
		sequenceConfig
		DoNormalize bool `json:"do_normalize"`
	}{sequenceConfig{FeatureSize: 1, SamplingRate: 16000}, true}
	if err := formats.JSON("", raw, &c); err != nil {
		return nil, err
	}
	if c.FeatureSize != 1 {
		return nil, fmt.Errorf("feature_size %d: a waveform has 1", c.FeatureSize)
	}
	a := &Audio{SampleRate: c.SamplingRate, Input: "input_values", Normalize: c.DoNormalize}
	if c.DoNormalize {
		a.Epsilon = 1e-7
	}
	return a, c.apply(a)
}
