package audio

import (
	"errors"
	"fmt"
	"io"
	"math"
)

// Kernel is a windowed sinc low-pass filter for resampling.
type Kernel struct {
	// Width is how many zero crossings of the sinc stand on each side.
	Width int
	// Rolloff is the cutoff as a share of the lower Nyquist frequency.
	Rolloff float64
	// Beta shapes a Kaiser window; 0 means a Hann window.
	Beta float64
}

// The kernels of torchaudio.functional.resample: Hann is its default; Kaiser is its sharper kaiser_best (the parameters
// of resampy's filter of that name).
var (
	Hann   = Kernel{Width: 6, Rolloff: 0.99}
	Kaiser = Kernel{Width: 64, Rolloff: 0.9475937167399596, Beta: 14.769656459379492}
)

// KernelByName is Hann for "hann" or "", and Kaiser for "kaiser".
func KernelByName(name string) (Kernel, error) {
	switch name {
	case "", "hann":
		return Hann, nil
	case "kaiser":
		return Kaiser, nil
	}
	return Kernel{}, fmt.Errorf("resampling kernel %q: expected hann or kaiser", name)
}

// maxTaps bounds the filter's size. Two rates below a megahertz stay under it whatever their ratio.
const maxTaps = 1 << 24

// resampler is a polyphase filter over a Source. Each output is one dot product over the same samples in the same order
// whatever the blocks, so that reading in pieces equals reading at once.
type resampler struct {
	src       Source
	rate      int
	orig, new int     // the rates over their greatest common divisor
	phases    []phase // one for each of new outputs that orig inputs give
	hist      []float32
	base      int64 // the input index of hist[0]
	at        int64 // the next output
	in        int64 // inputs read
	ended     bool
	err       error
	pad       int // zeros before the first and after the last input
}

// phase holds the taps of the outputs n with n mod new the same.
type phase struct {
	start int // of the first tap, from the input (n / new) * orig
	taps  []float64
}

// Resample gives src at another rate, as torchaudio.functional.resample (0.13.1) does for float32 waveforms: the signal
// is taken to be zero outside, ceil(n * rate / src.Rate()) samples come out of n. At equal rates it is src itself.
func Resample(src Source, rate int, k Kernel) (Source, error) {
	from := src.Rate()
	if rate < 1 || from < 1 {
		return nil, fmt.Errorf("cannot resample from %d Hz to %d Hz: expected positive rates", from, rate)
	}
	if from == rate {
		return src, nil
	}
	if k.Width < 1 || !(k.Rolloff > 0 && k.Rolloff <= 1) || !(k.Beta >= 0 && k.Beta < 500) {
		return nil, fmt.Errorf("resampling kernel of width %d, rolloff %g, beta %g: expected width >= 1, 0 < rolloff <= 1, 0 <= beta < 500", k.Width, k.Rolloff, k.Beta)
	}
	g := gcd(from, rate)
	r := &resampler{src: src, rate: rate, orig: from / g, new: rate / g}
	if n := 2 * float64(k.Width) / k.Rolloff * float64(max(r.orig, r.new)); n > maxTaps {
		return nil, fmt.Errorf("cannot resample from %d Hz to %d Hz: the filter would need %.0f taps, at most %d are allowed", from, rate, n, maxTaps)
	}
	r.phases, r.pad = k.phases(r.orig, r.new)
	r.hist = make([]float32, r.pad, r.pad+blockSamples)
	r.base = -int64(r.pad)
	return r, nil
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// phases computes the taps, step by step in float32 as torchaudio does for a float32 waveform, so that the samples are the
// original's to the last bit with the Hann window; and the number of inputs that the filter reaches beyond the first and
// the last.
func (k Kernel) phases(orig, new int) ([]phase, int) {
	base := float64(min(orig, new)) * k.Rolloff
	width := int(math.Ceil(float64(k.Width*orig) / base))
	scale, half := float32(base/float64(orig)), float32(k.Width)
	norm := float32(besselI0(k.Beta))
	all := make([]phase, new)
	for j := range all {
		shift := float32(-j) / float32(new)
		// Taps are zero where |t| reaches the width; one more on each side is looked at for rounding.
		lo := max(-width, int(math.Floor((-float64(k.Width)/base+float64(j)/float64(new))*float64(orig)))-1)
		hi := min(width+orig-1, int(math.Ceil((float64(k.Width)/base+float64(j)/float64(new))*float64(orig)))+1)
		p := phase{start: lo, taps: make([]float64, 0, hi-lo+1)}
		for i := lo; i <= hi; i++ {
			t := float32(shift + float32(i)/float32(orig))
			t = float32(t * float32(base))
			if t <= -half || t >= half {
				if len(p.taps) > 0 {
					break
				}
				p.start = i + 1
				continue
			}
			var window float32
			if k.Beta > 0 {
				u := float32(t / half)
				u = float32(math.Sqrt(float64(1 - float32(u*u))))
				window = float32(besselI0(float64(float32(k.Beta)*u))) / norm
			} else {
				c := cos32(float32(float32(t*math.Pi)/half) / 2)
				window = float32(c * c)
			}
			sinc := float32(1)
			if x := float32(t * math.Pi); x != 0 {
				sinc = sin32(x) / x
			}
			p.taps = append(p.taps, float64(float32(sinc*float32(window*scale))))
		}
		all[j] = p
	}
	return all, width + orig
}

// besselI0 is the modified Bessel function of the first kind, order 0, by its power series: all terms are positive.
func besselI0(x float64) float64 {
	sum, term := 1.0, 1.0
	for n := 1.0; term > sum*1e-17; n++ {
		term *= (x / 2 / n) * (x / 2 / n)
		sum += term
	}
	return sum
}

func (r *resampler) Rate() int { return r.rate }

func (r *resampler) Read(dst []float32) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n := 0
	for n < len(dst) {
		frame, j := r.at/int64(r.new), int(r.at%int64(r.new))
		if r.ended && r.at >= (r.in*int64(r.new)+int64(r.orig)-1)/int64(r.orig) {
			r.err = io.EOF
			break
		}
		p := &r.phases[j]
		from := frame*int64(r.orig) + int64(p.start) - r.base
		if from+int64(len(p.taps)) > int64(len(r.hist)) {
			if r.ended {
				r.err = errors.New("resampling ran past its input")
				break
			}
			if n > 0 {
				return n, nil // what is there first, so that an error of the source comes in its place
			}
			if r.err = r.fill(); r.err != nil {
				break
			}
			continue
		}
		x := r.hist[from : from+int64(len(p.taps))]
		// A fused multiply-add in float32, tap after tap, is what torch's convolution does. The product of two float32 is
		// exact in float64, so that rounding the sum once more is a fused multiply-add.
		var sum float32
		for i, t := range p.taps {
			sum = float32(float64(sum) + t*float64(x[i]))
		}
		dst[n] = sum
		n++
		r.at++
	}
	if n > 0 {
		return n, nil
	}
	return 0, r.err
}

// fill drops the inputs that no later output needs and reads a block more.
func (r *resampler) fill() error {
	need := r.at/int64(r.new)*int64(r.orig) - int64(r.pad)
	if drop := min(need-r.base, int64(len(r.hist))); drop > 0 {
		r.hist = r.hist[:copy(r.hist, r.hist[drop:])]
		r.base += drop
	}
	have := len(r.hist)
	if cap(r.hist) < have+blockSamples {
		grown := make([]float32, have, 2*have+blockSamples)
		copy(grown, r.hist)
		r.hist = grown
	}
	n, err := r.src.Read(r.hist[have : have+blockSamples])
	r.hist = r.hist[:have+n]
	r.in += int64(n)
	if err == io.EOF {
		r.ended = true
		r.hist = append(r.hist, make([]float32, r.pad)...)
		return nil
	}
	return err
}
