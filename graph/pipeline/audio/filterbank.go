package audio

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/dsp/fourier"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// bankFrames is how many frames f takes of a clip, and how many of them are the clip's: a centred last one stands for its end.
func bankFrames(f *pipeline.Filterbank, samples int) (all, own int) {
	if f.Centred {
		return samples/f.Hop + 1, max(1, samples/f.Hop)
	}
	if samples < f.Window {
		return 0, 0
	}
	n := (samples-f.Window)/f.Hop + 1
	return n, n
}

// extractBank makes the features of several clips: each by itself, then filled up with zeros to the longest.
func extractBank(p *pipeline.Audio, waves [][]float32) (*Features, error) {
	f := p.Bank
	stack := max(f.Stack, 1)
	rows := make([][]float32, len(waves))
	own := make([]int, len(waves))
	longest := f.Frames
	for i, wave := range waves {
		all, n := bankFrames(f, len(wave))
		if all < stack {
			return nil, fmt.Errorf("clip %d: %d samples make %d frames of %d samples, %d apart; expected at least %d", i, len(wave), all, f.Window, f.Hop, stack)
		}
		rows[i], own[i] = filterbank(f, p.SampleRate, wave, all, n), n
		if f.Frames == 0 {
			longest = max(longest, all)
		}
	}
	if rest := longest % stack; rest != 0 && len(waves) > 1 {
		longest += stack - rest // batches are padded to a multiple
	}
	steps, width := longest/stack, stack*f.Bins
	out := &Features{Shape: []int{len(waves), steps, width}, Data: make([]float32, len(waves)*steps*width), IsLonger: make([]bool, len(waves))}
	if p.Mask {
		out.Mask = make([]int32, len(waves)*steps)
	}
	divide := f.Divide
	if divide == 0 {
		divide = 1
	}
	for i, row := range rows {
		to := out.Data[i*steps*width : (i+1)*steps*width]
		copy(to, row)
		if f.Add != 0 || divide != 1 {
			for j, v := range to {
				to[j] = float32((float64(v) + f.Add) / divide)
			}
		}
		if p.Mask {
			for s := range steps {
				if (s+1)*stack <= own[i] {
					out.Mask[i*steps+s] = 1
				}
			}
		}
	}
	return out, nil
}

// filterbank computes the frames of one clip, (frames, bins); those behind the clip's own are zero where bins are normalised.
func filterbank(f *pipeline.Filterbank, rate int, wave []float32, frames, own int) []float32 {
	x := make([]float64, len(wave))
	gain := f.Gain
	if gain == 0 {
		gain = 1
	}
	for i, v := range wave {
		x[i] = float64(v) * gain
	}
	if f.PreemphasizeClip {
		for i := len(x) - 1; i > 0; i-- {
			x[i] = float64(float32(x[i] - f.Preemphasis*x[i-1]))
		}
	}
	bank := melFilters(&pipeline.Mel{FFT: f.FFT, Bins: f.Bins, MinHz: f.MinHz, MaxHz: f.MaxHz, Scale: f.Scale, AreaNorm: f.AreaNorm}, rate)
	window := make([]float64, f.Window)
	for i := range window {
		window[i] = 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/float64(f.Window-1))
		if f.Povey {
			window[i] = math.Pow(window[i], 0.85)
		}
		window[i] = f32(window[i])
	}
	emphasis := f32(f.Preemphasis)
	logs := make([]float64, frames*f.Bins)
	inParallel(frames, func(from, to int) {
		fft := fourier.NewFFT(f.FFT)
		frame := make([]float64, f.FFT)
		spectrum := make([]complex128, f.FFT/2+1)
		for n := from; n < to; n++ {
			clear(frame)
			start, at := n*f.Hop, 0
			if f.Centred {
				at = (f.FFT - f.Window) / 2
				start += at - f.FFT/2
			}
			part := frame[at : at+f.Window]
			for i := range part {
				if j := start + i; j >= 0 && j < len(x) {
					part[i] = x[j]
				}
			}
			if f.RemoveMean {
				mean := 0.0
				for _, v := range part {
					mean += v
				}
				mean = f32(mean / float64(len(part)))
				for i := range part {
					part[i] = f32(part[i] - mean)
				}
			}
			if f.Preemphasis != 0 && !f.PreemphasizeClip {
				for i := len(part) - 1; i > 0; i-- {
					part[i] = f32(part[i] - f32(emphasis*part[i-1]))
				}
				part[0] = f32(part[0] - f32(emphasis*part[0]))
			}
			for i, w := range window {
				part[i] = f32(part[i] * w)
			}
			coefficients := fft.Coefficients(spectrum, frame)
			for b, flt := range bank {
				sum := 0.0
				for i, w := range flt.weights {
					c := coefficients[flt.first+i]
					sum += w * (real(c)*real(c) + imag(c)*imag(c))
				}
				logs[n*f.Bins+b] = math.Log(max(sum, f.Floor) + f.Guard)
			}
		}
	})
	if f.NormalizeBins {
		normalizeBins(f, logs, frames, own)
	}
	out := make([]float32, len(logs))
	for i, v := range logs {
		out[i] = float32(v)
	}
	return out
}

// normalizeBins brings each bin to zero mean and unit variance over the clip's own frames.
func normalizeBins(f *pipeline.Filterbank, logs []float64, frames, own int) {
	for b := range f.Bins {
		mean, variance := 0.0, 0.0
		for n := range own {
			mean += logs[n*f.Bins+b]
		}
		mean /= float64(own)
		for n := range own {
			d := logs[n*f.Bins+b] - mean
			variance += d * d
		}
		variance /= float64(max(own-1, 1))
		scale := 1 / (math.Sqrt(variance+f.VarianceEpsilon) + f.Epsilon)
		for n := range frames {
			if n < own {
				logs[n*f.Bins+b] = (logs[n*f.Bins+b] - mean) * scale
			} else {
				logs[n*f.Bins+b] = 0
			}
		}
	}
}

// f32 rounds to what the originals hold in float32.
func f32(x float64) float64 { return float64(float32(x)) }
