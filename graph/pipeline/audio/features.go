package audio

import (
	"errors"
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// Features is what an audio encoder takes: a batch of clips.
type Features struct {
	Data  []float32
	Shape []int // (clips, samples), (clips, bins, frames) or (clips, channels, frames, bins)
	// Mask is 1 where a sample (or frame) belongs to its clip and 0 where it is padding: (clips, samples or frames). It is
	// nil where the pipeline asks for none.
	Mask []int32
	// IsLonger says of each clip whether it is longer than the model's window, so that feature fusion applies to it.
	IsLonger []bool
}

// Choices are what the original draws at random for a clip.
type Choices struct {
	// TruncStart is the first sample of the crop of a long clip (0 without it): rand_trunc_start.
	TruncStart *int
	// ChunkStarts are the first frames of the three crops that are fused with the shrunk spectrogram, low to high:
	// fusion_chunk_starts. Without them each is the first of its third of the possible starts.
	ChunkStarts []int
}

// Extract makes the features of one clip, at the pipeline's rate.
func Extract(p *pipeline.Audio, wave []float32, c Choices) (*Features, error) {
	return ExtractBatch(p, [][]float32{wave}, []Choices{c})
}

// ExtractBatch makes the features of several clips as one padded batch. choices may be nil, or hold one element a clip.
func ExtractBatch(p *pipeline.Audio, waves [][]float32, choices []Choices) (*Features, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if len(waves) == 0 {
		return nil, errors.New("no clip to make features of")
	}
	if choices == nil {
		choices = make([]Choices, len(waves))
	}
	if len(choices) != len(waves) {
		return nil, fmt.Errorf("%d choices for %d clips: expected one for each", len(choices), len(waves))
	}
	length := p.Samples
	for i, wave := range waves {
		if len(wave) == 0 {
			return nil, fmt.Errorf("clip %d holds no samples", i)
		}
		if at := firstBad(wave); at >= 0 {
			return nil, fmt.Errorf("clip %d: sample %d is %v: expected finite values", i, at, wave[at])
		}
		if p.Samples == 0 {
			length = max(length, len(wave))
		}
	}
	if p.Bank != nil {
		return extractBank(p, waves)
	}
	if n := p.PadMultiple; n > 0 {
		length = (length + n - 1) / n * n
	}
	out := &Features{IsLonger: make([]bool, len(waves)), Shape: []int{len(waves), length}}
	size, mask := length, length
	if m := p.Mel; m != nil {
		if length <= m.FFT/2 {
			return nil, fmt.Errorf("%d samples are too few for frames of %d: expected more than %d", length, m.FFT, m.FFT/2)
		}
		frames := frameCount(m, length)
		channels := 1
		if p.Truncate == pipeline.TruncateFusion {
			channels = fusedChannels
		}
		size = channels * frames * m.Bins
		out.Shape = []int{len(waves), channels, frames, m.Bins}
		if m.BinsFirst {
			out.Shape = []int{len(waves), m.Bins, frames}
		}
		mask = (length + m.Hop - 1) / m.Hop
	}
	out.Data = make([]float32, len(waves)*size)
	if p.Mask {
		out.Mask = make([]int32, len(waves)*mask)
	}
	longer := false
	for i, wave := range waves {
		var m []int32
		if p.Mask {
			m = out.Mask[i*mask : (i+1)*mask]
		}
		var err error
		out.IsLonger[i], err = extract(p, wave, length, choices[i], out.Data[i*size:(i+1)*size], m)
		if err != nil {
			return nil, fmt.Errorf("clip %d: %w", i, err)
		}
		longer = longer || out.IsLonger[i]
	}
	if p.OneLonger && !longer {
		out.IsLonger[0] = true
	}
	return out, nil
}

// extract makes the features of one clip in a window of length samples, and says whether the clip is longer.
func extract(p *pipeline.Audio, wave []float32, length int, c Choices, out []float32, mask []int32) (bool, error) {
	if p.RoundInt16 {
		wave = roundInt16(wave)
	}
	longer := len(wave) > length
	if longer && p.Truncate == pipeline.TruncateFusion {
		return fuse(p, wave, length, c.ChunkStarts, out)
	}
	if longer {
		start := 0
		if c.TruncStart != nil && p.Truncate == pipeline.TruncateCrop {
			start = *c.TruncStart
			if start < 0 || start > len(wave)-length {
				return false, fmt.Errorf("the crop starts at sample %d: expected 0 to %d, for a window of %d in %d samples", start, len(wave)-length, length, len(wave))
			}
		}
		wave = wave[start : start+length]
	}
	samples := len(wave)
	wave = fillUp(p, wave, length)
	if p.Mask {
		step := 1
		if p.Mel != nil {
			step = p.Mel.Hop
		}
		from, to := 0, samples
		if p.PadLeft {
			from, to = length-samples, length
		}
		for i := range mask {
			if at := i * step; at >= from && at < to {
				mask[i] = 1
			}
		}
	}
	if p.Normalize {
		wave = normalize(p, wave, samples)
	}
	if p.Mel == nil {
		copy(out, wave)
		return longer, nil
	}
	if p.Truncate == pipeline.TruncateFusion {
		n := len(out) / fusedChannels
		logMel(p.Mel, p.SampleRate, wave, out[:n])
		for ch := 1; ch < fusedChannels; ch++ {
			copy(out[ch*n:], out[:n])
		}
		return longer, nil
	}
	logMel(p.Mel, p.SampleRate, wave, out)
	return longer, nil
}

// roundInt16 is what is left of samples stored as 16-bit integers: LAION-AI/CLAP int16_to_float32(float32_to_int16(x)).
func roundInt16(wave []float32) []float32 {
	out := make([]float32, len(wave))
	for i, v := range wave {
		out[i] = float32(int16(max(-1, min(1, v))*32767)) / 32767
	}
	return out
}

// fillUp gives a clip the length of the window.
func fillUp(p *pipeline.Audio, wave []float32, length int) []float32 {
	if len(wave) == length {
		return wave
	}
	out := make([]float32, length)
	switch p.Pad {
	case pipeline.PadRepeat:
		for n := 0; n < length; {
			n += copy(out[n:], wave)
		}
		return out
	case pipeline.PadRepeatPad:
		for n := 0; n+len(wave) <= length; {
			n += copy(out[n:], wave)
		}
		return out
	}
	if p.PadValue != 0 {
		for i := range out {
			out[i] = float32(p.PadValue)
		}
	}
	if p.PadLeft {
		copy(out[length-len(wave):], wave)
	} else {
		copy(out, wave)
	}
	return out
}

// normalize is Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm. Without an attention mask the padding counts as sound, as
// it does there; with one, the first samples values are the clip's, whichever side was padded, as there too.
func normalize(p *pipeline.Audio, wave []float32, samples int) []float32 {
	if !p.Mask {
		samples = len(wave)
	}
	var sum float64
	for _, v := range wave[:samples] {
		sum += float64(v)
	}
	mean := sum / float64(samples)
	var squares float64
	for _, v := range wave[:samples] {
		d := float64(v) - mean
		squares += d * d
	}
	scale := 1 / math.Sqrt(squares/float64(samples)+p.Epsilon)
	out := make([]float32, len(wave))
	for i, v := range wave[:samples] {
		out[i] = float32((float64(v) - mean) * scale)
	}
	for i := samples; i < len(out); i++ {
		out[i] = float32(p.PadValue)
	}
	return out
}
