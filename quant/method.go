package quant

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/x448/float16"

	"github.com/mmconv/mmconv/kernels"
)

// Method chooses the integers, scales and zero points of a weight. Each registers itself from its own file.
//
// What a method chooses depends on the weight, the target and nothing else: not on the number of threads, nor on the
// instruction set. Sums are therefore taken in a fixed order, and products that are added are rounded first (an explicit
// conversion keeps the compiler from fusing the two).
type Method interface {
	// Name is what --method takes.
	Name() string
	// About says in a line what the method does.
	About() string
	// Needs is what the method must know of the inputs of the weight's products.
	Needs() Needs
	// Begin makes ready for one weight, and returns what quantizes its rows. The statistics hold at least what is needed.
	Begin(t Target, s *Statistics) (Rows, error)
}

// Needs says which statistics something asks for: their union.
type Needs uint8

// The statistics that can be asked for.
const (
	Mean Needs = 1 << iota // the mean of each input
)

func (n Needs) String() string {
	if n&Mean != 0 {
		return "the mean"
	}
	return "nothing"
}

// Statistics is what is known of the K inputs that a weight is multiplied with, of convolutions as patches. What is not
// known is nil.
type Statistics struct {
	Mean []float32 // [K]
}

// missing returns those of the needs that the statistics do not hold.
func (s *Statistics) missing(n Needs) Needs {
	if s.Mean != nil {
		n &^= Mean
	}
	return n
}

// Target is a weight that is to be quantized.
type Target struct {
	Name   string
	N, K   int // W is [N, K]
	Scheme kernels.Scheme
	// HalfScales asks for scales that float16 holds exactly.
	HalfScales bool
}

// Rows fills the rows of q, which has the target's scheme and K, from as many rows of W: scales, zero points and data. W is
// finite and must not be changed. Several goroutines may call it at once, each with a q of its own.
type Rows func(q *kernels.Quantized, w []float32)

var methods []Method

func register(m Method) (none struct{}) {
	methods = append(methods, m)
	slices.SortFunc(methods, func(a, b Method) int { return strings.Compare(a.Name(), b.Name()) })
	return none
}

// Methods returns all methods by name.
func Methods() []Method { return slices.Clone(methods) }

// MethodByName finds a method.
func MethodByName(name string) (Method, error) {
	var known []string
	for _, m := range methods {
		if m.Name() == name {
			return m, nil
		}
		known = append(known, m.Name())
	}
	return nil, fmt.Errorf("method %q: expected one of %s", name, strings.Join(known, ", "))
}

// storable returns the scale nearest to s that is stored as the target asks. A scale that float16 would lose altogether
// becomes its smallest number instead, so that only weights below 2^-21 lose precision to it.
func (t *Target) storable(s float64) float32 {
	f := float32(s)
	if !t.HalfScales || f == 0 {
		return f
	}
	h := float16.Fromfloat32(f).Float32()
	if h == 0 {
		return float32(math.Copysign(0x1p-24, s))
	}
	return h
}

// eachGroup calls f for each group of each row of w: i is the place of its scale, x its values.
func (t *Target) eachGroup(w []float32, f func(i int, x []float32)) {
	if t.K == 0 {
		return
	}
	group := t.Scheme.Group
	if group <= 0 {
		group = t.K
	}
	i := 0
	for ; len(w) >= t.K; w = w[t.K:] {
		for k := 0; k < t.K; k += group {
			f(i, w[k:min(k+group, t.K)])
			i++
		}
	}
}

// levels is the greatest magnitude that the scheme stores on both sides of zero: 127 or 7. Asymmetric schemes have as many
// steps as [levels] gives between their least and their greatest value.
func levels(s kernels.Scheme) float64 {
	lo, hi := s.Range()
	if s.Asymmetric {
		return float64(hi - lo)
	}
	return float64(hi - s.Zero())
}
