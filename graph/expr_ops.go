package graph

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

var _ = RegisterExpr(table{}, concat{}, slice{}, reshape{}, rearrange{}, scale{}, scaleRows{}, scaleColumns{}, add{}, mul{}, exp{},
	matvec{}, linear{}, batchNormScale{}, weightNorm{})

// exprArgs returns an error unless there are at least as many arguments, and at most most.
func exprArgs(args []Shape, least, most int) error {
	if len(args) < least || len(args) > most {
		return fmt.Errorf("takes %d to %d arguments, has %d", least, most, len(args))
	}
	return nil
}

// sameLen is the rule of operations on two arguments of as many elements.
func sameLen(args []Shape) (Shape, error) {
	if err := exprArgs(args, 2, 2); err != nil {
		return nil, err
	}
	if args[0].Len() != args[1].Len() {
		return nil, fmt.Errorf("%d elements and %d", args[0].Len(), args[1].Len())
	}
	return args[0], nil
}

// Values is a small table that a system or a pass holds rather than reads. Label says what it is, for people.
func Values(label string, data []float32, shape ...int) Expr {
	return Apply(table{label, slices.Clone(shape), data})
}

type table struct {
	Label string
	Dims  Shape
	Data  floats
}

func (o table) Infer(args []Shape) (Shape, error)   { return o.Dims, exprArgs(args, 0, 0) }
func (o table) Eval(_ []*Tensor) ([]float32, error) { return o.Data, nil }

func (o table) String() string {
	sum := sha256.Sum256(append([]byte(o.Dims.String()), o.Data.bytes()...))
	return fmt.Sprintf("%s#%x", o.Label, sum[:4])
}

// floats are written to JSON as base64 of little-endian float32.
type floats []float32

func (f floats) bytes() []byte {
	raw := make([]byte, 0, 4*len(f))
	for _, v := range f {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return raw
}

func (f floats) MarshalJSON() ([]byte, error) {
	return json.Marshal(base64.StdEncoding.EncodeToString(f.bytes()))
}

func (f *floats) UnmarshalJSON(data []byte) error {
	var raw []byte // encoding/json reads base64
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	if len(raw)%4 != 0 {
		return fmt.Errorf("%d bytes are no float32 values", len(raw))
	}
	*f = make(floats, len(raw)/4)
	for i := range *f {
		(*f)[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return nil
}

// ConcatExpr joins expressions along the outermost axis.
func ConcatExpr(parts ...Expr) Expr { return Apply(concat{}, parts...) }

type concat struct{}

func (concat) Infer(args []Shape) (Shape, error) {
	if len(args) == 0 || len(args[0]) == 0 {
		return nil, fmt.Errorf("nothing to join")
	}
	out := args[0].With(0, 0)
	for _, s := range args {
		if len(s) == 0 || !s[1:].Equal(out[1:]) {
			return nil, fmt.Errorf("they do not join along the outermost axis")
		}
		out[0] += s[0]
	}
	return out, nil
}

func (concat) Eval(args []*Tensor) ([]float32, error) {
	parts := make([][]float32, len(args))
	for i, a := range args {
		parts[i] = a.Data
	}
	return slices.Concat(parts...), nil
}

// SliceExpr keeps elements start to end of the outermost axis.
func SliceExpr(x Expr, start, end int) Expr { return Apply(slice{start, end}, x) }

type slice struct{ Start, End int }

func (o slice) Infer(args []Shape) (Shape, error) {
	if err := exprArgs(args, 1, 1); err != nil {
		return nil, err
	}
	if len(args[0]) == 0 || o.Start < 0 || o.Start > o.End || o.End > args[0][0] {
		return nil, fmt.Errorf("the outermost axis has no such elements")
	}
	return args[0].With(0, o.End-o.Start), nil
}

func (o slice) Eval(args []*Tensor) ([]float32, error) {
	row := args[0].Shape[1:].Len()
	return args[0].Data[o.Start*row : o.End*row], nil
}

func (o slice) String() string { return fmt.Sprintf("slice[%d:%d]", o.Start, o.End) }

// ReshapeExpr gives the elements another shape of as many.
func ReshapeExpr(x Expr, shape ...int) Expr {
	if x.Shape().Equal(shape) {
		return x
	}
	return Apply(reshape{slices.Clone(shape)}, x)
}

type reshape struct{ Dims Shape }

func (o reshape) Infer(args []Shape) (Shape, error) {
	if err := exprArgs(args, 1, 1); err != nil {
		return nil, err
	}
	if err := o.Dims.check(); err != nil {
		return nil, err
	}
	if o.Dims.Len() != args[0].Len() {
		return nil, fmt.Errorf("another number of elements")
	}
	return o.Dims, nil
}

func (o reshape) Eval(args []*Tensor) ([]float32, error) { return args[0].Data, nil }
func (o reshape) String() string                         { return "reshape" + o.Dims.String() }

// RearrangeExpr reorders axes as [Rearrange] does.
func RearrangeExpr(x Expr, pattern string, sizes map[string]int) Expr {
	return Apply(rearrange{Rearrange{pattern, sizes}}, x)
}

type rearrange struct{ Rearrange }

func (o rearrange) Infer(args []Shape) (Shape, error) { return o.Rearrange.Infer(args, nil) }

func (o rearrange) Eval(args []*Tensor) ([]float32, error) {
	p, err := o.Solve(args[0].Shape)
	if err != nil {
		return nil, err
	}
	if p.Identity() {
		return args[0].Data, nil
	}
	out := make([]float32, len(args[0].Data))
	p.Apply(out, args[0].Data)
	return out, nil
}

func (o rearrange) String() string { return "rearrange[" + o.Rearrange.String() + "]" }

// TransposeExpr swaps the two axes of a matrix.
func TransposeExpr(x Expr) Expr { return RearrangeExpr(x, "a b -> b a", nil) }

// ScaleExpr multiplies by a constant.
func ScaleExpr(x Expr, by float32) Expr { return Apply(scale{by}, x) }

type scale struct{ By float32 }

func (o scale) Infer(args []Shape) (Shape, error) {
	if err := exprArgs(args, 1, 1); err != nil {
		return nil, err
	}
	return args[0], nil
}

func (o scale) Eval(args []*Tensor) ([]float32, error) {
	out := make([]float32, len(args[0].Data))
	for i, a := range args[0].Data {
		out[i] = a * o.By
	}
	return out, nil
}

func (o scale) String() string { return fmt.Sprintf("%g*", o.By) }

// ScaleRowsExpr multiplies row i of w (its outermost axis) by s[i].
func ScaleRowsExpr(w, s Expr) Expr { return Apply(scaleRows{}, w, s) }

type scaleRows struct{}

func (scaleRows) Infer(args []Shape) (Shape, error) {
	if err := exprArgs(args, 2, 2); err != nil {
		return nil, err
	}
	if len(args[0]) == 0 || args[0][0] != args[1].Len() {
		return nil, fmt.Errorf("there is not one factor for each row")
	}
	return args[0], nil
}

func (scaleRows) Eval(args []*Tensor) ([]float32, error) {
	w := args[0]
	row := w.Shape[1:].Len()
	out := make([]float32, len(w.Data))
	for i, a := range args[1].Data {
		dst, src := out[i*row:(i+1)*row], w.Data[i*row:(i+1)*row]
		for j, x := range src {
			dst[j] = x * a
		}
	}
	return out, nil
}

// ScaleColumnsExpr multiplies column j of w (its innermost axis) by s[j].
func ScaleColumnsExpr(w, s Expr) Expr { return Apply(scaleColumns{}, w, s) }

type scaleColumns struct{}

func (scaleColumns) Infer(args []Shape) (Shape, error) {
	if err := exprArgs(args, 2, 2); err != nil {
		return nil, err
	}
	if len(args[0]) == 0 || args[0].Last() != args[1].Len() {
		return nil, fmt.Errorf("there is not one factor for each column")
	}
	return args[0], nil
}

func (scaleColumns) Eval(args []*Tensor) ([]float32, error) {
	w, g := args[0].Data, args[1].Data
	cols := len(g)
	out := make([]float32, len(w))
	for i := 0; i < len(out); i += cols {
		dst, src := out[i:i+cols], w[i:i+cols]
		for j, a := range g {
			dst[j] = src[j] * a
		}
	}
	return out, nil
}

// AddExpr adds two expressions of as many elements; a nil one counts as zero.
func AddExpr(a, b Expr) Expr {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	return Apply(add{}, a, b)
}

type add struct{}

func (add) Infer(args []Shape) (Shape, error) { return sameLen(args) }

func (add) Eval(args []*Tensor) ([]float32, error) {
	out := make([]float32, len(args[0].Data))
	for i, x := range args[0].Data {
		out[i] = x + args[1].Data[i]
	}
	return out, nil
}

// MulExpr multiplies two expressions of as many elements elementwise.
func MulExpr(a, b Expr) Expr { return Apply(mul{}, a, b) }

type mul struct{}

func (mul) Infer(args []Shape) (Shape, error) { return sameLen(args) }

func (mul) Eval(args []*Tensor) ([]float32, error) {
	out := make([]float32, len(args[0].Data))
	for i, x := range args[0].Data {
		out[i] = x * args[1].Data[i]
	}
	return out, nil
}

// ExpExpr is e to the power of each element, computed in float64.
func ExpExpr(x Expr) Expr { return Apply(exp{}, x) }

type exp struct{}

func (exp) Infer(args []Shape) (Shape, error) {
	if err := exprArgs(args, 1, 1); err != nil {
		return nil, err
	}
	return args[0], nil
}

func (exp) Eval(args []*Tensor) ([]float32, error) {
	out := make([]float32, len(args[0].Data))
	for i, x := range args[0].Data {
		out[i] = float32(math.Exp(float64(x)))
	}
	return out, nil
}

// MatVecExpr is w v, summed in float64, w being taken as [N, the rest].
func MatVecExpr(w, v Expr) Expr { return Apply(matvec{}, w, v) }

type matvec struct{}

func (matvec) Infer(args []Shape) (Shape, error) {
	if err := exprArgs(args, 2, 2); err != nil {
		return nil, err
	}
	if len(args[0]) == 0 || args[0][1:].Len() != args[1].Len() {
		return nil, fmt.Errorf("the vector does not fit the rows")
	}
	return args[0][:1], nil
}

func (matvec) Eval(args []*Tensor) ([]float32, error) {
	w, vec := args[0].Data, args[1].Data
	k := len(vec)
	out := make([]float32, args[0].Shape[0])
	for i := range out {
		// Four sums keep the additions from waiting for each other.
		var s [4]float64
		row := w[i*k : (i+1)*k]
		j := 0
		for ; j+4 <= k; j += 4 {
			s[0] += float64(row[j]) * float64(vec[j])
			s[1] += float64(row[j+1]) * float64(vec[j+1])
			s[2] += float64(row[j+2]) * float64(vec[j+2])
			s[3] += float64(row[j+3]) * float64(vec[j+3])
		}
		for ; j < k; j++ {
			s[0] += float64(row[j]) * float64(vec[j])
		}
		out[i] = float32(s[0] + s[1] + s[2] + s[3])
	}
	return out, nil
}

// LinearExpr is x w^T + bias over the innermost axis of x, summed in float64; bias may be nil.
func LinearExpr(w, x, bias Expr) Expr {
	if bias == nil {
		return Apply(linear{}, w, x)
	}
	return Apply(linear{}, w, x, bias)
}

type linear struct{}

func (linear) Infer(args []Shape) (Shape, error) {
	if err := exprArgs(args, 2, 3); err != nil {
		return nil, err
	}
	w, x := args[0], args[1]
	if len(w) != 2 || len(x) == 0 || x.Last() != w[1] || len(args) == 3 && args[2].Len() != w[0] {
		return nil, fmt.Errorf("they make no product")
	}
	return x.With(len(x)-1, w[0]), nil
}

func (linear) Eval(args []*Tensor) ([]float32, error) {
	w, x := args[0], args[1]
	out, in := w.Shape[0], w.Shape[1]
	rows := x.Shape.Rows()
	y := make([]float32, rows*out)
	for r := range rows {
		for o := range out {
			sum := 0.0
			for i, a := range w.Data[o*in:][:in] {
				sum += float64(a) * float64(x.Data[r*in+i])
			}
			if len(args) == 3 {
				sum += float64(args[2].Data[o])
			}
			y[r*out+o] = float32(sum)
		}
	}
	return y, nil
}

// BatchNormExpr returns the scale and the shift that a batch norm amounts to at inference: gain / sqrt(variance + eps) and
// bias - mean * scale. Gain and bias may be nil (1 and 0). (Ioffe and Szegedy 2015, algorithm 2.)
func BatchNormExpr(gain, bias, mean, variance Expr, eps float64) (scale, shift Expr) {
	args := []Expr{variance}
	if gain != nil {
		args = append(args, gain)
	}
	scale = Apply(batchNormScale{eps}, args...)
	return scale, AddExpr(bias, ScaleExpr(MulExpr(mean, scale), -1))
}

type batchNormScale struct{ Eps float64 }

func (batchNormScale) Infer(args []Shape) (Shape, error) {
	if len(args) == 2 {
		return sameLen(args)
	}
	if err := exprArgs(args, 1, 2); err != nil {
		return nil, err
	}
	return args[0], nil
}

func (o batchNormScale) Eval(args []*Tensor) ([]float32, error) {
	out := make([]float32, len(args[0].Data))
	for i, x := range args[0].Data {
		s := 1 / math.Sqrt(float64(x)+o.Eps)
		if len(args) == 2 {
			s *= float64(args[1].Data[i])
		}
		out[i] = float32(s)
	}
	return out, nil
}

// WeightNormExpr is v * g / |v|, the norm being taken over all axes but axis (Salimans and Kingma 2016); g has the size
// of that axis.
func WeightNormExpr(g, v Expr, axis int) Expr { return Apply(weightNorm{axis}, g, v) }

type weightNorm struct{ Axis int }

func (o weightNorm) Infer(args []Shape) (Shape, error) {
	if err := exprArgs(args, 2, 2); err != nil {
		return nil, err
	}
	if o.Axis < 0 || o.Axis >= len(args[1]) || args[0].Len() != args[1][o.Axis] {
		return nil, fmt.Errorf("the gain does not fit axis %d", o.Axis)
	}
	return args[1], nil
}

func (o weightNorm) Eval(args []*Tensor) ([]float32, error) {
	g, v, s := args[0].Data, args[1].Data, args[1].Shape
	outer, n, inner := s[:o.Axis].Len(), s[o.Axis], s[o.Axis+1:].Len()
	sum := make([]float64, n)
	for row := range outer {
		for i := range n {
			for _, x := range v[(row*n+i)*inner:][:inner] {
				sum[i] += float64(x) * float64(x)
			}
		}
	}
	out := make([]float32, len(v))
	for row := range outer {
		for i := range n {
			f := float64(g[i]) / math.Sqrt(sum[i])
			src := v[(row*n+i)*inner:][:inner]
			for j, x := range src {
				out[(row*n+i)*inner+j] = float32(float64(x) * f)
			}
		}
	}
	return out, nil
}
