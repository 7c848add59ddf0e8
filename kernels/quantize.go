package kernels

import "math"

// The functions of this file choose and apply number formats at conversion and when activations are quantized. Their
// results are the same bits on every instruction set: rounding is to nearest, ties to even, of the float32 product with
// the float32 reciprocal of the scale.

// AllFinite reports whether x holds neither NaN nor infinity.
func AllFinite(x []float32) bool { return finite(x) }

// RowAbsMax writes the greatest magnitude of each group of each row of x, which has rows of cols values; group 0 is the
// whole row. dst has rows*groups values. A NaN in a group makes its maximum NaN.
func RowAbsMax(dst, x []float32, cols, group int) {
	eachGroup(x, cols, group, func(i int, x []float32) { dst[i] = absMax(x) })
}

// RowMinMax writes the least and the greatest value of each group of each row, laid out as by [RowAbsMax]. A NaN is
// passed over unless it is all that there is, so check with [AllFinite] first.
func RowMinMax(lo, hi, x []float32, cols, group int) {
	eachGroup(x, cols, group, func(i int, x []float32) { lo[i], hi[i] = minMax(x) })
}

func eachGroup(x []float32, cols, group int, f func(i int, x []float32)) {
	if cols <= 0 {
		return
	}
	if group <= 0 {
		group = cols
	}
	i := 0
	for ; len(x) >= cols; x = x[cols:] {
		for at := 0; at < cols; at += group {
			f(i, x[at:min(at+group, cols)])
			i++
		}
	}
}

// QuantizeRTN rounds rows [row, row+len(w)/K) of W to the nearest stored values, given q.Scales and q.Zeros, and writes
// them to q.Data. A scale of 0 stores the zero point. Values out of range saturate; symmetric int8 does so at -127.
func QuantizeRTN(q *Quantized, row int, w []float32) {
	if q.K == 0 {
		return
	}
	var (
		groups  = q.Groups(q.K)
		group   = q.K
		stride  = q.RowBytes(q.K)
		lo, hi  = q.Range()
		scratch [1024]byte
	)
	if q.Group > 0 {
		group = q.Group
	}
	for ; len(w) >= q.K; w, row = w[q.K:], row+1 {
		out := q.Data[row*stride : (row+1)*stride]
		for g := range groups {
			k0, k1 := g*group, min((g+1)*group, q.K)
			zero, inv := q.zero(row, g), reciprocal(q.Scales[row*groups+g])
			if q.Bits == 8 {
				quantize(out[k0:k1], w[k0:k1], inv, int32(zero), int32(lo), int32(hi))
				continue
			}
			for k := k0; k < k1; k += len(scratch) {
				part := scratch[:min(len(scratch), k1-k)]
				quantize(part, w[k:k+len(part)], inv, int32(zero), int32(lo), int32(hi))
				packNibbles(out, k, part)
			}
		}
	}
}

// packNibbles stores values as the int4 values k, k+1... of a row.
func packNibbles(row []byte, k int, values []byte) {
	if k%2 == 1 && len(values) > 0 {
		row[k/2] = row[k/2]&0x0f | values[0]<<4
		k, values = k+1, values[1:]
	}
	out := row[k/2:]
	for i := 0; i+1 < len(values); i += 2 {
		out[i/2] = values[i] | values[i+1]<<4
	}
	if n := len(values); n%2 == 1 {
		out[n/2] = values[n-1]
	}
}

// reciprocal returns 1/s, and 0 where that says nothing: for 0, and for scales so small that it overflows.
func reciprocal(s float32) float32 {
	if inv := 1 / s; !math.IsInf(float64(inv), 0) {
		return inv
	}
	return 0
}

// Dequantize writes rows [row, row+len(dst)/K) of q as float32 numbers.
func Dequantize(dst []float32, q *Quantized, row int) {
	if q.K == 0 {
		return
	}
	groups, group := q.Groups(q.K), q.K
	if q.Group > 0 {
		group = q.Group
	}
	for ; len(dst) >= q.K; dst, row = dst[q.K:], row+1 {
		for g := range groups {
			k0, k1 := g*group, min((g+1)*group, q.K)
			scale, zero := q.Scales[row*groups+g], q.zero(row, g)
			out := dst[k0:k1]
			switch {
			case q.Bits == 4:
				data := q.Data[row*q.RowBytes(q.K):]
				for i := range out {
					k := k0 + i
					out[i] = scale * float32(int(data[k/2]>>(k%2*4)&15)-zero)
				}
			case q.Asymmetric:
				for i, v := range q.Data[row*q.K+k0 : row*q.K+k1] {
					out[i] = scale * float32(int(v)-zero)
				}
			default:
				for i, v := range q.Data[row*q.K+k0 : row*q.K+k1] {
					out[i] = scale * float32(int8(v))
				}
			}
		}
	}
}

// The portable versions of the primitives, and the definition of what the assembly computes.

func finiteGeneric(x []float32) bool {
	var bad uint32
	for _, v := range x {
		// The exponent of NaN and of infinity is all ones, so adding one to it carries into the sign.
		bad |= (math.Float32bits(v)&0x7f800000 + 0x00800000) & 0x80000000
	}
	return bad == 0
}

// absMaxGeneric compares magnitudes as integers, which orders them alike and puts NaN above infinity.
func absMaxGeneric(x []float32) float32 {
	var m uint32
	for _, v := range x {
		m = max(m, math.Float32bits(v)&0x7fffffff)
	}
	return math.Float32frombits(m)
}

func minMaxGeneric(x []float32) (lo, hi float32) {
	lo, hi = float32(math.Inf(1)), float32(math.Inf(-1))
	for _, v := range x {
		if v < lo {
			lo = v
		}
		if v > hi {
			hi = v
		}
	}
	if lo > hi { // nothing but NaN, or nothing
		if len(x) == 0 {
			return 0, 0
		}
		lo, hi = float32(math.NaN()), float32(math.NaN())
	}
	return lo + 0, hi + 0 // -0 becomes 0, since which of the two zeros is met first depends on the order
}

// quantizeGeneric writes the low byte of clamp(round(x*inv)+zero, lo, hi) and returns the sum of what it clamped. Products
// beyond ±2^30 saturate; NaN gives lo.
func quantizeGeneric(dst []byte, x []float32, inv float32, zero, lo, hi int32) (sum int32) {
	dst = dst[:len(x)]
	for i, v := range x {
		q := quantizeOne(v, inv, zero, lo, hi)
		dst[i] = byte(q)
		sum += q
	}
	return sum
}

// quantizeWordsGeneric writes the low two bytes.
func quantizeWordsGeneric(dst []byte, x []float32, inv float32, zero, lo, hi int32) (sum int32) {
	for i, v := range x {
		q := quantizeOne(v, inv, zero, lo, hi)
		dst[2*i], dst[2*i+1] = byte(q), byte(q>>8)
		sum += q
	}
	return sum
}

func quantizeOne(v, inv float32, zero, lo, hi int32) int32 {
	const limit = 1 << 30
	p := v * inv
	switch {
	case p >= limit:
		return hi
	case p > -limit:
		return min(max(roundEven(p)+zero, lo), hi)
	}
	return lo
}

// roundEven rounds |p| < 2^30 to the nearest integer, ties to even.
func roundEven(p float32) int32 {
	const magic = 1 << 52 * 1.5
	return int32(float64(p) + magic - magic)
}
