package formats

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path"
	"slices"
	"sort"
	"strings"
)

// Digest tells the bytes of a file from all others.
type Digest struct {
	Name   string `json:"name"` // relative to the folder, with slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hexadecimal
	// Tensors holds the CRC-32C of each tensor's bytes, hexadecimal, where a safetensors file was written by
	// PlaceSafetensors: it tells where a file was damaged.
	Tensors map[string]string `json:"tensors,omitempty"`
}

// extent is where the bytes of a tensor lie in a file.
type extent struct {
	name      string
	off, size int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// digest reads size bytes to the end, once, for the digest of all and those of extents.
func digest(ctx context.Context, r io.ReaderAt, size int64, tensors []extent) (Digest, error) {
	slices.SortFunc(tensors, func(a, b extent) int { return cmp.Or(cmp.Compare(a.off, b.off), cmp.Compare(a.size, b.size)) })
	d := Digest{Size: size}
	if tensors != nil {
		d.Tensors = make(map[string]string, len(tensors))
	}
	all := sha256.New()
	buf := make([]byte, min(size, 1<<20))
	sum := uint32(0) // of the first of the tensors that are left, as far as it was read
	for at := int64(0); at < size; at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), size-at)]
		if err := ctx.Err(); err != nil {
			return d, err
		}
		if _, err := r.ReadAt(buf, at); err != nil {
			return d, err
		}
		all.Write(buf)
		for end := at + int64(len(buf)); len(tensors) > 0 && tensors[0].off < end; tensors = tensors[1:] {
			t := tensors[0]
			sum = crc32.Update(sum, castagnoli, buf[max(t.off-at, 0):min(t.off+t.size, end)-at])
			if t.off+t.size > end {
				break
			}
			d.Tensors[t.name] = fmt.Sprintf("%08x", sum)
			sum = 0
		}
	}
	for _, t := range tensors { // empty ones at the end
		d.Tensors[t.name] = fmt.Sprintf("%08x", sum)
	}
	d.SHA256 = hex.EncodeToString(all.Sum(nil))
	return d, nil
}

// Check holds a file of the folder against its digest. It returns what does not fit, in words, empty where all does; an error
// is that the file could not be read.
func (c *Checkpoint) Check(ctx context.Context, want Digest) (fault string, err error) {
	f, shown, err := c.dir.open(want.Name)
	if errors.Is(err, ErrNotFound) {
		return "is missing", nil
	}
	if err != nil {
		return "", err
	}
	src, err := openFile(f, shown, want.Name, true)
	if err != nil {
		return "", err
	}
	defer src.close()
	var tensors []extent
	var bad error // of the header
	if want.Tensors != nil {
		var list []*Tensor
		list, _, bad = readSafetensors(src)
		tensors = make([]extent, 0, len(list))
		for _, t := range list {
			tensors = append(tensors, extent{t.Name, t.off, int64(t.ByteLen())})
		}
	}
	got, err := digest(ctx, readerAt{src}, src.size, tensors)
	if err != nil {
		return "", readError(shown, err)
	}
	var e *Error
	switch {
	case got.SHA256 == want.SHA256 && got.Size == want.Size:
		return "", nil
	case errors.As(bad, &e):
		e.File = ""
		return e.Error(), nil
	}
	var differ []string
	for name, sum := range want.Tensors {
		if got.Tensors[name] != sum {
			differ = append(differ, name)
		}
	}
	sort.Strings(differ)
	switch {
	case len(differ) > 0:
		return "differs in tensor " + some(differ), nil
	case got.Size != want.Size:
		return fmt.Sprintf("has %d bytes, %d were written", got.Size, want.Size), nil
	}
	return "differs", nil
}

// recorder collects the digests of a folder's files.
func (d *AtomicDir) recorder(name string) func(Digest) {
	return func(x Digest) {
		x.Name = path.Clean(name)
		d.mu.Lock()
		d.digests = append(d.digests, x)
		d.mu.Unlock()
	}
}

// Digests returns the digests of the files that were written and closed, sorted by name.
func (d *AtomicDir) Digests() []Digest {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := slices.Clone(d.digests)
	slices.SortFunc(out, func(a, b Digest) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// reread makes the digest of a file whose parts were written in any order: a SHA-256 goes from the first byte to the last,
// and the last parts to be computed lie at the front. It is read from memory, where the system still has what was just
// written, while the disk takes it in.
func (p *Placed) reread() (Digest, error) {
	synced := make(chan error, 1)
	go func() { synced <- p.out.f.Sync() }()
	var d Digest
	f, err := os.Open(p.out.f.Name())
	if err == nil {
		tensors := make([]extent, 0, len(p.tensors))
		for name, t := range p.tensors {
			tensors = append(tensors, extent{name, t.off, t.size})
		}
		d, err = digest(p.out.ctx, f, p.size, tensors)
		f.Close()
	}
	if e := <-synced; err == nil {
		err = e
	}
	return d, err
}
