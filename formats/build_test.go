package formats

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Builders of files for tests, good and bad.

// rawSafetensors puts a header and data together; pad is no part of it.
func rawSafetensors(header string, data []byte) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), data...)
}

func entryJSON(dtype, shape string, begin, end int) string {
	b, _ := json.Marshal([2]int{begin, end})
	return `{"dtype":"` + dtype + `","shape":` + shape + `,"data_offsets":` + string(b) + `}`
}

// pickleBuilder writes pickles of protocol 2, as torch.save does.
type pickleBuilder struct{ bytes.Buffer }

func newPickle() *pickleBuilder {
	p := &pickleBuilder{}
	p.WriteString("\x80\x02")
	return p
}

func (p *pickleBuilder) ops(s string) *pickleBuilder { p.WriteString(s); return p }

func (p *pickleBuilder) str(s string) *pickleBuilder {
	p.WriteByte('X')
	p.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(s))))
	p.WriteString(s)
	return p
}

func (p *pickleBuilder) num(n int) *pickleBuilder {
	if n == int(int32(n)) {
		p.WriteByte('J')
		p.Write(binary.LittleEndian.AppendUint32(nil, uint32(int32(n))))
	} else {
		p.WriteString("\x8a\x08")
		p.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
	}
	return p
}

func (p *pickleBuilder) nums(v ...int) *pickleBuilder {
	p.WriteByte('(')
	for _, n := range v {
		p.num(n)
	}
	p.WriteByte('t')
	return p
}

func (p *pickleBuilder) class(module, name string) *pickleBuilder {
	return p.ops("c" + module + "\n" + name + "\n")
}

// tensor writes torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, False, OrderedDict()).
func (p *pickleBuilder) tensor(storage, key string, count, offset int, shape, strides []int) *pickleBuilder {
	p.class("torch._utils", "_rebuild_tensor_v2").ops("((").str("storage").class("torch", storage).str(key).str("cpu").num(count)
	return p.ops("tQ").num(offset).nums(shape...).nums(strides...).ops("\x89").class("collections", "OrderedDict").ops(")RtR")
}

func (p *pickleBuilder) stop() []byte { p.WriteByte('.'); return p.Bytes() }

// member is a file in an archive.
type member struct {
	name   string
	data   []byte
	method uint16
}

func zipOf(members ...member) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range members {
		w, err := z.CreateHeader(&zip.FileHeader{Name: m.name, Method: m.method})
		if err != nil {
			panic(err)
		}
		w.Write(m.data)
	}
	z.Close()
	return b.Bytes()
}

// torchZip is what torch.save makes of a pickle and the storages 0, 1, ….
func torchZip(pickle []byte, storages ...[]byte) []byte {
	members := []member{{name: "archive/data.pkl", data: pickle}, {name: "archive/version", data: []byte("3\n")}}
	for i, s := range storages {
		members = append(members, member{name: "archive/data/" + string(rune('0'+i)), data: s})
	}
	return zipOf(members...)
}

func legacyHead() []byte {
	magic := newPickle().ops("\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19").stop()
	protocol := newPickle().ops("M\xe9\x03").stop()
	system := newPickle().ops("}(").str("little_endian").ops("\x88u").stop()
	return append(append(magic, protocol...), system...)
}

// torchLegacy is what torch.save made before version 1.6; width is the size of a number.
func torchLegacy(pickle []byte, width int, storages ...[]byte) []byte {
	out := append(legacyHead(), pickle...)
	keys := newPickle().ops("](")
	for i := range storages {
		keys.str(string(rune('0' + i)))
	}
	out = append(out, keys.ops("e").stop()...)
	for _, s := range storages {
		out = binary.LittleEndian.AppendUint64(out, uint64(len(s)/width))
		out = append(out, s...)
	}
	return out
}

// placed writes files below a new folder and gives its path.
func placed(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// mustFail holds an error against what it should be: one of ours, of one kind, on one line, that says something.
func mustFail(t *testing.T, err error, kind error, says string) {
	t.Helper()
	var e *Error
	switch {
	case err == nil:
		t.Errorf("no error, %v was expected", kind)
	case !errors.As(err, &e):
		t.Errorf("%T is not an *Error: %v", err, err)
	case !errors.Is(err, kind):
		t.Errorf("error is %v, %v was expected: %v", e.Kind, kind, err)
	case strings.ContainsAny(err.Error(), "\n\r\x1b") || len(err.Error()) > 700:
		t.Errorf("not one short line: %q", err)
	case !strings.Contains(err.Error(), says):
		t.Errorf("%q does not say %q", err, says)
	case e.File == "":
		t.Errorf("%q names no file", err)
	}
}
