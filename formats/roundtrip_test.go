package formats

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nlpodyssey/safetensors"
	"pgregory.net/rapid"
)

// drawEntries draws tensors of any type and shape, with zeros among the dimensions and scalars among the shapes.
func drawEntries(t *rapid.T, types []DType) ([]Entry, map[string][]byte) {
	entries := []Entry{}
	values := map[string][]byte{}
	names := rapid.SliceOfNDistinct(rapid.OneOf(
		rapid.StringMatching(`[a-z]{1,4}(\.[a-z0-9]{1,3}){0,2}`),
		rapid.StringN(1, 5, 20),
	), 0, 6, rapid.ID[string]).Draw(t, "names")
	for _, name := range names {
		if name == "__metadata__" {
			continue
		}
		d := rapid.SampledFrom(types).Draw(t, "dtype")
		shape := rapid.SliceOfN(rapid.IntRange(0, 5), 0, 4).Draw(t, "shape")
		size, err := byteSize(d, shape)
		if err != nil {
			t.Fatal(err)
		}
		data := rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "data")
		values[name] = data
		entries = append(entries, Entry{Name: name, DType: d, Shape: shape, Write: func(w io.Writer) error {
			for len(data) > 0 { // in pieces
				n := min(len(data), 7)
				if _, err := w.Write(data[:n]); err != nil {
					return err
				}
				data = data[n:]
			}
			return nil
		}})
		data = slices.Clone(data)
	}
	return entries, values
}

func allTypes(_ testing.TB, without ...DType) []DType {
	var out []DType
	for d := F64; d <= BOOL; d++ {
		if !slices.Contains(without, d) {
			out = append(out, d)
		}
	}
	return out
}

func checkEntries(t *rapid.T, c *Checkpoint, entries []Entry, values map[string][]byte) {
	if len(c.Names()) != len(entries) {
		t.Fatalf("%d tensors, wrote %d", len(c.Names()), len(entries))
	}
	for _, e := range entries {
		x, ok := c.Tensor(e.Name)
		if !ok {
			t.Fatalf("%q is missing", e.Name)
		}
		if x.DType != e.DType || !slices.Equal(x.Shape, e.Shape) {
			t.Fatalf("%v, wrote %v %v", x, e.DType, e.Shape)
		}
		b, err := x.Bytes()
		if err != nil || !bytes.Equal(b, values[e.Name]) {
			t.Fatalf("%v has other bytes (%v)", x, err)
		}
	}
}

func TestSafetensorsRoundTrip(t *testing.T) {
	types := allTypes(t, F8E4M3, F8E5M2)
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		entries, values := drawEntries(t, types)
		metadata := rapid.MapOfN(rapid.StringN(0, 3, 12), rapid.StringN(0, 9, 20), 0, 3).Draw(t, "metadata")
		var file bytes.Buffer
		if err := WriteSafetensors(&file, metadata, entries); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "m.safetensors")
		if err := os.WriteFile(path, file.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		c, err := Open(path, Options{NoMmap: rapid.Bool().Draw(t, "noMmap")})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if !maps.Equal(c.Metadata(), metadata) {
			t.Fatalf("metadata %q, wrote %q", c.Metadata(), metadata)
		}
		for _, name := range c.Names() {
			if x, _ := c.Tensor(name); x.off%int64(x.DType.Size()) != 0 {
				t.Fatalf("%v is not aligned", x)
			}
		}

		// An independent reader must understand the same.
		theirs, err := safetensors.Deserialize(file.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if theirs.Len() != len(entries) {
			t.Fatalf("the library reads %d tensors, wrote %d", theirs.Len(), len(entries))
		}
		for _, e := range entries {
			if v, ok := theirs.Tensor(e.Name); !ok || v.DType().String() != e.DType.String() || !bytes.Equal(v.Data(), values[e.Name]) {
				t.Fatalf("the library reads %q otherwise", e.Name)
			}
		}
		checkEntries(t, c, entries, values)
	})
}

func TestPlacedRoundTrip(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		entries, values := drawEntries(t, allTypes(nil, F8E4M3, F8E5M2))
		n++
		target := filepath.Join(dir, fmt.Sprint(n))
		d, err := NewAtomicDir(context.Background(), target, false)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Abort()
		p, err := d.PlaceSafetensors("model.safetensors", map[string]string{"k": "v"}, entries)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range rapid.Permutation(entries).Draw(t, "order") {
			data := values[e.Name]
			half := len(data) / 2
			for _, piece := range []struct {
				b   []byte
				off int
			}{{data[half:], half}, {data[:half], 0}} {
				if err := p.WriteAt(e.Name, piece.b, int64(piece.off)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
		var streamed bytes.Buffer
		if err := WriteSafetensors(&streamed, map[string]string{"k": "v"}, entries); err != nil {
			t.Fatal(err)
		}
		if file, err := os.ReadFile(filepath.Join(target, "model.safetensors")); err != nil || !bytes.Equal(file, streamed.Bytes()) {
			t.Fatalf("written in place and as a stream, the files differ (%v)", err)
		}
		c, err := Open(target, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		checkEntries(t, c, entries, values)
	})
}

func TestWriteIsDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries, values := drawEntries(t, allTypes(nil, F8E4M3, F8E5M2))
		var files [2]bytes.Buffer
		for i := range files {
			shuffled := slices.Clone(entries)
			if i == 1 {
				shuffled = rapid.Permutation(entries).Draw(t, "order")
			}
			for j, e := range shuffled {
				shuffled[j] = BytesEntry(e.Name, e.DType, e.Shape, values[e.Name])
			}
			if err := WriteSafetensors(&files[i], map[string]string{"b": "1", "a": "2"}, shuffled); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(files[0].Bytes(), files[1].Bytes()) {
			t.Fatal("the order of the entries shows in the file")
		}
	})
}

func TestWriteRefuses(t *testing.T) {
	bytesOf := func(n int) func(io.Writer) error {
		return func(w io.Writer) error { _, err := w.Write(make([]byte, n)); return err }
	}
	for name, c := range map[string]struct {
		entries []Entry
		kind    error
	}{
		"too few bytes":  {[]Entry{{"a", F32, []int{2}, bytesOf(7)}}, ErrWrite},
		"twice":          {[]Entry{{"a", F32, []int{2}, bytesOf(8)}, {"a", F32, []int{2}, bytesOf(8)}}, ErrDuplicate},
		"no name":        {[]Entry{{"", F32, []int{2}, bytesOf(8)}}, ErrHeader},
		"metadata":       {[]Entry{{"__metadata__", F32, []int{2}, bytesOf(8)}}, ErrHeader},
		"not UTF-8":      {[]Entry{{"\xff", F32, []int{2}, bytesOf(8)}}, ErrHeader},
		"negative shape": {[]Entry{{"a", F32, []int{-2}, bytesOf(8)}}, ErrShape},
		"no dtype":       {[]Entry{{"a", 0, []int{2}, bytesOf(8)}}, ErrDType},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := NewAtomicDir(context.Background(), filepath.Join(t.TempDir(), "out"), false)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Abort()
			mustFail(t, d.WriteSafetensors("m.safetensors", nil, c.entries), c.kind, "m.safetensors")
		})
	}
	for _, write := range []func(io.Writer) error{bytesOf(9), func(w io.Writer) error { w.Write(make([]byte, 9)); return nil }} {
		if err := WriteSafetensors(io.Discard, nil, []Entry{{"a", F32, []int{2}, write}}); err == nil {
			t.Error("too many bytes were taken")
		}
	}
}

// A PyTorch tensor is a view with any strides: the values must be those of walking it.
func TestTorchViews(t *testing.T) {
	dir := t.TempDir()
	classes := map[string]DType{"FloatStorage": F32, "HalfStorage": F16, "ByteStorage": U8, "LongStorage": I64}
	rapid.Check(t, func(t *rapid.T) {
		class := rapid.SampledFrom([]string{"FloatStorage", "HalfStorage", "ByteStorage", "LongStorage"}).Draw(t, "class")
		width := classes[class].Size()
		shape := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 4).Draw(t, "shape")
		strides := make([]int, len(shape))
		offset := rapid.IntRange(0, 3).Draw(t, "offset")
		last := offset
		for i, d := range shape {
			strides[i] = rapid.IntRange(0, 9).Draw(t, "stride")
			last += max(0, d-1) * strides[i]
		}
		count := last + 1 + rapid.IntRange(0, 3).Draw(t, "spare")
		storage := rapid.SliceOfN(rapid.Byte(), count*width, count*width).Draw(t, "storage")

		var want []byte
		var walk func(dim, at int)
		walk = func(dim, at int) {
			if dim == len(shape) {
				want = append(want, storage[at*width:(at+1)*width]...)
				return
			}
			for i := range shape[dim] {
				walk(dim+1, at+i*strides[dim])
			}
		}
		walk(0, offset)

		pickle := newPickle().ops("}(").str("w").tensor(class, "0", count, offset, shape, strides).ops("u").stop()
		for name, data := range map[string][]byte{"m.pt": torchZip(pickle, storage), "m.bin": torchLegacy(pickle, width, storage)} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, data, 0o666); err != nil {
				t.Fatal(err)
			}
			c, err := Open(path, Options{NoMmap: rapid.Bool().Draw(t, "noMmap")})
			if err != nil {
				t.Fatal(err)
			}
			x, ok := c.Tensor("w")
			if !ok {
				t.Fatal("no tensor")
			}
			got, err := x.Bytes()
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: %v, want %v (%v)", name, got, want, err)
			}
			if x.Len() > 0 { // a range from the middle
				off := rapid.IntRange(0, x.Len()-1).Draw(t, "from")
				part := make([]byte, rapid.IntRange(0, x.Len()-off).Draw(t, "n")*width)
				err := x.each(off, len(part)/width, func(src []byte, at int) { copy(part[at*width:], src) })
				if err != nil || !bytes.Equal(part, want[off*width:off*width+len(part)]) {
					t.Fatalf("range from %d: %v, want %v (%v)", off, part, want, err)
				}
			}
			c.Close()
		}
	})
}

func TestConversions(t *testing.T) {
	le := binary.LittleEndian
	f64 := func(v ...float64) (b []byte) {
		for _, x := range v {
			b = le.AppendUint64(b, math.Float64bits(x))
		}
		return
	}
	f32 := func(v ...float32) (b []byte) {
		for _, x := range v {
			b = le.AppendUint32(b, math.Float32bits(x))
		}
		return
	}
	inf := float32(math.Inf(1))
	cases := []struct {
		dtype DType
		data  []byte
		want  []float32
		exact bool
	}{
		{F64, f64(1.1, math.MaxFloat64, -0.5, 1e-320), []float32{1.1, inf, -0.5, 0}, true},
		{F32, f32(1.1, -inf, 1e-45), []float32{1.1, -inf, 1e-45}, true},
		{F16, []byte{0x00, 0x3c, 0x01, 0x00, 0x00, 0xfc, 0xff, 0x7b}, []float32{1, 0x1p-24, -inf, 65504}, true},
		{BF16, []byte{0x80, 0x3f, 0x01, 0x00, 0x80, 0xff}, []float32{1, 0x1p-133, -inf}, true},
		{F8E4M3, []byte{0x38, 0x7e, 0x01, 0xb8}, []float32{1, 448, 0x1p-9, -1}, true},
		{F8E5M2, []byte{0x3c, 0x7b, 0x01, 0xfc}, []float32{1, 57344, 0x1p-16, -inf}, true},
		{I8, []byte{0x80, 0x7f}, []float32{-128, 127}, true},
		{U8, []byte{0x80, 0xff}, []float32{128, 255}, true},
		{BOOL, []byte{0, 1, 7}, []float32{0, 1, 1}, true},
		{I16, []byte{0, 0x80}, []float32{-32768}, true},
		{U16, []byte{0, 0x80}, []float32{32768}, true},
		{I32, []byte{1, 0, 0, 1, 0, 0, 0, 0x80}, []float32{16777216, -2147483648}, false},
		{U32, []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0x80}, []float32{4294967296, 2147483648}, false},
		{I64, []byte{0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 1, 0, 0, 0, 0}, []float32{-0x1p63, 16777216}, true},
		{I64, bytes.Repeat([]byte{0xff}, 7), nil, true},
		{I64, append(bytes.Repeat([]byte{0xff}, 7), 0x7f), []float32{0x1p63}, false},
		{U64, bytes.Repeat([]byte{0xff}, 8), []float32{0x1p64}, false},
	}
	for _, c := range cases {
		got := make([]float32, len(c.data)/c.dtype.Size())
		inexact := toFloat32(got, c.data, c.dtype)
		if !slices.Equal(got, c.want) && len(c.want) > 0 {
			t.Errorf("%s %x: %v, want %v", c.dtype, c.data, got, c.want)
		}
		if (inexact < 0) != c.exact {
			t.Errorf("%s %x: inexact integer at %d", c.dtype, c.data, inexact)
		}
		if c.dtype.Float() {
			continue
		}
		ints := make([]int64, len(got))
		if over := toInt64(ints, c.data, c.dtype); (over >= 0) != (c.dtype == U64) {
			t.Errorf("%s %x: over at %d", c.dtype, c.data, over)
		}
		for i, v := range ints {
			if c.exact && float32(v) != got[i] {
				t.Errorf("%s: %d and %g", c.dtype, v, got[i])
			}
		}
	}
	nan := make([]float32, 4)
	toFloat32(nan[:1], []byte{0x7f}, F8E4M3)
	toFloat32(nan[1:2], []byte{0x7f}, F8E5M2)
	toFloat32(nan[2:3], []byte{0x01, 0x7e}, F16)
	toFloat32(nan[3:], []byte{0xc1, 0x7f}, BF16)
	for i, v := range nan {
		if v == v {
			t.Errorf("NaN %d became %g", i, v)
		}
	}
}

func TestTensorRanges(t *testing.T) {
	const n = 100_003 // more than a window, not a multiple
	values := make([]byte, 4*n)
	for i := range n {
		binary.LittleEndian.PutUint32(values[4*i:], math.Float32bits(float32(i)))
	}
	var file bytes.Buffer
	ints := make([]byte, 4*n)
	copy(ints[4*n-4:], "\x01\x00\x00\x01") // 2^24 + 1
	if err := WriteSafetensors(&file, nil, []Entry{BytesEntry("a", F32, []int{n}, values), BytesEntry("i", I32, []int{n}, ints)}); err != nil {
		t.Fatal(err)
	}
	dir := placed(t, map[string][]byte{"model.safetensors": file.Bytes()})
	for _, noMmap := range []bool{false, true} {
		c, err := Open(dir, Options{NoMmap: noMmap})
		if err != nil {
			t.Fatal(err)
		}
		x, _ := c.Tensor("a")
		for _, r := range [][2]int{{0, n}, {0, 0}, {n, 0}, {n - 1, 1}, {1, 65537}, {50_000, 50_003}} {
			got := make([]float32, r[1])
			if err := x.Float32s(got, r[0]); err != nil {
				t.Error(err)
			}
			for i, v := range got {
				if v != float32(r[0]+i) {
					t.Fatalf("value %d of range %v is %g", i, r, v)
				}
			}
		}
		for _, r := range [][2]int{{-1, 1}, {0, n + 1}, {n, 1}, {math.MaxInt, 1}} {
			mustFail(t, x.Float32s(make([]float32, r[1]), r[0]), ErrShape, "values")
		}
		view, ok := x.Float32View()
		if ok == noMmap {
			t.Errorf("mapped %v, a view %v", !noMmap, ok)
		}
		if ok && (len(view) != n || view[n-1] != n-1) {
			t.Error("the view has other values")
		}
		mustFail(t, x.Int64s(make([]int64, 1), 0), ErrDType, "integers were expected")
		y, _ := c.Tensor("i")
		if _, ok := y.Float32View(); ok {
			t.Error("integers viewed as floats")
		}
		mustFail(t, y.Float32s(make([]float32, n), 0), ErrDType, "integer at 100002 is not exact in float32")
		c.Close()
		if _, err := x.Bytes(); err == nil {
			t.Error("a closed checkpoint gave bytes")
		}
		if err := x.Float32s(make([]float32, 1), 0); err == nil {
			t.Error("a closed checkpoint gave values")
		}
		if _, ok := x.Float32View(); ok {
			t.Error("a closed checkpoint gave a view")
		}
	}
}

// Closing while others read must give them errors, not take the memory from under them.
func TestCloseWhileReading(t *testing.T) {
	var file bytes.Buffer
	if err := WriteSafetensors(&file, nil, []Entry{BytesEntry("a", F16, []int{4 << 20}, make([]byte, 8<<20))}); err != nil {
		t.Fatal(err)
	}
	dir := placed(t, map[string][]byte{"model.safetensors": file.Bytes()})
	for range 20 {
		c, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		wait := c.HashAsync(1)
		x, _ := c.Tensor("a")
		done := make(chan bool)
		go func() {
			row := make([]float32, 1<<16)
			for x.Float32s(row, 0) == nil {
			}
			close(done)
		}()
		c.Close()
		<-done
		wait()
	}
}
