package models

import (
	"bytes"
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/kernels"
)

// What early-fusion models share: BERT's configuration, its inputs, and the heads that stand on it.

// bertSizes returns BERT's configuration with the sizes that tensors show: those of the embeddings, and of the layers whose
// stem layer is a format of. Heads are of 64 channels, as the published models' are. A configuration file is read over it.
func (p *NamedParams) bertSizes(embeddings, layer string) bertConfig {
	c := bertConfig{Act: "gelu", Eps: 1e-12}
	c.VocabSize, c.Dim = p.dim(embeddings+".word_embeddings.weight", 0), p.dim(embeddings+".word_embeddings.weight", 1)
	c.MaxPositions = p.dim(embeddings+".position_embeddings.weight", 0)
	c.TokenTypes = p.dim(embeddings+".token_type_embeddings.weight", 0)
	c.Heads = max(c.Dim/64, 1)
	c.Layers = p.layers(layer + ".output.dense.weight")
	c.Hidden = p.dim(fmt.Sprintf(layer, 0)+".intermediate.dense.weight", 0)
	return c
}

// bertText are the inputs of a BERT's text: ids, and a mask and segments that may be left out.
type bertText struct{ ids, mask, types *graph.Node }

func newBERTText(b *graph.Builder) bertText {
	ids := b.Input("input_ids", -1, -2)
	return bertText{ids, b.OptionalInput("attention_mask", ids, 1, -1, -2), b.OptionalInput("token_type_ids", ids, 0, -1, -2)}
}

func (t *bertText) inputs() block.BERTInputs { return block.BERTInputs{IDs: t.ids, Types: t.types} }

// hideKeys is [block.HideKeys] by -10000, as originals had it that should run in half precision.
func hideKeys(b *graph.Builder, mask *graph.Node) block.With {
	return block.With{Bias: b.Op(graph.KeyMask{Value: -10000}, nil, mask)}
}

// maskedLM foretells words from x [B, S, dim] by BERT's head: logits [B, S, vocabulary]; nil where the checkpoint has none. at
// is the head's stem and words the table that its matrix usually is.
func (p *NamedParams) maskedLM(b *graph.Builder, t *block.BERT, x *graph.Node, at, words string) *graph.Node {
	if !p.Has(at + ".transform.dense.weight") {
		return nil
	}
	h := block.MLMHead{Dense: at + ".transform.dense", Norm: at + ".transform.LayerNorm", Decoder: at + ".decoder.weight", Bias: at + ".bias"}
	if p.repeats(h.Decoder, words) {
		h.Decoder = words
	}
	if p.Has(at + ".decoder.bias") {
		p.ignore(h.Bias, "the decoder's own bias, which is the same parameter, is read")
		h.Bias = at + ".decoder.bias"
	}
	return t.Predict(b, x, h)
}

// repeats reports whether a tensor is missing or a copy of another one, which is then ignored: parameters that are tied in the
// original are often stored twice.
func (p *NamedParams) repeats(name, of string) bool {
	a, ok := p.im.Tensor(p.source(name))
	if !ok {
		return true
	}
	c, ok := p.im.Tensor(p.source(of))
	if !ok || a.DType != c.DType || !graph.Shape(a.Shape).Equal(c.Shape) {
		return false
	}
	x, err := a.Bytes()
	if err != nil {
		return false
	}
	y, err := c.Bytes()
	if err != nil || !bytes.Equal(x, y) {
		return false
	}
	p.ignore(name, "a copy of "+c.Name)
	return true
}

// ignore is [Import.Ignore] of one canonical tensor.
func (p *NamedParams) ignore(name, reason string) { p.im.Ignore(p.source(name), reason) }

// perceptron is a head of two linear layers: torch's Sequential of these, an activation and sometimes a norm.
type perceptron struct {
	FC1, FC2  string
	Norm      string // "" for none
	NormFirst bool   // before the activation
	Act       kernels.Activation
	Eps       float64
}

// apply returns the head's logits, whose number and whose width inside are the tensors'.
func (h perceptron) apply(b *graph.Builder, p *NamedParams, x *graph.Node) *graph.Node {
	hidden := p.dim(h.FC1+".weight", 0)
	x = p.linear(b, x, h.FC1)
	norm := func() {
		if h.Norm != "" {
			x = b.LayerNorm(x, h.Norm, hidden, h.Eps)
		}
	}
	if h.NormFirst {
		norm()
	}
	x = b.Act(x, h.Act)
	if !h.NormFirst {
		norm()
	}
	return p.linear(b, x, h.FC2)
}

// linear is a linear layer whose sizes are the tensor's, with a bias where there is one.
func (p *NamedParams) linear(b *graph.Builder, x *graph.Node, stem string) *graph.Node {
	return b.LinearIf(p.Has(stem+".bias"), x, stem, p.dim(stem+".weight", 1), p.dim(stem+".weight", 0))
}

// prefixOf returns what stands before a tensor's name in the checkpoint, of several that projects use; ok is false where none
// does.
func (im *Import) prefixOf(name string, prefixes ...string) (prefix string, ok bool) {
	for _, p := range prefixes {
		if im.HasTensor(p + name) {
			return p, true
		}
	}
	return "", false
}

// joinedMask is the mask of a text and of the regions behind it, [B, L + R]. Originals that take it whole give it to run as
// attention_mask, which is parted there.
func joinedMask(b *graph.Builder, text, features *graph.Node) *graph.Node {
	return b.Concat(1, text, b.OptionalInput("visual_attention_mask", features, 1, -1, -3))
}

// bertAdvice is how the weights of a BERT with norms behind its sums are converted to integers. Its norms have outliers that the
// next product quantizes, its attention picks single tokens, so that a small error picks another one, and its tanh pooler
// amplifies what is left: the projections of attention, the pooler and small heads stay float16, a third of the weights, and the
// activations of the feed-forward parts and of what regions go through, whose features and boxes differ in scale, are float32.
// docs/quantization.md has the figures.
var bertAdvice = []graph.Advice{
	{Match: "*inter*.dense*", Activations: "float32"},
	{Match: "*[oO]utput*dense*", Activations: "float32"},
	{Match: "*transform.dense*", Activations: "float32"},
	{Match: "*img_embedding*", Activations: "float32"},
	{Match: "*image_embeddings*", Activations: "float32"},
	{Match: "*visn_fc*", Activations: "float32"},
	{Match: "*box_fc*", Activations: "float32"},
	{Match: "*visual_projection*", Activations: "float32"},
	{Match: "*query*", Weights: "float16"},
	{Match: "*key*", Weights: "float16"},
	{Match: "*value*", Weights: "float16"},
	{Match: "*att*.output.dense*", Weights: "float16"},
	{Match: "*biOutput.dense*", Weights: "float16"},
	{Match: "*pooler*", Weights: "float16"},
	{Match: "*seq_relationship*", Weights: "float16"},
	{Match: "itm_head*", Weights: "float16"},
	{Match: "text_proj.*", Weights: "float16"},
	{Match: "vision_proj.*", Weights: "float16"},
}
