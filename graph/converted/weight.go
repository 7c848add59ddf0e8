package converted

import (
	"fmt"
	"slices"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// Weights is the table of a folder's weights.
type Weights []Weight

// Weight says how one weight is stored. A converted folder's table of weights is made of them.
type Weight struct {
	Name  string      `json:"name"`
	Kind  graph.Kind  `json:"kind"`
	Shape graph.Shape `json:"shape"`
	// Source is the expression over the checkpoint's tensors.
	Source string `json:"source"`
	// Quantized is how the integers are stored, nil for a weight that stays float.
	Quantized *Quantized `json:"quantized,omitempty"`
	// DType is the type of a float weight's numbers: F32, F16 or BF16.
	DType string `json:"dtype,omitempty"`
	// Corrects names the quantized weight whose error this bias makes up for: it is stored with (W - Wq) m added, m being the
	// known mean of the inputs (Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction,
	// section 4.2).
	Corrects string `json:"corrects,omitempty"`
	// Reason says why a weight stays float, or runs on float activations where int8 ones were asked for.
	Reason string `json:"reason,omitempty"`
	// Bytes is what it takes in the converted folder.
	Bytes int64 `json:"bytes"`
}

// Quantized describes integers and scales, how they are chosen, and what they are multiplied with.
type Quantized struct {
	Bits       int  `json:"bits"`
	Group      int  `json:"group"` // 0: the whole row
	Asymmetric bool `json:"asymmetric,omitempty"`
	// Scales is the type of the scales: F16 or F32.
	Scales string `json:"scales"`
	// Method names what chose the integers.
	Method string `json:"method"`
	// Activations is how the inputs of the product are quantized: int8 (in the call, a scale for each row) or float32.
	Activations string `json:"activations"`
}

// Scheme returns the scheme of the integers.
func (q *Quantized) Scheme() kernels.Scheme {
	return kernels.Scheme{Bits: q.Bits, Group: q.Group, Asymmetric: q.Asymmetric}
}

// Format names how a row is stored: int8, int4-g32, F16.
func (r *Weight) Format() string {
	if r.Quantized != nil {
		return r.Quantized.Scheme().String()
	}
	return r.DType
}

// Matrix returns the rows and columns of a quantizable shape.
func Matrix(s graph.Shape) (n, k int) {
	if len(s) == 0 {
		return 1, 1
	}
	return s[0], s[1:].Len()
}

// The suffixes of the tensors that a quantized weight is stored as.
const (
	DataSuffix   = ".quantized"
	ScalesSuffix = ".scales"
	ZerosSuffix  = ".zeros"
)

// Entries lists the tensors that a row is stored as: the weight itself where it is float; else its integers, its scales and
// its zero points, in this order.
func (r *Weight) Entries() ([]formats.Entry, error) {
	if r.Quantized == nil {
		d, ok := formats.ParseDType(r.DType)
		if !ok || d != formats.F32 && d != formats.F16 && d != formats.BF16 {
			return nil, fmt.Errorf("weight %s: dtype %q: expected F32, F16 or BF16", r.Name, r.DType)
		}
		return []formats.Entry{{Name: r.Name, DType: d, Shape: r.Shape}}, nil
	}
	q, s := r.Quantized, r.Quantized.Scheme()
	if q.Bits != 8 && q.Bits != 4 || q.Group < 0 {
		return nil, fmt.Errorf("weight %s: %d bits in groups of %d: expected 8 or 4 bits, groups of at least 0", r.Name, q.Bits, q.Group)
	}
	if q.Scales != "F16" && q.Scales != "F32" {
		return nil, fmt.Errorf("weight %s: scales of type %q: expected F16 or F32", r.Name, q.Scales)
	}
	n, k := Matrix(r.Shape)
	data := formats.Entry{Name: r.Name + DataSuffix, DType: formats.U8, Shape: r.Shape}
	switch {
	case s.Bits == 4:
		data.Shape = []int{n, s.RowBytes(k)}
	case !s.Asymmetric:
		data.DType = formats.I8
	}
	d, _ := formats.ParseDType(q.Scales)
	entries := []formats.Entry{data, {Name: r.Name + ScalesSuffix, DType: d, Shape: []int{n, s.Groups(k)}}}
	if s.Asymmetric {
		entries = append(entries, formats.Entry{Name: r.Name + ZerosSuffix, DType: formats.U8, Shape: []int{n, s.Groups(k)}})
	}
	return entries, nil
}

// Bytes is what all weights take in the converted folder.
func (p Weights) Bytes() int64 {
	var sum int64
	for i := range p {
		sum += p[i].Bytes
	}
	return sum
}

// Count returns how many weights are quantized and how many stay float.
func (p Weights) Count() (quantized, float int) {
	for i := range p {
		if p[i].Quantized != nil {
			quantized++
		} else {
			float++
		}
	}
	return quantized, float
}

// Stay groups the names of the float weights by the reason why they are.
func (p Weights) Stay() []Stay {
	var out []Stay
	for i := range p {
		r := &p[i]
		if r.Quantized != nil {
			continue
		}
		at := slices.IndexFunc(out, func(s Stay) bool { return s.Reason == r.Reason })
		if at < 0 {
			at = len(out)
			out = append(out, Stay{Reason: r.Reason})
		}
		out[at].Weights = append(out[at].Weights, r.Name)
		out[at].Bytes += r.Bytes
	}
	return out
}

// Stay is a reason for weights to stay float.
type Stay struct {
	Reason  string   `json:"reason"`
	Weights []string `json:"weights"`
	Bytes   int64    `json:"bytes"`
}
