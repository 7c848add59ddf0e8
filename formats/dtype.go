package formats

import (
	"fmt"
	"math"
	"math/bits"
)

// DType is the type of a tensor's numbers, with the names that safetensors gives them.
type DType uint8

// The types of numbers that are read. Floats first, then integers.
const (
	F64 DType = iota + 1
	F32
	F16
	BF16
	F8E4M3
	F8E5M2
	I64
	I32
	I16
	I8
	U64
	U32
	U16
	U8
	BOOL
)

var dtypes = [...]struct {
	name string
	size int
}{
	F64: {"F64", 8}, F32: {"F32", 4}, F16: {"F16", 2}, BF16: {"BF16", 2}, F8E4M3: {"F8_E4M3", 1}, F8E5M2: {"F8_E5M2", 1},
	I64: {"I64", 8}, I32: {"I32", 4}, I16: {"I16", 2}, I8: {"I8", 1},
	U64: {"U64", 8}, U32: {"U32", 4}, U16: {"U16", 2}, U8: {"U8", 1}, BOOL: {"BOOL", 1},
}

// String gives the name in safetensors: "F32", "BF16", "F8_E4M3", …
func (d DType) String() string {
	if !d.valid() {
		return "unknown"
	}
	return dtypes[d].name
}

// Size is the number of bytes of one value.
func (d DType) Size() int {
	if !d.valid() {
		return 0
	}
	return dtypes[d].size
}

// Float reports whether values are floating-point numbers.
func (d DType) Float() bool { return d >= F64 && d <= F8E5M2 }

func (d DType) valid() bool { return d >= F64 && d <= BOOL }

// ParseDType finds a DType by its name in safetensors.
func ParseDType(name string) (DType, bool) {
	for d := F64; d <= BOOL; d++ {
		if dtypes[d].name == name {
			return d, true
		}
	}
	return 0, false
}

func dtypeNames() string {
	s := ""
	for d := F64; d <= BOOL; d++ {
		if s != "" {
			s += " "
		}
		s += dtypes[d].name
	}
	return s
}

// maxRank is PyTorch's own limit on the number of dimensions.
const maxRank = 64

// elements multiplies a shape out. It fails on a negative dimension and where the product of the dimensions other than zero
// passes what an int holds: a zero somewhere must not hide an absurd shape.
func elements(shape []int) (int, error) {
	if len(shape) > maxRank {
		return 0, fmt.Errorf("%d dimensions, more than %d", len(shape), maxRank)
	}
	n, zero := uint64(1), false
	for _, d := range shape {
		switch {
		case d < 0:
			return 0, fmt.Errorf("dimension %d is negative", d)
		case d == 0:
			zero = true
		default:
			hi, lo := bits.Mul64(n, uint64(d))
			if hi != 0 || lo > math.MaxInt {
				return 0, fmt.Errorf("element count of shape %s overflows", shapeString(shape))
			}
			n = lo
		}
	}
	if zero {
		return 0, nil
	}
	return int(n), nil
}

// byteSize is elements times the size of a value, checked for overflow.
func byteSize(d DType, shape []int) (int, error) {
	n, err := elements(shape)
	if err != nil {
		return 0, err
	}
	if n > math.MaxInt/d.Size() {
		return 0, fmt.Errorf("byte size of shape %s overflows", shapeString(shape))
	}
	return n * d.Size(), nil
}

func shapeString(shape []int) string {
	const most = 8
	if len(shape) > most {
		return fmt.Sprintf("%d... (%d dimensions)", shape[:most], len(shape))
	}
	return fmt.Sprint(shape)
}
