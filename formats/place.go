package formats

import (
	"fmt"
	"sync/atomic"
)

// Placed is a safetensors file whose header is written first and whose tensors follow in any order, piece by piece, from
// several goroutines: for values that are computed in parallel and fit no memory together.
type Placed struct {
	out     *output
	tensors map[string]*place
	size    int64
}

type place struct {
	off, size int64
	written   atomic.Int64
}

// PlaceSafetensors starts such a file. Entries say what it will hold; their Write is not used. The file has the same
// bytes as that of WriteSafetensors.
func (d *AtomicDir) PlaceSafetensors(name string, metadata map[string]string, entries []Entry) (*Placed, error) {
	w, err := d.Create(name)
	if err != nil {
		return nil, err
	}
	p := &Placed{out: w.(*output), tensors: map[string]*place{}}
	p.out.sum = nil
	l, err := layOut(p.out.shown, metadata, entries)
	if err == nil {
		_, err = p.out.Write(l.header)
	}
	if err == nil {
		at := int64(len(l.header))
		for i, e := range l.order {
			p.tensors[e.Name] = &place{off: at, size: int64(l.size[i])}
			at += int64(l.size[i])
		}
		p.size = at
		if err = p.out.f.Truncate(at); err != nil {
			err = writeError(p.out.shown, err)
		}
	}
	if err != nil {
		p.out.Close()
		return nil, err
	}
	return p, nil
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

// Close ends the file, and makes its digest. A tensor that did not get all its bytes is an error.
func (p *Placed) Close() error {
	defer p.out.Close()
	for name, t := range p.tensors {
		if n := t.written.Load(); n != t.size {
			return &Error{Kind: ErrWrite, File: p.out.shown, Tensor: name, Msg: fmt.Sprintf("got %d of its %d bytes", n, t.size)}
		}
	}
	d, err := p.reread()
	if err != nil {
		return writeError(p.out.shown, err)
	}
	p.out.record(d)
	return p.out.Close()
}

// Discard gives an unfinished file up; the folder's Abort removes it.
func (p *Placed) Discard() { _ = p.out.Close() }
