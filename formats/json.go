package formats

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// JSON decodes a user's file into a value as json.Unmarshal does, and tells a fault in words of the file: the key, what was
// expected and what was found. file is shown to the user; it is empty for a part, whose file the caller tells. A value's own UnmarshalJSON should name its key where it refuses
// something; what it says is passed on.
func JSON(file string, raw []byte, into any) error { return decodeJSON(file, raw, into, false) }

// StrictJSON is JSON for files that people write for us: a key that the value has no field for is refused.
func StrictJSON(file string, raw []byte, into any) error { return decodeJSON(file, raw, into, true) }

func decodeJSON(file string, raw []byte, into any, strict bool) error {
	raw = bytes.TrimPrefix(raw, []byte("\ufeff"))
	d := json.NewDecoder(bytes.NewReader(raw))
	if strict {
		d.DisallowUnknownFields()
	}
	err := d.Decode(into)
	if err == nil {
		if rest := bytes.TrimLeft(raw[d.InputOffset():], " \t\r\n"); len(rest) > 0 {
			err = &notJSON{at: len(raw) - len(rest), expected: "the end of the file"}
		}
	}
	if err == nil {
		return nil
	}
	return &Error{Kind: ErrHeader, File: file, Msg: jsonFault(raw, into, err)}
}

// notJSON is a fault of the notation.
type notJSON struct {
	at       int // of the first byte that does not fit
	expected string
}

func (*notJSON) Error() string { return "not JSON" }

// expectedJSON says what was expected where encoding/json complains that a byte is invalid.
var expectedJSON = []struct{ complaint, expected string }{
	{"looking for beginning of value", "a value"},
	{"looking for beginning of object key string", "a key in double quotes"},
	{"after object key:value pair", "a comma or the closing brace"},
	{"after object key", "a colon"},
	{"after array element", "a comma or the closing bracket"},
	{"in string literal", "no control character inside of a text"},
	{"in string escape code", "an escape that JSON knows"},
	{"character escape", "four hexadecimal digits"},
	{"in literal true", "true"},
	{"in literal false", "false"},
	{"in literal null", "null"},
	{"numeric literal", "a digit"},
}

// jsonFault puts an error of encoding/json in words.
func jsonFault(raw []byte, into any, err error) string {
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	var fault *notJSON
	var inner *Error
	switch {
	case errors.As(err, &inner): // of a type that decodes itself with JSON
		return inner.Msg
	case len(bytes.TrimSpace(raw)) == 0:
		return "is empty, JSON was expected"
	case bytes.HasPrefix(raw, []byte(lfsPointer)):
		return lfsAdvice
	case len(bytes.Trim(raw, "\x00")) == 0:
		return "holds nothing but zeros, JSON was expected (incomplete download?)"
	case bytes.TrimSpace(raw)[0] == '<':
		return "is a web page (HTML or XML), not JSON: download the file itself"
	case errors.As(err, &mismatch):
		return jsonMismatch(raw, mismatch)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		fault = &notJSON{at: len(raw)}
	case errors.As(err, &syntax):
		fault = &notJSON{at: max(int(syntax.Offset)-1, 0)}
		for _, e := range expectedJSON {
			if strings.Contains(syntax.Error(), e.complaint) {
				fault.expected = e.expected
				break
			}
		}
	case !errors.As(err, &fault):
		if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return fmt.Sprintf("key %s is not known; known are %s", name, strings.Join(jsonKeys(reflect.TypeOf(into), nil), ", "))
		}
		return strings.TrimPrefix(err.Error(), "json: ")
	}
	where := jsonPlace(raw, fault.at)
	if fault.at >= len(raw) {
		return fmt.Sprintf("ends before its JSON does, at %s (incomplete download?)", where)
	}
	found, _, _ := strings.Cut(string(raw[fault.at:min(fault.at+24, len(raw))]), "\n")
	msg := fmt.Sprintf("is not JSON: %s: found %s", where, quote(found))
	if fault.expected != "" {
		msg += ", expected " + fault.expected
	}
	return msg
}

// jsonPlace names a place as editors do, and the key that it belongs to.
func jsonPlace(raw []byte, at int) string {
	before := raw[:at]
	line := bytes.Count(before, []byte("\n")) + 1
	place := fmt.Sprintf("line %d, column %d", line, at-(bytes.LastIndexByte(before, '\n')+1)+1)
	if path, _ := jsonAt(raw, at); path != "" {
		place += ", key " + path
	}
	return place
}

// jsonMismatch tells of a value of the wrong type.
func jsonMismatch(raw []byte, e *json.UnmarshalTypeError) string {
	path, value := jsonAt(raw, int(e.Offset))
	found := ""
	// Inside of a type that decodes itself the offset counts from there; the field is right all the same.
	if value == nil || !within(e.Field, path) {
		path, found = e.Field, e.Value
	} else {
		found = jsonValue(value)
	}
	msg := fmt.Sprintf("expected %s, found %s", jsonType(e.Type, value), found)
	if path != "" {
		msg = "key " + path + ": " + msg
	}
	return msg
}

// within reports whether the parts of a field's name are keys of a path, in order.
func within(field, path string) bool {
	if field == "" {
		return true
	}
	keys := strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' })
	for _, part := range strings.Split(field, ".") {
		at := slices.IndexFunc(keys, func(k string) bool { return strings.EqualFold(k, part) })
		if at < 0 {
			return false
		}
		keys = keys[at+1:]
	}
	return true
}

// jsonType names what a Go type takes; found is a number that it does not take, or another value.
func jsonType(t reflect.Type, found []byte) string {
	number := len(found) > 0 && (found[0] == '-' || found[0] >= '0' && found[0] <= '9')
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Float32, reflect.Float64:
		if number {
			return fmt.Sprintf("a number that %d bits hold", t.Bits())
		}
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<(t.Bits()-1)-1+uint64(1)<<(t.Bits()-1))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if number && !bytes.ContainsAny(found, ".eE") {
			return fmt.Sprintf("a whole number that %d bits hold", t.Bits())
		}
		return "a whole number"
	}
	return "another value"
}

// jsonValue describes a value as it stands in a file.
func jsonValue(value []byte) string {
	switch value[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		var s string
		if json.Unmarshal(value, &s) == nil {
			return "the text " + quote(s)
		}
		return "a text"
	}
	return printable(string(value[:min(len(value), 40)]))
}

// jsonAt gives the path of the innermost value that the byte before end belongs to, such as layers[3].size, and the value
// where it is a literal, or its first byte. What is behind end need not be JSON.
func jsonAt(raw []byte, end int) (path string, value []byte) {
	type level struct {
		list  bool
		index int
		key   string
		named bool // the key was read, its value follows
	}
	var stack []*level
	here := func() string {
		var b strings.Builder
		for _, l := range stack {
			switch {
			case l.list:
				fmt.Fprintf(&b, "[%d]", l.index)
			case l.key != "":
				if b.Len() > 0 {
					b.WriteByte('.')
				}
				b.WriteString(printable(l.key))
			}
		}
		return b.String()
	}
	for i := 0; i < min(end, len(raw)); {
		next := i + 1
		switch c := raw[i]; c {
		case ' ', '\t', '\r', '\n':
		case '{', '[':
			if next >= end {
				return here(), raw[i:next]
			}
			stack = append(stack, &level{list: c == '['})
		case '}', ']':
			if len(stack) > 0 {
				stack = stack[:len(stack)-1]
			}
		case ',':
			if len(stack) > 0 {
				l := stack[len(stack)-1]
				l.index, l.key, l.named = l.index+1, "", false
			}
		case ':':
			if len(stack) > 0 {
				stack[len(stack)-1].named = true
			}
		default:
			next = literalEnd(raw, i)
			if len(stack) > 0 {
				if l := stack[len(stack)-1]; !l.list && !l.named && c == '"' {
					if s, err := strconv.Unquote(string(raw[i:next])); err == nil {
						l.key = s
					}
					break
				}
			}
			if next >= end {
				return here(), raw[i:next]
			}
		}
		i = next
	}
	return here(), nil
}

// literalEnd is where a text, number or word that starts at i ends.
func literalEnd(raw []byte, i int) int {
	if raw[i] != '"' {
		for j := i + 1; j < len(raw); j++ {
			if bytes.IndexByte([]byte(" \t\r\n,:{}[]\""), raw[j]) >= 0 {
				return j
			}
		}
		return len(raw)
	}
	for j := i + 1; j < len(raw); j++ {
		switch raw[j] {
		case '\\':
			j++
		case '"':
			return j + 1
		}
	}
	return len(raw)
}

// jsonKeys lists the keys that a type has fields for, at any depth.
func jsonKeys(t reflect.Type, seen []reflect.Type) (keys []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || slices.Contains(seen, t) {
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
			continue
		case name != "":
			keys = append(keys, name)
		case !f.Anonymous:
			keys = append(keys, f.Name)
		}
		keys = append(keys, jsonKeys(f.Type, append(seen, t))...)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
