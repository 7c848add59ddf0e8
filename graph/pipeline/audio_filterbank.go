package pipeline

import (
	"encoding/json"
	"fmt"

	"github.com/mmconv/mmconv/formats"
)

// MelKaldi is Kaldi's scale, 1127 ln(1 + f/700), whose filters are triangles over mel instead of Hz.
const MelKaldi MelScale = "kaldi"

// Filterbank is a log-mel spectrogram as Kaldi and NeMo compute it: frames of Window samples within FFT, a natural logarithm,
// frames outside, bins inside: (clips, frames, bins).
type Filterbank struct {
	FFT      int      `json:"n_fft"`
	Window   int      `json:"window"` // samples of a frame
	Hop      int      `json:"hop"`
	Bins     int      `json:"bins"`
	MinHz    float64  `json:"min_hz"`
	MaxHz    float64  `json:"max_hz"`
	Scale    MelScale `json:"scale"`
	AreaNorm bool     `json:"area_norm,omitempty"` // as Mel has it
	// Povey is Kaldi's window, a Hann window to the power of 0.85. Both are symmetric.
	Povey bool `json:"povey,omitempty"`
	// Centred frames stand around their place, with zeros beyond the clip's ends; else all lie within the clip.
	Centred bool `json:"centred,omitempty"`
	// Gain multiplies the samples.
	Gain float64 `json:"gain,omitempty"`
	// RemoveMean takes its mean from each frame.
	RemoveMean bool `json:"remove_mean,omitempty"`
	// Preemphasis takes that part of the sample before from each: within each frame, or of the whole clip at first.
	Preemphasis      float64 `json:"preemphasis,omitempty"`
	PreemphasizeClip bool    `json:"preemphasize_clip,omitempty"`
	// Floor is the least power that the logarithm sees; Guard is added to it.
	Floor float64 `json:"floor,omitempty"`
	Guard float64 `json:"guard,omitempty"`
	// NormalizeBins brings each bin to zero mean and unit variance over the clip's frames: (x - mean) / (sqrt(variance +
	// VarianceEpsilon) + Epsilon).
	NormalizeBins   bool    `json:"normalize_bins,omitempty"`
	VarianceEpsilon float64 `json:"variance_epsilon,omitempty"`
	Epsilon         float64 `json:"epsilon,omitempty"`
	// Frames cuts longer clips and fills shorter ones up with zeros; 0 leaves them.
	Frames int `json:"frames,omitempty"`
	// Add and Divide finish the values: (x + Add) / Divide. Divide 0 means 1.
	Add    float64 `json:"add,omitempty"`
	Divide float64 `json:"divide,omitempty"`
	// Stack puts as many frames one behind the other in one; a rest is left out. 0 means 1.
	Stack int `json:"stack,omitempty"`
}

func (f *Filterbank) check(rate int) error {
	switch {
	case f.FFT < 2 || f.FFT > maxFFT || f.Window < 2 || f.Window > f.FFT || f.Hop < 1 || f.Hop > maxFFT:
		return fmt.Errorf("frames of %d samples in %d, %d apart: expected 2 to %d", f.Window, f.FFT, f.Hop, maxFFT)
	case f.Bins < 1 || f.Bins > maxMelBins:
		return fmt.Errorf("%d mel bins: expected 1 to %d", f.Bins, maxMelBins)
	case !(f.MinHz >= 0) || !(f.MaxHz > f.MinHz) || f.MaxHz > float64(rate):
		return fmt.Errorf("mel bins from %g to %g Hz at %d Hz", f.MinHz, f.MaxHz, rate)
	case f.Frames < 0 || f.Frames > maxAudioSamples/f.Bins || f.Stack < 0 || f.Stack > 64:
		return fmt.Errorf("%d frames, %d joined", f.Frames, f.Stack)
	case !(f.Floor >= 0) || !(f.Guard >= 0) || f.Floor+f.Guard == 0 || !finite(f.Gain) || !finite(f.Preemphasis) || !finite(f.Add) || !finite(f.Divide):
		return fmt.Errorf("a spectrogram with floor %g, guard %g, gain %g, preemphasis %g, (x + %g) / %g", f.Floor, f.Guard, f.Gain, f.Preemphasis, f.Add, f.Divide)
	}
	return nil
}

var (
	_ = registerExtractor("ASTFeatureExtractor", astExtractor)
	_ = registerExtractor("SeamlessM4TFeatureExtractor", seamlessExtractor)
	_ = registerExtractor("ParakeetFeatureExtractor", parakeetExtractor)
)

// kaldiBank is what torchaudio.compliance.kaldi.fbank and transformers' numpy twin of it compute by default.
func kaldiBank(bins, rate int) *Filterbank {
	return &Filterbank{FFT: 512, Window: 400, Hop: 160, Bins: bins, MinHz: 20, MaxHz: float64(rate / 2), Scale: MelKaldi, RemoveMean: true,
		Preemphasis: 0.97, Floor: 1.192092955078125e-07}
}

// astExtractor reads ASTFeatureExtractor (transformers, models/audio_spectrogram_transformer).
func astExtractor(raw []byte) (*Audio, error) {
	c := struct {
		sequenceConfig
		Bins      int     `json:"num_mel_bins"`
		MaxLength int     `json:"max_length"`
		Normalize bool    `json:"do_normalize"`
		Mean      float64 `json:"mean"`
		Std       float64 `json:"std"`
	}{sequenceConfig: sequenceConfig{SamplingRate: 16000}, Bins: 128, MaxLength: 1024, Normalize: true, Mean: -4.2677393, Std: 4.5689974}
	if err := formats.JSON("", raw, &c); err != nil {
		return nil, err
	}
	if c.MaxLength < 1 || c.Normalize && c.Std == 0 {
		return nil, fmt.Errorf("max_length %d and std %g: expected positive numbers", c.MaxLength, c.Std)
	}
	f := kaldiBank(c.Bins, c.SamplingRate)
	f.Frames = c.MaxLength
	if c.Normalize {
		f.Add, f.Divide = -c.Mean, 2*c.Std
	}
	a := &Audio{SampleRate: c.SamplingRate, Input: "input_values", Bank: f}
	c.ReturnAttentionMask = false // every frame counts, padding too
	return a, c.apply(a)
}

// seamlessExtractor reads SeamlessM4TFeatureExtractor (transformers, models/seamless_m4t), which Wav2Vec2-BERT has too.
func seamlessExtractor(raw []byte) (*Audio, error) {
	c := struct {
		sequenceConfig
		Bins   int `json:"num_mel_bins"`
		Stride int `json:"stride"`
	}{sequenceConfig: sequenceConfig{SamplingRate: 16000, ReturnAttentionMask: true}, Bins: 80, Stride: 2}
	if err := formats.JSON("", raw, &c); err != nil {
		return nil, err
	}
	f := kaldiBank(c.Bins, c.SamplingRate)
	f.Povey, f.Gain, f.Stack = true, 1<<15, c.Stride
	f.NormalizeBins, f.VarianceEpsilon = true, 1e-7
	a := &Audio{SampleRate: c.SamplingRate, Input: "input_features", Bank: f}
	return a, c.apply(a)
}

// parakeetExtractor reads ParakeetFeatureExtractor (transformers, models/parakeet), which is NeMo's preprocessor.
func parakeetExtractor(raw []byte) (*Audio, error) {
	c := struct {
		sequenceConfig
		Hop         int              `json:"hop_length"`
		FFT         int              `json:"n_fft"`
		Window      int              `json:"win_length"`
		Preemphasis *json.RawMessage `json:"preemphasis"`
	}{sequenceConfig: sequenceConfig{FeatureSize: 80, SamplingRate: 16000, ReturnAttentionMask: true}, Hop: 160, FFT: 512, Window: 400}
	if err := formats.JSON("", raw, &c); err != nil {
		return nil, err
	}
	emphasis := 0.97
	if c.Preemphasis != nil && string(*c.Preemphasis) != "null" {
		if err := json.Unmarshal(*c.Preemphasis, &emphasis); err != nil {
			return nil, fmt.Errorf("preemphasis: expected a number, found %.40s", *c.Preemphasis)
		}
	}
	a := &Audio{SampleRate: c.SamplingRate, Input: "input_features", Bank: &Filterbank{FFT: c.FFT, Window: c.Window, Hop: c.Hop, Bins: c.FeatureSize,
		MaxHz: float64(c.SamplingRate) / 2, Scale: MelSlaney, AreaNorm: true, Centred: true, Preemphasis: emphasis, PreemphasizeClip: true,
		Guard: 1.0 / (1 << 24), NormalizeBins: true, Epsilon: 1e-5}}
	return a, c.apply(a)
}
