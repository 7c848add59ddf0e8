package formats

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"sort"
	"strconv"
	"unicode/utf8"
)

// maxHeader is the limit that the format's own library sets.
const maxHeader = 100_000_000

// readSafetensors checks the header of a file and gives its tensors, in the order of their bytes, and its metadata.
//
// The rules are those of https://github.com/huggingface/safetensors (README, "Format"), and stricter where readers differ:
// one name once, no bytes before or after the JSON but spaces at its end, whole numbers written as such, every byte of the
// buffer owned by exactly one tensor.
func readSafetensors(f *file) ([]*Tensor, map[string]string, error) {
	bad := func(kind error, format string, args ...any) ([]*Tensor, map[string]string, error) {
		return nil, nil, &Error{Kind: kind, File: f.path, Msg: fmt.Sprintf(format, args...)}
	}
	if f.size < 8 {
		return bad(ErrTruncated, "is %d bytes long, too short for a safetensors file", f.size)
	}
	head, err := f.bytes(0, 8)
	if err != nil {
		return nil, nil, err
	}
	n := binary.LittleEndian.Uint64(head)
	switch {
	case n > uint64(f.size-8) && n > maxHeader:
		return bad(ErrHeader, "is not a safetensors file: it starts with a header length of %d bytes and is %d bytes long", n, f.size)
	case n > maxHeader:
		return bad(ErrLimit, "header of %d bytes is longer than the limit of %d", n, maxHeader)
	case n > uint64(f.size-8):
		return bad(ErrTruncated, "header of %d bytes is longer than the file of %d bytes", n, f.size)
	}
	text, err := f.bytes(8, int64(n))
	if err != nil {
		return nil, nil, err
	}
	h, err := parseHeader(text)
	if err != nil {
		e := err.(*Error) // parseHeader gives no other
		e.File = f.path
		return nil, nil, e
	}

	data := f.size - 8 - int64(n)
	order := h.tensors
	sort.Slice(order, func(i, j int) bool {
		a, b := order[i], order[j]
		return a.begin < b.begin || a.begin == b.begin && (a.end < b.end || a.end == b.end && a.name < b.name)
	})
	tensors := make([]*Tensor, len(order))
	var at, last = int64(0), ""
	for i, t := range order {
		fault := func(kind error, format string, args ...any) ([]*Tensor, map[string]string, error) {
			return nil, nil, &Error{Kind: kind, File: f.path, Tensor: t.name, Msg: fmt.Sprintf(format, args...)}
		}
		switch {
		case t.begin > t.end:
			return fault(ErrOffsets, "ends at byte %d, before its begin at %d", t.end, t.begin)
		case t.end > data:
			return fault(ErrTruncated, "ends at byte %d of the data, which has only %d (incomplete download?)", t.end, data)
		case t.begin < at:
			return fault(ErrOffsets, "begins at byte %d and overlaps tensor %s, which ends at %d", t.begin, quote(last), at)
		case t.begin > at:
			return fault(ErrOffsets, "begins at byte %d and leaves a hole of %d bytes before it", t.begin, t.begin-at)
		}
		size, err := byteSize(t.dtype, t.shape)
		if err != nil {
			return fault(ErrShape, "%v", err)
		}
		if int64(size) != t.end-t.begin {
			return fault(ErrShape, "%s %s needs %d bytes, its offsets hold %d", t.dtype, shapeString(t.shape), size, t.end-t.begin)
		}
		tensors[i] = &Tensor{Name: t.name, DType: t.dtype, Shape: t.shape, File: f.path,
			n: size / t.dtype.Size(), src: f, off: 8 + int64(n) + t.begin}
		at, last = t.end, t.name
	}
	if at != data {
		return bad(ErrOffsets, "%d bytes after the last tensor belong to none", data-at)
	}
	return tensors, h.metadata, nil
}

type header struct {
	tensors  []headerEntry
	metadata map[string]string
}

type headerEntry struct {
	name       string
	dtype      DType
	shape      []int
	begin, end int64
}

// parseHeader reads the JSON token by token, since decoding into maps would drop duplicate names unseen. Every error is an
// *Error without its File.
func parseHeader(text []byte) (*header, error) {
	if len(text) == 0 || text[0] != '{' {
		return nil, &Error{Kind: ErrHeader, Msg: "is not a safetensors file: the header does not start with {"}
	}
	if !utf8.Valid(text) {
		return nil, &Error{Kind: ErrHeader, Msg: "header is not UTF-8"}
	}
	p := &headerParser{dec: json.NewDecoder(bytes.NewReader(text)), what: "header"}
	p.dec.UseNumber()
	h := &header{}
	seen := map[string]bool{}
	p.object(func(key string) {
		if seen[key] {
			p.fail(ErrDuplicate, key, "appears twice in the header")
			return
		}
		seen[key] = true
		if key == "__metadata__" {
			h.metadata = p.metadata()
			return
		}
		if key == "" {
			p.fail(ErrHeader, "", "header has a tensor without a name")
			return
		}
		h.tensors = append(h.tensors, p.entry(key))
	})
	if p.err == nil {
		if rest := bytes.TrimRight(text[p.dec.InputOffset():], " "); len(rest) > 0 {
			p.fail(ErrHeader, "", "header goes on after its closing brace")
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	return h, nil
}

// headerParser remembers the first error and lets everything after it fall through.
type headerParser struct {
	dec  *json.Decoder
	what string // header or index, for messages
	err  *Error
}

func (p *headerParser) fail(kind error, tensor, format string, args ...any) {
	if p.err == nil {
		p.err = &Error{Kind: kind, Tensor: tensor, Msg: fmt.Sprintf(format, args...)}
	}
}

func (p *headerParser) token() json.Token {
	if p.err != nil {
		return nil
	}
	tok, err := p.dec.Token()
	if err != nil {
		p.fail(ErrHeader, "", "%s is not JSON (at byte %d: %v)", p.what, p.dec.InputOffset(), err)
		return nil
	}
	return tok
}

func (p *headerParser) expect(d json.Delim, what string) {
	if tok := p.token(); p.err == nil && tok != d {
		p.fail(ErrHeader, "", "%s: %s where %q was expected %s", p.what, describe(tok), d.String(), what)
	}
}

func (p *headerParser) object(each func(key string)) {
	p.expect('{', "to open an object")
	for p.err == nil && p.dec.More() {
		key, ok := p.token().(string)
		if !ok {
			p.fail(ErrHeader, "", "%s: a name was expected", p.what) // does nothing after a fault of the JSON itself
			return
		}
		each(key)
	}
	p.expect('}', "to close an object")
}

// skip passes over one value of any kind.
func (p *headerParser) skip() {
	for depth := 0; p.err == nil; {
		if d, ok := p.token().(json.Delim); ok {
			if d == '{' || d == '[' {
				depth++
			} else {
				depth--
			}
		}
		if depth == 0 {
			return
		}
	}
}

func (p *headerParser) metadata() map[string]string {
	m := map[string]string{}
	p.object(func(key string) {
		if _, twice := m[key]; twice {
			p.fail(ErrDuplicate, "", "header: __metadata__ has the key %s twice", quote(key))
		}
		tok := p.token()
		s, ok := tok.(string)
		if !ok {
			p.fail(ErrHeader, "", "header: __metadata__ has %s at %s, a string was expected", describe(tok), quote(key))
		}
		m[key] = s
	})
	return m
}

func (p *headerParser) entry(name string) headerEntry {
	e := headerEntry{name: name}
	seen := map[string]bool{}
	p.object(func(key string) {
		if seen[key] {
			p.fail(ErrDuplicate, name, "has the key %s twice", quote(key))
			return
		}
		seen[key] = true
		switch key {
		case "dtype":
			tok := p.token()
			s, ok := tok.(string)
			if !ok {
				p.fail(ErrHeader, name, "dtype is %s, a string was expected", describe(tok))
				return
			}
			if e.dtype, ok = ParseDType(s); !ok {
				p.fail(ErrDType, name, "dtype %s is not known (known: %s)", quote(s), dtypeNames())
			}
		case "shape":
			e.shape = []int{}
			p.numbers(name, key, maxRank, func(v int64) {
				if v > math.MaxInt {
					p.fail(ErrShape, name, "dimension %d does not fit this machine", v)
				}
				e.shape = append(e.shape, int(v))
			})
		case "data_offsets":
			var v []int64
			p.numbers(name, key, 2, func(n int64) { v = append(v, n) })
			if p.err == nil && len(v) != 2 {
				p.fail(ErrOffsets, name, "has %d data_offsets, 2 were expected", len(v))
				return
			}
			if p.err == nil {
				e.begin, e.end = v[0], v[1]
			}
		default:
			p.fail(ErrHeader, name, "has an unknown key %s (dtype, shape and data_offsets are allowed)", quote(key))
		}
	})
	for _, key := range []string{"dtype", "shape", "data_offsets"} {
		if p.err == nil && !seen[key] {
			p.fail(ErrHeader, name, "has no %s", key)
		}
	}
	return e
}

func (p *headerParser) numbers(name, key string, most int, each func(int64)) {
	p.expect('[', "to open "+key+" of tensor "+quote(name))
	for n := 0; p.err == nil && p.dec.More(); n++ {
		if n == most {
			p.fail(ErrShape, name, "%s has more than %d numbers", key, most)
			return
		}
		tok := p.token()
		num, ok := tok.(json.Number)
		if !ok {
			p.fail(ErrHeader, name, "%s holds %s, numbers were expected", key, describe(tok))
			return
		}
		// ParseInt refuses fractions, exponents and what does not fit 64 bits; JSON itself has no leading zeros or plus.
		v, err := strconv.ParseInt(num.String(), 10, 64)
		if err != nil || v < 0 || num.String()[0] == '-' {
			p.fail(ErrShape, name, "%s holds %s, which is not a whole number from 0 to 2^63-1", key, quote(num.String()))
			return
		}
		each(v)
	}
	p.expect(']', "to close "+key+" of tensor "+quote(name))
}

func describe(tok json.Token) string {
	switch v := tok.(type) {
	case nil:
		return "null"
	case string:
		return "the string " + quote(v)
	case json.Number:
		return "the number " + quote(v.String())
	default:
		return fmt.Sprintf("%q", fmt.Sprint(v))
	}
}
