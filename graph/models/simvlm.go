package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// SimVLM: Simple Visual Language Model Pretraining with Weak Supervision (Wang et al., arXiv:2108.10904), of which neither
// code nor weights were published. Source: YulongBonjour/SimVLM model/{SimVLM,resblock,torch_transformer}.py.

var _ = Register(&System{
	Name: "simvlm", Title: "SimVLM", Row: 21,
	Namings: []Naming{
		{Name: "simvlm", Looked: "tensors ResNet.1.conv1.norm.*, img_pos_embed.* and bos_emb", Recognise: func(im *Import) bool {
			return im.HasTensor("ResNet.1.conv1.norm.weight") && im.HasTensor("bos_emb") && im.HasTensor("txt_embed.weight")
		}},
	},
	Build: buildSimVLM,
})

// simVLMConfig are the arguments of the original's constructor. PrefixLength is how many tokens of a text are the prefix:
// training draws it at random.
type simVLMConfig struct {
	Dim          int    `json:"d_model"`
	Resolution   int    `json:"input_resolution"`
	PatchSize    int    `json:"patch_size"`
	Vocabulary   int    `json:"num_text_tokens"`
	TextLength   int    `json:"txt_seq_len"`
	PrefixRoom   int    `json:"prefix_txt_len"`
	TargetLength int    `json:"target_txt_len"`
	Heads        int    `json:"heads"`
	Layers       int    `json:"enc_depth"`
	Decoder      int    `json:"dec_depth"`
	Hidden       int    `json:"d_ff"`
	Act          string `json:"activation"`
	Pad          int    `json:"pad_idx"`
	PrefixLength int    `json:"prefix_length"`
}

func buildSimVLM(im *Import) (*graph.Model, error) {
	positions := Names{}
	if im.HasTensor("img_pos_embed.weights.0") { // axial_positional_embedding from 0.3 on
		positions = Names{{"img_pos_embed.weights_#", "img_pos_embed.weights.#"}}
	}
	p := im.Params(positions, "")
	c := simVLMConfig{PrefixRoom: 20, Heads: 8, Act: "relu", Dim: p.dim("txt_embed.weight", 1), Vocabulary: p.dim("txt_embed.weight", 0),
		TextLength: p.dim("txt_pos_embed.weight", 0), PatchSize: p.dim("ResNet.0.weight", 3),
		Layers: p.layers("encoder.layers.%d.linear1.weight"), Decoder: p.layers("decoder.layers.%d.linear1.weight"), Hidden: p.dim("encoder.layers.0.linear1.weight", 0)}
	c.Resolution, c.TargetLength = c.PatchSize*p.dim("img_pos_embed.weights_0", 1), c.TextLength
	if len(im.config) > 0 {
		if err := im.Config(&c); err != nil {
			return nil, err
		}
	}
	if !im.HasConfig("prefix_length") {
		im.Note("no prefix_length in config.json: no token of a text belongs to the prefix, as for a caption")
	}
	im.Ignore("*.num_batches_tracked", "a count of training")
	b := graph.NewBuilder(p)
	line := &pipeline.Pipeline{}
	err := c.check()
	if err == nil {
		line.Image, err = im.imagePipeline(pipeline.ImageSquash(c.Resolution, c.Resolution, nil, nil))
	}
	if err == nil {
		line.Text, err = im.textPipeline("BertTokenizer", c.TextLength, c.Vocabulary)
	}
	if err == nil {
		err = c.build(b, p, im.pixels(b, line.Image, 3, [2]int{c.Resolution, c.Resolution}))
	}
	if err != nil {
		return nil, err
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: line}, err
}

func (c *simVLMConfig) check() error {
	if err := checkSizes("config", size{"d_model", c.Dim}, size{"input_resolution", c.Resolution}, size{"patch_size", c.PatchSize}, size{"num_text_tokens", c.Vocabulary},
		size{"txt_seq_len", c.TextLength}, size{"prefix_txt_len", c.PrefixRoom}, size{"target_txt_len", c.TargetLength}, size{"heads", c.Heads}, size{"d_ff", c.Hidden}); err != nil {
		return err
	}
	if c.Resolution > 1<<14 || c.Resolution%c.PatchSize != 0 {
		return fmt.Errorf("config: images of input_resolution %d do not split into patches of patch_size %d", c.Resolution, c.PatchSize)
	}
	if l := c.PrefixLength; l < 0 || l > c.PrefixRoom || l >= c.TextLength || c.TextLength-l > c.TargetLength {
		return fmt.Errorf("config: prefix_length %d of txt_seq_len %d: expected 0 to prefix_txt_len, %d, and a rest of at most target_txt_len, %d", l, c.TextLength,
			c.PrefixRoom, c.TargetLength)
	}
	return nil
}

func (c *simVLMConfig) build(b *graph.Builder, p *NamedParams, pixels *graph.Node) error {
	act, err := activation("activation", c.Act)
	if err != nil {
		return err
	}
	d, side := c.Dim, c.Resolution/c.PatchSize
	const stem = 64
	x := b.Conv(b.Rearrange(pixels, "b c h w -> b h w c"), "ResNet.0", graph.ConvSpec{In: 3, Out: stem, KH: c.PatchSize, KW: c.PatchSize, Stride: [2]int{c.PatchSize, c.PatchSize}})
	x = detectronBottleneck(b, x, "ResNet.1", stem, 64, 4*stem)
	x = detectronBottleneck(b, x, "ResNet.2", 4*stem, 128, d)
	namedMap(b, x, "conv_stem")
	places := b.Add(b.Parameter(graph.Position, "img_pos_embed.weights_0", 1, side, 1, d), b.Parameter(graph.Position, "img_pos_embed.weights_1", 1, 1, side, d))
	image := b.Rearrange(b.Add(x, places), "b h w d -> b (h w) d")

	ids := b.Input("input_ids", -1, c.TextLength)
	text := b.Add(b.Embedding(ids, "txt_embed", c.Vocabulary, d), b.Parameter(graph.Position, "txt_pos_embed.weight", c.TextLength, d))
	// The prefix, behind the image. Its room is filled by hidden zeros, which are no embeddings.
	l := c.PrefixLength
	seen := b.Op(graph.FillLike{Value: 1, Axes: 2}, nil, image)
	prefix, hide := []*graph.Node{image}, []*graph.Node{seen}
	given := ids // of the prefix's room
	if l > 0 {
		prefix, given = append(prefix, b.Slice(text, 1, 0, l)), b.Slice(ids, 1, 0, l)
		hide = append(hide, b.Op(graph.Scale{Mul: -1, Add: 1}, nil, b.Op(graph.Equals{Value: float32(c.Pad)}, nil, given)))
	}
	sequence, shown := b.Concat(1, prefix...), b.Concat(1, hide...)
	if rest := c.PrefixRoom - l; rest > 0 {
		sequence = b.Op(graph.Pad{Axis: 1, After: rest}, nil, sequence)
		filler := float32(0)
		if c.Pad != 0 { // the room's ids are zeros, whatever stands for padding
			filler = 1
		}
		shown = b.Op(graph.Pad{Axis: 1, After: rest, Value: filler}, nil, shown)
	}
	hidden := block.HideKeys(b, shown)
	layer := torchLayer.Sized(d, c.Heads, c.Hidden)
	layer.Order, layer.MLP.Act = block.PostNorm, act
	encoder := (&block.Transformer{Layer: layer, Stem: "encoder.layers.%d", Layers: c.Layers}).Apply(b, sequence, block.With{Bias: hidden}, block.With{})
	memory := b.Output(encoder.Last, graph.Joint, "encoder")

	// The rest of the text, one token later, behind the token that it begins with.
	bos := b.Op(graph.Expand{}, nil, b.Rearrange(b.Parameter(graph.Position, "bos_emb", 1, d), "n d -> 1 n d"), text)
	target := bos
	if n := c.TextLength - l; n < c.TargetLength {
		target = b.Concat(1, bos, b.Slice(text, 1, l, c.TextLength))
		if n+1 < c.TargetLength {
			target = b.Op(graph.Pad{Axis: 1, After: c.TargetLength - n - 1}, nil, target)
		}
	} else if n > 1 {
		target = b.Concat(1, bos, b.Slice(text, 1, l, c.TextLength-1))
	}
	own := layer.WithCross(torchAttention("multihead_attn"), d)
	own.Attention.Causal = true
	own.Cross, own.Feed = layer.Cross, block.Branch{Norm: "norm3"}
	decoder := (&block.Transformer{Layer: own, Stem: "decoder.layers.%d", Layers: c.Decoder}).Apply(b, target, block.With{}, block.With{KV: memory, Bias: hidden})
	last := b.Output(decoder.Last, graph.Decoder, "decoder")
	b.Output(p.linear(b, b.LayerNorm(last, "to_logits.0", d, 1e-5), "to_logits.1"), graph.Decoder, "logits")
	return nil
}

// detectronBottleneck is a bottleneck without a stride in detectron2's names (modeling/backbone/resnet.py), [B, H, W, in] to
// [B, H, W, out].
func detectronBottleneck(b *graph.Builder, x *graph.Node, at string, in, inner, out int) *graph.Node {
	conv := func(x *graph.Node, name string, in, out, k int) *graph.Node {
		x = b.Conv(x, at+"."+name, graph.ConvSpec{In: in, Out: out, KH: k, KW: k, Stride: [2]int{1, 1}, Pad: graph.Pad2(k/2, k/2), NoBias: true})
		return b.BatchNorm(x, at+"."+name+".norm", out, 1e-5)
	}
	h := b.Act(conv(x, "conv1", in, inner, 1), kernels.ActReLU)
	h = b.Act(conv(h, "conv2", inner, inner, 3), kernels.ActReLU)
	h = conv(h, "conv3", inner, out, 1)
	if in != out {
		x = conv(x, "shortcut", in, out, 1)
	}
	return b.Act(b.Add(h, x), kernels.ActReLU)
}
