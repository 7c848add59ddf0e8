package formats

import (
	"fmt"
	"math/big"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/nlpodyssey/gopickle/types"
)

// A PyTorch file holds any object. Tensors get names by this rule:
//
//  1. A dictionary that holds a tensor directly is a state dict: its keys are the names.
//  2. Else, if it has one of the wrapper keys, that one's value is taken in its place, the first in the order of the list
//     where there are several, and the rule starts again. Its other entries are attributes.
//  3. Else names are the keys on the way to a tensor, joined by dots; so they are inside of state dicts and of TorchScript
//     modules, and lists count from 0.
//
// What training needs and a model does not (optimizers, schedulers) is left out, with a note.
var (
	torchWrappers = []string{"state_dict", "model_state_dict", "model_state", "model", "module", "net"}
	torchTraining = []string{"optimizer", "optimizers", "optimizer_state", "optimizer_states", "optimizer_state_dict", "last_optimizer_state", "optimizer_history", "lr_scheduler", "lr_schedulers", "lr_scheduler_state_dict", "scheduler", "scheduler_state_dict", "scaler", "amp", "loss_scaler", "rng_state", "random_state", "cuda_rng_state"}
)

// Limits on walking an object, in which one part may appear many times and even contain itself.
const (
	maxTorchNodes = 1 << 20
	maxTorchDepth = 100
)

// flattenTorch gives the tensors of an unpickled object, its attributes, and notes.
func flattenTorch(f *file, file *torchFile) (tensors []*Tensor, attributes map[string]any, notes []string, err error) {
	w := &torchWalk{path: f.path, found: map[string]*torchTensor{}, budget: maxTorchNodes}
	root := file.root
	attributes = map[string]any{}
	note := func(format string, args ...any) {
		notes = append(notes, f.path+": "+fmt.Sprintf(format, args...))
	}
	if t, ok := root.(*torchTensor); ok {
		root = &types.Dict{{Key: strings.TrimSuffix(path.Base(f.name), path.Ext(f.name)), Value: t}}
	}
	for range 4 {
		entries := w.entries(root)
		key, inner := w.wrapped(entries)
		if key == "" {
			break
		}
		note("names are those inside of %q", key)
		for _, e := range entries {
			if e.Key != key {
				w.attribute(attributes, e, note)
			}
		}
		root = inner
	}
	for _, e := range w.entries(root) {
		if _, isTensor := e.Value.(*torchTensor); !isTensor {
			w.attribute(attributes, e, nil)
		}
	}
	if err := w.walk("", root, 0, note); err != nil {
		return nil, nil, nil, err
	}
	if w.budget < 0 {
		return nil, nil, nil, w.tooLarge()
	}
	for _, name := range w.names {
		t, err := w.found[name].tensor(name)
		if err != nil {
			return nil, nil, nil, in(f, err)
		}
		tensors = append(tensors, t)
	}
	return tensors, attributes, notes, nil
}

// wrapped finds the wrapper key of a dictionary that holds no tensor itself.
func (w *torchWalk) wrapped(entries []types.DictEntry) (string, any) {
	for _, e := range entries {
		if _, ok := e.Value.(*torchTensor); ok {
			return "", nil
		}
	}
	for _, key := range torchWrappers {
		for _, e := range entries {
			if e.Key == key && isDict(e.Value) && w.hasTensor(e.Value, 3) {
				return key, e.Value
			}
		}
	}
	return "", nil
}

// hasTensor looks for a tensor a few levels down.
func (w *torchWalk) hasTensor(v any, depth int) bool {
	if _, ok := v.(*torchTensor); ok {
		return true
	}
	if depth == 0 {
		return false
	}
	return slices.ContainsFunc(w.entries(v), func(e types.DictEntry) bool { return w.hasTensor(e.Value, depth-1) })
}

func isDict(v any) bool {
	switch v.(type) {
	case *types.Dict, *types.OrderedDict:
		return true
	}
	return false
}

// dictEntries gives what a dictionary or a TorchScript module holds.
func dictEntries(v any) []types.DictEntry {
	switch v := v.(type) {
	case *types.Dict:
		return *v
	case *types.OrderedDict:
		out := make([]types.DictEntry, 0, v.List.Len())
		for e := v.List.Front(); e != nil; e = e.Next() {
			d := e.Value.(*types.OrderedDictEntry)
			out = append(out, types.DictEntry{Key: d.Key, Value: d.Value})
		}
		return out
	case *torchObject:
		if strings.HasPrefix(v.class, "__torch__.") {
			return v.attributes()
		}
		return v.items
	}
	return nil
}

type torchWalk struct {
	path   string
	found  map[string]*torchTensor
	names  []string // in the order of the file
	budget int      // parts that may still be looked at
}

// entries gives what a dictionary holds and counts it, so that no chain of references to the same parts takes for ever:
// nothing, once the budget is spent.
func (w *torchWalk) entries(v any) []types.DictEntry {
	e := dictEntries(v)
	if w.budget -= 1 + len(e); w.budget < 0 {
		return nil
	}
	return e
}

func (w *torchWalk) tooLarge() error {
	return &Error{Kind: ErrLimit, File: w.path, Msg: fmt.Sprintf("holds an object of more than %d parts", maxTorchNodes)}
}

// walk collects the tensors below v.
func (w *torchWalk) walk(name string, v any, depth int, note func(string, ...any)) error {
	if w.budget--; w.budget < 0 {
		return w.tooLarge()
	}
	if depth > maxTorchDepth {
		return &Error{Kind: ErrLimit, File: w.path, Msg: fmt.Sprintf("holds an object nested deeper than %d", maxTorchDepth)}
	}
	if t, ok := v.(*torchTensor); ok {
		if _, twice := w.found[name]; twice {
			return &Error{Kind: ErrDuplicate, File: w.path, Tensor: name, Msg: "appears twice"}
		}
		w.found[name] = t
		w.names = append(w.names, name)
		return nil
	}
	join := func(key string) string {
		if name == "" {
			return key
		}
		return name + "." + key
	}
	var list []any
	switch v := v.(type) {
	case *types.List:
		list = *v
	case *types.Tuple:
		list = *v
	}
	for i, x := range list {
		if err := w.walk(join(strconv.Itoa(i)), x, depth+1, note); err != nil {
			return err
		}
	}
	for _, e := range w.entries(v) {
		key, ok := keyString(e.Key)
		if !ok {
			continue
		}
		if depth == 0 && slices.Contains(torchTraining, key) {
			if _, isTensor := e.Value.(*torchTensor); !isTensor {
				note("%q was left out", key)
				continue
			}
		}
		if err := w.walk(join(key), e.Value, depth+1, note); err != nil {
			return err
		}
	}
	return nil
}

func keyString(key any) (string, bool) {
	switch k := key.(type) {
	case string:
		return k, true
	case int:
		return strconv.Itoa(k), true
	}
	return "", false
}

// attribute adds an entry to the attributes, without its tensors.
func (w *torchWalk) attribute(to map[string]any, e types.DictEntry, note func(string, ...any)) {
	key, ok := keyString(e.Key)
	if !ok {
		return
	}
	if slices.Contains(torchTraining, key) {
		if note != nil {
			note("%q was left out", key)
		}
		return
	}
	if note != nil && w.hasTensor(e.Value, 3) {
		note("tensors inside of %q were left out", key)
	}
	if v, ok := w.plain(e.Value, 0); ok {
		if _, set := to[key]; !set {
			to[key] = v
		}
	}
}

// plain makes an ordinary value of what a pickle holds; false where nothing is left of it but tensors.
func (w *torchWalk) plain(v any, depth int) (any, bool) {
	if w.budget--; w.budget < 0 || depth > maxTorchDepth {
		return nil, false
	}
	list := func(items []any) (any, bool) {
		out := make([]any, 0, min(len(items), 1024))
		if w.budget -= len(items); w.budget < 0 {
			return nil, false
		}
		for _, x := range items {
			if p, ok := w.plain(x, depth+1); ok {
				out = append(out, p)
			}
		}
		return out, len(out) > 0 || len(items) == 0
	}
	dict := func(entries []types.DictEntry) (map[string]any, bool) {
		out := map[string]any{}
		if w.budget -= len(entries); w.budget < 0 {
			return nil, false
		}
		for _, e := range entries {
			if key, ok := keyString(e.Key); ok {
				if p, ok := w.plain(e.Value, depth+1); ok {
					out[key] = p
				}
			}
		}
		return out, len(out) > 0 || len(entries) == 0
	}
	switch v := v.(type) {
	case nil, bool, int, float64, string:
		return v, true
	case *big.Int:
		return v.String(), true
	case DType:
		return v.String(), true
	case *types.List:
		return list(*v)
	case *types.Tuple:
		return list(*v)
	case *types.Dict, *types.OrderedDict:
		return dict(w.entries(v))
	case *torchObject:
		return w.plainObject(v, depth, list, dict)
	}
	return nil, false
}

// plainObject makes the most natural value of an object: omegaconf's containers and leaves are what they hold, a value with a
// class around it (an enum, a path) is the value, everything else is a map of its attributes.
func (w *torchWalk) plainObject(o *torchObject, depth int, list func([]any) (any, bool), dict func([]types.DictEntry) (map[string]any, bool)) (any, bool) {
	attributes := o.attributes()
	if strings.HasPrefix(o.class, "omegaconf.") {
		for _, e := range attributes {
			if e.Key == "_content" || e.Key == "_val" {
				return w.plain(e.Value, depth+1)
			}
		}
	}
	switch {
	case len(o.items) > 0:
		return dict(o.items)
	case len(o.list) > 0:
		return list(o.list)
	case attributes == nil && o.state == nil && len(o.args) == 1:
		return w.plain(o.args[0], depth+1)
	case attributes == nil && len(o.args) > 0:
		return list(o.args)
	}
	out, ok := dict(attributes)
	if ok && !strings.HasPrefix(o.class, "__torch__.") {
		out["__class__"] = o.class
	}
	return out, ok
}
