package formats

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/edsrzf/mmap-go"
)

// file is an open source file: mapped into memory, or read piece by piece where mapping is unwanted or fails (a network
// file system, an address space that is too small).
type file struct {
	path   string // as shown to the user
	name   string // relative to the checkpoint's folder, with slashes
	size   int64
	info   os.FileInfo // when it was opened
	f      *os.File
	mapped mmap.MMap // nil when read with ReadAt
	closed atomic.Bool
	use    sync.RWMutex // held for reading while values are read, so that close does not take the memory away

	hashOnce sync.Once
	hash     string
	hashErr  error
}

// openFile takes ownership of f.
func openFile(f *os.File, path, name string, noMmap bool) (*file, error) {
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, &Error{Kind: ErrRead, File: path, Msg: "cannot be read", Cause: err}
	}
	if !info.Mode().IsRegular() {
		f.Close()
		return nil, &Error{Kind: ErrRead, File: path, Msg: "is not a regular file"}
	}
	s := &file{path: path, name: name, size: info.Size(), info: info, f: f}
	if !noMmap && s.size > 0 && int64(int(s.size)) == s.size {
		if m, err := mmap.Map(f, mmap.RDONLY, 0); err == nil {
			s.mapped = m
			mappings.add(s)
		}
	}
	return s, nil
}

func (s *file) close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.use.Lock()
	defer s.use.Unlock()
	var err error
	if s.mapped != nil {
		mappings.remove(s)
		err = s.mapped.Unmap()
	}
	if e := s.f.Close(); err == nil {
		err = e
	}
	return err
}

// view gives n bytes at off without copying, or nil when the file is not mapped. The range must lie inside the file.
func (s *file) view(off, n int64) []byte {
	if s.mapped == nil || s.closed.Load() {
		return nil
	}
	return s.mapped[off : off+n : off+n]
}

// read fills p from off.
func (s *file) read(p []byte, off int64) error {
	if s.closed.Load() {
		return &Error{Kind: ErrRead, File: s.path, Msg: "the checkpoint was closed"}
	}
	if off < 0 || off > s.size-int64(len(p)) {
		return &Error{Kind: ErrTruncated, File: s.path, Msg: "read past the end of the file"}
	}
	if s.mapped != nil {
		copy(p, s.mapped[off:])
		return nil
	}
	if _, err := s.f.ReadAt(p, off); err == io.EOF {
		return s.shrunk()
	} else if err != nil {
		return &Error{Kind: ErrRead, File: s.path, Msg: "cannot be read", Cause: err}
	}
	return nil
}

// bytes gives n bytes at off, as a view where the file is mapped, else as a copy. n must not come from the file unchecked:
// it is held against the file's size here.
func (s *file) bytes(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off > s.size-n {
		return nil, &Error{Kind: ErrTruncated, File: s.path, Msg: "read past the end of the file"}
	}
	if v := s.view(off, n); v != nil {
		return v, nil
	}
	p := make([]byte, n)
	return p, s.read(p, off)
}

// sha256 hashes the whole file, once.
func (s *file) sha256() (string, error) {
	s.hashOnce.Do(func() {
		h := sha256.New()
		const chunk = 1 << 20
		var buf []byte
		s.hashErr = Guard(func() error {
			for off := int64(0); off < s.size; off += chunk {
				if err := s.hashChunk(h, off, min(chunk, s.size-off), &buf); err != nil {
					return err
				}
			}
			return nil
		})
		if s.hashErr != nil {
			return
		}
		s.hash = hex.EncodeToString(h.Sum(nil))
	})
	return s.hash, s.hashErr
}

func (s *file) hashChunk(h io.Writer, off, n int64, buf *[]byte) error {
	s.use.RLock()
	defer s.use.RUnlock()
	p := s.view(off, n)
	if p == nil {
		if *buf == nil {
			*buf = make([]byte, n) // the first chunk is the longest
		}
		p = (*buf)[:n]
		if err := s.read(p, off); err != nil {
			return err
		}
	}
	_, err := h.Write(p)
	return err
}
