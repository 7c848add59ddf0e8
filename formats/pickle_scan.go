package formats

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/nlpodyssey/gopickle/pickle"
)

// Limits on a pickle. The largest honest ones seen (training state of tens of thousands of tensors, dictionaries of a hundred
// thousand words) stay under a fifth of them; an instruction costs at most a few hundred bytes of memory.
const (
	maxPickle     = 64 << 20 // bytes
	maxPickleOps  = 4 << 20  // instructions
	maxPickleMark = 1 << 12  // nesting
	maxPickleLine = 1 << 16  // bytes of a text argument
	maxPickleLong = 256      // bytes or digits of a long integer: decoding is quadratic
)

// What follows an instruction of a pickle (Lib/pickletools.py of CPython lists them all).
const (
	argRefused = iota // unknown, or of no use in a weight file: extension registry, out-of-band buffers
	argNone
	arg1
	arg2
	arg4
	arg8
	argLine   // text to the end of the line
	argNumber // the same, a number
	argLines  // two lines: module and name
	argCount1 // a length of 1 byte and as many bytes
	argCount4
	argCount8
	argLong1 // a length of 1 byte and a number of as many bytes
)

var pickleArgs = func() (t [256]uint8) {
	set := func(arg uint8, ops string) {
		for i := range len(ops) {
			t[ops[i]] = arg
		}
	}
	set(argNone, "(.012NQRabd}eo"+"l]st)u"+"\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94")
	set(arg1, "Khq\x80")
	set(arg2, "M")
	set(arg4, "Jjr")
	set(arg8, "G\x95")
	set(argLine, "PSV")
	set(argNumber, "FILgp")
	set(argLines, "ci")
	set(argCount1, "UC\x8c")
	set(argCount4, "TXB")
	set(argCount8, "\x8d\x8e\x96")
	set(argLong1, "\x8a")
	return t
}()

// scanPickle walks over the instructions of the pickle at the start of data without carrying them out, and gives its length.
// It stands before the unpickler, which allocates what lengths in the file say.
func scanPickle(data []byte) (int, error) {
	bad := func(kind error, at int, format string, args ...any) (int, error) {
		return 0, &Error{Kind: kind, Msg: fmt.Sprintf("pickle, at byte %d: ", at) + fmt.Sprintf(format, args...)}
	}
	marks := 0
	for at, ops := 0, 0; ; ops++ {
		if at >= len(data) {
			if len(data) >= maxPickle {
				return bad(ErrLimit, at, "longer than the limit of %d bytes", maxPickle)
			}
			return bad(ErrTruncated, at, "ends in the middle")
		}
		if at >= maxPickle || ops >= maxPickleOps {
			return bad(ErrLimit, at, "longer than the limits of %d bytes and %d instructions", maxPickle, maxPickleOps)
		}
		op, start := data[at], at
		at++
		rest := data[at:]
		need := 0
		count := func(width int) bool {
			if len(rest) < width {
				need = width
				return true
			}
			var n [8]byte
			copy(n[:], rest[:width])
			v := binary.LittleEndian.Uint64(n[:])
			if v > uint64(len(rest)-width) {
				return false
			}
			need = width + int(v)
			return true
		}
		fits := true
		switch arg := pickleArgs[op]; arg {
		case argRefused:
			return bad(ErrPickle, start, "instruction 0x%02x is not allowed", op)
		case argNone:
		case arg1, arg2, arg4, arg8:
			need = map[uint8]int{arg1: 1, arg2: 2, arg4: 4, arg8: 8}[arg]
		case argLine, argNumber, argLines:
			lines, most := 1, maxPickleLine
			if arg == argNumber {
				most = maxPickleLong
			}
			if arg == argLines {
				lines = 2
			}
			for range lines {
				n := bytes.IndexByte(rest[need:min(len(rest), need+most)], '\n')
				if n < 0 {
					if len(rest)-need < most {
						return bad(ErrTruncated, start, "ends in the middle")
					}
					return bad(ErrLimit, start, "a line is longer than %d bytes", most)
				}
				need += n + 1
			}
		case argCount1:
			fits = count(1)
		case argCount4:
			fits = count(4)
		case argCount8:
			fits = count(8)
		case argLong1:
			fits = count(1)
			if fits && len(rest) > 0 && rest[0] == 0 {
				return bad(ErrPickle, start, "a number of no bytes")
			}
		}
		if !fits || need > len(rest) {
			return bad(ErrTruncated, start, "instruction 0x%02x promises more bytes than there are", op)
		}
		switch op {
		case '(':
			if marks++; marks > maxPickleMark {
				return bad(ErrLimit, start, "nested deeper than %d", maxPickleMark)
			}
		case '1', 'd', 'e', 'i', 'l', 'o', 't', 'u', 0x90, 0x91:
			marks--
		case 0x95: // a frame: the unpickler reads it whole
			if n := binary.LittleEndian.Uint64(rest); n > uint64(len(rest)-8) {
				return bad(ErrTruncated, start, "a frame of %d bytes passes the end", n)
			}
		}
		at += need
		if op == '.' {
			return at, nil
		}
	}
}

// unpickle carries out the pickle at the start of data and gives the object and the length. find decides which classes there
// are, persistent what a persistent id stands for (nil where there may be none).
func unpickle(data []byte, find func(module, name string) (any, error), persistent func(id any) (any, error)) (obj any, n int, err error) {
	if n, err = scanPickle(data); err != nil {
		return nil, 0, err
	}
	// The library indexes stacks and hashes keys without looking: what is left of that after the scan ends here.
	defer func() {
		if fault := recover(); fault != nil {
			obj, err = nil, &Error{Kind: ErrPickle, Msg: "pickle is damaged: " + cut(fmt.Sprint(fault))}
		}
	}()
	u := pickle.NewUnpickler(bytes.NewReader(data[:n]))
	u.FindClass = find
	u.PersistentLoad = persistent
	if obj, err = u.Load(); err != nil {
		var ours *Error
		if !errors.As(err, &ours) {
			err = &Error{Kind: ErrPickle, Msg: "pickle cannot be read: " + cut(err.Error())}
		}
		return nil, 0, err
	}
	return obj, n, nil
}

// cut keeps a message of the library, which may print a whole object, short and on one line.
func cut(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "..."
	}
	return printable(s)
}
