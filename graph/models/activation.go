package models

import (
	"fmt"

	"github.com/mmconv/mmconv/kernels"
)

// activations are the names that published configurations use (transformers' ACT2FN among them).
var activations = map[string]kernels.Activation{
	"": kernels.ActNone, "linear": kernels.ActNone,
	"gelu": kernels.ActGELU, "gelu_python": kernels.ActGELU,
	"gelu_new": kernels.ActGELUTanh, "gelu_pytorch_tanh": kernels.ActGELUTanh, "gelu_fast": kernels.ActGELUTanh,
	"gelu_tanh": kernels.ActGELUTanh, "gelu_accurate": kernels.ActGELUTanh,
	"quick_gelu": kernels.ActQuickGELU,
	"silu":       kernels.ActSiLU, "swish": kernels.ActSiLU,
	"relu": kernels.ActReLU, "relu2": kernels.ActSquaredReLU, "relu6": kernels.ActReLU6,
	"sigmoid": kernels.ActSigmoid, "tanh": kernels.ActTanh,
	"hardswish": kernels.ActHardswish, "hardsigmoid": kernels.ActHardsigmoid,
	"elu": kernels.ActELU, "leaky_relu": kernels.ActLeakyReLU,
}

// activation returns the function that a configuration's key names.
func activation(key, name string) (kernels.Activation, error) {
	a, ok := activations[name]
	if !ok {
		return a, fmt.Errorf("config: %s is %q, which is no known activation", key, name)
	}
	return a, nil
}
