package formats

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// What is being written lies beside its target under a hidden name: .NAME.mmconv-partial-RANDOM. The writer holds a lock on
// it, so that what a killed run left behind can be told from what a running one still writes. A replaced folder waits under
// .NAME.mmconv-old-RANDOM for the new one to be in place, where the two cannot be exchanged in one step.
var (
	partialName = regexp.MustCompile(`^\..+\.mmconv-partial-[0-9a-f]{16}$`)
	oldName     = regexp.MustCompile(`^\..+\.mmconv-old-[0-9a-f]{16}$`)
)

// swap is exchange, but for tests of systems that cannot do it.
var swap = exchange

// isPartial reports whether a path is the work of a run that has not finished.
func isPartial(path string) bool {
	abs, err := filepath.Abs(path)
	if err != nil {
		abs = path
	}
	return partialName.MatchString(filepath.Base(abs)) || partialName.MatchString(filepath.Base(filepath.Dir(abs)))
}

// AtomicDir is a folder that appears whole or not at all.
//
//	d, err := formats.NewAtomicDir(ctx, target, force)
//	if err != nil { … }
//	defer d.Abort() // does nothing after Commit
//	… d.WriteFile, d.Create, d.WriteSafetensors …
//	return d.Commit()
type AtomicDir struct {
	ctx    context.Context
	target string // as the user wrote it
	final  string // absolute, links resolved
	work   string
	force  bool
	lock   *os.File
	done   bool

	mu      sync.Mutex
	digests []Digest
}

// NewAtomicDir starts a folder. An existing target is refused without force (ErrExists); with force it stays untouched until
// Commit. A target that is the root, the home or the working folder, or above the latter, is never replaced. What killed
// runs left beside the target is removed, and a folder that a killed Commit had set aside is put back. Writes fail once ctx is
// cancelled.
func NewAtomicDir(ctx context.Context, target string, force bool) (*AtomicDir, error) {
	final, err := finalPath(target)
	if err != nil {
		return nil, err
	}
	cleanUp(final)
	if err := replaceable(target, final, force, true); err != nil {
		return nil, err
	}
	d := &AtomicDir{ctx: ctx, target: target, final: final, force: force, work: sibling(final, "partial")}
	if err := os.MkdirAll(filepath.Dir(final), 0o777); err != nil {
		return nil, writeError(target, err)
	}
	if err := os.Mkdir(d.work, 0o777); err != nil {
		return nil, writeError(target, err)
	}
	begun(d.work)
	if f, err := os.Open(d.work); err == nil && tryLock(f) {
		d.lock = f
	} else if err == nil {
		f.Close()
	}
	return d, nil
}

// finalPath makes a target absolute and follows links, so that a link is not replaced by what it leads to.
func finalPath(target string) (string, error) {
	if target == "" {
		return "", &Error{Kind: ErrWrite, File: target, Msg: "the name of the target is empty"}
	}
	final, err := filepath.Abs(target)
	if err != nil {
		return "", writeError(target, err)
	}
	if real, err := filepath.EvalSymlinks(final); err == nil {
		final = real
	}
	if base := filepath.Base(final); partialName.MatchString(base) || oldName.MatchString(base) {
		return "", &Error{Kind: ErrWrite, File: target, Msg: "the name is kept for unfinished work"}
	}
	return final, nil
}

func replaceable(target, final string, force, dir bool) error {
	info, err := os.Lstat(final)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return writeError(target, err)
	}
	if !force {
		return &Error{Kind: ErrExists, File: target, Msg: "exists already; choose another name or replace it with --force", Cause: fs.ErrExist}
	}
	if info.IsDir() != dir {
		what := map[bool]string{true: "a folder", false: "a file"}
		return &Error{Kind: ErrExists, File: target, Msg: fmt.Sprintf("exists and is not %s; it is not replaced", what[dir])}
	}
	if dir {
		precious := map[string]string{}
		if home, err := os.UserHomeDir(); err == nil {
			precious[home] = "the home folder"
		}
		if wd, err := os.Getwd(); err == nil {
			for ; ; wd = filepath.Dir(wd) {
				precious[wd] = "the working folder or one above it"
				if filepath.Dir(wd) == wd {
					break
				}
			}
		}
		for p, what := range precious {
			if real, err := filepath.EvalSymlinks(p); err == nil && real == final {
				return &Error{Kind: ErrExists, File: target, Msg: "is " + what + "; it is never replaced"}
			}
		}
	}
	return nil
}

func sibling(final, kind string) string {
	var r [8]byte
	rand.Read(r[:]) // never fails
	return filepath.Join(filepath.Dir(final), "."+filepath.Base(final)+".mmconv-"+kind+"-"+hex.EncodeToString(r[:]))
}

// cleanUp ends what killed runs began for the same target: unfinished work is removed, a folder set aside is put back where
// nothing took its place. It is best effort: a fault here is not the present run's.
func cleanUp(final string) {
	entries, err := os.ReadDir(filepath.Dir(final))
	if err != nil {
		return
	}
	prefix := "." + filepath.Base(final) + ".mmconv-"
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		path := filepath.Join(filepath.Dir(final), name)
		switch {
		case oldName.MatchString(name):
			if _, err := os.Lstat(final); errors.Is(err, fs.ErrNotExist) {
				os.Rename(path, final)
			} else {
				os.RemoveAll(path)
			}
		case partialName.MatchString(name):
			if f, err := os.Open(path); err == nil {
				if tryLock(f) { // else someone is at work on it
					os.RemoveAll(path)
				}
				f.Close()
			}
		}
	}
}

// Leftovers lists what killed runs left beside a target. NewAtomicDir and NewAtomicFile remove it.
func Leftovers(target string) ([]string, error) {
	final, err := finalPath(target)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Dir(final))
	if err != nil {
		return nil, readError(filepath.Dir(target), err)
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "."+filepath.Base(final)+".mmconv-") && (partialName.MatchString(e.Name()) || oldName.MatchString(e.Name())) {
			out = append(out, filepath.Join(filepath.Dir(target), e.Name()))
		}
	}
	return out, nil
}

// Path is the folder to write into, until Commit gives it its name.
func (d *AtomicDir) Path() string { return d.work }

// Create makes a file in the folder, and the folders above it. name is relative, with slashes. Close reports what Write could
// not.
func (d *AtomicDir) Create(name string) (io.WriteCloser, error) {
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return nil, &Error{Kind: ErrEscape, File: d.target, Msg: fmt.Sprintf("file name %s leads out of the folder", quote(name))}
	}
	shown := filepath.Join(d.target, filepath.FromSlash(name))
	if err := d.ctx.Err(); err != nil {
		return nil, &Error{Kind: ErrWrite, File: shown, Msg: "interrupted", Cause: err}
	}
	path := filepath.Join(d.work, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, writeError(shown, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, writeError(shown, err)
	}
	return &output{ctx: d.ctx, f: f, shown: shown, sum: sha256.New(), record: d.recorder(name)}, nil
}

// WriteFile writes a small file.
func (d *AtomicDir) WriteFile(name string, data []byte) error {
	w, err := d.Create(name)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	if e := w.Close(); err == nil {
		err = e
	}
	return err
}

// WriteSafetensors writes a file of tensors; see the function WriteSafetensors.
func (d *AtomicDir) WriteSafetensors(name string, metadata map[string]string, entries []Entry) error {
	w, err := d.Create(name)
	if err != nil {
		return err
	}
	err = WriteSafetensors(w, metadata, entries)
	if e := w.Close(); err == nil {
		err = e
	}
	return err
}

// Commit puts everything on the disk and gives the folder its name, in one step. Where a folder is replaced, it is gone only
// once the new one is in its place.
func (d *AtomicDir) Commit() error {
	if d.done {
		return &Error{Kind: ErrWrite, File: d.target, Msg: "was committed or aborted before"}
	}
	defer d.Abort()
	if err := syncTree(d.ctx, d.work); err != nil {
		return writeError(d.target, err)
	}
	if err := d.ctx.Err(); err != nil {
		return &Error{Kind: ErrWrite, File: d.target, Msg: "interrupted", Cause: err}
	}
	// Looked at again: it may have appeared in the meantime, and a rename would take an empty folder's place unasked.
	if err := replaceable(d.target, d.final, d.force, true); err != nil {
		return err
	}
	ended(d.work) // from here on it is either in its place or left to the next run
	if _, err := os.Lstat(d.final); err != nil {
		if err := os.Rename(d.work, d.final); err != nil {
			return writeError(d.target, err)
		}
		d.finish()
		committed(d.target)
		syncFile(filepath.Dir(d.final))
		return nil
	}
	if err := swap(d.work, d.final); err == nil {
		// The old folder now has the hidden name, under which it is removed.
		old := d.work
		d.finish()
		committed(d.target)
		syncFile(filepath.Dir(d.final))
		os.RemoveAll(old)
		return nil
	}
	old := sibling(d.final, "old")
	if err := os.Rename(d.final, old); err != nil {
		return writeError(d.target, err)
	}
	if err := os.Rename(d.work, d.final); err != nil {
		os.Rename(old, d.final)
		return writeError(d.target, err)
	}
	d.finish()
	committed(d.target)
	syncFile(filepath.Dir(d.final))
	os.RemoveAll(old)
	return nil
}

func (d *AtomicDir) finish() {
	d.done = true
	if d.lock != nil {
		d.lock.Close()
		d.lock = nil
	}
}

// Abort removes what was written. It does nothing after Commit.
func (d *AtomicDir) Abort() {
	if d.done {
		return
	}
	d.finish()
	os.RemoveAll(d.work)
	ended(d.work)
}

// AtomicFile is a file that appears whole or not at all, for reports and single outputs. Use it as AtomicDir.
type AtomicFile struct {
	output
	target, final, work string
	force, done         bool
}

// NewAtomicFile starts a file; the rules are those of NewAtomicDir.
func NewAtomicFile(ctx context.Context, target string, force bool) (*AtomicFile, error) {
	final, err := finalPath(target)
	if err != nil {
		return nil, err
	}
	cleanUp(final)
	if err := replaceable(target, final, force, false); err != nil {
		return nil, err
	}
	work := sibling(final, "partial")
	if err := os.MkdirAll(filepath.Dir(final), 0o777); err != nil {
		return nil, writeError(target, err)
	}
	f, err := os.OpenFile(work, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, writeError(target, err)
	}
	tryLock(f)
	begun(work)
	return &AtomicFile{output: output{ctx: ctx, f: f, shown: target}, target: target, final: final, work: work, force: force}, nil
}

// Commit puts the file on the disk and gives it its name.
func (a *AtomicFile) Commit() error {
	if a.done {
		return &Error{Kind: ErrWrite, File: a.target, Msg: "was committed or aborted before"}
	}
	defer a.Abort()
	if err := a.ctx.Err(); err != nil {
		return &Error{Kind: ErrWrite, File: a.target, Msg: "interrupted", Cause: err}
	}
	if err := a.f.Sync(); err != nil {
		return writeError(a.target, err)
	}
	if err := replaceable(a.target, a.final, a.force, false); err != nil {
		return err
	}
	if err := a.Close(); err != nil { // Windows does not rename an open file
		return err
	}
	ended(a.work)
	if err := os.Rename(a.work, a.final); err != nil {
		return writeError(a.target, err)
	}
	a.done = true
	committed(a.target)
	syncFile(filepath.Dir(a.final))
	return nil
}

// Abort removes what was written. It does nothing after Commit.
func (a *AtomicFile) Abort() {
	if a.done {
		return
	}
	a.done = true
	a.Close()
	os.Remove(a.work)
	ended(a.work)
}

// output is a file being written: it stops when its context ends, and says what went wrong in the user's terms.
type output struct {
	ctx     context.Context
	f       *os.File
	shown   string
	written int64
	closed  bool

	sum    hash.Hash    // of what was written one after the other, or nil
	record func(Digest) // takes it when the file is closed
}

// Write appends to the file.
func (o *output) Write(p []byte) (int, error) {
	if err := o.ctx.Err(); err != nil {
		return 0, &Error{Kind: ErrWrite, File: o.shown, Msg: "interrupted", Cause: err}
	}
	n, err := o.f.Write(p)
	o.written += int64(n)
	if o.sum != nil {
		o.sum.Write(p[:n])
	}
	if err != nil {
		err = writeErrorAfter(o.shown, o.written, err)
	}
	return n, err
}

// Close ends the file. It may be called twice.
func (o *output) Close() error {
	if o.closed {
		return nil
	}
	o.closed = true
	if err := o.f.Close(); err != nil {
		return writeErrorAfter(o.shown, o.written, err)
	}
	if o.sum != nil {
		o.record(Digest{Size: o.written, SHA256: hex.EncodeToString(o.sum.Sum(nil))})
	}
	return nil
}

func writeError(shown string, err error) error { return writeErrorAfter(shown, -1, err) }

func writeErrorAfter(shown string, written int64, err error) error {
	var ours *Error
	if errors.As(err, &ours) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		after := ""
		if written >= 0 {
			after = fmt.Sprintf(" after %d bytes of this file", written)
		}
		return &Error{Kind: ErrNoSpace, File: shown, Msg: "the disk is full" + after + "; what was written is removed, make room or choose another disk"}
	}
	var pe *fs.PathError
	var le *os.LinkError
	if errors.As(err, &pe) {
		err = pe.Err
	} else if errors.As(err, &le) {
		err = le.Err
	}
	return &Error{Kind: ErrWrite, File: shown, Msg: "cannot be written", Cause: err}
}

// syncTree puts every file below a folder on the disk, and the folders themselves.
func syncTree(ctx context.Context, root string) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		return syncFile(path)
	})
}

func syncFile(path string) error {
	flag := os.O_RDONLY
	if runtime.GOOS == "windows" {
		// Windows flushes only what is open for writing, and has no handle of that kind on a folder.
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			return err
		}
		flag = os.O_RDWR
	}
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return err
	}
	err = f.Sync()
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
