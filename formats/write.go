package formats

import (
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/nlpodyssey/safetensors"
)

// Entry is a tensor to be written. Write gives its values, little-endian and row-major, in as many pieces as it likes, and
// exactly as many bytes as DType and Shape need.
type Entry struct {
	Name  string
	DType DType
	Shape []int
	Write func(w io.Writer) error
}

// BytesEntry is an Entry of bytes that are in memory.
func BytesEntry(name string, dtype DType, shape []int, data []byte) Entry {
	return Entry{Name: name, DType: dtype, Shape: shape, Write: func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}}
}

var libraryDTypes = map[DType]safetensors.DType{
	F64: safetensors.F64, F32: safetensors.F32, F16: safetensors.F16, BF16: safetensors.BF16,
	I64: safetensors.I64, I32: safetensors.I32, I16: safetensors.I16, I8: safetensors.I8,
	U64: safetensors.U64, U32: safetensors.U32, U16: safetensors.U16, U8: safetensors.U8, BOOL: safetensors.BOOL,
}

// WriteSafetensors writes a whole file to w: the header, then the entries one after another, each asked for its bytes when
// its turn comes. The order is the format's own (widest numbers first, so that every tensor is aligned, then by name) and the
// same for the same entries, whatever their order in the slice. 8-bit floats cannot be written.
//
// Values are produced and written at the same time: while Write makes the next bytes, earlier ones go to w from another
// goroutine. When an error is returned, what w holds is no valid file.
func WriteSafetensors(w io.Writer, metadata map[string]string, entries []Entry) error {
	shown := ""
	switch o := w.(type) {
	case *output:
		shown = o.shown
	case *AtomicFile:
		shown = o.shown
	}
	fail := func(kind error, tensor, format string, args ...any) error {
		return &Error{Kind: kind, File: shown, Tensor: tensor, Msg: fmt.Sprintf(format, args...)}
	}
	s := &stream{shown: shown}
	views := make(map[string]view, len(entries))
	for _, e := range entries {
		dtype, ok := libraryDTypes[e.DType]
		if !ok {
			return fail(ErrDType, e.Name, "%s cannot be written", e.DType)
		}
		size, err := byteSize(e.DType, e.Shape)
		if err != nil {
			return fail(ErrShape, e.Name, "%v", err)
		}
		if _, twice := views[e.Name]; twice {
			return fail(ErrDuplicate, e.Name, "is to be written twice")
		}
		if e.Name == "" || e.Name == "__metadata__" || !utf8.ValidString(e.Name) {
			return fail(ErrHeader, e.Name, "%q is not a name for a tensor", e.Name)
		}
		views[e.Name] = view{entry: e, dtype: dtype, size: size, to: s}
	}
	p := newPipe(w)
	s.w = p
	err := safetensors.SerializeToWriter(views, metadata, p)
	if e := p.close(); e != nil {
		return e // the first cause; what follows it is only a closed pipe
	}
	if s.err != nil {
		return s.err
	}
	return err
}

// stream is where views write to. The library's View hands out whole tensors and cannot fail; ours writes past the library,
// hands out nothing, and keeps its first error here.
type stream struct {
	w     io.Writer
	shown string
	err   error
}

type view struct {
	entry Entry
	dtype safetensors.DType
	size  int
	to    *stream
}

func (v view) DType() safetensors.DType { return v.dtype }
func (v view) DataLen() uint64          { return uint64(v.size) }

func (v view) Shape() []uint64 {
	shape := make([]uint64, len(v.entry.Shape))
	for i, d := range v.entry.Shape {
		shape[i] = uint64(d)
	}
	return shape
}

// Data is called by the library when the tensor's place in the file has come.
func (v view) Data() []byte {
	if v.to.err != nil {
		return nil
	}
	c := &counter{w: v.to.w, most: v.size}
	err := v.entry.Write(c)
	switch {
	case err != nil:
		v.to.err = err
	case c.n != v.size:
		v.to.err = &Error{Kind: ErrWrite, File: v.to.shown, Tensor: v.entry.Name,
			Msg: fmt.Sprintf("wrote %d bytes, %s %v needs %d", c.n, v.entry.DType, v.entry.Shape, v.size)}
	}
	return nil
}

type counter struct {
	w       io.Writer
	n, most int
}

func (c *counter) Write(p []byte) (int, error) {
	if len(p) > c.most-c.n {
		return 0, fmt.Errorf("more than the %d bytes that the tensor's shape needs", c.most)
	}
	n, err := c.w.Write(p)
	c.n += n
	return n, err
}
