package kernels

// Binary is an elementwise operation on two operands.
type Binary uint8

// The operations of [Broadcast].
const (
	OpAdd Binary = iota
	OpSub
	OpMul
	OpDiv
	OpMax
	OpMin
)

// Add writes a[i] + b[i] to dst[i]. The length is that of dst; dst may be a or b.
func Add(dst, a, b []float32) { combine(OpAdd, dst, a, b) }

// Sub writes a[i] - b[i] to dst[i]. The length is that of dst; dst may be a or b.
func Sub(dst, a, b []float32) { combine(OpSub, dst, a, b) }

// Mul writes a[i] * b[i] to dst[i]. The length is that of dst; dst may be a or b.
func Mul(dst, a, b []float32) { combine(OpMul, dst, a, b) }

// Div writes a[i] / b[i] to dst[i]. The length is that of dst; dst may be a or b.
func Div(dst, a, b []float32) { combine(OpDiv, dst, a, b) }

// Scale writes x[i] * s to dst[i]; dst may be x.
func Scale(dst, x []float32, s float32) { Affine(dst, x, s, 0) }

// Affine writes x[i]*scale + shift to dst[i]; dst may be x.
func Affine(dst, x []float32, scale, shift float32) {
	x = x[:len(dst)]
	if len(x) == 0 || affineVector(dst, x, scale, shift) {
		return
	}
	for i, v := range x {
		dst[i] = v*scale + shift
	}
}

// AddScaled adds x[i] * scale to dst[i].
func AddScaled(dst, x []float32, scale float32) {
	x = x[:len(dst)]
	if len(x) == 0 || addScaledVector(dst, x, scale) {
		return
	}
	for i, v := range x {
		dst[i] += v * scale
	}
}

// AddRow adds row to each of the len(x)/len(row) rows of x. len(x) must be a multiple of len(row); dst may be x.
func AddRow(dst, x, row []float32) { eachRow(OpAdd, dst, x, row) }

// MulRow multiplies each row of x by row, number by number. len(x) must be a multiple of len(row); dst may be x.
func MulRow(dst, x, row []float32) { eachRow(OpMul, dst, x, row) }

func eachRow(op Binary, dst, x, row []float32) {
	n := len(row)
	for at := 0; at < len(x); at += n {
		combine(op, dst[at:at+n], x[at:at+n], row)
	}
}

// MulColumn multiplies row r of x, [len(column), cols], by column[r]. dst may be x.
func MulColumn(dst, x, column []float32) {
	if len(column) == 0 {
		return
	}
	cols := len(x) / len(column)
	for r, s := range column {
		Scale(dst[r*cols:(r+1)*cols], x[r*cols:(r+1)*cols], s)
	}
}

// AffineRows writes x*gain + bias with gain and bias repeated for each row of x; either may be nil. dst may be x.
func AffineRows(dst, x, gain, bias []float32) {
	n := max(len(gain), len(bias))
	if n == 0 {
		copy(dst, x)
		return
	}
	for at := 0; at < len(x); at += n {
		normalizeRow(dst[at:at+n], x[at:at+n], 0, 1, 0, gain, bias)
	}
}

// AddScaledRows writes x + y*gain with gain repeated for each row: a residual with LayerScale (Touvron et al.,
// arXiv:2103.17239). dst may be x or y.
func AddScaledRows(dst, x, y, gain []float32) {
	n := len(gain)
	for at := 0; at < len(x); at += n {
		multiplyAdd(dst[at:at+n], x[at:at+n], y[at:at+n], gain)
	}
}

// multiplyAdd writes x + y*z.
func multiplyAdd(dst, x, y, z []float32) {
	x, y, z = x[:len(dst)], y[:len(dst)], z[:len(dst)]
	if len(x) == 0 || multiplyAddVector(dst, x, y, z) {
		return
	}
	for i := range dst {
		dst[i] = x[i] + y[i]*z[i]
	}
}

// combine applies op to operands of the length of dst.
func combine(op Binary, dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	if len(a) == 0 || combineVector(op, dst, a, b) {
		return
	}
	switch op {
	case OpAdd:
		for i := range dst {
			dst[i] = a[i] + b[i]
		}
	case OpSub:
		for i := range dst {
			dst[i] = a[i] - b[i]
		}
	case OpMul:
		for i := range dst {
			dst[i] = a[i] * b[i]
		}
	case OpDiv:
		for i := range dst {
			dst[i] = a[i] / b[i]
		}
	case OpMax:
		for i := range dst {
			dst[i] = max(a[i], b[i])
		}
	case OpMin:
		for i := range dst {
			dst[i] = min(a[i], b[i])
		}
	default:
		panic("kernels: no such binary operation")
	}
}

// combineScalar applies op to each a and one b, or, if swapped, to one b and each a.
func combineScalar(op Binary, dst, a []float32, b float32, swapped bool) {
	a = a[:len(dst)]
	switch {
	case op == OpAdd:
		Affine(dst, a, 1, b)
	case op == OpMul:
		Scale(dst, a, b)
	case op == OpSub && !swapped:
		Affine(dst, a, 1, -b)
	case op == OpSub:
		Affine(dst, a, -1, b)
	case op == OpDiv && !swapped:
		for i, v := range a {
			dst[i] = v / b
		}
	case op == OpDiv:
		for i, v := range a {
			dst[i] = b / v
		}
	case op == OpMax:
		for i, v := range a {
			dst[i] = max(v, b)
		}
	case op == OpMin:
		for i, v := range a {
			dst[i] = min(v, b)
		}
	}
}

// Broadcast writes op(a, b) to the contiguous dst of that shape. An operand's strides are in numbers, one for each dimension;
// a stride of 0 repeats the operand along that dimension. Strides of the last dimension must be 0 or 1. dst may be an
// operand that is not repeated.
func Broadcast(op Binary, dst []float32, shape []int, a []float32, aStrides []int, b []float32, bStrides []int) {
	n := 1
	for _, d := range shape {
		n *= d
	}
	if n == 0 {
		return
	}
	// Trailing dimensions that are contiguous in both operands, or repeated as a whole, are one long row.
	last := len(shape) - 1
	if last < 0 {
		combine(op, dst[:1], a, b)
		return
	}
	row, sa, sb := shape[last], aStrides[last], bStrides[last]
	for last > 0 && joins(aStrides[last-1], sa, row) && joins(bStrides[last-1], sb, row) {
		last--
		row *= shape[last]
	}
	broadcast(op, dst[:n], shape[:last], a, aStrides, b, bStrides, n, row, sa, sb)
}

func joins(outer, inner, row int) bool { return outer == inner*row }

func broadcast(op Binary, dst []float32, shape []int, a []float32, aStrides []int, b []float32, bStrides []int, n, row, sa, sb int) {
	if len(shape) == 0 {
		switch {
		case sa != 0 && sb != 0 || row == 1:
			combine(op, dst, a, b)
		case sa != 0:
			combineScalar(op, dst, a, b[0], false)
		case sb != 0:
			combineScalar(op, dst, b, a[0], true)
		default:
			combine(op, dst[:1], a, b)
			for i := range dst[1:] {
				dst[1+i] = dst[0]
			}
		}
		return
	}
	n /= shape[0]
	for i := range shape[0] {
		broadcast(op, dst[i*n:(i+1)*n], shape[1:], a[i*aStrides[0]:], aStrides[1:], b[i*bStrides[0]:], bStrides[1:], n, row, sa, sb)
	}
}
