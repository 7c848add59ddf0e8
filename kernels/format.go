package kernels

import (
	"fmt"
	"math"
)

// Scheme says how the numbers of a weight matrix are stored.
type Scheme struct {
	// Bits is 8 or 4.
	Bits int
	// Group is the number of consecutive values of a row, along K, that share a scale; 0 is the whole row.
	Group int
	// Asymmetric schemes have a zero point for each scale.
	Asymmetric bool
}

// String returns the scheme's name as reports print it: int8, int8-g32, int4-g32-asym, int4-channel.
func (s Scheme) String() string {
	name := fmt.Sprintf("int%d", s.Bits)
	switch {
	case s.Group > 0:
		name += fmt.Sprintf("-g%d", s.Group)
	case s.Bits == 4:
		name += "-channel"
	}
	if s.Asymmetric {
		name += "-asym"
	}
	return name
}

// Groups returns the number of scales of a row of k values.
func (s Scheme) Groups(k int) int {
	if s.Group <= 0 || k == 0 {
		return min(k, 1)
	}
	return (k-1)/s.Group + 1
}

// RowBytes returns the bytes of a stored row of k values. Each row starts at a whole byte.
func (s Scheme) RowBytes(k int) int {
	if s.Bits == 4 {
		return (k + 1) / 2
	}
	return k
}

// Zero returns the stored value that stands for 0 where the scheme has no zero points, as it is read by [Quantized]: 0 for
// int8, which is signed, and 8 for int4, which is stored with that offset.
func (s Scheme) Zero() int {
	if s.Bits == 4 {
		return 8
	}
	return 0
}

// Range returns the least and the greatest stored value. Symmetric int8 leaves out -128 when it is written, so that
// negation is exact, but reads it.
func (s Scheme) Range() (lo, hi int) {
	switch {
	case s.Bits == 4:
		return 0, 15
	case s.Asymmetric:
		return 0, 255
	}
	return -127, 127
}

// Quantized is a weight matrix W[N,K] as files hold it, independent of the instruction set.
//
//	int8 symmetric:  w = s*q, q int8
//	int8 asymmetric: w = s*(q-z), q and z uint8
//	int4 symmetric:  w = s*(q-8), q in 0..15
//	int4 asymmetric: w = s*(q-z), q and z in 0..15
//
// Two int4 values share a byte, the earlier one in the low half, and each row is padded to a whole byte. The last group of
// a row may be short.
type Quantized struct {
	N, K int
	Scheme
	// Data holds N rows of Scheme.RowBytes(K) bytes.
	Data []byte
	// Scales holds N rows of Scheme.Groups(K) scales.
	Scales []float32
	// Zeros holds a zero point, one a byte, for each scale of an asymmetric scheme, and is empty otherwise.
	Zeros []uint8
}

// NewQuantized allocates a matrix of zeros with scales 0.
func NewQuantized(n, k int, s Scheme) *Quantized {
	q := &Quantized{N: n, K: k, Scheme: s, Data: make([]byte, n*s.RowBytes(k)), Scales: make([]float32, n*s.Groups(k))}
	if s.Asymmetric {
		q.Zeros = make([]uint8, len(q.Scales))
	}
	return q
}

// Check reports the first inconsistency between shape, scheme and the lengths of the slices.
func (q *Quantized) Check() error {
	const maxElements = math.MaxInt / 8
	switch {
	case q.Bits != 8 && q.Bits != 4:
		return fmt.Errorf("quantized matrix: %d bits; expected 8 or 4", q.Bits)
	case q.Group < 0:
		return fmt.Errorf("quantized matrix: group size %d is negative", q.Group)
	case q.N < 0 || q.K < 0 || q.N > 0 && q.K > maxElements/q.N:
		return fmt.Errorf("quantized matrix: shape [%d, %d] is not possible", q.N, q.K)
	}
	data, scales, zeros := q.N*q.RowBytes(q.K), q.N*q.Groups(q.K), 0
	if q.Asymmetric {
		zeros = scales
	}
	switch {
	case len(q.Data) != data:
		return fmt.Errorf("quantized matrix [%d, %d] %v: %d bytes of data; expected %d", q.N, q.K, q.Scheme, len(q.Data), data)
	case len(q.Scales) != scales:
		return fmt.Errorf("quantized matrix [%d, %d] %v: %d scales; expected %d", q.N, q.K, q.Scheme, len(q.Scales), scales)
	case len(q.Zeros) != zeros:
		return fmt.Errorf("quantized matrix [%d, %d] %v: %d zero points; expected %d", q.N, q.K, q.Scheme, len(q.Zeros), zeros)
	}
	if q.Bits == 4 {
		for i, z := range q.Zeros {
			if z > 15 {
				return fmt.Errorf("quantized matrix [%d, %d] %v: zero point %d of row %d is over 15", q.N, q.K, q.Scheme, z, i/q.Groups(q.K))
			}
		}
	}
	return nil
}

// at returns the stored value of row n, column k: signed for symmetric int8, unsigned otherwise.
func (q *Quantized) at(n, k int) int {
	switch {
	case q.Bits == 4:
		return int(q.Data[n*q.RowBytes(q.K)+k/2]>>(k%2*4)) & 15
	case q.Asymmetric:
		return int(q.Data[n*q.K+k])
	}
	return int(int8(q.Data[n*q.K+k]))
}

// zero returns the stored value that stands for 0 in group g of row n.
func (q *Quantized) zero(n, g int) int {
	if q.Asymmetric {
		return int(q.Zeros[n*q.Groups(q.K)+g])
	}
	return q.Zero()
}
