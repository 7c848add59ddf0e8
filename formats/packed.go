package formats

import (
	"fmt"
	"slices"
	"strings"
)

// packing is a way in which a quantizer stores weights that are not read here. mark is how the name of a tensor ends that
// gives it away, after the layer's name; the weight itself is LAYER.weight to everyone else.
type packing struct {
	mark   string
	method func(c *Checkpoint, layer string) string // what it is, or empty
}

// named is a packing that its mark alone tells.
func named(mark, method string) packing {
	return packing{mark, func(*Checkpoint, string) string { return method }}
}

var packings = []packing{
	{".qweight", gptqOrAWQ},
	{".weight_scale", scaled("compressed-tensors or another 8-bit format with scales")},
	{".weight_scale_inv", scaled("FP8 with scales by block")},
	{".biases", mlx},
	named(".weight_packed", "compressed-tensors"),
	named(".SCB", "bitsandbytes in 8 bits"),
	named(".weight.absmax", "bitsandbytes in 4 bits"),
	named(".weight._data", "quanto"),
	named(".W_q", "HQQ"),
	named(".q_weight", "ExLlamaV2"),
}

// gptqOrAWQ tells by the axis along which integers are packed: GPTQ packs inputs, AWQ outputs, of which scales has one each.
func gptqOrAWQ(c *Checkpoint, layer string) string {
	q, s := c.tensors[layer+".qweight"], c.tensors[layer+".scales"]
	if q != nil && s != nil && len(q.Shape) == 2 && len(s.Shape) == 2 && q.Shape[1] != s.Shape[1] {
		return "AWQ"
	}
	return "GPTQ"
}

// scaled is a weight of 8 bits beside its scales.
func scaled(method string) func(*Checkpoint, string) string {
	return func(c *Checkpoint, layer string) string {
		if w := c.tensors[layer+".weight"]; w != nil && w.DType.Size() == 1 {
			return method
		}
		return ""
	}
}

// mlx packs integers into U32, with scales and biases by group.
func mlx(c *Checkpoint, layer string) string {
	if w := c.tensors[layer+".weight"]; w != nil && w.DType == U32 && c.tensors[layer+".scales"] != nil {
		return "MLX"
	}
	return ""
}

// findPacked marks the weights that a quantizer has packed, so that whoever needs one hears what it is, and nobody takes its
// bytes for numbers. Models of which other parts are packed are none the worse.
func (c *Checkpoint) findPacked() {
	names := make([]string, 0, len(c.tensors))
	for name := range c.tensors {
		names = append(names, name)
	}
	slices.Sort(names)
	count, methods := 0, []string{}
	for _, name := range names {
		for _, p := range packings {
			layer, ok := strings.CutSuffix(name, p.mark)
			if !ok {
				continue
			}
			method := p.method(c, layer)
			if method == "" {
				continue
			}
			weight := layer + ".weight"
			t := Tensor{Name: weight, File: c.tensors[name].File}
			if was := c.tensors[weight]; was != nil {
				t = *was
			}
			t.fault = &Error{Kind: ErrDType, File: t.File, Tensor: weight, Msg: fmt.Sprintf(
				"is packed by %s, which is not read: use the checkpoint that it was quantized from", method)}
			c.tensors[weight] = &t
			if count++; !slices.Contains(methods, method) {
				methods = append(methods, method)
			}
		}
	}
	if count > 0 {
		c.notes = append(c.notes, fmt.Sprintf("%d weights are quantized by %s; they cannot be read", count, strings.Join(methods, ", ")))
	}
}
