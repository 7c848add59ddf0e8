package formats

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"unicode/utf8"
)

// Placed is a safetensors file whose header is written first and whose tensors follow in any order, piece by piece, from
// several goroutines: for values that are computed in parallel and fit no memory together.
type Placed struct {
	out     *output
	tensors map[string]*place
}

type place struct {
	off, size int64
	written   atomic.Int64
}

// PlaceSafetensors starts such a file. Entries say what it will hold; their Write is not used. The order of the tensors is
// that of [WriteSafetensors]: widest numbers first, so that each is aligned, then by name.
func (d *AtomicDir) PlaceSafetensors(name string, metadata map[string]string, entries []Entry) (*Placed, error) {
	w, err := d.Create(name)
	if err != nil {
		return nil, err
	}
	p := &Placed{out: w.(*output), tensors: map[string]*place{}}
	header, size, err := p.layOut(metadata, entries)
	if err == nil {
		_, err = p.out.Write(header)
	}
	if err == nil {
		for _, t := range p.tensors {
			t.off += int64(len(header))
		}
		err = p.out.f.Truncate(int64(len(header)) + size)
		if err != nil {
			err = writeError(p.out.shown, err)
		}
	}
	if err != nil {
		p.out.Close()
		return nil, err
	}
	return p, nil
}

// layOut gives every tensor its place, counted from the end of the header, and returns the header.
func (p *Placed) layOut(metadata map[string]string, entries []Entry) (header []byte, size int64, err error) {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(b.DType.Size(), a.DType.Size()), cmp.Compare(a.DType, b.DType), cmp.Compare(a.Name, b.Name))
	})
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	b.WriteByte('{')
	if len(metadata) > 0 {
		text, err := json.Marshal(metadata) // sorted by key
		if err != nil {
			return nil, 0, &Error{Kind: ErrHeader, File: p.out.shown, Msg: "metadata cannot be written", Cause: err}
		}
		fmt.Fprintf(&b, `"__metadata__":%s`, text)
	}
	for _, e := range entries {
		fail := func(kind error, format string, args ...any) error {
			return &Error{Kind: kind, File: p.out.shown, Tensor: e.Name, Msg: fmt.Sprintf(format, args...)}
		}
		if !e.DType.valid() {
			return nil, 0, fail(ErrDType, "%s cannot be written", e.DType)
		}
		n, err := byteSize(e.DType, e.Shape)
		if err != nil {
			return nil, 0, fail(ErrShape, "%v", err)
		}
		if p.tensors[e.Name] != nil {
			return nil, 0, fail(ErrDuplicate, "is to be written twice")
		}
		if e.Name == "" || e.Name == "__metadata__" || !utf8.ValidString(e.Name) {
			return nil, 0, fail(ErrHeader, "%q is not a name for a tensor", e.Name)
		}
		name, err := json.Marshal(e.Name)
		if err != nil {
			return nil, 0, fail(ErrHeader, "%v", err)
		}
		shape, err := json.Marshal(append([]int{}, e.Shape...))
		if err != nil {
			return nil, 0, fail(ErrShape, "%v", err)
		}
		if b.Len() > 9 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `%s:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`, name, e.DType, shape, size, size+int64(n))
		p.tensors[e.Name] = &place{off: size, size: int64(n)}
		size += int64(n)
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	header = b.Bytes()
	binary.LittleEndian.PutUint64(header, uint64(len(header)-8))
	return header, size, nil
}

// WriteAt puts bytes of a tensor at an offset within it. Pieces must not overlap.
func (p *Placed) WriteAt(tensor string, data []byte, off int64) error {
	t := p.tensors[tensor]
	switch {
	case t == nil:
		return &Error{Kind: ErrWrite, File: p.out.shown, Tensor: tensor, Msg: "has no place in this file"}
	case off < 0 || off > t.size-int64(len(data)):
		return &Error{Kind: ErrWrite, File: p.out.shown, Tensor: tensor,
			Msg: fmt.Sprintf("bytes %d to %d lie outside of its %d", off, off+int64(len(data)), t.size)}
	}
	if err := p.out.ctx.Err(); err != nil {
		return &Error{Kind: ErrWrite, File: p.out.shown, Msg: "interrupted", Cause: err}
	}
	n, err := p.out.f.WriteAt(data, t.off+off)
	t.written.Add(int64(n))
	if err != nil {
		return writeError(p.out.shown, err)
	}
	return nil
}

// Close ends the file. A tensor that did not get all its bytes is an error.
func (p *Placed) Close() error {
	err := p.out.Close()
	if err != nil {
		return err
	}
	for name, t := range p.tensors {
		if n := t.written.Load(); n != t.size {
			return &Error{Kind: ErrWrite, File: p.out.shown, Tensor: name, Msg: fmt.Sprintf("got %d of its %d bytes", n, t.size)}
		}
	}
	return nil
}

// Discard gives an unfinished file up; the folder's Abort removes it.
func (p *Placed) Discard() { _ = p.out.Close() }
