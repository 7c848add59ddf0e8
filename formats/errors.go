package formats

import (
	"errors"
	"strconv"
	"strings"
)

// The kinds of fault. Each Error has exactly one, to be found with errors.Is; each says which attack or accident it stops.
var (
	// ErrNotFound: nothing to read: no such path, no weights in a folder, a missing shard, a snapshot that is not cached.
	ErrNotFound = errors.New("not found")
	// ErrAmbiguous: several files could be meant. Choosing one silently would convert the wrong weights.
	ErrAmbiguous = errors.New("ambiguous")
	// ErrTruncated: a file ends before what it promises (a broken download), or is empty.
	ErrTruncated = errors.New("truncated")
	// ErrLimit: a length passes a limit. Lengths in files decide allocations; an attacker writes them.
	ErrLimit = errors.New("over a limit")
	// ErrHeader: a header, an index or an archive's directory is not what the format allows, so that two readers could
	// understand it differently.
	ErrHeader = errors.New("malformed")
	// ErrDuplicate: one name twice. Readers differ in which one they take, so a scanner may see other weights than the user.
	ErrDuplicate = errors.New("duplicate")
	// ErrDType: a type of number that is not known; its bytes would be misread.
	ErrDType = errors.New("unknown dtype")
	// ErrShape: a shape whose element count overflows or does not fit the bytes: reading it would leave the tensor.
	ErrShape = errors.New("bad shape")
	// ErrOffsets: tensors that overlap, leave holes (room to hide a payload) or pass the end of their file or storage.
	ErrOffsets = errors.New("bad offsets")
	// ErrChanged: a file was cut short, written to or replaced while it was read, so that values of two versions are mixed.
	ErrChanged = errors.New("changed")
	// ErrIndex: an index and its shards disagree about which tensors there are.
	ErrIndex = errors.New("index mismatch")
	// ErrEscape: a name that leads out of the checkpoint's folder: ../, an absolute path, a symbolic link.
	ErrEscape = errors.New("outside of the folder")
	// errDangling: a symbolic link to nothing. It is not ErrNotFound, since files that may be absent are passed over then.
	errDangling = errors.New("dangling link")
	// ErrPickle: a pickle that names a class which is not on the allow-list, or that no honest writer makes.
	ErrPickle = errors.New("refused pickle")
	// ErrExists: the target of a write is there already.
	ErrExists = errors.New("exists")
	// ErrNoSpace: the disk is full.
	ErrNoSpace = errors.New("no space left")
	// ErrRead: the operating system failed to read, or the checkpoint was closed.
	ErrRead = errors.New("cannot read")
	// ErrWrite: the operating system failed to write, or an entry did not give the bytes that its shape promises.
	ErrWrite = errors.New("cannot write")
)

// Error is a fault in a file, in one line: the file, the tensor where there is one, what was found and what to do.
type Error struct {
	Kind   error  // one of the Err values
	File   string // path, as the user would write it
	Tensor string // name, or empty
	Msg    string
	Cause  error // the operating system's error, or nil
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(printable(e.File))
		b.WriteString(": ")
	}
	if e.Tensor != "" {
		b.WriteString("tensor ")
		b.WriteString(quote(e.Tensor))
		b.WriteString(": ")
	}
	b.WriteString(e.Msg)
	if e.Cause != nil {
		b.WriteString(": ")
		b.WriteString(printable(e.Cause.Error()))
	}
	return b.String()
}

// Unwrap makes errors.Is find the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// quote makes a string from a file safe for a terminal: escaped, and cut where it is very long.
func quote(s string) string {
	const most = 120
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}

// printable leaves an ordinary path as it is and escapes one that holds control characters, so that an error stays one line.
func printable(s string) string {
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}
