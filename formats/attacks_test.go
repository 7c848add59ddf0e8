package formats

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/attacks again")

// attack is a folder that must be refused, kept in testdata/attacks.
type attack struct {
	name  string
	files map[string][]byte
	open  string // relative to the folder; empty for the folder itself
	kind  error
	says  string
}

func one(name, file string, data []byte, kind error, says string) attack {
	return attack{name: name, files: map[string][]byte{file: data}, open: file, kind: kind, says: says}
}

func headerAttack(name, header string, size int, kind error, says string) attack {
	return one(name, "model.safetensors", rawSafetensors(header, make([]byte, size)), kind, says)
}

func pickleAttack(name string, pickle []byte, kind error, says string, storages ...[]byte) attack {
	return one(name, "model.pt", torchZip(pickle, storages...), kind, says)
}

func attacks() []attack {
	f32 := func(shape string, begin, end int) string { return entryJSON("F32", shape, begin, end) }
	good := rawSafetensors(`{"a":`+f32("[2]", 0, 8)+`}`, make([]byte, 8))
	other := rawSafetensors(`{"b":`+f32("[2]", 0, 8)+`}`, make([]byte, 8))
	index := func(m string) []byte { return []byte(`{"metadata":{},"weight_map":` + m + `}`) }
	sharded := func(name, indexText string, kind error, says string, files ...string) attack {
		a := attack{name: name, files: map[string][]byte{"model.safetensors.index.json": []byte(indexText)}, kind: kind, says: says}
		for _, f := range files {
			a.files[f] = good
		}
		return a
	}
	deep := strings.Repeat("(", 5000)
	eight := make([]byte, 8)
	tensor := func(count, offset int, shape, strides []int) []byte {
		return newPickle().ops("}(").str("w").tensor("FloatStorage", "0", count, offset, shape, strides).ops("u").stop()
	}
	wide := newPickle().ops("]q\x00(") // ten lists, each of which holds the one before ten times
	wide.ops("K\x01K\x02e")
	for i := byte(0); i < 30; i++ {
		wide.ops("0](" + strings.Repeat(string([]byte{'h', i}), 10) + "e" + string([]byte{'q', i + 1}))
	}
	loop := newPickle().ops("}q\x00(").str("self").ops("h\x00u").stop()
	lying := torchZip(tensor(2, 0, []int{2}, []int{1}), eight)

	return []attack{
		// safetensors: the frame
		one("empty-file", "model.safetensors", nil, ErrTruncated, "empty"),
		one("seven-bytes", "model.safetensors", []byte("\x02\x00\x00\x00\x00\x00\x00"), ErrTruncated, "too short"),
		one("header-longer-than-file", "model.safetensors", append(binary.LittleEndian.AppendUint64(nil, 1000), "{}"...), ErrTruncated, "1000 bytes is longer than the file"),
		one("header-length-of-2-to-64", "model.safetensors", append(bytes.Repeat([]byte{0xff}, 8), "{}"...), ErrHeader, "not a safetensors file"),
		one("header-without-json", "model.safetensors", rawSafetensors("hello", nil), ErrHeader, "does not start with {"),
		headerAttack("header-with-leading-space", ` {"a":`+f32("[2]", 0, 8)+`}`, 8, ErrHeader, "does not start with {"),
		headerAttack("header-with-second-object", `{"a":`+f32("[2]", 0, 8)+`}{}`, 8, ErrHeader, "goes on after"),
		headerAttack("header-with-newline-padding", `{"a":`+f32("[2]", 0, 8)+"}\n", 8, ErrHeader, "goes on after"),
		headerAttack("header-cut-off", `{"a":{"dtype":"F32","shape":[2]`, 8, ErrHeader, "not JSON"),
		headerAttack("header-with-trailing-comma", `{"a":`+f32("[2]", 0, 8)+`,}`, 8, ErrHeader, "not JSON"),
		headerAttack("header-with-number-for-name", `{1:`+f32("[2]", 0, 8)+`}`, 8, ErrHeader, "not JSON"),
		headerAttack("header-with-comment", `{/**/"a":`+f32("[2]", 0, 8)+`}`, 8, ErrHeader, "not JSON"),
		headerAttack("header-with-leading-zero", `{"a":`+f32("[02]", 0, 8)+`}`, 8, ErrHeader, "not JSON"),
		headerAttack("shape-with-trailing-comma", `{"a":`+f32("[2,]", 0, 8)+`}`, 8, ErrHeader, "not JSON"),
		headerAttack("entry-is-null", `{"a":null}`, 0, ErrHeader, "null"),
		headerAttack("header-not-utf8", "{\"\xff\":"+f32("[2]", 0, 8)+"}", 8, ErrHeader, "UTF-8"),
		headerAttack("header-is-a-list", `[]`, 0, ErrHeader, "does not start with {"),
		headerAttack("metadata-null", `{"__metadata__":null}`, 0, ErrHeader, "null"),
		headerAttack("metadata-number", `{"__metadata__":{"a":1}}`, 0, ErrHeader, "string was expected"),
		headerAttack("metadata-twice", `{"__metadata__":{},"__metadata__":{}}`, 0, ErrDuplicate, "twice"),
		// safetensors: the tensors
		headerAttack("duplicate-name", `{"a":`+f32("[2]", 0, 8)+`,"a":`+f32("[2]", 0, 8)+`}`, 8, ErrDuplicate, `"a"`),
		headerAttack("duplicate-name-escaped", `{"a":`+f32("[2]", 0, 8)+`,"\u0061":`+f32("[2]", 8, 16)+`}`, 16, ErrDuplicate, `"a"`),
		headerAttack("duplicate-key-in-entry", `{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8, ErrDuplicate, "dtype"),
		headerAttack("unknown-key-in-entry", `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}`, 8, ErrHeader, `"x"`),
		headerAttack("missing-key-in-entry", `{"a":{"dtype":"F32","shape":[2]}}`, 8, ErrHeader, "no data_offsets"),
		headerAttack("unknown-dtype", `{"a":`+entryJSON("F31", "[2]", 0, 8)+`}`, 8, ErrDType, `"F31"`),
		headerAttack("nameless", `{"":`+f32("[2]", 0, 8)+`}`, 8, ErrHeader, "without a name"),
		headerAttack("overlap", `{"a":`+f32("[2]", 0, 8)+`,"b":`+f32("[2]", 4, 12)+`}`, 12, ErrOffsets, "overlaps"),
		headerAttack("same-bytes-twice", `{"a":`+f32("[2]", 0, 8)+`,"b":`+f32("[2]", 0, 8)+`}`, 8, ErrOffsets, "overlaps"),
		headerAttack("hole-between", `{"a":`+f32("[2]", 0, 8)+`,"b":`+f32("[2]", 12, 20)+`}`, 20, ErrOffsets, "hole of 4 bytes"),
		headerAttack("hole-at-start", `{"a":`+f32("[2]", 8, 16)+`}`, 16, ErrOffsets, "hole of 8 bytes"),
		headerAttack("payload-after-end", `{"a":`+f32("[2]", 0, 8)+`}`, 24, ErrOffsets, "16 bytes after"),
		headerAttack("end-past-file", `{"a":`+f32("[2]", 0, 8)+`}`, 4, ErrTruncated, "has only 4"),
		headerAttack("end-before-begin", `{"a":`+f32("[0]", 8, 0)+`}`, 8, ErrOffsets, "before its begin"),
		headerAttack("shape-too-small", `{"a":`+f32("[1]", 0, 8)+`}`, 8, ErrShape, "needs 4 bytes"),
		headerAttack("shape-overflow", `{"a":`+f32("[4294967296,4294967296,4]", 0, 8)+`}`, 8, ErrShape, "overflows"),
		headerAttack("shape-overflow-to-right-size", `{"a":`+entryJSON("F64", "[2305843009213693953]", 0, 8)+`}`, 8, ErrShape, "overflows"),
		headerAttack("shape-overflow-behind-zero", `{"a":`+f32("[0,9223372036854775807,3]", 0, 0)+`}`, 0, ErrShape, "overflows"),
		headerAttack("shape-of-2-to-64", `{"a":`+f32("[0,18446744073709551615]", 0, 0)+`}`, 0, ErrShape, "whole number"),
		headerAttack("shape-negative", `{"a":`+f32("[-1,-2]", 0, 8)+`}`, 8, ErrShape, "whole number"),
		headerAttack("shape-minus-zero", `{"a":`+f32("[-0]", 0, 0)+`}`, 0, ErrShape, "whole number"),
		headerAttack("shape-fraction", `{"a":`+f32("[2.0]", 0, 8)+`}`, 8, ErrShape, "whole number"),
		headerAttack("shape-exponent", `{"a":`+f32("[2e0]", 0, 8)+`}`, 8, ErrShape, "whole number"),
		headerAttack("shape-string", `{"a":`+f32(`["2"]`, 0, 8)+`}`, 8, ErrHeader, "numbers were expected"),
		headerAttack("shape-of-1000-dimensions", `{"a":`+f32("[1"+strings.Repeat(",1", 999)+"]", 0, 4)+`}`, 4, ErrShape, "more than 64"),
		headerAttack("three-offsets", `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}}`, 8, ErrShape, "more than 2"),
		headerAttack("terminal-escapes-in-name", `{"\u001b[2J\n":`+entryJSON("F31", "[2]", 0, 8)+`}`, 8, ErrDType, `\x1b`),
		one("git-lfs-pointer", "model.safetensors", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"), ErrHeader, "git lfs pull"),

		// the index and its shards
		sharded("index-climbs-out", string(index(`{"a":"../model-1.safetensors"}`)), ErrEscape, "leads out"),
		sharded("index-absolute-path", string(index(`{"a":"/etc/passwd"}`)), ErrEscape, "leads out"),
		sharded("index-backslash", string(index(`{"a":"..\\x"}`)), ErrEscape, "leads out"),
		sharded("index-zero-byte", string(index(`{"a":"x\u0000y"}`)), ErrEscape, "leads out"),
		sharded("index-missing-shard", string(index(`{"a":"1.safetensors","b":"2.safetensors"}`)), ErrNotFound, "shard is missing"),
		sharded("index-names-missing-tensor", string(index(`{"a":"1.safetensors","b":"1.safetensors"}`)), ErrIndex, `"b"`, "1.safetensors"),
		sharded("index-omits-tensor", string(index(`{"b":"1.safetensors"}`)), ErrIndex, `"a"`, "1.safetensors"),
		sharded("index-same-tensor-in-two-shards", string(index(`{"a":"1.safetensors","b":"2.safetensors"}`)), ErrIndex, "says it is in", "1.safetensors", "2.safetensors"),
		sharded("index-duplicate-tensor", string(index(`{"a":"1.safetensors","a":"2.safetensors"}`)), ErrDuplicate, "twice", "1.safetensors"),
		sharded("index-without-map", `{"metadata":{}}`, ErrHeader, "no weight_map"),
		sharded("index-not-json", `hello`, ErrHeader, "not JSON"),
		sharded("index-number-for-file", string(index(`{"a":1}`)), ErrHeader, "file name was expected"),
		{name: "shards-without-index-incomplete", files: map[string][]byte{"model-00001-of-00003.safetensors": good, "model-00003-of-00003.safetensors": other}, kind: ErrNotFound, says: "00002-of-00003"},
		{name: "shards-without-index-cut-off", files: map[string][]byte{"model-00001-of-00002.safetensors": good}, kind: ErrNotFound, says: "00002-of-00002"},
		{name: "several-candidates", files: map[string][]byte{"a.safetensors": good, "b.safetensors": other}, kind: ErrAmbiguous, says: "a.safetensors, b.safetensors"},
		{name: "no-weights", files: map[string][]byte{"config.json": []byte("{}"), "training_args.bin": eight, "optimizer.pt": eight}, kind: ErrNotFound, says: "the folder holds config.json, optimizer.pt, training_args.bin"},

		// pickles
		pickleAttack("pickle-os-system", newPickle().class("posix", "system").str("touch owned").ops("\x85R").stop(), ErrPickle, `"posix.system"`),
		pickleAttack("pickle-eval", newPickle().class("__builtin__", "eval").str("1").ops("\x85R").stop(), ErrPickle, `"__builtin__.eval"`),
		pickleAttack("pickle-getattr", newPickle().class("builtins", "getattr").stop(), ErrPickle, `"builtins.getattr"`),
		pickleAttack("pickle-stack-global", newPickle().str("os").str("system").ops("\x93").stop(), ErrPickle, `"os.system"`),
		pickleAttack("pickle-inst", newPickle().ops("(ios\nsystem\n").stop(), ErrPickle, `"os.system"`),
		pickleAttack("pickle-whole-module", newPickle().class("clip.model", "CLIP").ops(")\x81").stop(), ErrPickle, "save the state dict"),
		pickleAttack("pickle-extension-registry", newPickle().ops("\x82\x01").stop(), ErrPickle, "not allowed"),
		pickleAttack("pickle-unknown-instruction", newPickle().ops("\xff").stop(), ErrPickle, "0xff"),
		pickleAttack("pickle-string-of-4-GB", newPickle().ops("X\xff\xff\xff\xff").stop(), ErrTruncated, "promises more bytes"),
		pickleAttack("pickle-string-of-2-to-63", newPickle().ops("\x8d\xff\xff\xff\xff\xff\xff\xff\x7f").stop(), ErrTruncated, "promises more bytes"),
		pickleAttack("pickle-frame-of-2-to-62", newPickle().ops("\x95\x00\x00\x00\x00\x00\x00\x00\x40").stop(), ErrTruncated, "frame"),
		pickleAttack("pickle-long-of-no-bytes", newPickle().ops("\x8a\x00").stop(), ErrPickle, "no bytes"),
		pickleAttack("pickle-long-of-300-digits", newPickle().ops("L"+strings.Repeat("9", 300)+"\n").stop(), ErrLimit, "line is longer"),
		pickleAttack("pickle-marks-without-end", newPickle().ops(deep).stop(), ErrLimit, "nested deeper"),
		pickleAttack("pickle-cut-off", newPickle().ops("}(").Bytes(), ErrTruncated, "ends in the middle"),
		pickleAttack("pickle-second-pickle", append(newPickle().ops("}").stop(), "."...), ErrPickle, "goes on"),
		pickleAttack("pickle-pops-nothing", newPickle().ops("000").stop(), ErrPickle, "cannot be read"),
		pickleAttack("pickle-odd-dictionary", newPickle().ops("}(").str("a").ops("u").stop(), ErrPickle, "damaged"),
		pickleAttack("pickle-unhashable-key", newPickle().class("collections", "OrderedDict").ops(")R(C\x01aNu").stop(), ErrPickle, "damaged"),
		pickleAttack("pickle-billion-references", wide.stop(), ErrLimit, "parts"),
		pickleAttack("pickle-contains-itself", loop, ErrLimit, "nested deeper"),
		// tensors of pickles
		pickleAttack("storage-count-too-large", tensor(1<<40, 0, []int{2}, []int{1}), ErrShape, "needs 4398046511104 bytes", eight),
		pickleAttack("storage-count-overflows", tensor(1<<62, 0, []int{2}, []int{1}), ErrLimit, "count", eight),
		pickleAttack("storage-count-negative", tensor(-1, 0, []int{2}, []int{1}), ErrLimit, "count", eight),
		pickleAttack("storage-missing", tensor(2, 0, []int{2}, []int{1}), ErrTruncated, "no member data/0"),
		pickleAttack("storage-unknown-numbers", newPickle().ops("}(").str("w").tensor("ComplexFloatStorage", "0", 1, 0, []int{1}, []int{1}).ops("u").stop(), ErrDType, "ComplexFloatStorage", eight),
		pickleAttack("storage-key-climbs-out", newPickle().ops("}(").str("w").tensor("FloatStorage", "../version", 1, 0, []int{1}, []int{1}).ops("u").stop(), ErrTruncated, "no member", eight),
		pickleAttack("tensor-past-storage", tensor(2, 0, []int{3}, []int{1}), ErrOffsets, "storage has 2", eight),
		pickleAttack("tensor-offset-past-storage", tensor(2, 1, []int{2}, []int{1}), ErrOffsets, "storage has 2", eight),
		pickleAttack("tensor-stride-past-storage", tensor(2, 0, []int{2}, []int{2}), ErrOffsets, "storage has 2", eight),
		pickleAttack("tensor-stride-overflows", tensor(2, 0, []int{5}, []int{1 << 62}), ErrOffsets, "overflow", eight),
		pickleAttack("tensor-negative-offset", tensor(2, -1, []int{2}, []int{1}), ErrOffsets, "starts at -1", eight),
		pickleAttack("tensor-negative-stride", tensor(2, 1, []int{2}, []int{-1}), ErrOffsets, "stride of -1", eight),
		pickleAttack("tensor-negative-shape", tensor(2, 0, []int{-2, -1}, []int{1, 1}), ErrShape, "negative", eight),
		pickleAttack("tensor-shape-overflows", tensor(2, 0, []int{1 << 32, 1 << 32}, []int{0, 0}), ErrShape, "overflows", eight),
		pickleAttack("tensor-repeats-one-number", tensor(2, 0, []int{1 << 40}, []int{0}), ErrLimit, "repeats 2 numbers", eight),
		pickleAttack("tensor-strides-missing", tensor(2, 0, []int{2, 1}, []int{1}), ErrShape, "strides", eight),
		pickleAttack("tensor-of-a-string", newPickle().ops("}(").str("w").class("torch._utils", "_rebuild_tensor_v2").ops("(").str("x").num(0).nums(2).nums(1).ops("tRu").stop(), ErrPickle, "not a view"),
		pickleAttack("tensor-name-twice", newPickle().ops("}(").str("w").tensor("FloatStorage", "0", 2, 0, []int{2}, []int{1}).str("w").tensor("FloatStorage", "0", 2, 0, []int{2}, []int{1}).ops("u").stop(), ErrDuplicate, `"w"`, eight),
		// archives
		one("zip-without-directory", "model.pt", lying[:len(lying)-30], ErrTruncated, "incomplete download"),
		one("zip-member-compressed", "model.pt", zipOf(member{name: "a/data.pkl", data: tensor(2, 0, []int{2}, []int{1})}, member{"a/data/0", eight, 8}), ErrHeader, "compressed"),
		one("zip-member-twice", "model.pt", zipOf(member{name: "a/data.pkl", data: tensor(2, 0, []int{2}, []int{1})}, member{name: "a/data/0", data: eight}, member{name: "a/data/0", data: eight}), ErrDuplicate, "twice"),
		one("zip-bomb", "model.pt", zipOf(member{"a/data.pkl", make([]byte, maxPickle+1), 8}), ErrLimit, "larger than the limit"),
		one("zip-of-something-else", "model.pt", zipOf(member{name: "word/document.xml", data: eight}), ErrHeader, "no data.pkl"),
		one("zip-big-endian", "model.pt", zipOf(member{name: "a/data.pkl", data: newPickle().ops("}").stop()}, member{name: "a/byteorder", data: []byte("big")}), ErrDType, "byte order"),
		// legacy files
		one("legacy-other-pickle", "model.bin", append(newPickle().ops("}").stop(), make([]byte, 16)...), ErrHeader, "not one that torch.save wrote"),
		one("legacy-cut-off", "model.bin", torchLegacy(tensor(2, 0, []int{2}, []int{1}), 4, eight)[:200], ErrTruncated, "promises more"),
		one("legacy-storage-cut-off", "model.bin", cutEnd(torchLegacy(tensor(2, 0, []int{2}, []int{1}), 4, eight), 4), ErrTruncated, "incomplete download"),
		one("legacy-payload-after-end", "model.bin", append(torchLegacy(tensor(2, 0, []int{2}, []int{1}), 4, eight), 1), ErrOffsets, "after the last storage"),
		one("legacy-count-differs", "model.bin", torchLegacy(tensor(2, 0, []int{2}, []int{1}), 4, eight[:4]), ErrShape, "its pickle says 2"),
		one("legacy-storage-missing", "model.bin", torchLegacy(tensor(2, 0, []int{2}, []int{1}), 4), ErrTruncated, "not in the file"),
		one("legacy-os-system", "model.bin", torchLegacy(newPickle().class("os", "system").stop(), 4), ErrPickle, `"os.system"`),
		one("tar", "model.pt", append(make([]byte, 257), append([]byte("ustar"), make([]byte, 250)...)...), ErrHeader, "tar archive"),
	}
}

func cutEnd(b []byte, n int) []byte { return b[:len(b)-n] }

func TestAttacks(t *testing.T) {
	root := filepath.Join("testdata", "attacks")
	if *update {
		if err := os.RemoveAll(root); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for _, a := range attacks() {
		if seen[a.name] {
			t.Fatalf("%s is there twice", a.name)
		}
		seen[a.name] = true
		t.Run(a.name, func(t *testing.T) {
			dir := filepath.Join(root, a.name)
			for name, data := range a.files {
				path := filepath.Join(dir, name)
				if *update {
					if err := os.MkdirAll(dir, 0o777); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(path, data, 0o666); err != nil {
						t.Fatal(err)
					}
				}
				if kept, err := os.ReadFile(path); err != nil || !bytes.Equal(kept, data) {
					t.Fatalf("%s is not what the test builds (go test -run Attacks -update writes it): %v", path, err)
				}
			}
			for _, noMmap := range []bool{false, true} {
				c, err := Open(filepath.Join(dir, a.open), Options{NoMmap: noMmap})
				mustFail(t, err, a.kind, a.says)
				if err == nil {
					c.Close()
				}
			}
		})
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !seen[e.Name()] {
			t.Errorf("testdata/attacks/%s belongs to no test", e.Name())
		}
	}
}

// A header of over 100 MB is refused before it is read; the file is sparse.
func TestAttackHugeHeader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.safetensors")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Write(binary.LittleEndian.AppendUint64(nil, maxHeader+1))
	if err := f.Truncate(maxHeader + 100); err != nil {
		t.Fatal(err)
	}
	f.Close()
	_, err = Open(path, Options{})
	mustFail(t, err, ErrLimit, "longer than the limit")
}

func TestAttackSymbolicLinks(t *testing.T) {
	good := rawSafetensors(`{"a":`+entryJSON("F32", "[2]", 0, 8)+`}`, make([]byte, 8))
	outside := placed(t, map[string][]byte{"secret.safetensors": good, "secret.json": []byte("{}")})
	dir := placed(t, map[string][]byte{"inside.json": []byte("{}"), "tower/config.json": []byte("{}")})
	for name, to := range map[string]string{
		"model.safetensors": filepath.Join(outside, "secret.safetensors"),
		"config.json":       filepath.Join("..", filepath.Base(outside), "secret.json"),
		"up.json":           filepath.Join(outside, "secret.json"),
		"alias.json":        "inside.json",
		"out":               outside,
	} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Skip(err)
		}
	}
	_, err := Open(dir, Options{})
	mustFail(t, err, ErrEscape, "symbolic link")
	os.Remove(filepath.Join(dir, "model.safetensors"))
	c, err := Open(dir, Options{WeightsOptional: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, name := range []string{"up.json", "out/secret.json", "../" + filepath.Base(outside) + "/secret.json", "/etc/hostname", "tower/../../x", ""} {
		_, err := c.ReadFile(name)
		mustFail(t, err, ErrEscape, "folder")
	}
	if _, err := c.ReadFile("alias.json"); err != nil {
		t.Error(err)
	}
	_, err = c.Sub("out")
	mustFail(t, err, ErrEscape, "symbolic link")
	_, err = c.Sub("../x")
	mustFail(t, err, ErrEscape, "leads out")
	_, err = c.Sub("absent")
	mustFail(t, err, ErrNotFound, "absent")
	_, err = c.ReadFile("absent.json")
	mustFail(t, err, ErrNotFound, "does not exist")
	_, err = c.ReadFile("tower")
	mustFail(t, err, ErrRead, "not a regular file")
	// What the user names himself may be a link.
	link := filepath.Join(dir, "named.safetensors")
	os.Symlink(filepath.Join(outside, "secret.safetensors"), link)
	d, err := Open(link, Options{})
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}

// A broken copy of a good file must give an error or a checkpoint, never a panic: every byte is tried.
func TestAttackEveryByte(t *testing.T) {
	pickle := newPickle().ops("}(").str("w").tensor("FloatStorage", "0", 2, 0, []int{2}, []int{1}).ops("u").stop()
	for name, data := range map[string][]byte{
		"model.safetensors": rawSafetensors(`{"a":`+entryJSON("F32", "[2]", 0, 8)+`}`, make([]byte, 8)),
		"model.pt":          torchZip(pickle, make([]byte, 8)),
		"model.bin":         torchLegacy(pickle, 4, make([]byte, 8)),
	} {
		dir := t.TempDir()
		for i := range data {
			for _, bit := range []byte{1, 0x80, 0xff} {
				broken := bytes.Clone(data)
				broken[i] ^= bit
				path := filepath.Join(dir, fmt.Sprint(i, bit, name))
				if err := os.WriteFile(path, broken, 0o666); err != nil {
					t.Fatal(err)
				}
				readAll(t, path)
				os.Remove(path)
			}
		}
	}
}

// readAll opens a file and reads every value: what opens must be readable.
func readAll(t testing.TB, path string) {
	c, err := Open(path, Options{NoMmap: true})
	if err != nil {
		if _, ok := err.(*Error); !ok {
			t.Errorf("%T is not an *Error: %v", err, err)
		}
		return
	}
	defer c.Close()
	for _, name := range c.Names() {
		x, _ := c.Tensor(name)
		b, err := x.Bytes()
		if err != nil {
			t.Errorf("%v opened but cannot be read: %v", x, err)
		}
		if len(b) != x.ByteLen() {
			t.Errorf("%v gives %d bytes", x, len(b))
		}
		if x.DType.Float() {
			if err := x.Float32s(make([]float32, x.Len()), 0); err != nil {
				t.Error(err)
			}
		}
	}
}
