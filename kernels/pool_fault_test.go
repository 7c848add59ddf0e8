//go:build unix

package kernels

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// reader reads memory in one part of many.
type reader struct {
	memory []byte
	bad    int // the part that reads
	done   atomic.Int64
}

func (r *reader) Part(part, _ int) {
	if part == r.bad && r.memory[0] != 0 {
		panic("the file held zeros")
	}
	r.done.Add(1)
}

// A memory fault in any worker panics in the caller of Run, after the other workers are done, and the pool goes on working.
func TestPoolFault(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 16); err != nil {
		t.Fatal(err)
	}
	memory, err := unix.Mmap(int(f.Fd()), 0, 1<<16, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(memory) }()
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	if !faultHasAddress(memory) {
		t.Skip("faults have no address here, as under some emulators, so that they cannot be told from nil pointers")
	}
	const parts = 40
	for _, threads := range []int{1, 3} {
		p := NewPool(threads)
		defer p.Close()
		for bad := range parts {
			r := &reader{memory: memory, bad: bad}
			func() {
				defer func() {
					if _, ok := recover().(interface{ Addr() uintptr }); !ok {
						t.Errorf("%d threads, part %d: no fault", threads, bad)
					}
				}()
				p.Run(parts, r)
			}()
			good := &reader{bad: -1}
			if p.Run(parts, good); good.done.Load() != parts {
				t.Fatalf("%d threads: %d parts of %d after a fault", threads, good.done.Load(), parts)
			}
		}
	}
}

// faultHasAddress reads memory that faults, and reports whether the machine says where.
func faultHasAddress(memory []byte) (has bool) {
	defer func() { _, has = recover().(interface{ Addr() uintptr }) }()
	return memory[0] == 0
}
