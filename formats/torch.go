package formats

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"path"
	"slices"
	"strings"

	"github.com/nlpodyssey/gopickle/types"
)

// torchFile is what a PyTorch file holds: the unpickled object, in which tensors are views of storages of the file.
type torchFile struct {
	root   any
	script bool // a TorchScript archive
}

// isZip tells a zip archive from a safetensors file whose header length happens to start with the same bytes: a safetensors
// header opens with a brace where an archive has a compression method.
func isZip(head []byte) bool {
	return len(head) >= 9 && string(head[:4]) == "PK\x03\x04" && head[8] != '{'
}

// readTorchZip reads a zip archive as torch.save and torch.jit.save write it: NAME/data.pkl describes the tensors, their
// numbers are the members NAME/data/KEY, stored without compression (caffe2/serialize/inline_container.h in pytorch).
func readTorchZip(f *file) (*torchFile, error) {
	fail := func(kind error, format string, args ...any) (*torchFile, error) {
		return nil, &Error{Kind: kind, File: f.path, Msg: fmt.Sprintf(format, args...)}
	}
	z, err := zip.NewReader(readerAt{f}, f.size)
	if err != nil {
		return fail(ErrTruncated, "is a zip archive without a readable directory at its end (incomplete download?): %v", err)
	}
	members := make(map[string]*zip.File, len(z.File))
	prefix, found := "", false
	for _, m := range z.File {
		if _, twice := members[m.Name]; twice {
			return fail(ErrDuplicate, "archive holds %s twice", quote(m.Name))
		}
		members[m.Name] = m
		if dir, base := path.Split(m.Name); base == "data.pkl" && strings.Count(dir, "/") <= 1 {
			if found {
				return fail(ErrAmbiguous, "archive holds several data.pkl")
			}
			prefix, found = dir, true
		}
	}
	if !found {
		for name := range members {
			if path.Ext(name) == ".npy" {
				return fail(ErrHeader, isNumPy)
			}
		}
		return fail(ErrHeader, "is a zip archive but not PyTorch's: it holds no data.pkl")
	}
	if m := members[prefix+"byteorder"]; m != nil {
		if order, err := readMember(m, 16); err != nil || strings.TrimSpace(string(order)) != "little" {
			return fail(ErrDType, "was written on a machine with another byte order (%s)", quote(string(order)))
		}
	}
	text, err := readMember(members[prefix+"data.pkl"], maxPickle)
	if err != nil {
		return fail(ErrLimit, "archive: %v", err)
	}
	storages := map[string]*torchStorage{}
	root, n, err := unpickle(text, findTorchClass, func(id any) (any, error) {
		t, ok := id.(*types.Tuple)
		if !ok || t.Len() < 5 || t.Get(0) != "storage" {
			return nil, &Error{Kind: ErrPickle, Msg: "pickle: a persistent id is not a storage"}
		}
		s, err := newTorchStorage(t.Get(1), t.Get(2), t.Get(4))
		if err != nil {
			return nil, err
		}
		if known := storages[s.key]; known != nil {
			if known.dtype != s.dtype || known.count != s.count {
				return nil, &Error{Kind: ErrPickle, Msg: fmt.Sprintf("pickle describes storage %s in two ways", quote(s.key))}
			}
			return known, nil
		}
		m := members[prefix+"data/"+s.key]
		if m == nil {
			return nil, &Error{Kind: ErrTruncated, Msg: fmt.Sprintf("archive has no member data/%s, the pickle names it", printable(s.key))}
		}
		if m.Method != zip.Store || m.UncompressedSize64 != m.CompressedSize64 {
			return nil, &Error{Kind: ErrHeader, Msg: fmt.Sprintf("member data/%s is compressed; PyTorch stores tensors as they are, write the file again with torch.save", printable(s.key))}
		}
		at, err := m.DataOffset()
		if err != nil {
			return nil, &Error{Kind: ErrHeader, Msg: fmt.Sprintf("member data/%s cannot be found: %v", printable(s.key), err)}
		}
		if at < 0 || at > f.size || m.UncompressedSize64 > uint64(f.size-at) {
			return nil, &Error{Kind: ErrTruncated, Msg: fmt.Sprintf("member data/%s passes the end of the file", printable(s.key))}
		}
		if want := uint64(s.count) * uint64(s.size()); want != m.UncompressedSize64 {
			return nil, &Error{Kind: ErrShape, Msg: fmt.Sprintf("storage %s needs %d bytes, the archive has %d", quote(s.key), want, m.UncompressedSize64)}
		}
		s.src, s.off = f, at
		storages[s.key] = s
		return s, nil
	})
	if err != nil {
		return nil, in(f, err)
	}
	if n != len(text) {
		return fail(ErrPickle, "data.pkl goes on for %d bytes after its end", len(text)-n)
	}
	return &torchFile{root: root, script: members[prefix+"constants.pkl"] != nil}, nil
}

// readMember unpacks a small member of an archive.
func readMember(m *zip.File, most int64) ([]byte, error) {
	r, err := m.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("member %s is larger than the limit of %d bytes", quote(m.Name), most)
	}
	return data, err
}

// readerAt is the io.ReaderAt of a file.
type readerAt struct{ f *file }

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	n := int64(len(p))
	if off < 0 || off >= r.f.size {
		return 0, io.EOF
	}
	short := n > r.f.size-off
	if short {
		n = r.f.size - off
	}
	if err := r.f.read(p[:n], off); err != nil {
		return 0, err
	}
	if short {
		return int(n), io.EOF
	}
	return int(n), nil
}

// torchMagic is the number that a legacy file starts with (torch/serialization.py).
var torchMagic, _ = new(big.Int).SetString("1950a86a20f9469cfc6c", 16)

const torchProtocol = 1001

// readTorchLegacy reads what torch.save wrote before version 1.6: five pickles one after another (magic number, protocol,
// system, the object, the keys of its storages) and then each storage, as its count and its numbers.
func readTorchLegacy(f *file) (*torchFile, error) {
	fail := func(kind error, format string, args ...any) (*torchFile, error) {
		return nil, &Error{Kind: kind, File: f.path, Msg: fmt.Sprintf(format, args...)}
	}
	data, err := f.bytes(0, min(f.size, maxPickle))
	if err != nil {
		return nil, err
	}
	at := 0
	next := func(persistent func(any) (any, error)) (any, error) {
		obj, n, err := unpickle(data[at:], findTorchClass, persistent)
		at += n
		return obj, err
	}
	magic, err := next(nil)
	if n, ok := magic.(*big.Int); err != nil || !ok || n.Cmp(torchMagic) != 0 {
		return fail(ErrHeader, "is a pickle, but not one that torch.save wrote")
	}
	if v, err := next(nil); err != nil || v != torchProtocol {
		return fail(ErrHeader, "is a PyTorch file of an unknown protocol, %d was expected", torchProtocol)
	}
	system, err := next(nil)
	if err != nil {
		return nil, in(f, err)
	}
	if little, ok := lookUpKey(system, "little_endian"); ok && little != true {
		return fail(ErrDType, "was written on a machine with another byte order")
	}
	storages := map[string]*torchStorage{}
	root, err := next(func(id any) (any, error) {
		t, ok := id.(*types.Tuple)
		if ok && t.Len() >= 2 && t.Get(0) == "module" { // a class with its source text: only the class counts
			return t.Get(1), nil
		}
		if !ok || t.Len() < 5 || t.Get(0) != "storage" {
			return nil, &Error{Kind: ErrPickle, Msg: "pickle: a persistent id is not a storage"}
		}
		s, err := newTorchStorage(t.Get(1), t.Get(2), t.Get(4))
		if err != nil {
			return nil, err
		}
		s.src = f
		if known := storages[s.key]; known != nil {
			if known.dtype != s.dtype || known.count != s.count {
				return nil, &Error{Kind: ErrPickle, Msg: fmt.Sprintf("pickle describes storage %s in two ways", quote(s.key))}
			}
			s = known
		}
		storages[s.key] = s
		if t.Len() < 6 || t.Get(5) == nil {
			return s, nil
		}
		// A view (key, first number, count) of the storage.
		v, ok := t.Get(5).(*types.Tuple)
		if !ok || v.Len() != 3 {
			return nil, &Error{Kind: ErrPickle, Msg: "pickle: a view of a storage is not described by three fields"}
		}
		from, isFrom := v.Get(1).(int)
		count, isCount := v.Get(2).(int)
		if !isFrom || !isCount || from < 0 || count < 0 || int64(from) > s.count || int64(count) > s.count-int64(from) {
			return nil, &Error{Kind: ErrOffsets, Msg: fmt.Sprintf("a view of storage %s lies outside of it", quote(s.key))}
		}
		return &torchStorage{key: s.key, dtype: s.dtype, count: int64(count), off: -1, base: s, from: int64(from)}, nil
	})
	if err != nil {
		return nil, in(f, err)
	}
	list, err := next(nil)
	if err != nil {
		return nil, in(f, err)
	}
	keys, ok := list.(*types.List)
	if !ok {
		return fail(ErrPickle, "does not list the keys of its storages")
	}
	place := int64(at)
	for _, k := range *keys {
		key, _ := k.(string)
		s := storages[key]
		if s == nil {
			return fail(ErrPickle, "lists a storage %s that no tensor uses", quote(key))
		}
		if s.off >= 0 {
			return fail(ErrDuplicate, "lists storage %s twice", quote(key))
		}
		head := make([]byte, 8)
		if err := f.read(head, place); err != nil {
			return fail(ErrTruncated, "ends before storage %s (incomplete download?)", quote(key))
		}
		if n := int64(binary.LittleEndian.Uint64(head)); n != s.count {
			return fail(ErrShape, "storage %s has %d numbers, its pickle says %d", quote(key), n, s.count)
		}
		place += 8
		size := s.count * s.size()
		if size > f.size-place {
			return fail(ErrTruncated, "ends inside of storage %s (incomplete download?)", quote(key))
		}
		s.off = place
		place += size
	}
	if place != f.size {
		return fail(ErrOffsets, "%d bytes after the last storage belong to none", f.size-place)
	}
	return &torchFile{root: root}, nil
}

func lookUpKey(dict any, key string) (any, bool) {
	for _, e := range dictEntries(dict) {
		if e.Key == key {
			return e.Value, true
		}
	}
	return nil, false
}

// in puts the file's path into an error of ours.
func in(f *file, err error) error {
	var e *Error
	if errors.As(err, &e) && e.File == "" {
		e.File = f.path
	}
	return err
}

// tarMagic stands at byte 257 of what PyTorch wrote before version 0.1.10.
var tarMagic = []byte("ustar")

// readTorch reads any file of PyTorch. It fails with errNotTorch where the first bytes are none of its formats'.
func readTorch(f *file) (*torchFile, error) {
	head, err := f.bytes(0, min(f.size, 512))
	if err != nil {
		return nil, err
	}
	switch {
	case isZip(head):
		return readTorchZip(f)
	case len(head) >= 9 && head[0] == 0x80 && head[1] >= 1 && head[1] <= 5 && head[8] != '{':
		return readTorchLegacy(f)
	case len(head) >= 262 && bytes.Equal(head[257:262], tarMagic):
		return nil, &Error{Kind: ErrHeader, File: f.path, Msg: "is a tar archive, as PyTorch wrote before version 0.1.10; load and save it with a newer one"}
	}
	return nil, errNotTorch
}

var errNotTorch = errors.New("not a PyTorch file")

// safer names the safetensors file that lies beside a PyTorch file, for messages.
func safer(listing []string) string {
	for _, name := range listing {
		if strings.HasSuffix(name, ".safetensors") && !shardName.MatchString(name) {
			return name
		}
	}
	if i := slices.IndexFunc(listing, func(s string) bool { return strings.HasSuffix(s, ".safetensors.index.json") }); i >= 0 {
		return listing[i]
	}
	return ""
}
