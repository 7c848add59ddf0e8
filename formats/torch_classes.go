package formats

import (
	"fmt"
	"strings"

	"github.com/nlpodyssey/gopickle/types"
)

// The classes that a pickle may name. What is not here is refused: there is no fallback. Nothing is ever executed: functions
// that rebuild tensors are written below, all other classes become a torchObject, a record of what the file says.

// torchStorageClass is a class of storages: a run of numbers of one type.
type torchStorageClass struct {
	dtype DType // 0 for bytes whose type the tensor tells (UntypedStorage)
	name  string
}

var torchStorages = map[string]DType{
	"DoubleStorage": F64, "FloatStorage": F32, "HalfStorage": F16, "BFloat16Storage": BF16,
	"LongStorage": I64, "IntStorage": I32, "ShortStorage": I16, "CharStorage": I8, "ByteStorage": U8, "BoolStorage": BOOL,
	"UInt64Storage": U64, "UInt32Storage": U32, "UInt16Storage": U16,
	"Float8_e4m3fnStorage": F8E4M3, "Float8_e5m2Storage": F8E5M2,
}

var torchDTypes = map[string]DType{
	"float64": F64, "double": F64, "float32": F32, "float": F32, "float16": F16, "half": F16, "bfloat16": BF16,
	"int64": I64, "long": I64, "int32": I32, "int": I32, "int16": I16, "short": I16, "int8": I8, "uint8": U8, "bool": BOOL,
	"uint64": U64, "uint32": U32, "uint16": U16, "float8_e4m3fn": F8E4M3, "float8_e5m2": F8E5M2,
}

// torchFunctions are carried out, by code of ours.
var torchFunctions = map[string]torchFunction{
	"torch._utils._rebuild_tensor":               rebuildTensor,
	"torch._utils._rebuild_tensor_v2":            rebuildTensor,
	"torch._utils._rebuild_tensor_v3":            rebuildTensor,
	"torch._utils._rebuild_parameter":            firstArgument,
	"torch._utils._rebuild_parameter_with_state": firstArgument,
	"torch._tensor._rebuild_from_type_v2":        rebuildFromType,
	// TorchScript marks the types of lists and dictionaries with these.
	"torch.jit._pickle.build_intlist":    firstArgument,
	"torch.jit._pickle.build_tensorlist": firstArgument,
	"torch.jit._pickle.build_doublelist": firstArgument,
	"torch.jit._pickle.build_boollist":   firstArgument,
	"torch.jit._pickle.restore_type_tag": firstArgument,
}

// inertClasses are recorded: settings and bookkeeping that training frameworks store beside the weights. A name that ends
// with a dot stands for all of a package.
var inertClasses = []string{
	"torch.Size", "torch.device", "torch.Tensor", "torch.nn.parameter.Parameter", "torch.serialization._get_layout",
	"__torch__.", // modules of a TorchScript archive
	"argparse.Namespace", "types.SimpleNamespace", "typing.Any",
	"collections.defaultdict", "collections.Counter", "collections.deque",
	"datetime.datetime", "datetime.date", "datetime.timedelta", "pathlib.", "_codecs.encode",
	"builtins.set", "builtins.frozenset", "builtins.bytearray", "builtins.complex", "builtins.slice", "builtins.range",
	"builtins.int", "builtins.float", "builtins.str", "builtins.bool", "builtins.tuple", "builtins.bytes",
	"__builtin__.set", "__builtin__.frozenset", "__builtin__.bytearray", "__builtin__.complex", "__builtin__.slice", "__builtin__.xrange",
	"__builtin__.int", "__builtin__.long", "__builtin__.float", "__builtin__.str", "__builtin__.unicode", "__builtin__.bool",
	"__builtin__.list", "__builtin__.dict", "__builtin__.tuple", "__builtin__.bytes",
	"numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct", "numpy._core.multiarray.scalar", "numpy._core.multiarray._reconstruct",
	"numpy.dtype", "numpy.ndarray", "numpy.dtypes.",
	"omegaconf.", "fairseq.", "yacs.config.CfgNode", "easydict.EasyDict", "ruamel.yaml.", "ruamel_yaml.", "mmcv.utils.config.ConfigDict", "mmengine.config.config.ConfigDict",
	"pytorch_lightning.utilities.parsing.AttributeDict", "lightning_fabric.utilities.data.AttributeDict", "lightning.fabric.utilities.data.AttributeDict",
	"pytorch_lightning.callbacks.",
}

// findTorchClass is the allow-list.
func findTorchClass(module, name string) (any, error) {
	full := module + "." + name
	if f, ok := torchFunctions[full]; ok {
		return f, nil
	}
	switch module {
	case "torch", "torch.cuda":
		if d, ok := torchStorages[name]; ok {
			return &torchStorageClass{d, name}, nil
		}
		if strings.HasSuffix(name, "Storage") {
			return &torchStorageClass{0, name}, nil // refused with its tensor's key where it is used
		}
		if d, ok := torchDTypes[name]; ok && module == "torch" {
			return d, nil
		}
	case "torch.storage":
		if name == "UntypedStorage" || name == "_UntypedStorage" {
			return &torchStorageClass{0, untyped}, nil
		}
	}
	switch full {
	case "builtins.object":
		return &types.ObjectClass{}, nil
	case "copyreg._reconstructor":
		return &types.Reconstructor{}, nil
	}
	for _, c := range inertClasses {
		if c == full || strings.HasSuffix(c, ".") && strings.HasPrefix(full, c) {
			return &torchClass{full}, nil
		}
	}
	return nil, &Error{Kind: ErrPickle, Msg: fmt.Sprintf(
		"pickle names %s, which is not on the list of classes that weight files need; nothing was executed", quote(full))}
}

const untyped = "UntypedStorage"

// torchFunction is a function that a pickle may call.
type torchFunction func(args []any) (any, error)

// Call implements types.Callable.
func (f torchFunction) Call(args ...any) (any, error) { return f(args) }

func firstArgument(args []any) (any, error) {
	if len(args) == 0 {
		return nil, &Error{Kind: ErrPickle, Msg: "pickle: an object is rebuilt from nothing"}
	}
	return args[0], nil
}

// rebuildFromType has the arguments (function, class, its arguments, state): the class only decorates the tensor.
func rebuildFromType(args []any) (any, error) {
	if len(args) >= 3 {
		f, isFunction := args[0].(torchFunction)
		tuple, isTuple := args[2].(*types.Tuple)
		if isFunction && isTuple {
			return f(*tuple)
		}
	}
	return nil, &Error{Kind: ErrPickle, Msg: "pickle: a tensor is rebuilt from something else than a tensor"}
}

// torchClass is a class whose objects are recorded.
type torchClass struct{ name string }

// Call implements types.Callable.
func (c *torchClass) Call(args ...any) (any, error) {
	return &torchObject{class: c.name, args: args}, nil
}

// PyNew implements types.PyNewable.
func (c *torchClass) PyNew(args ...any) (any, error) { return c.Call(args...) }

// torchObject is what a pickle says about an object: never more than that.
type torchObject struct {
	class string
	args  []any
	state any
	items types.Dict // of a subclass of dict
	list  []any      // of a subclass of list or set
}

// PySetState implements types.PyStateSettable.
func (o *torchObject) PySetState(state any) error { o.state = state; return nil }

// Set implements types.DictSetter.
func (o *torchObject) Set(key, value any) { o.items.Set(key, value) }

// Append implements types.ListAppender.
func (o *torchObject) Append(v any) { o.list = append(o.list, v) }

// Add implements types.SetAdder.
func (o *torchObject) Add(v any) { o.list = append(o.list, v) }

// attributes gives the dictionary of the object's attributes, nil where it has none.
func (o *torchObject) attributes() []types.DictEntry {
	state := o.state
	if t, ok := state.(*types.Tuple); ok && t.Len() == 2 { // (dictionary, slots)
		state = t.Get(0)
	}
	if d, ok := state.(*types.Dict); ok {
		return *d
	}
	return nil
}
