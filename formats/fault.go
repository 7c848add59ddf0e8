package formats

import (
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"unsafe"
)

// Guard runs f, in which memory of mapped files may be read. Where such a file has become shorter since it was opened, the
// system has nothing to put there and would end the process (SIGBUS); here that is an error which names the file. It holds
// for f's own goroutine: others need a Guard of their own.
func Guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if fault, ok := p.(interface{ Addr() uintptr }); ok {
			if src := mappings.find(fault.Addr()); src != nil {
				err = src.shrunk()
				return
			}
		}
		panic(p)
	}()
	return f()
}

// mappings are the files that are mapped into memory now.
var mappings mappedFiles

type mappedFiles struct {
	mu    sync.Mutex
	files map[*file]struct{}
}

func (m *mappedFiles) add(s *file) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files == nil {
		m.files = map[*file]struct{}{}
	}
	m.files[s] = struct{}{}
}

func (m *mappedFiles) remove(s *file) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, s)
}

// find returns the file that an address belongs to.
func (m *mappedFiles) find(at uintptr) *file {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := range m.files {
		if first := uintptr(unsafe.Pointer(&s.mapped[0])); at >= first && at-first < uintptr(len(s.mapped)) {
			return s
		}
	}
	return nil
}

// shrunk says that a file has become shorter.
func (s *file) shrunk() error {
	msg := fmt.Sprintf("became shorter while it was read: it had %d bytes when it was opened", s.size)
	if info, err := s.f.Stat(); err == nil && info.Size() != s.size {
		msg += fmt.Sprintf(", now it has %d", info.Size())
	}
	return &Error{Kind: ErrChanged, File: s.path, Msg: msg}
}

// Unchanged makes sure that the files which were read are still what they were when they were opened: of that size and
// time, and under that name the same file. What was made of them is otherwise worth nothing.
func (c *Checkpoint) Unchanged() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.files {
		if err := unchanged(f.path, f.info); err != nil {
			return err
		}
	}
	for _, f := range c.side {
		if err := unchanged(f.Path, f.info); err != nil {
			return err
		}
	}
	for _, s := range c.subs {
		if err := s.Unchanged(); err != nil {
			return err
		}
	}
	return nil
}

func unchanged(shown string, before os.FileInfo) error {
	fail := func(format string, args ...any) error {
		return &Error{Kind: ErrChanged, File: shown, Msg: "changed while it was read: " + fmt.Sprintf(format, args...)}
	}
	now, err := os.Stat(shown)
	switch {
	case err != nil:
		return fail("it is gone")
	case !os.SameFile(before, now):
		return fail("another file has its name now")
	case now.Size() != before.Size():
		return fail("it had %d bytes when it was opened, now it has %d", before.Size(), now.Size())
	case !now.ModTime().Equal(before.ModTime()):
		return fail("it was written at %s", now.ModTime().Format("15:04:05.000"))
	}
	return nil
}
