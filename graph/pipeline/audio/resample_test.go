package audio

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"testing"
)

// wave is a Source over samples in memory that gives them in blocks of odd sizes.
type wave struct {
	rate    int
	samples []float32
	block   int // 0: as much as fits
	err     error
}

func (w *wave) Rate() int { return w.rate }

func (w *wave) Read(dst []float32) (int, error) {
	if len(w.samples) == 0 {
		if w.err != nil {
			return 0, w.err
		}
		return 0, io.EOF
	}
	if w.block > 0 {
		dst = dst[:min(len(dst), w.block)]
	}
	n := copy(dst, w.samples)
	w.samples = w.samples[n:]
	return n, nil
}

func noise(n int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() / 4)
	}
	return x
}

// slowResample is the definition (torchaudio's, in float64): every output is a sum over the whole signal.
func slowResample(x []float32, from, to int, k Kernel) []float64 {
	g := gcd(from, to)
	orig, new := from/g, to/g
	base := float64(min(orig, new)) * k.Rolloff
	out := make([]float64, (len(x)*new+orig-1)/orig)
	for n := range out {
		for i, v := range x {
			t := (float64(i)/float64(orig) - float64(n)/float64(new)) * base
			if math.Abs(t) >= float64(k.Width) {
				continue
			}
			u := t / float64(k.Width)
			window := math.Pow(math.Cos(u*math.Pi/2), 2)
			if k.Beta > 0 {
				window = besselI0(k.Beta*math.Sqrt(1-u*u)) / besselI0(k.Beta)
			}
			sinc := 1.0
			if t != 0 {
				sinc = math.Sin(t*math.Pi) / (t * math.Pi)
			}
			out[n] += float64(v) * window * sinc * base / float64(orig)
		}
	}
	return out
}

// TestResample holds the samples against the definition, and that blocks of any size change no bit.
func TestResample(t *testing.T) {
	for _, rates := range [][2]int{{8000, 16000}, {16000, 8000}, {44100, 16000}, {22050, 48000}, {48000, 44100}, {16000, 44100}, {7919, 8000}, {96000, 11025}, {1, 3}, {3, 1}, {192000, 1000}} {
		for _, k := range []Kernel{Hann, Kaiser, {Width: 1, Rolloff: 1}} {
			for _, n := range []int{1, 2, 13, 997} {
				t.Run(fmt.Sprintf("%d-%d/width%d/%d", rates[0], rates[1], k.Width, n), func(t *testing.T) {
					x := noise(n, 7)
					src, err := Resample(&wave{rate: rates[0], samples: x}, rates[1], k)
					if err != nil {
						t.Fatal(err)
					}
					if src.Rate() != rates[1] {
						t.Errorf("rate %d", src.Rate())
					}
					got, err := ReadAll(src, 0)
					if err != nil {
						t.Fatal(err)
					}
					want := slowResample(x, rates[0], rates[1], k)
					if len(got) != len(want) {
						t.Fatalf("%d samples, expected %d", len(got), len(want))
					}
					// Positions in float32 put the taps of rates without a common divisor off by up to 1e-4.
					for i := range want {
						if d := math.Abs(float64(got[i]) - want[i]); d > 2e-4 {
							t.Fatalf("sample %d is %g, expected %g", i, got[i], want[i])
						}
					}
					src, err = Resample(&wave{rate: rates[0], samples: x, block: 5}, rates[1], k)
					if err != nil {
						t.Fatal(err)
					}
					var pieces []float32
					for {
						b := make([]float32, 3)
						n, err := src.Read(b)
						pieces = append(pieces, b[:n]...)
						if err == io.EOF {
							break
						}
						if err != nil {
							t.Fatal(err)
						}
					}
					same(t, pieces, got)
				})
			}
		}
	}
}

// TestResampleLong holds blocks against the whole where the history is dropped many times.
func TestResampleLong(t *testing.T) {
	x := noise(5*blockSamples+123, 3)
	read := func(block int) []float32 {
		src, err := Resample(&wave{rate: 44100, samples: x, block: block}, 16000, Hann)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadAll(src, 0)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	same(t, read(777), read(0))
}

// TestResampleRefuses holds rates and kernels that cannot be used, and errors of the source.
func TestResampleRefuses(t *testing.T) {
	for _, c := range []struct {
		from, to int
		k        Kernel
	}{
		{0, 16000, Hann}, {16000, 0, Hann}, {16000, -1, Hann}, {8000, 16000, Kernel{}}, {8000, 16000, Kernel{Width: 6}},
		{8000, 16000, Kernel{Width: 6, Rolloff: math.NaN()}}, {8000, 16000, Kernel{Width: 6, Rolloff: 0.9, Beta: 1e9}},
		{9999991, 16000, Hann}, {999983, 16000, Kaiser},
	} {
		if _, err := Resample(&wave{rate: c.from}, c.to, c.k); err == nil {
			t.Errorf("%d to %d Hz by %+v: no error", c.from, c.to, c.k)
		}
	}
	broken := errors.New("broken")
	src, err := Resample(&wave{rate: 8000, samples: noise(100, 1), err: broken}, 16000, Hann)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadAll(src, 0); !errors.Is(err, broken) {
		t.Errorf("error of the source: %v", err)
	}
	if k, err := KernelByName("kaiser"); err != nil || k != Kaiser {
		t.Errorf("kaiser: %+v, %v", k, err)
	}
	if _, err := KernelByName("sinc"); err == nil {
		t.Error("sinc: no error")
	}
}

// TestSinCos32 holds sine and cosine to 0.9 units in the last place over their range.
func TestSinCos32(t *testing.T) {
	worst := 0.0
	for i := -200000; i <= 200000; i++ {
		x := float32(i) * 1e-3
		for _, c := range []struct {
			got  float32
			want float64
		}{{sin32(x), math.Sin(float64(x))}, {cos32(x), math.Cos(float64(x))}} {
			ulp := float64(math.Nextafter32(float32(math.Abs(c.want)), 2) - float32(math.Abs(c.want)))
			if d := math.Abs(float64(c.got)-c.want) / max(ulp, 1e-12); d > worst {
				worst = d
			}
		}
	}
	t.Logf("%.2f ulp", worst)
	if worst > 0.9 {
		t.Errorf("off by %.2f ulp", worst)
	}
}

func BenchmarkResample(b *testing.B) {
	x := noise(30*44100, 1)
	b.SetBytes(int64(4 * len(x)))
	for b.Loop() {
		src, err := Resample(&wave{rate: 44100, samples: x}, 16000, Hann)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := ReadAll(src, 0); err != nil {
			b.Fatal(err)
		}
	}
}
