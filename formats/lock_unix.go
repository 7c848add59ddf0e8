//go:build linux || darwin || freebsd || netbsd || openbsd

package formats

import (
	"os"

	"golang.org/x/sys/unix"
)

// tryLock takes a lock that lasts until f is closed or the process ends, however it ends. It fails where another holds it.
func tryLock(f *os.File) bool {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}
