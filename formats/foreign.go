package formats

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// What people bring that is not a checkpoint of safetensors or PyTorch: by name, for folders without weights, and by the first
// bytes, for files. Each is told what it is and what to use instead.

const (
	isGGUF   = "is GGUF of llama.cpp, whose weights are packed for it: use the safetensors that it was made from"
	isLoRA   = "is an adapter of peft, a change to a model and not the model: merge it (merge_and_unload) and save the result"
	isFlax   = "is a checkpoint of Flax: load it in transformers with from_flax=True and save it again"
	isKeras  = "is a checkpoint of TensorFlow: load it in transformers with from_tf=True and save it again"
	isNumPy  = "is an archive of NumPy: convert it to safetensors, with names as published"
	isCode   = "is a graph for another runtime: use the checkpoint that it was exported from"
	isBroken = "is a download that was begun and not finished: fetch it again"
	isPacked = "is compressed: unpack it"
	isDCP    = "is a part of a distributed checkpoint of PyTorch: join it with python -m torch.distributed.checkpoint.format_utils dcp_to_torch"
)

var foreignNames = []struct {
	name *regexp.Regexp
	what string
}{
	{regexp.MustCompile(`(?i)\.gguf$`), isGGUF},
	{regexp.MustCompile(`(?i)^adapter_model\.(safetensors|bin)$`), isLoRA},
	{regexp.MustCompile(`(?i)\.(part|partial|incomplete|crdownload|download|aria2|tmp)$`), isBroken},
	{regexp.MustCompile(`(?i)\.distcp$`), isDCP},
	{regexp.MustCompile(`(?i)\.msgpack(\.index\.json)?$`), isFlax},
	{regexp.MustCompile(`(?i)\.(h5|keras|hdf5)$|\.data-\d{5}-of-\d{5}$|^saved_model\.pb$`), isKeras},
	{regexp.MustCompile(`(?i)\.npz$`), isNumPy},
	{regexp.MustCompile(`(?i)\.(onnx|tflite|mlmodel|engine|plan|pte|xml)$`), isCode},
	{regexp.MustCompile(`(?i)\.(zip|tar|tgz|gz|bz2|xz|zst|7z)$`), isPacked},
}

// foreignAmong names the files of a folder that are known to be something else.
func foreignAmong(listing []string) string {
	var said []string
	for _, f := range foreignNames {
		for _, name := range listing {
			if f.name.MatchString(name) {
				said = append(said, printable(name)+" "+f.what)
				break // one of each kind is enough
			}
		}
	}
	return strings.Join(said, "; ")
}

// notWeights are files of training runs and libraries that have a weight file's extension, and no model's weights.
var notWeights = regexp.MustCompile(`(?i)^(training_args|optimizer|scheduler|scaler|rng_state|random_states|trainer_state|optim_states|.*_optim_states|adapter_model\.).*$`)

// foreignFile says what a file is by its first bytes and its name, empty where it may be safetensors.
func foreignFile(head []byte, name string) string {
	if len(head) > 8 && head[8] == '{' && string(head[4:8]) == "\x00\x00\x00\x00" {
		return "" // a length and a header, whatever the length looks like
	}
	begins := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case begins(lfsPointer):
		return lfsAdvice
	case begins("# xet version"):
		return "is a pointer of Git Xet, not the file itself; run git xet checkout, or hf download"
	case begins("GGUF"):
		return isGGUF
	case begins("\x89HDF\r\n\x1a\n"):
		return isKeras
	case begins("\x93NUMPY"):
		return isNumPy
	case begins("\x1f\x8b"), begins("BZh"), begins("\xfd7zXZ\x00"), begins("\x28\xb5\x2f\xfd"), begins("7z\xbc\xaf\x27\x1c"):
		return isPacked
	case len(head) >= 8 && string(head[4:8]) == "TFL3":
		return isCode
	case len(bytes.Trim(head, "\x00")) == 0:
		return "begins with nothing but zeros (incomplete download?)"
	}
	// A safetensors file begins with a length, of which the upper bytes are zeros: it is no text.
	text := bytes.TrimSpace(bytes.TrimPrefix(head, []byte("\ufeff")))
	if len(text) == 0 || bytes.ContainsAny(head, "\x00") {
		return ""
	}
	switch {
	case text[0] == '<':
		return "is a web page (HTML or XML), not weights: download the file itself"
	case text[0] == '{' || text[0] == '[':
		return "is JSON, not weights: name the folder that it lies in, or the file of weights"
	}
	for _, f := range foreignNames {
		if f.name.MatchString(path.Base(name)) {
			return f.what
		}
	}
	return ""
}

// tensorless says that a file of PyTorch holds no tensors, and what it holds.
func tensorless(src *file, attributes map[string]any) error {
	holds := "nothing else"
	if len(attributes) > 0 {
		holds = some(slices.Sorted(maps.Keys(attributes)))
	}
	return &Error{Kind: ErrNotFound, File: src.path, Msg: fmt.Sprintf("holds no tensors of a model (it holds %s): name the file that holds the weights", holds)}
}
