package formats

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/nlpodyssey/gopickle/types"
)

// torchStorage is a run of numbers that tensors are views of. Where it lies in the file is known at once in a zip archive, and
// only after the pickle in the legacy format.
type torchStorage struct {
	key   string
	dtype DType // 0 for bytes whose type the tensor tells
	count int64 // numbers, or bytes where dtype is 0
	src   *file
	off   int64 // in src, -1 while it is not known

	base *torchStorage // of a view into another storage (legacy files), which starts at number from
	from int64
}

func (s *torchStorage) size() int64 {
	if s.dtype == 0 {
		return 1
	}
	return int64(s.dtype.Size())
}

// place gives the offset of the first byte in the file.
func (s *torchStorage) place() int64 {
	if s.base == nil {
		return s.off
	}
	at := s.base.place()
	if at < 0 {
		return at
	}
	return at + s.from*s.size()
}

// newTorchStorage checks the fields of a persistent id: a class, a key, and a count of numbers that cannot overflow.
func newTorchStorage(class, key, count any) (*torchStorage, error) {
	c, ok := class.(*torchStorageClass)
	k, isString := key.(string)
	n, isInt := count.(int)
	if !ok || !isString || !isInt {
		return nil, &Error{Kind: ErrPickle, Msg: "pickle: a storage is not described by its class, key and size"}
	}
	if c.dtype == 0 && c.name != untyped {
		return nil, &Error{Kind: ErrDType, Msg: fmt.Sprintf("storage %s holds %s, numbers that are not known", quote(k), quote(c.name))}
	}
	s := &torchStorage{key: k, dtype: c.dtype, count: int64(n), off: -1}
	if s.count < 0 || s.count > math.MaxInt64/s.size() {
		return nil, &Error{Kind: ErrLimit, Msg: fmt.Sprintf("storage %s has a count of %d", quote(k), n)}
	}
	return s, nil
}

// torchTensor is a view of a storage, checked by rebuildTensor to lie inside it.
type torchTensor struct {
	storage      *torchStorage
	dtype        DType
	shape, steps []int
	offset       int // of the first value, in values
	n            int
}

// maxRepeated is how many bytes a tensor may have that is larger than its storage.
const maxRepeated = 64 << 20

// rebuildTensor has the arguments (storage, offset, shape, strides, …) and in version 3 a dtype as the seventh.
func rebuildTensor(args []any) (any, error) {
	if len(args) < 4 {
		return nil, &Error{Kind: ErrPickle, Msg: "pickle: a tensor has too few fields"}
	}
	s, isStorage := args[0].(*torchStorage)
	offset, isInt := args[1].(int)
	if !isStorage || !isInt {
		return nil, &Error{Kind: ErrPickle, Msg: "pickle: a tensor is not a view of a storage"}
	}
	fail := func(kind error, format string, args ...any) (any, error) {
		return nil, &Error{Kind: kind, Msg: fmt.Sprintf("a tensor in storage %s ", quote(s.key)) + fmt.Sprintf(format, args...)}
	}
	shape, ok := ints(args[2])
	if !ok || len(shape) > maxRank {
		return fail(ErrShape, "has a shape that is not a short list of numbers")
	}
	steps, ok := ints(args[3])
	if !ok || len(steps) != len(shape) {
		return fail(ErrShape, "has %d dimensions and other strides", len(shape))
	}
	t := &torchTensor{storage: s, dtype: s.dtype, shape: shape, steps: steps, offset: offset}
	count := s.count
	if t.dtype == 0 {
		if len(args) >= 7 {
			t.dtype, _ = args[6].(DType)
		}
		if t.dtype == 0 {
			return fail(ErrDType, "does not tell the type of its numbers")
		}
		count /= int64(t.dtype.Size())
	}
	var err error
	if t.n, err = elements(shape); err != nil {
		return fail(ErrShape, "has a bad shape: %v", err)
	}
	if t.n > math.MaxInt/t.dtype.Size() {
		return fail(ErrShape, "has a shape whose bytes overflow: %s", shapeString(shape))
	}
	if offset < 0 {
		return fail(ErrOffsets, "starts at %d", offset)
	}
	if t.n == 0 {
		t.offset = 0
		return t, nil
	}
	last := uint64(offset)
	for i, d := range shape {
		if steps[i] < 0 {
			return fail(ErrOffsets, "has a stride of %d", steps[i])
		}
		hi, lo := bits.Mul64(uint64(d-1), uint64(steps[i]))
		var carry uint64
		last, carry = bits.Add64(last, lo, 0)
		if hi != 0 || carry != 0 {
			return fail(ErrOffsets, "has strides that overflow")
		}
	}
	if last >= uint64(count) {
		return fail(ErrOffsets, "reaches to number %d, the storage has %d", last, count)
	}
	// A stride of 0 repeats a value without end, and would let a small file ask for any amount of memory.
	if t.n > maxRepeated/t.dtype.Size() && uint64(t.n) > uint64(count) {
		return fail(ErrLimit, "repeats %d numbers to make a tensor of shape %s", count, shapeString(shape))
	}
	return t, nil
}

// tensor gives the checked view as a Tensor of a file.
func (t *torchTensor) tensor(name string) (*Tensor, error) {
	s := t.storage
	at := s.place()
	if at < 0 {
		return nil, &Error{Kind: ErrTruncated, Tensor: name, Msg: fmt.Sprintf("storage %s is not in the file", quote(s.key))}
	}
	src := s.src
	if s.base != nil {
		src = s.base.src
	}
	out := &Tensor{Name: name, DType: t.dtype, Shape: t.shape, File: src.path, n: t.n, src: src,
		off: at + int64(t.offset)*int64(t.dtype.Size())}
	if !t.contiguous() {
		out.step = t.steps
	}
	return out, nil
}

func (t *torchTensor) contiguous() bool {
	want := 1
	for i := len(t.shape) - 1; i >= 0; i-- {
		if t.shape[i] != 1 && t.steps[i] != want {
			return t.n == 0
		}
		want *= t.shape[i]
	}
	return true
}

// ints takes a tuple or list of numbers, as shapes and strides are (also as torch.Size).
func ints(v any) ([]int, bool) {
	var items []any
	switch v := v.(type) {
	case *types.Tuple:
		items = *v
	case *types.List:
		items = *v
	case *torchObject:
		if v.class != "torch.Size" || len(v.args) != 1 {
			return nil, false
		}
		if _, again := v.args[0].(*torchObject); again {
			return nil, false
		}
		return ints(v.args[0])
	default:
		return nil, false
	}
	out := make([]int, len(items))
	for i, x := range items {
		n, ok := x.(int)
		if !ok {
			return nil, false
		}
		out[i] = n
	}
	return out, true
}
