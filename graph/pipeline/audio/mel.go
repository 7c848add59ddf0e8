package audio

import (
	"math"
	"runtime"
	"sync"

	"gonum.org/v1/gonum/dsp/fourier"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// filter is a triangular mel filter: its weights for the FFT bins from first on, all others being zero.
type filter struct {
	first   int
	weights []float64
}

// melFilters builds the filter bank of m at a sampling rate, as transformers.audio_utils.mel_filter_bank and
// librosa.filters.mel do in float64 or, with Float32Filters, as torchaudio.functional.melscale_fbanks does in float32.
func melFilters(m *pipeline.Mel, rate int) []filter {
	round := func(x float64) float64 { return x }
	if m.Float32Filters {
		round = func(x float64) float64 { return float64(float32(x)) }
	}
	bins := m.FFT/2 + 1
	fft := linspace(0, float64(rate/2), bins, round)
	if m.Scale == pipeline.MelKaldi {
		// The triangles are straight over mel.
		for i := range fft {
			fft[i] = hzToMel(fft[i], m.Scale)
		}
	}
	edges := linspace(hzToMel(m.MinHz, m.Scale), hzToMel(m.MaxHz, m.Scale), m.Bins+2, round)
	for i, mel := range edges {
		if m.Scale != pipeline.MelKaldi {
			edges[i] = melToHz(mel, m.Scale, round)
		}
	}
	bank := make([]filter, m.Bins)
	for b := range bank {
		low, mid, high := edges[b], edges[b+1], edges[b+2]
		area := 1.0
		if m.AreaNorm {
			area = round(2 / round(high-low))
		}
		f := filter{}
		for i, hz := range fft {
			up := round(round(hz-low) / round(mid-low))
			down := round(round(high-hz) / round(high-mid))
			w := min(up, down)
			if !(w > 0) {
				if len(f.weights) > 0 {
					break
				}
				f.first = i + 1
				continue
			}
			f.weights = append(f.weights, round(w*area))
		}
		bank[b] = f
	}
	return bank
}

// linspace is n evenly spaced values. In float32 it counts from both ends to the middle, as torch.linspace does.
func linspace(from, to float64, n int, round func(float64) float64) []float64 {
	x := make([]float64, n)
	from, to = round(from), round(to)
	step := round(round(to-from) / float64(n-1))
	for i := range x {
		if i < n/2 {
			x[i] = round(from + round(step*float64(i)))
		} else {
			x[i] = round(to - round(step*float64(n-1-i)))
		}
	}
	return x
}

// The Slaney scale bends at 1 kHz, which is 15 mel.
const (
	slaneyHzPerMel = 200.0 / 3
	slaneyBendHz   = 1000.0
	slaneyBendMel  = 15.0
)

var slaneyLogStep = math.Log(6.4) / 27

func hzToMel(hz float64, scale pipeline.MelScale) float64 {
	switch scale {
	case pipeline.MelHTK:
		return 2595 * math.Log10(1+hz/700)
	case pipeline.MelKaldi:
		return 1127 * math.Log(1+hz/700)
	}
	if hz < slaneyBendHz {
		return hz / slaneyHzPerMel
	}
	return slaneyBendMel + math.Log(hz/slaneyBendHz)/slaneyLogStep
}

func melToHz(mel float64, scale pipeline.MelScale, round func(float64) float64) float64 {
	if scale == pipeline.MelHTK {
		return round(700 * round(round(math.Pow(10, round(mel/2595)))-1))
	}
	if mel < slaneyBendMel {
		return round(slaneyHzPerMel * mel)
	}
	return round(slaneyBendHz * round(math.Exp(round(slaneyLogStep*round(mel-slaneyBendMel)))))
}

// frameCount is how many frames m takes of a clip.
func frameCount(m *pipeline.Mel, samples int) int {
	n := (samples-m.FFT%2)/m.Hop + 1 // an odd frame is centred half a sample off
	if m.DropLast {
		n--
	}
	return n
}

// logMel computes the spectrogram of one clip into out, in float64 up to the last step: (frames, bins), or (bins, frames)
// with BinsFirst. The clip is longer than half a frame.
func logMel(m *pipeline.Mel, rate int, wave []float32, out []float32) {
	frames := frameCount(m, len(wave))
	bank := melFilters(m, rate)
	window := make([]float64, m.FFT)
	for i := range window {
		window[i] = 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/float64(m.FFT))
	}
	factor := 1.0
	if m.Log == pipeline.MelDB {
		factor = 10
	}
	frameStep, binStep := m.Bins, 1
	if m.BinsFirst {
		frameStep, binStep = 1, frames
	}
	silent := factor * math.Log10(m.Floor)
	logs := make([]float64, frames*m.Bins) // (frames, bins)
	inParallel(frames, func(from, to int) {
		fft := fourier.NewFFT(m.FFT)
		frame := make([]float64, m.FFT)
		spectrum := make([]complex128, m.FFT/2+1)
		power := make([]float64, m.FFT/2+1)
		for f := from; f < to; f++ {
			row := logs[f*m.Bins : (f+1)*m.Bins]
			if !windowed(frame, window, wave, f*m.Hop-m.FFT/2) {
				for b := range row {
					row[b] = silent
				}
				continue
			}
			for i, c := range fft.Coefficients(spectrum, frame) {
				power[i] = real(c)*real(c) + imag(c)*imag(c)
			}
			for b, flt := range bank {
				var sum float64
				for i, w := range flt.weights {
					sum += w * power[flt.first+i]
				}
				row[b] = factor * math.Log10(max(sum, m.Floor))
			}
		}
	})
	least := math.Inf(-1)
	if m.Range > 0 {
		for _, v := range logs {
			least = max(least, v)
		}
		least -= m.Range
	}
	divide := m.Divide
	if divide == 0 {
		divide = 1
	}
	inParallel(frames, func(from, to int) {
		for f := from; f < to; f++ {
			for b, v := range logs[f*m.Bins : (f+1)*m.Bins] {
				out[f*frameStep+b*binStep] = float32((max(v, least) + m.Add) / divide)
			}
		}
	})
}

// windowed puts the samples from start on, mirrored at the ends of the clip, times the window into frame, and says whether
// any of them is not zero.
func windowed(frame, window []float64, wave []float32, start int) bool {
	sound := false
	last := len(wave) - 1
	for i := range frame {
		at := start + i
		if at < 0 || at > last {
			at = mirror(at, last)
		}
		v := wave[at]
		sound = sound || v != 0
		frame[i] = float64(v) * window[i]
	}
	return sound
}

// mirror reflects an index into [0, last] without repeating the ends, however far it is outside.
func mirror(at, last int) int {
	for at < 0 || at > last {
		if at < 0 {
			at = -at
		} else {
			at = 2*last - at
		}
	}
	return at
}

// inParallel splits n things among the processors. Each is done by itself, so that the result does not depend on the split.
func inParallel(n int, do func(from, to int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers < 2 || n < 64 {
		do(0, n)
		return
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { do(w*n/workers, (w+1)*n/workers) })
	}
	wg.Wait()
}
