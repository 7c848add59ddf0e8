package formats

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func smallFile(name string) []byte {
	return rawSafetensors(`{"`+name+`":`+entryJSON("F32", "[2]", 0, 8)+`}`, make([]byte, 8))
}

func smallTorch(name string) []byte {
	return torchZip(newPickle().ops("}(").str(name).tensor("FloatStorage", "0", 2, 0, []int{2}, []int{1}).ops("u").stop(), make([]byte, 8))
}

func TestWhichWeightsOfAFolder(t *testing.T) {
	index := func(m string) []byte { return []byte(`{"weight_map":` + m + `}`) }
	for name, c := range map[string]struct {
		files map[string][]byte
		want  string // tensor names
		note  string
	}{
		"single":             {map[string][]byte{"model.safetensors": smallFile("a")}, "a", ""},
		"safetensors first":  {map[string][]byte{"model.safetensors": smallFile("a"), "pytorch_model.bin": smallTorch("b")}, "a", "not read: pytorch_model.bin"},
		"projector beside":   {map[string][]byte{"model.safetensors": smallFile("a"), "mm_projector.bin": smallTorch("b")}, "a", "not read: mm_projector.bin"},
		"projector alone":    {map[string][]byte{"config.json": []byte("{}"), "mm_projector.bin": smallTorch("b")}, "b", ""},
		"open_clip":          {map[string][]byte{"open_clip_model.safetensors": smallFile("a"), "open_clip_pytorch_model.bin": smallTorch("b")}, "a", "open_clip_pytorch_model.bin"},
		"single over shards": {map[string][]byte{"model.safetensors": smallFile("a"), "model.safetensors.index.json": index(`{"b":"1.safetensors"}`)}, "a", ""},
		"shards": {map[string][]byte{"model.safetensors.index.json": index(`{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}`),
			"model-00001-of-00002.safetensors": smallFile("a"), "model-00002-of-00002.safetensors": smallFile("b")}, "a b", ""},
		"shards without index": {map[string][]byte{"model-00001-of-00002.safetensors": smallFile("a"), "model-00002-of-00002.safetensors": smallFile("b")}, "a b", "no index"},
		"other name":           {map[string][]byte{"weights.safetensors": smallFile("a"), "x.pt": smallTorch("b")}, "a", "x.pt"},
		"other index":          {map[string][]byte{"clip.safetensors.index.json": index(`{"a":"clip-00001-of-00001.safetensors"}`), "clip-00001-of-00001.safetensors": smallFile("a")}, "a", ""},
		"torch shards": {map[string][]byte{"pytorch_model.bin.index.json": index(`{"a":"pytorch_model-00001-of-00002.bin","b":"pytorch_model-00002-of-00002.bin"}`),
			"pytorch_model-00001-of-00002.bin": smallTorch("a"), "pytorch_model-00002-of-00002.bin": smallTorch("b"), "training_args.bin": nil}, "a b", ""},
		"training leftovers": {map[string][]byte{"ViT-B-32.pt": smallTorch("a"), "optimizer.pt": nil, "scheduler.pt": nil, "rng_state_0.pth": nil}, "a", ""},
	} {
		t.Run(name, func(t *testing.T) {
			checkpoint, err := Open(placed(t, c.files), Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer checkpoint.Close()
			if got := strings.Join(checkpoint.Names(), " "); got != c.want {
				t.Errorf("tensors %q, want %q", got, c.want)
			}
			notes := strings.Join(checkpoint.Notes(), "\n")
			if !strings.Contains(notes, c.note) || c.note == "" && notes != "" {
				t.Errorf("notes %q, want %q", notes, c.note)
			}
		})
	}
}

// Kinds of files are told by what is in them: the extension is the publisher's taste.
func TestKindByContent(t *testing.T) {
	dir := placed(t, map[string][]byte{"a.bin": smallFile("a"), "b.ckpt": smallTorch("b"), "c": smallFile("c")})
	for file, tensor := range map[string]string{"a.bin": "a", "b.ckpt": "b", "c": "c"} {
		c, err := Open(filepath.Join(dir, file), Options{})
		if err != nil {
			t.Error(err)
			continue
		}
		if _, ok := c.Tensor(tensor); !ok {
			t.Errorf("%s: %v", file, c.Names())
		}
		c.Close()
	}
}

func TestHubSnapshot(t *testing.T) {
	const sha, other = "0123456789abcdef0123456789abcdef01234567", "0123456fffffffffffffffffffffffffffffffff"
	hub := t.TempDir()
	repo := filepath.Join(hub, "models--openai--clip")
	write := func(name string, data []byte) {
		path := filepath.Join(repo, name)
		os.MkdirAll(filepath.Dir(path), 0o777)
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write("refs/main", []byte(sha))
	write("refs/refs/pr/3", []byte(other))
	write("blobs/1", smallFile("a"))
	write("blobs/2", []byte(`{"x":1}`))
	write("snapshots/"+other+"/model.safetensors", smallFile("b"))
	write("snapshots/"+sha+"/plain.txt", nil)
	outside := placed(t, map[string][]byte{"secret": nil})
	for name, to := range map[string]string{
		"model.safetensors": "../../blobs/1", "config.json": "../../blobs/2", "secret.json": filepath.Join(outside, "secret"), "climb.json": "../../../../secret",
	} {
		if err := os.Symlink(filepath.FromSlash(to), filepath.Join(repo, "snapshots", sha, name)); err != nil {
			t.Skip(err)
		}
	}
	clear := func() {
		for _, v := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"} {
			t.Setenv(v, "")
		}
	}
	clear()
	t.Setenv("HF_HUB_CACHE", hub)
	c, err := Open("hf:openai/clip", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, ok := c.Tensor("a"); !ok {
		t.Errorf("main holds %v", c.Names())
	}
	if text, err := c.ReadFile("config.json"); err != nil || string(text) != `{"x":1}` {
		t.Errorf("config.json: %s %v", text, err)
	}
	_, err = c.ReadFile("secret.json")
	mustFail(t, err, ErrEscape, "symbolic link")
	if _, err = c.ReadFile("climb.json"); err == nil {
		t.Error("climbed out of the repository's folder")
	}
	for source, tensor := range map[string]string{
		"hf:openai/clip@main": "a", "hf:openai/clip@" + sha: "a", "hf:openai/clip@" + other: "b", "hf:openai/clip@refs/pr/3": "b", "hf:openai/clip@0123456f": "b",
	} {
		c, err := Open(source, Options{})
		if err != nil {
			t.Error(err)
			continue
		}
		if _, ok := c.Tensor(tensor); !ok {
			t.Errorf("%s holds %v", source, c.Names())
		}
		c.Close()
	}
	for source, want := range map[string]struct {
		kind error
		says string
	}{
		"hf:openai/other":         {ErrNotFound, filepath.Join(hub, "models--openai--other")},
		"hf:openai/clip@v2":       {ErrNotFound, sha},
		"hf:openai/clip@0123456":  {ErrAmbiguous, "several snapshots"},
		"hf:../../etc":            {ErrNotFound, "OWNER/NAME"},
		"hf:a/b/c":                {ErrNotFound, "OWNER/NAME"},
		"hf:":                     {ErrNotFound, "OWNER/NAME"},
		"hf:openai/clip@../main":  {ErrNotFound, "revision"},
		"hf:openai/clip@refs/..":  {ErrNotFound, "revision"},
		"hf:openai/clip@\x1b[2Jx": {ErrNotFound, "revision"},
	} {
		_, err := Open(source, Options{})
		mustFail(t, err, want.kind, want.says)
	}

	home := t.TempDir()
	for _, c := range []struct{ name, value, dir string }{
		{"HF_HUB_CACHE", "/x", "/x"}, {"HUGGINGFACE_HUB_CACHE", "/x", "/x"}, {"HF_HOME", "/x", "/x/hub"}, {"XDG_CACHE_HOME", "/x", "/x/huggingface/hub"},
		{"HOME", home, filepath.Join(home, ".cache/huggingface/hub")},
	} {
		clear()
		t.Setenv("USERPROFILE", home)
		t.Setenv(c.name, filepath.FromSlash(c.value))
		if dir, _ := hubCache(); dir != filepath.FromSlash(c.dir) {
			t.Errorf("%s=%s gives %s, want %s", c.name, c.value, dir, c.dir)
		}
	}
}

func TestFilesAndHashes(t *testing.T) {
	files := map[string][]byte{"model.safetensors": smallFile("a"), "config.json": []byte(`{}`), "unread.txt": nil,
		"tower/model.safetensors": smallFile("b"), "tower/config.json": []byte(`{"t":1}`)}
	dir := placed(t, files)
	for _, noMmap := range []bool{false, true} {
		c, err := Open(dir, Options{NoMmap: noMmap})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, name := range []string{"config.json", "./config.json"} {
			if _, err := c.ReadFile(name); err != nil {
				t.Fatal(err)
			}
		}
		_, err = c.ReadFile("absent.json")
		if !errors.Is(err, ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("absent.json: %v", err)
		}
		s, err := c.Sub("./tower")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.ReadFile("config.json"); err != nil {
			t.Fatal(err)
		}
		if err := c.HashAsync(2)(); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range c.Files() {
			names = append(names, f.Name)
			sum := sha256.Sum256(files[f.Name])
			if got, err := f.SHA256(); err != nil || got != hex.EncodeToString(sum[:]) || f.Size != int64(len(files[f.Name])) {
				t.Errorf("%s: %s, %d bytes (%v)", f.Name, got, f.Size, err)
			}
		}
		if want := []string{"config.json", "model.safetensors", "tower/config.json", "tower/model.safetensors"}; !slices.Equal(names, want) {
			t.Errorf("files %v, want %v", names, want)
		}
	}
	c, err := Open(dir, Options{MaxFile: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.ReadFile("config.json")
	mustFail(t, err, ErrLimit, "limit of 1 bytes")
	_, err = Open(filepath.Join(dir, "absent"), Options{})
	mustFail(t, err, ErrNotFound, "does not exist")
}

func TestTorchNamesAndAttributes(t *testing.T) {
	w := func(p *pickleBuilder, name string) *pickleBuilder {
		return p.str(name).tensor("FloatStorage", "0", 2, 0, []int{2}, []int{1})
	}
	namespace := func(p *pickleBuilder) *pickleBuilder {
		return p.str("args").class("argparse", "Namespace").ops(")\x81}(").str("layers").num(12).str("lr").ops("G\x3f\xb9\x99\x99\x99\x99\x99\x9aub")
	}
	cases := map[string]struct {
		pickle     *pickleBuilder
		names      string
		attributes string
	}{
		"plain":     {w(w(newPickle().ops("}("), "b"), "a").str("n").num(3).ops("u"), "a b", "map[n:3]"},
		"wrapped":   {w(newPickle().ops("}(").str("state_dict").ops("}("), "a").ops("u").str("epoch").num(7).ops("u"), "a", "map[epoch:7]"},
		"twice":     {w(newPickle().ops("}(").str("model").ops("}(").str("state_dict").ops("}("), "a").ops("uuu"), "a", "map[]"},
		"whisper":   {w(newPickle().ops("}(").str("dims").ops("}(").str("n_mels").num(80).ops("u").str("model_state_dict").ops("}("), "a").ops("uu"), "a", "map[dims:map[n_mels:80]]"},
		"namespace": {namespace(w(newPickle().ops("}(").str("model").ops("}("), "a").ops("u")).ops("u"), "a", "map[args:map[__class__:argparse.Namespace layers:12 lr:0.1]]"},
		"optimizer": {w(w(newPickle().ops("}(").str("model").ops("}("), "a").ops("u").str("optimizer").ops("}("), "m").ops("uu"), "a", "map[]"},
		"unknown":   {w(newPickle().ops("}(").str("visual_encoder").ops("}("), "a").ops("uu"), "visual_encoder.a", "map[]"},
		"parallel":  {w(w(newPickle().ops("}("), "module.a"), "module.b").ops("u"), "a b", "map[]"},
		"not all":   {w(w(newPickle().ops("}("), "module.a"), "b").ops("u"), "b module.a", "map[]"},
		"list":      {w(newPickle().ops("}(").str("x").ops("]("), "").ops("eu"), "x.1", "map[x:[]]"},
		"alone":     {newPickle().tensor("FloatStorage", "0", 2, 0, []int{2}, []int{1}), "model", "map[]"},
		"parameter": {newPickle().ops("}(").str("p").class("torch._utils", "_rebuild_parameter").ops("(").tensor("FloatStorage", "0", 2, 0, []int{2}, []int{1}).ops("\x88").class("collections", "OrderedDict").ops(")RtRu"), "p", "map[]"},
		"numpy": {w(newPickle().ops("}("), "a").str("best").class("numpy.core.multiarray", "scalar").ops("(").class("numpy", "dtype").ops("(").str("f8").ops("\x89\x88tR(K\x03tb").
			class("_codecs", "encode").ops("(").str("12345678").str("latin1").ops("tRtRu"), "a", ""},
		"protocol 4": {(&pickleBuilder{}).ops("\x80\x04\x95\x9b\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x05model\x94\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93\x94)R\x94" +
			"(\x8c\x01w\x94\x8c\x0ctorch._utils\x94\x8c\x12_rebuild_tensor_v2\x94\x93\x94((\x8c\x07storage\x94\x8c\x05torch\x94\x8c\x0cFloatStorage\x94\x93\x94\x8c\x010\x94\x8c\x03cpu\x94K\x02t\x94Q" +
			"K\x00K\x02\x85\x94K\x01\x85\x94\x89h\x04)R\x94t\x94R\x94u\x8c\x05epoch\x94K\x03u"), "w", "map[epoch:3]"},
		"omegaconf": {w(newPickle().ops("}(").str("cfg").class("omegaconf.dictconfig", "DictConfig").ops(")\x81}(").str("_parent").ops("N").str("_content").ops("}(").
			str("dim").class("omegaconf.nodes", "AnyNode").ops(")\x81}(").str("_val").num(48).ops("ub").str("act").class("fairseq.utils", "Choice").str("gelu").ops("\x85Ruub").str("model").ops("}("), "a").ops("uu"),
			"a", "map[cfg:map[act:gelu dim:48]]"},
		"containers": {w(newPickle().ops("}("), "a").str("d").class("collections", "defaultdict").class("builtins", "list").ops("\x85R(").str("k").num(1).ops("u").
			str("q").class("collections", "deque").ops(")\x81(").num(5).num(6).ops("e").str("path").class("pathlib", "PosixPath").ops("(").str("/").str("x").ops("tR").
			str("size").class("torch", "Size").num(3).ops("\x85\x85R").str("dtype").class("torch", "bfloat16").ops("u"),
			"a", "map[d:map[k:1] dtype:BF16 path:[/ x] q:[5 6] size:[3]]"},
		"subclass": {newPickle().ops("}(").str("p").class("torch._tensor", "_rebuild_from_type_v2").ops("(").class("torch._utils", "_rebuild_tensor_v2").class("torch.nn.parameter", "Parameter").
			ops("((").str("storage").class("torch", "FloatStorage").str("0").str("cpu").num(2).ops("tQ").num(0).nums(2).nums(1).ops("\x89Nt}tRu"), "p", "map[]"},
		"untyped": {newPickle().ops("}(").str("e").class("torch._utils", "_rebuild_tensor_v3").ops("((").str("storage").class("torch.storage", "UntypedStorage").str("0").str("cpu").num(8).
			ops("tQ").num(1).nums(2, 3).nums(3, 1).ops("\x89N").class("torch", "float8_e4m3fn").ops("tRu"), "e", "map[]"},
		"script": {newPickle().class("__torch__.clip.model", "CLIP").ops(")\x81}(").str("training").ops("\x89").str("visual").class("__torch__.clip.model", "Visual").ops(")\x81}(").
			str("w").tensor("FloatStorage", "0", 2, 0, []int{2}, []int{1}).ops("ubub"), "visual.w", "map[training:false]"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := placed(t, map[string][]byte{"model.pt": torchZip(c.pickle.stop(), make([]byte, 8))})
			checkpoint, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer checkpoint.Close()
			if got := strings.Join(checkpoint.Names(), " "); got != c.names {
				t.Errorf("names %q, want %q", got, c.names)
			}
			if got := fmt.Sprint(checkpoint.Attributes()); got != c.attributes && c.attributes != "" {
				t.Errorf("attributes %s, want %s", got, c.attributes)
			}
		})
	}
}

// Types that only newer versions of PyTorch store: bytes without a type, which the tensor tells.
func TestTorchFloat8(t *testing.T) {
	pickle := newPickle().ops("}(").str("e").class("torch._utils", "_rebuild_tensor_v3").ops("((").str("storage").class("torch.storage", "UntypedStorage").str("0").str("cpu").num(8).
		ops("tQ").num(1).nums(2, 3).nums(3, 1).ops("\x89N").class("torch", "float8_e4m3fn").ops("tRu").stop()
	c, err := Open(placed(t, map[string][]byte{"m.pt": torchZip(pickle, []byte{0, 0x38, 0x40, 0xb8, 0x30, 0, 0x7e, 0})}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	x, _ := c.Tensor("e")
	got := make([]float32, 6)
	if err := x.Float32s(got, 0); err != nil || !slices.Equal(got, []float32{1, 2, -1, 0.5, 0, 448}) || x.DType != F8E4M3 {
		t.Errorf("%v: %v (%v)", x, got, err)
	}
}

// Legacy files may describe a storage as a part of another.
func TestTorchLegacyStorageView(t *testing.T) {
	part := func(p *pickleBuilder, name string, from, count int) *pickleBuilder {
		return p.str(name).class("torch._utils", "_rebuild_tensor").ops("((").str("storage").class("torch", "ByteStorage").str("0").str("cpu").num(6).
			ops("(").str("view").num(from).num(count).ops("ttQ").num(1).nums(2).nums(1).ops("tR")
	}
	good := part(part(newPickle().ops("}("), "a", 0, 3), "b", 2, 4).ops("u").stop()
	c, err := Open(placed(t, map[string][]byte{"m.pt": torchLegacy(good, 1, []byte{1, 2, 3, 4, 5, 6})}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, want := range map[string][]int64{"a": {2, 3}, "b": {4, 5}} {
		x, _ := c.Tensor(name)
		got := make([]int64, 2)
		if err := x.Int64s(got, 0); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v (%v)", name, got, want, err)
		}
	}
	for _, bad := range [][2]int{{5, 2}, {-1, 3}, {0, 7}, {1, 2}} {
		pickle := part(newPickle().ops("}("), "a", bad[0], bad[1]).ops("u").stop()
		_, err := Open(placed(t, map[string][]byte{"m.pt": torchLegacy(pickle, 1, make([]byte, 6))}), Options{})
		mustFail(t, err, ErrOffsets, "storage")
	}
}
