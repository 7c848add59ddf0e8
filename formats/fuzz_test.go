package formats

import (
	"os"
	"path/filepath"
	"testing"
)

// Fuzz targets: whatever the bytes, a parser answers with one of our errors or with tensors that can be read. The seeds are
// the attacks and a good file of each kind.

func seeds(f *testing.F, extension string) {
	for _, a := range attacks() {
		for name, data := range a.files {
			if filepath.Ext(name) == extension && len(data) < 1<<13 {
				f.Add(data)
			}
		}
	}
}

func fuzzFile(f *testing.F) {
	path := filepath.Join(f.TempDir(), "file")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		readAll(t, path)
	})
}

func FuzzSafetensors(f *testing.F) {
	seeds(f, ".safetensors")
	f.Add(smallFile("a"))
	fuzzFile(f)
}

func FuzzTorchZip(f *testing.F) {
	seeds(f, ".pt")
	f.Add(smallTorch("a"))
	fuzzFile(f)
}

func FuzzTorchLegacy(f *testing.F) {
	seeds(f, ".bin")
	pickle := newPickle().ops("}(").str("w").tensor("FloatStorage", "0", 2, 0, []int{2}, []int{1}).ops("u").stop()
	f.Add(torchLegacy(pickle, 4, make([]byte, 8)))
	fuzzFile(f)
}

// FuzzPickle goes past the archive: its check sums keep a fuzzer from the pickle inside.
func FuzzPickle(f *testing.F) {
	f.Add(newPickle().ops("}(").str("w").tensor("FloatStorage", "0", 2, 0, []int{2}, []int{1}).ops("u").stop())
	f.Add([]byte("\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94K\x01s."))
	f.Add([]byte("(dp0\nS'a'\np1\nI1\ns."))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := scanPickle(data)
		if err == nil && (n < 1 || n > len(data)) {
			t.Fatalf("a pickle of %d bytes in %d", n, len(data))
		}
		obj, _, err := unpickle(data, findTorchClass, func(any) (any, error) { return &torchStorage{count: 2, dtype: F32, src: &file{path: "x"}}, nil })
		if err != nil {
			if _, ok := err.(*Error); !ok {
				t.Errorf("%T is not an *Error: %v", err, err)
			}
			return
		}
		flattenTorch(&file{path: "x", name: "x"}, &torchFile{root: obj})
	})
}

func FuzzIndex(f *testing.F) {
	empty := f.TempDir()
	seeds(f, ".json")
	f.Add([]byte(`{"metadata":{"total_size":8,"x":[1,{"y":null}]},"weight_map":{"a":"1.safetensors"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		weights, err := parseIndex(data)
		if err != nil {
			if _, ok := err.(*Error); !ok {
				t.Errorf("%T is not an *Error: %v", err, err)
			}
			return
		}
		d := &folder{shown: "x", real: empty, reach: empty}
		for _, name := range shardsOf(weights) {
			if file, _, err := d.open(name); err == nil {
				file.Close()
				t.Errorf("%q was opened in an empty folder", name)
			}
		}
	})
}
