package models

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// SOHO: Seeing Out of tHe bOx: End-to-End Pre-training for Vision-Language Representation Learning (Huang et al.,
// arXiv:2104.03135). Source: researchmm/soho SOHO/models/{backbone/resnet,necks/necks,necks/utils,languages/bert,
// heads/soho_pre_head,heads/soho_downstream_vqa_head,models/soho_singleStream_Pre}.py.

var _ = Register(&System{
	Name: "soho", Title: "SOHO", Row: 19,
	Namings: []Naming{
		{Name: "soho", Looked: "tensors backbone.layer1.#.*, neck.conv.conv.weight and language.bert.*", Recognise: func(im *Import) bool {
			return im.HasTensor("backbone.layer1.0.conv1.weight") && im.HasTensor("neck.conv.conv.weight") &&
				im.HasTensor("language.bert.embeddings.word_embeddings.weight")
		}},
	},
	Build: buildSOHO,
})

// sohoConfig is what is read of the original's configuration, which it keeps in Python, by the names there.
type sohoConfig struct {
	Language bertConfig `json:"language"`
}

func buildSOHO(im *Import) (*graph.Model, error) {
	p := im.Params(nil, "")
	c := sohoConfig{Language: p.bertSizes("language.bert.embeddings", "language.bert.encoder.layer.%d")}
	if len(im.config) > 0 {
		if err := im.Config(&c); err != nil {
			return nil, err
		}
	}
	im.Ignore("*.num_batches_tracked", "a count of training")
	im.Ignore("*embeddings.position_ids", "a buffer of consecutive numbers")
	im.Ignore("neck.mask_emb.weight", "stands for masked cells in pre-training")
	for _, buffer := range []string{"cluster_size", "cluster_sum", "embed_avg"} {
		im.Ignore("neck.vq."+buffer, "the moving average of training that the dictionary is made of")
	}
	im.Ignore("language.bert.pooler.*", "the original computes nothing with it")
	b := graph.NewBuilder(p)
	if err := c.build(b, p); err != nil {
		return nil, err
	}
	image, err := im.imagePipeline(pipeline.ImageSOHO())
	if err != nil {
		return nil, err
	}
	text, err := im.textPipeline("BertTokenizer", c.Language.MaxPositions, c.Language.VocabSize)
	if err != nil {
		return nil, err
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: image, Text: text}, Advice: bertAdvice}, err
}

func (c *sohoConfig) build(b *graph.Builder, p *NamedParams) error {
	bert, err := c.Language.bert("language")
	if err != nil {
		return err
	}
	net := resNetOf(p, "backbone.")
	d := c.Language.Dim
	if err := checkSizes("backbone", size{"stem_channels", net.Width}, size{"channels", net.Channels}); err != nil {
		return err
	}
	in := newBERTText(b)
	pixels := b.Input("pixel_values", -1, net.Channels, -5, -6)
	mask := b.OptionalInput("pixel_mask", b.Rearrange(b.Slice(pixels, 1, 0, 1), "b 1 h w -> b h w"), 1, -1, -5, -6)
	_, stages := net.Apply(b, b.Rearrange(pixels, "b c h w -> b h w c"), "backbone")
	for i, s := range stages {
		namedMap(b, s, "backbone.layer%d", i+1)
	}

	// The visual dictionary.
	x := b.Op(graph.Pool{Max: true, Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil, stages[len(stages)-1])
	x = b.Conv(x, "neck.conv.conv", graph.ConvSpec{In: net.Out(), Out: d, KH: 1, KW: 1, Stride: [2]int{1, 1}, NoBias: !p.Has("neck.conv.conv.bias")})
	if p.Has("neck.conv.bn.weight") {
		x = b.BatchNorm(x, "neck.conv.bn", d, 1e-5)
	}
	namedMap(b, x, "neck.conv")
	var dictionary *graph.Node
	words := p.dim("neck.vq.embed", 0)
	if p.Has("neck.vq.embed") {
		if err := checkSizes("neck", size{"num_tokens", words}); err != nil {
			return err
		}
		dictionary = b.Parameter(graph.Table, "neck.vq.embed", words, d)
		x = c.lookUp(b, p, x, dictionary, words)
	}
	cells := b.Op(graph.GridMask{Square: true}, nil, mask, x)
	x = b.Add(x, b.Op(graph.SinePositions{Dim: d, Eps: 1e-6}, nil, cells))
	v := b.Name(b.LayerNorm(b.Rearrange(x, "b h w d -> b (h w) d"), "neck.ln", d, 1e-5), "visual_tokens")
	visible := b.Name(b.Rearrange(cells, "b h w -> b (h w)"), "visual_mask")

	t := b.Name(bert.Embed(b, "language.bert.embeddings", in.inputs()), "text_embeddings")
	tower := bert.Encode(b, b.Concat(1, t, v), "language.bert.encoder.layer.%d", block.BERTPass{Self: hideKeys(b, b.Concat(1, in.mask, visible))})
	tower.NameLayers(b, "layer%d")
	last := b.Output(tower.Last, graph.Joint, "last_hidden_state")
	class := b.Token(last, 0)
	if p.Has("head.match_class.weight") {
		b.Output(p.linear(b, class, "head.match_class"), graph.Joint, "logits")
	}
	if p.Has("head.vqa.0.weight") {
		b.Output(perceptron{FC1: "head.vqa.0", FC2: "head.vqa.3", Act: kernels.ActReLU}.apply(b, p, class), graph.Joint, "logits")
	}
	if p.Has("mask_l_fc.weight") {
		text := b.Op(graph.TakeLike{Axis: 1, LikeAxis: 1}, nil, last, in.ids)
		table := "mask_l_fc.weight"
		const tied = "language.bert.embeddings.word_embeddings.weight"
		if p.repeats(table, tied) {
			table = tied
		}
		b.Output(b.Op(graph.Linear{}, []*graph.Weight{b.Weight(graph.Table, table, c.Language.VocabSize, d), nil}, text), graph.Joint, "mlm_logits")
	}
	if dictionary != nil {
		rest := b.Op(graph.TakeLike{Axis: 1, LikeAxis: 1}, nil, last, v, in.ids)
		b.Output(b.MatMulT(b.L2Norm(rest, 1e-12), b.L2Norm(dictionary, 1e-12)), graph.Joint, "mvm_score")
	}
	return nil
}

// lookUp replaces each cell of x [B, H, W, D] by its nearest word of the dictionary [N, D], and adds that, projected, to the cell.
func (c *sohoConfig) lookUp(b *graph.Builder, p *NamedParams, x, dictionary *graph.Node, words int) *graph.Node {
	d := c.Language.Dim
	from := x
	if p.Has("neck.begin_line.weight") {
		from = b.Linear(x, "neck.begin_line", d, d)
	}
	// The nearest word has the largest x w - |w|^2 / 2.
	squares := b.Op(graph.Reduce{Kind: graph.Sum, Axis: 1}, nil, b.Mul(dictionary, dictionary))
	nearness := b.Sub(b.MatMulT(from, dictionary), b.Scale(squares, 0.5))
	index := b.Op(graph.ArgMax{}, nil, nearness)
	b.Name(b.Rearrange(index, "b h w -> b (h w)"), "dictionary_indices")
	found := b.Op(graph.Embedding{}, []*graph.Weight{b.Weight(graph.Table, "neck.vq.embed", words, d)}, index)
	if p.Has("neck.pos_line.weight") {
		found = b.Linear(found, "neck.pos_line", d, d)
	}
	if !p.Has("neck.gate_fc.conv.weight") {
		return b.Add(found, x)
	}
	// SimpleVDforPreGate weighs the two by a 1x1 convolution over both.
	gates := b.Conv(b.Concat(3, found, x), "neck.gate_fc.conv", graph.ConvSpec{In: 2 * d, Out: 2, KH: 1, KW: 1, Stride: [2]int{1, 1}, NoBias: !p.Has("neck.gate_fc.conv.bias")})
	if p.Has("neck.gate_fc.bn.weight") {
		gates = b.BatchNorm(gates, "neck.gate_fc.bn", 2, 1e-5)
	}
	gates = b.Softmax(gates)
	return b.Add(b.Mul(found, b.Slice(gates, 3, 0, 1)), b.Mul(x, b.Slice(gates, 3, 1, 2)))
}
