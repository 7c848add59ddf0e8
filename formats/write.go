package formats

import (
	"bytes"
	"fmt"
	"io"
	"os"
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

// layout is a file as it will be: its header, and where each tensor comes to lie after it.
type layout struct {
	header []byte
	order  []Entry // by place
	size   []int   // bytes of each
}

// layOut checks entries and gives each its place. The order is that of the format's library: widest numbers first, so that
// every tensor is aligned, then by name; it does not depend on the order of the slice.
func layOut(shown string, metadata map[string]string, entries []Entry) (*layout, error) {
	l := &layout{}
	views := make(map[string]view, len(entries))
	for _, e := range entries {
		fail := func(kind error, format string, args ...any) (*layout, error) {
			return nil, &Error{Kind: kind, File: shown, Tensor: e.Name, Msg: fmt.Sprintf(format, args...)}
		}
		dtype, ok := libraryDTypes[e.DType]
		if !ok {
			return fail(ErrDType, "%s cannot be written", e.DType)
		}
		size, err := byteSize(e.DType, e.Shape)
		if err != nil {
			return fail(ErrShape, "%v", err)
		}
		if _, twice := views[e.Name]; twice {
			return fail(ErrDuplicate, "is to be written twice")
		}
		if e.Name == "" || e.Name == "__metadata__" || !utf8.ValidString(e.Name) {
			return fail(ErrHeader, "%q is not a name for a tensor", e.Name)
		}
		views[e.Name] = view{entry: e, dtype: dtype, size: size, layout: l}
	}
	var b bytes.Buffer
	if err := safetensors.SerializeToWriter(views, metadata, &b); err != nil {
		return nil, &Error{Kind: ErrHeader, File: shown, Msg: "header cannot be written", Cause: err}
	}
	l.header = b.Bytes()
	return l, nil
}

// view is an entry for the library, which writes the header and then asks each view for its data, in the order of the file.
// Its Data hands out a tensor whole and cannot fail, so ours gives nothing and only notes the order.
type view struct {
	entry  Entry
	dtype  safetensors.DType
	size   int
	layout *layout
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

func (v view) Data() []byte {
	v.layout.order = append(v.layout.order, v.entry)
	v.layout.size = append(v.layout.size, v.size)
	return nil
}

// WriteSafetensors writes a whole file to w: the header, then the entries one after another, each asked for its bytes when
// its turn comes. The same entries give the same bytes, whatever their order in the slice. 8-bit floats cannot be written.
//
// Values are produced and written at the same time: while an entry makes the next bytes, earlier ones go to w from another
// goroutine. When an error is returned, what w holds is no valid file.
func WriteSafetensors(w io.Writer, metadata map[string]string, entries []Entry) error {
	shown := "output"
	switch o := w.(type) {
	case *output:
		shown = o.shown
	case *AtomicFile:
		shown = o.shown
	case *os.File:
		shown = o.Name()
	}
	l, err := layOut(shown, metadata, entries)
	if err != nil {
		return err
	}
	p := newPipe(w)
	_, err = p.Write(l.header)
	for i, e := range l.order {
		if err != nil {
			break
		}
		c := &counter{w: p, most: l.size[i]}
		if err = e.Write(c); err == nil && (c.n != c.most || c.over) {
			err = &Error{Kind: ErrWrite, File: shown, Tensor: e.Name, Msg: fmt.Sprintf("wrote %s, %s %v needs %d bytes", c, e.DType, e.Shape, c.most)}
		}
	}
	if e := p.close(); e != nil {
		return e // the first cause: what the entry met was only its echo
	}
	return err
}

// counter lets as many bytes through as a tensor has.
type counter struct {
	w       io.Writer
	n, most int
	over    bool
}

func (c *counter) String() string {
	if c.over {
		return "more"
	}
	return fmt.Sprintf("%d bytes", c.n)
}

func (c *counter) Write(p []byte) (int, error) {
	if len(p) > c.most-c.n {
		c.over = true
		return 0, fmt.Errorf("more than the %d bytes that the shape needs", c.most)
	}
	n, err := c.w.Write(p)
	c.n += n
	return n, err
}
