package bench

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"

	"github.com/mmconv/mmconv/kernels"
)

// Shape is a product C[M,N] = A[M,K] W[N,K]^T.
type Shape struct{ M, K, N int }

// String returns the shape as [ParseShapes] reads it.
func (s Shape) String() string { return fmt.Sprintf("%dx%dx%d", s.M, s.K, s.N) }

// Encoders are shapes of well-known encoders: the number of tokens of an image or of 30 seconds of sound, by the widths of
// the layers.
var Encoders = map[string][]Shape{
	"vit-b-32":         {{50, 768, 2304}, {50, 768, 768}, {50, 768, 3072}, {50, 3072, 768}},
	"vit-b-16":         {{197, 768, 2304}, {197, 768, 768}, {197, 768, 3072}, {197, 3072, 768}},
	"vit-l-14":         {{257, 1024, 3072}, {257, 1024, 1024}, {257, 1024, 4096}, {257, 4096, 1024}},
	"vit-l-14-336":     {{577, 1024, 3072}, {577, 1024, 1024}, {577, 1024, 4096}, {577, 4096, 1024}},
	"siglip-so400m":    {{729, 1152, 3456}, {729, 1152, 1152}, {729, 1152, 4304}, {729, 4304, 1152}},
	"whisper-base":     {{1500, 512, 1536}, {1500, 512, 512}, {1500, 512, 2048}, {1500, 2048, 512}},
	"whisper-large":    {{1500, 1280, 3840}, {1500, 1280, 1280}, {1500, 1280, 5120}, {1500, 5120, 1280}},
	"llava-projector":  {{576, 1024, 4096}, {576, 4096, 4096}},
	"hubert-base-10s":  {{499, 768, 2304}, {499, 768, 768}, {499, 768, 3072}, {499, 3072, 768}},
	"clip-text-b":      {{77, 512, 1536}, {77, 512, 512}, {77, 512, 2048}, {77, 2048, 512}},
	"single-embedding": {{1, 768, 3072}, {1, 1024, 4096}, {1, 1280, 5120}},
}

// EncoderNames lists the keys of [Encoders] in order.
func EncoderNames() []string {
	var names []string
	for name := range Encoders {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// DefaultShapes are the widths of common encoders with few and with many tokens.
var DefaultShapes = func() (shapes []Shape) {
	for _, kn := range [][2]int{{768, 3072}, {1024, 4096}, {4096, 1024}, {1024, 1024}, {1280, 5120}} {
		for _, m := range []int{1, 16, 50, 197, 257, 577, 1500} {
			shapes = append(shapes, Shape{m, kn[0], kn[1]})
		}
	}
	return shapes
}()

// DefaultSchemes are float32 and the schemes that conversion offers.
var DefaultSchemes = []string{"float32", "int8", "int8-g128", "int8-g32", "int4-g128", "int4-g32", "int4-g32-asym"}

// ParseShapes reads shapes MxKxN and names of [Encoders], separated by commas.
func ParseShapes(list string) ([]Shape, error) {
	const most = 1 << 20
	var shapes []Shape
	for _, field := range strings.Split(list, ",") {
		field = strings.TrimSpace(field)
		if named, ok := Encoders[field]; ok {
			shapes = append(shapes, named...)
			continue
		}
		parts := strings.Split(field, "x")
		var v [3]int
		ok := len(parts) == len(v)
		for i := 0; ok && i < len(v); i++ {
			n, err := strconv.Atoi(parts[i])
			v[i], ok = n, err == nil && n > 0 && n <= most
		}
		if !ok || v[1]*v[2] > 1<<30 {
			return nil, fmt.Errorf("shape %q: expected MxKxN, three numbers from 1 to %d with K*N up to 2^30, or one of %s", field, most, strings.Join(EncoderNames(), ", "))
		}
		shapes = append(shapes, Shape{v[0], v[1], v[2]})
	}
	return shapes, nil
}

// Scheme is how a benchmark's weights and activations are stored.
type Scheme struct {
	Name    string
	Float32 bool // weights, and so activations
	kernels.Scheme
	FloatActivations bool
}

// ParseScheme reads float32, int8, int4-g32, int4-g128-asym, int8-f32 and their like: the bits; -gN for groups of N, or
// -channel for one group a row; -asym for zero points; -f32 for activations that are not quantized.
func ParseScheme(name string) (Scheme, error) {
	s := Scheme{Name: name}
	fail := func() (Scheme, error) {
		return s, fmt.Errorf("scheme %q: expected float32, or int8 or int4 with -gN or -channel, -asym, -f32 in this order, for example int4-g32-asym", name)
	}
	parts := strings.Split(name, "-")
	switch parts[0] {
	case "float32":
		s.Float32 = true
		if len(parts) > 1 {
			return fail()
		}
		return s, nil
	case "int8":
		s.Bits = 8
	case "int4":
		s.Bits = 4
	default:
		return fail()
	}
	parts = parts[1:]
	next := func(want string) bool {
		if len(parts) == 0 || parts[0] != want {
			return false
		}
		parts = parts[1:]
		return true
	}
	if len(parts) > 0 && strings.HasPrefix(parts[0], "g") {
		n, err := strconv.Atoi(parts[0][1:])
		if err != nil || n <= 0 {
			return fail()
		}
		s.Group, parts = n, parts[1:]
	} else {
		next("channel")
	}
	s.Asymmetric = next("asym")
	s.FloatActivations = next("f32")
	if len(parts) > 0 {
		return fail()
	}
	return s, nil
}

// ParseSchemes reads schemes separated by commas.
func ParseSchemes(list string) ([]Scheme, error) {
	var all []Scheme
	for _, name := range strings.Split(list, ",") {
		s, err := ParseScheme(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Options say what to time.
type Options struct {
	Shapes  []Shape
	Schemes []Scheme
	Threads []int
	// Warm and Cold choose which weights are timed; neither means warm ones.
	Warm, Cold bool
	// Rounds is the number of timings of each product; 0 means 20.
	Rounds int
}

// Record is the result of one product. Its JSON names are those that scripts rely on.
type Record struct {
	M       int    `json:"m"`
	K       int    `json:"k"`
	N       int    `json:"n"`
	Scheme  string `json:"scheme"`
	Threads int    `json:"threads"`
	ISA     string `json:"isa"`
	// Weights is warm or cold.
	Weights string `json:"weights"`
	// GopsBest and GopsMedian are 2MNK operations over the time, in 10^9 a second.
	GopsBest   float64 `json:"gops_best"`
	GopsMedian float64 `json:"gops_median"`
	// PeakGops is the best that the scheme's unit did in this run on as many threads, in a probe or in a product; Share is
	// GopsBest divided by it.
	PeakGops float64 `json:"peak_gops"`
	Share    float64 `json:"share"`
	// MicrosBest is the shortest time in microseconds.
	MicrosBest float64 `json:"us_best"`
	// GBps is the speed at which the packed weights were read in the best time, in 10^9 bytes a second; PeakGBps is the best
	// at which they were read alone, over several access patterns, on one thread.
	GBps     float64 `json:"gb_s"`
	PeakGBps float64 `json:"peak_gb_s"`
	Rounds   int     `json:"rounds"`
}

// probe times the peak of a unit on all threads of a pool.
type probe struct {
	unit       kernels.Unit
	iterations int
	operations []float64
}

// Part implements [kernels.Task].
func (p *probe) Part(part, _ int) { p.operations[part] = kernels.Peak(p.unit, p.iterations) }

// probesInRound is how many times a peak is measured in a round. The first finds workers asleep; and on a machine that is
// shared, all processors at once are free less often than one.
const probesInRound = 6

// run returns the most operations in 10^9 a second that all threads did, or one of them while it alone worked.
func (p *probe) run(pool *kernels.Pool) (best float64) {
	p.operations = make([]float64, pool.Threads())
	for range probesInRound {
		start := time.Now()
		pool.Run(pool.Threads(), p)
		seconds := time.Since(start).Seconds()
		var sum float64
		for _, o := range p.operations {
			sum += o
		}
		best = max(best, sum/seconds*1e-9)
	}
	if pool.Threads() > 1 {
		start := time.Now()
		best = max(best, kernels.Peak(p.unit, p.iterations)/time.Since(start).Seconds()*1e-9)
	}
	return best
}

// newProbe chooses as many iterations as take about a quarter of a millisecond.
func newProbe(u kernels.Unit) *probe {
	p := &probe{unit: u, iterations: 1000}
	for {
		start := time.Now()
		kernels.Peak(u, p.iterations)
		if d := time.Since(start); d >= 250*time.Microsecond || p.iterations > 1<<28 {
			return p
		}
		p.iterations *= 2
	}
}

// Gemm times the products and calls each with a record of each, as soon as all schemes of a shape are done.
func Gemm(o Options, each func(Record)) error {
	if o.Rounds <= 0 {
		o.Rounds = 20
	}
	if !o.Cold {
		o.Warm = true
	}
	for _, t := range o.Threads {
		if t <= 0 {
			return fmt.Errorf("bench: %d threads; expected 1 or more", t)
		}
	}
	probes := map[kernels.Unit]*probe{}
	for _, u := range []kernels.Unit{kernels.UnitFloat32, kernels.UnitInt8} {
		probes[u] = newProbe(u)
	}
	for _, threads := range o.Threads {
		pool := kernels.NewPool(threads)
		peaks := map[kernels.Unit]float64{} // the best so far, so that a disturbed shape is not held against a low peak
		for range o.Rounds {
			measure(pool, probes, peaks)
		}
		for _, shape := range o.Shapes {
			if o.Warm {
				timeShape(&o, pool, shape, false, probes, peaks, each)
			}
			if o.Cold {
				timeShape(&o, pool, shape, true, probes, peaks, each)
			}
		}
		pool.Close()
	}
	return nil
}

// measure raises the peaks to what the units do now.
func measure(pool *kernels.Pool, probes map[kernels.Unit]*probe, peaks map[kernels.Unit]float64) {
	for u, probe := range probes {
		peaks[u] = max(peaks[u], probe.run(pool))
	}
}

// product is a shape in one scheme, with the copies of its weights.
type product struct {
	gemm   kernels.Gemm
	copies []*kernels.Packed
	times  []float64
	read   float64 // best bytes a second
}

func timeShape(o *Options, pool *kernels.Pool, shape Shape, cold bool, probes map[kernels.Unit]*probe, peaks map[kernels.Unit]float64, each func(Record)) {
	r := rand.New(rand.NewPCG(1, uint64(shape.M)<<40^uint64(shape.K)<<20^uint64(shape.N)))
	var (
		scratch kernels.Scratch
		a       = make([]float32, shape.M*shape.K)
		c       = make([]float32, shape.M*shape.N)
		w       = make([]float32, shape.N*shape.K)
		all     []*product
	)
	for _, x := range [][]float32{a, w} {
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
	}
	for _, s := range o.Schemes {
		first := pack(s, shape, w)
		p := &product{gemm: kernels.Gemm{M: shape.M, A: a, LDA: shape.K, C: c, LDC: shape.N}, copies: []*kernels.Packed{first}}
		for cold && len(p.copies) < 1+2*lastCache()/max(first.Bytes(), 1) {
			p.copies = append(p.copies, first.Clone())
		}
		all = append(all, p)
	}
	run := func(p *product, i int) float64 {
		p.gemm.W = p.copies[i%len(p.copies)]
		start := time.Now()
		pool.Gemm(&p.gemm, &scratch)
		return time.Since(start).Seconds()
	}
	for _, p := range all {
		run(p, 0) // grows the scratch memory
	}
	call := make([]int, len(all))
	for range o.Rounds {
		measure(pool, probes, peaks)
		for i, p := range all {
			// Warm weights are those of a call just before; a short product is timed several times in a round.
			if !cold {
				run(p, 0)
			}
			best := math.Inf(1)
			for spent := 0.0; spent < 300e-6; {
				call[i]++
				t := run(p, call[i])
				best, spent = min(best, t), spent+t
			}
			p.times = append(p.times, best)
			for pattern := range kernels.ReadPatterns {
				if !cold {
					p.copies[0].ReadAll(pattern)
				}
				call[i]++
				start := time.Now()
				n := p.copies[call[i]%len(p.copies)].ReadAll(pattern)
				p.read = max(p.read, float64(n)/time.Since(start).Seconds())
			}
		}
	}
	for i, p := range all {
		slices.Sort(p.times)
		best, median := p.times[0], p.times[len(p.times)/2]
		operations := 2 * float64(shape.M) * float64(shape.K) * float64(shape.N) * 1e-9
		weights := "warm"
		if cold {
			weights = "cold"
		}
		packed := p.copies[0]
		// A product cannot outrun its unit: where it seems to, the probes were disturbed.
		peak := max(peaks[packed.Unit()], operations/best)
		peaks[packed.Unit()] = peak
		each(Record{
			M: shape.M, K: shape.K, N: shape.N, Scheme: o.Schemes[i].Name, Threads: pool.Threads(), ISA: kernels.Active().String(), Weights: weights,
			GopsBest: operations / best, GopsMedian: operations / median, PeakGops: peak, Share: operations / best / peak,
			MicrosBest: best * 1e6, GBps: float64(packed.Bytes()) / best * 1e-9, PeakGBps: p.read * 1e-9, Rounds: len(p.times),
		})
	}
}

// lastCache returns the size of the last-level cache in bytes.
func lastCache() int {
	const unknown = 32 << 20
	if n := cpuid.CPU.Cache.L3; n > 0 {
		return max(n, cpuid.CPU.Cache.L2)
	}
	return unknown
}

// pack quantizes weights by rounding to nearest, which is all that a timing needs.
func pack(s Scheme, shape Shape, w []float32) *kernels.Packed {
	if s.Float32 {
		return kernels.PackFloat32(shape.N, shape.K, w, shape.K)
	}
	q := kernels.NewQuantized(shape.N, shape.K, s.Scheme)
	_, most := s.Range()
	if s.Asymmetric {
		hi := make([]float32, len(q.Scales))
		kernels.RowMinMax(q.Scales, hi, w, shape.K, s.Group)
		for i, lo := range q.Scales {
			q.Scales[i] = max((max(hi[i], 0)-min(lo, 0))/float32(most), 1e-30)
			q.Zeros[i] = uint8(min(max(math.RoundToEven(float64(-min(lo, 0)/q.Scales[i])), 0), float64(most)))
		}
	} else {
		kernels.RowAbsMax(q.Scales, w, shape.K, s.Group)
		for i := range q.Scales {
			q.Scales[i] /= float32(most - q.Zero())
		}
	}
	kernels.QuantizeRTN(q, 0, w)
	return kernels.PackQuantized(q, !s.FloatActivations)
}
