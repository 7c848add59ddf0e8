package formats

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// safetensorsOf is a file of tensors of zeros, as "name dtype shape".
func safetensorsOf(t *testing.T, tensors ...string) []byte {
	t.Helper()
	var entries []string
	at := 0
	for _, one := range tensors {
		var name, dtype, shape string
		if _, err := fmt.Sscan(one, &name, &dtype, &shape); err != nil {
			t.Fatal(err)
		}
		d, ok := ParseDType(dtype)
		var dims []int
		if err := json.Unmarshal([]byte(shape), &dims); err != nil || !ok {
			t.Fatalf("%s: %v", one, err)
		}
		n, err := byteSize(d, dims)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, fmt.Sprintf("%q:%s", name, entryJSON(dtype, shape, at, at+n)))
		at += n
	}
	return rawSafetensors("{"+strings.Join(entries, ",")+"}", make([]byte, at))
}

// What wrappers put into names goes, in every kind of file, unless two tensors would have one name.
func TestWrappers(t *testing.T) {
	for given, c := range map[string]struct{ want, note string }{
		"a b.c":                           {"a b.c", ""},
		"module.a module.b.c":             {"a b.c", `every name starts with "module."`},
		"module.module.a module.module.b": {"a b", `every name starts with "module."`},
		"module.a b":                      {"b module.a", ""},
		"_orig_mod.a _orig_mod.b.c":       {"a b.c", "names hold _orig_mod of"},
		"_orig_mod.module.a module.b":     {"a b", `every name starts with "module."`},
		"x._orig_mod.a b":                 {"b x.a", "_orig_mod"},
		"_fsdp_wrapped_module.l.0._fsdp_wrapped_module._checkpoint_wrapped_module.w b": {"b l.0.w", "_checkpoint_wrapped_module, _fsdp_wrapped_module"},
		"_forward_module.a":              {"a", "_forward_module"},
		"a._orig_mod.b a.b":              {"a._orig_mod.b a.b", ""},
		"_orig_mod b":                    {"_orig_mod b", ""},
		"module module.a":                {"module module.a", ""},
		"model.a model.b":                {"model.a model.b", ""},
		"module._orig_modern.a module.b": {"_orig_modern.a b", ""},
	} {
		var tensors []string
		pickle := newPickle().ops("}(")
		index := map[string]string{}
		sharded := map[string][]byte{}
		for i, name := range strings.Fields(given) {
			tensors = append(tensors, name+" F32 [2]")
			pickle.str(name).tensor("FloatStorage", "0", 2, 0, []int{2}, []int{1})
			file := fmt.Sprintf("%d.safetensors", i)
			index[name], sharded[file] = file, safetensorsOf(t, name+" F32 [2]")
		}
		sharded["model.safetensors.index.json"], _ = json.Marshal(map[string]any{"weight_map": index})
		for kind, files := range map[string]map[string][]byte{
			"safetensors": {"model.safetensors": safetensorsOf(t, tensors...)},
			"torch":       {"model.pt": torchZip(pickle.ops("u").stop(), make([]byte, 8))},
			"shards":      sharded,
		} {
			cp, err := Open(placed(t, files), Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer cp.Close()
			names := strings.Join(cp.Names(), " ")
			want := strings.Fields(c.want)
			slices.Sort(want)
			if names != strings.Join(want, " ") {
				t.Errorf("%s, %s: %q, want %q", given, kind, names, c.want)
			}
			for _, name := range cp.Names() {
				x, _ := cp.Tensor(name)
				if x.Name != name || x.Float32s(make([]float32, 2), 0) != nil {
					t.Errorf("%s, %s: %s cannot be read as %s", given, kind, x.Name, name)
				}
			}
			if notes := strings.Join(cp.Notes(), "\n"); !strings.Contains(notes, c.note) {
				t.Errorf("%s, %s: notes %q, want %q", given, kind, notes, c.note)
			}
		}
	}
}

func TestUnprefix(t *testing.T) {
	c, err := Open(placed(t, map[string][]byte{"model.safetensors": safetensorsOf(t, "model.a F32 [2]", "model.b F32 [2]")}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !c.Unprefix("model.") || c.Unprefix("model.") || strings.Join(c.Names(), " ") != "a b" {
		t.Errorf("names %v", c.Names())
	}
}

// Tensors of shards that are not there are known by name; they fail where they are read, and nowhere else.
func TestAbsentShards(t *testing.T) {
	index := []byte(`{"weight_map":{"vision.a":"model-00001-of-00003.safetensors","language.b":"model-00002-of-00003.safetensors","language.c":"model-00003-of-00003.safetensors"}}`)
	dir := placed(t, map[string][]byte{"model.safetensors.index.json": index, "model-00001-of-00003.safetensors": safetensorsOf(t, "vision.a F32 [2]")})
	if err := os.Symlink("nowhere", filepath.Join(dir, "model-00003-of-00003.safetensors")); err != nil {
		t.Log(err) // absent either way
	}
	for _, source := range []string{dir, filepath.Join(dir, "model.safetensors.index.json")} {
		c, err := Open(source, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := strings.Join(c.Names(), " "); got != "language.b language.c vision.a" {
			t.Errorf("names %s", got)
		}
		notes := strings.Join(c.Notes(), "\n")
		if !strings.Contains(notes, "names 2 tensors in shards that are not there: model-00002-of-00003.safetensors, model-00003-of-00003.safetensors") {
			t.Errorf("notes %q", notes)
		}
		a, _ := c.Tensor("vision.a")
		if err := a.Float32s(make([]float32, 2), 0); err != nil || a.Err() != nil {
			t.Error(err)
		}
		b, _ := c.Tensor("language.b")
		mustFail(t, b.Err(), ErrNotFound, `model-00002-of-00003.safetensors: tensor "language.b": shard is missing`)
		mustFail(t, b.Float32s(make([]float32, 1), 0), ErrNotFound, "shard is missing")
		_, err = b.Bytes()
		mustFail(t, err, ErrNotFound, "shard is missing")
		if _, ok := b.Float32View(); ok || b.Len() != 0 || b.ByteLen() != 0 || b.Shape != nil {
			t.Errorf("%v has values", b)
		}
		if len(c.Files()) != 2 {
			t.Errorf("files %v", c.Files())
		}
	}
	// A tensor that an index places in an absent shard, and that lies in another.
	dir = placed(t, map[string][]byte{"model.safetensors.index.json": []byte(`{"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}`),
		"1.safetensors": safetensorsOf(t, "a F32 [2]", "b F32 [2]")})
	_, err := Open(dir, Options{})
	mustFail(t, err, ErrIndex, `"b"`)
}

// Weights that a quantizer has packed are named as what they are, where they are needed; other parts of the model can be read.
func TestPacked(t *testing.T) {
	for method, tensors := range map[string][]string{
		"GPTQ":                     {"l.qweight I32 [8,64]", "l.qzeros I32 [2,8]", "l.scales F16 [2,64]", "l.g_idx I32 [64]"},
		"AWQ":                      {"l.qweight I32 [64,8]", "l.qzeros I32 [2,8]", "l.scales F16 [2,64]"},
		"compressed-tensors":       {"l.weight_packed I32 [64,8]", "l.weight_scale BF16 [64,2]", "l.weight_shape I64 [2]"},
		"another 8-bit format":     {"l.weight I8 [64,64]", "l.weight_scale F32 [64,1]"},
		"FP8 with scales by block": {"l.weight F8_E4M3 [64,64]", "l.weight_scale_inv F32 [1,1]"},
		"bitsandbytes in 8 bits":   {"l.weight I8 [64,64]", "l.SCB F32 [64]", "l.weight_format U8 []"},
		"bitsandbytes in 4 bits":   {"l.weight U8 [2048,1]", "l.weight.absmax U8 [64]", "l.weight.quant_map F32 [16]", "l.weight.quant_state.bitsandbytes__nf4 U8 [80]"},
		"MLX":                      {"l.weight U32 [64,8]", "l.scales F16 [64,1]", "l.biases F16 [64,1]"},
		"HQQ":                      {"l.W_q U8 [32,64]", "l.meta U8 [1]"},
		"quanto":                   {"l.weight._data I8 [64,64]", "l.weight._scale F32 [64,1]"},
		"ExLlamaV2":                {"l.q_weight I32 [8,64]", "l.q_scale I32 [2,8]"},
		"":                         {"l.weight F8_E4M3 [64,64]", "l.bias F32 [64]", "m.scales F32 [2]", "n.weight F32 [2]", "n.weight_scale F32 [2]", "n.biases F32 [1]"},
	} {
		c, err := Open(placed(t, map[string][]byte{"model.safetensors": safetensorsOf(t, append(tensors, "vision.weight F32 [2]")...)}), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if x, _ := c.Tensor("vision.weight"); x.Err() != nil {
			t.Errorf("%s: %v", method, x.Err())
		}
		x, ok := c.Tensor("l.weight")
		if !ok {
			t.Errorf("%s: no weight; there are %v", method, c.Names())
			continue
		}
		notes := strings.Join(c.Notes(), "\n")
		if method == "" {
			if x.Err() != nil || notes != "" {
				t.Errorf("what is not packed: %v, %s", x.Err(), notes)
			}
			continue
		}
		mustFail(t, x.Err(), ErrDType, `tensor "l.weight": is packed by `)
		mustFail(t, x.Err(), ErrDType, method)
		mustFail(t, x.Float32s(make([]float32, 1), 0), ErrDType, "quantized from")
		if !strings.Contains(notes, "1 weights are quantized by") {
			t.Errorf("%s: notes %q", method, notes)
		}
	}
}

// What is not a checkpoint is told what it is.
func TestForeign(t *testing.T) {
	nothing := torchZip(newPickle().ops("}(").str("epoch").num(3).str("args").ops("}u").stop())
	for name, c := range map[string]struct {
		files map[string][]byte
		open  string
		says  string
	}{
		"gguf":                   {map[string][]byte{"m-q4.gguf": []byte("GGUF\x03\x00\x00\x00")}, "", "m-q4.gguf is GGUF of llama.cpp"},
		"gguf file":              {map[string][]byte{"m.gguf": []byte("GGUF\x03\x00\x00\x00")}, "m.gguf", "is GGUF of llama.cpp"},
		"gguf by another name":   {map[string][]byte{"model.safetensors": []byte("GGUF\x03\x00\x00\x00")}, "", "is GGUF of llama.cpp"},
		"lora":                   {map[string][]byte{"adapter_model.safetensors": smallFile("a"), "adapter_config.json": []byte("{}")}, "", "is an adapter of peft"},
		"flax":                   {map[string][]byte{"flax_model.msgpack": {0x80}}, "", "is a checkpoint of Flax"},
		"tensorflow":             {map[string][]byte{"tf_model.h5": []byte("\x89HDF\r\n\x1a\n")}, "", "is a checkpoint of TensorFlow"},
		"tensorflow file":        {map[string][]byte{"tf_model.h5": []byte("\x89HDF\r\n\x1a\n")}, "tf_model.h5", "is a checkpoint of TensorFlow"},
		"onnx":                   {map[string][]byte{"model.onnx": {8, 9}}, "", "is a graph for another runtime"},
		"onnx file":              {map[string][]byte{"model.onnx": []byte("\x08\x09\x12\x07pytorch")}, "model.onnx", "is a graph for another runtime"},
		"npz":                    {map[string][]byte{"w.npz": zipOf(member{name: "a.npy", data: []byte("\x93NUMPY")})}, "w.npz", "is an archive of NumPy"},
		"distributed":            {map[string][]byte{"__0_0.distcp": {1}}, "", "is a part of a distributed checkpoint"},
		"not fetched to its end": {map[string][]byte{"config.json": []byte("{}"), "model.safetensors.part": {1}}, "", "model.safetensors.part is a download that was begun and not finished"},
		"archive":                {map[string][]byte{"model.tar.gz": []byte("\x1f\x8b\x08\x00")}, "model.tar.gz", "is compressed: unpack it"},
		"web page":               {map[string][]byte{"model.safetensors": []byte("\n<!DOCTYPE html><html>Log in")}, "", "is a web page"},
		"json":                   {map[string][]byte{"model.safetensors": []byte(`{"error":"Repository not found"}`)}, "", "is JSON, not weights"},
		"configuration named":    {map[string][]byte{"config.json": []byte(`{"model_type":"clip"}`)}, "config.json", "name the folder that it lies in"},
		"zeros":                  {map[string][]byte{"model.safetensors": make([]byte, 4096)}, "", "nothing but zeros"},
		"lfs":                    {map[string][]byte{"model.safetensors": []byte("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")}, "", "run git lfs pull"},
		"xet":                    {map[string][]byte{"model.safetensors": []byte("# xet version 0\nfilesize = 3\n")}, "", "pointer of Git Xet"},
		"no tensors":             {map[string][]byte{"pytorch_model.bin": nothing}, "", "holds no tensors of a model (it holds args, epoch)"},
		"optimizer alone":        {map[string][]byte{"x.pt": torchZip(newPickle().ops("}").stop())}, "", "holds nothing else"},
	} {
		_, err := Open(filepath.Join(placed(t, c.files), c.open), Options{})
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// A header whose length looks like the magic of another format is a header.
func TestHeaderThatLooksLikeAnotherFormat(t *testing.T) {
	header := `{"a":` + entryJSON("F32", "[2]", 0, 8) + `}`
	header += strings.Repeat(" ", 0x88b1f-len(header)) // gzip's first three bytes
	c, err := Open(placed(t, map[string][]byte{"model.safetensors": rawSafetensors(header, make([]byte, 8))}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// Checkpoints of Lightning, and any single file of PyTorch, are found in a folder.
func TestSingleTorchFiles(t *testing.T) {
	for _, name := range []string{"last.ckpt", "epoch=3-step=100.ckpt", "ViT-B-32.pt", "best.pth", "weights.bin"} {
		c, err := Open(placed(t, map[string][]byte{name: smallTorch("a"), "hparams.yaml": nil, "optimizer.pt": nil}), Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c.Close()
	}
	_, err := Open(placed(t, map[string][]byte{"last.ckpt": smallTorch("a"), "best.ckpt": smallTorch("a")}), Options{})
	mustFail(t, err, ErrAmbiguous, "best.ckpt, last.ckpt")
}

func TestSmallFilesThatAreNotThere(t *testing.T) {
	dir := placed(t, map[string][]byte{"model.safetensors": smallFile("a"), "tokenizer.json": []byte("version https://git-lfs.github.com/spec/v1\n")})
	c, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.ReadFile("tokenizer.json")
	mustFail(t, err, ErrHeader, "run git lfs pull")
	if err := os.Symlink("../../blobs/gone", filepath.Join(dir, "config.json")); err != nil {
		t.Skip(err)
	}
	_, err = c.ReadFile("config.json")
	if mustFail(t, err, errDangling, "../../blobs/gone, which is not there"); errors.Is(err, fs.ErrNotExist) {
		t.Error("a dangling link is passed over as if no file were there")
	}
}

// A model that is in the cache, or only in parts, is said to be.
func TestHubHints(t *testing.T) {
	const sha = "0123456789abcdef0123456789abcdef01234567"
	hub := placed(t, map[string][]byte{"models--openai--clip/refs/main": []byte(sha), "models--openai--clip/snapshots/" + sha + "/config.json": []byte("{}")})
	t.Setenv("HF_HUB_CACHE", hub)
	t.Chdir(t.TempDir())
	_, err := Open("hf:openai/clip", Options{})
	mustFail(t, err, ErrNotFound, "hf download openai/clip fetches the rest")
	_, err = Open("openai/clip", Options{})
	mustFail(t, err, ErrNotFound, "where hf:openai/clip names it")
	_, err = Open("openai/other", Options{})
	mustFail(t, err, ErrNotFound, "does not exist")
	_, err = Open("hf:openai/other", Options{})
	mustFail(t, err, ErrNotFound, "hf download openai/other")
	home := filepath.Dir(hub)
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	t.Setenv("HF_HUB_CACHE", "~/"+filepath.Base(hub))
	_, err = Open("hf:openai/clip", Options{})
	mustFail(t, err, ErrNotFound, "fetches the rest")
}
