package formats

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/mmconv/mmconv/kernels"
)

// littleEndian is the byte order of this machine; files are little-endian.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// toFloat32 converts the values in src to dst. It gives the index of the first integer that float32 cannot hold exactly, -1
// if there is none.
func toFloat32(dst []float32, src []byte, d DType) (inexact int) {
	inexact = -1
	le := binary.LittleEndian
	switch d {
	case F32:
		if littleEndian && len(dst) > 0 {
			copy(unsafe.Slice((*byte)(unsafe.Pointer(&dst[0])), 4*len(dst)), src)
			return
		}
		for i := range dst {
			dst[i] = math.Float32frombits(le.Uint32(src[4*i:]))
		}
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(le.Uint64(src[8*i:])))
		}
	case F16:
		kernels.Float16ToFloat32(dst, src)
	case BF16:
		kernels.BFloat16ToFloat32(dst, src)
	case F8E4M3:
		kernels.Float8E4M3ToFloat32(dst, src)
	case F8E5M2:
		kernels.Float8E5M2ToFloat32(dst, src)
	case I64:
		for i := range dst {
			v := int64(le.Uint64(src[8*i:]))
			dst[i] = float32(v)
			if inexact < 0 && !exactInt(v) {
				inexact = i
			}
		}
	case U64:
		for i := range dst {
			v := le.Uint64(src[8*i:])
			dst[i] = float32(v)
			if inexact < 0 && (v > math.MaxInt64 || !exactInt(int64(v))) {
				inexact = i
			}
		}
	case I32:
		for i := range dst {
			v := int32(le.Uint32(src[4*i:]))
			dst[i] = float32(v)
			if inexact < 0 && !exactInt(int64(v)) {
				inexact = i
			}
		}
	case U32:
		for i := range dst {
			v := le.Uint32(src[4*i:])
			dst[i] = float32(v)
			if inexact < 0 && !exactInt(int64(v)) {
				inexact = i
			}
		}
	case I16:
		for i := range dst {
			dst[i] = float32(int16(le.Uint16(src[2*i:])))
		}
	case U16:
		for i := range dst {
			dst[i] = float32(le.Uint16(src[2*i:]))
		}
	case I8:
		for i := range dst {
			dst[i] = float32(int8(src[i]))
		}
	case U8:
		for i := range dst {
			dst[i] = float32(src[i])
		}
	case BOOL:
		for i := range dst {
			dst[i] = 0
			if src[i] != 0 {
				dst[i] = 1
			}
		}
	}
	return
}

// exactInt reports whether float32 holds v: its odd part must fit 24 bits.
func exactInt(v int64) bool {
	const most = 1 << 24
	if v >= -most && v <= most {
		return true
	}
	f := float32(v)
	return f < math.MaxInt64 && int64(f) == v // -2^63 itself is a float32, 2^63 does not fit int64
}

// toInt64 converts integers and booleans. It gives the index of the first one above the largest int64, -1 if there is none.
func toInt64(dst []int64, src []byte, d DType) (over int) {
	over = -1
	le := binary.LittleEndian
	for i := range dst {
		switch d {
		case I64:
			dst[i] = int64(le.Uint64(src[8*i:]))
		case U64:
			dst[i] = int64(le.Uint64(src[8*i:]))
			if dst[i] < 0 && over < 0 {
				over = i
			}
		case I32:
			dst[i] = int64(int32(le.Uint32(src[4*i:])))
		case U32:
			dst[i] = int64(le.Uint32(src[4*i:]))
		case I16:
			dst[i] = int64(int16(le.Uint16(src[2*i:])))
		case U16:
			dst[i] = int64(le.Uint16(src[2*i:]))
		case I8:
			dst[i] = int64(int8(src[i]))
		case U8:
			dst[i] = int64(src[i])
		case BOOL:
			dst[i] = 0
			if src[i] != 0 {
				dst[i] = 1
			}
		}
	}
	return
}
