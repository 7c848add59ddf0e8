package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// ViLT: Vision-and-Language Transformer Without Convolution or Region Supervision (Kim et al., arXiv:2102.03334). Sources:
// huggingface/transformers models/vilt/modeling_vilt.py; dandelin/ViLT vilt/modules/{vilt_module,vision_transformer,heads}.py.

var _ = Register(&System{
	Name: "vilt", Title: "ViLT",
	ModelTypes: []string{"vilt"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type vilt, tensors vilt.embeddings.*", Recognise: func(im *Import) bool {
			_, ok := im.prefixOf("embeddings.patch_embeddings.projection.weight", "vilt.", "")
			return ok && im.ModelType() == "vilt"
		}},
		{Name: "dandelin", Looked: "tensors transformer.patch_embed.proj.* and text_embeddings.*", Recognise: func(im *Import) bool {
			return im.HasTensor("transformer.patch_embed.proj.weight") && im.HasTensor("text_embeddings.word_embeddings.weight")
		}},
	},
	Build: buildViLT,
})

// viltNames translates transformers' names to dandelin/ViLT's.
var viltNames = Names{
	{"vilt.embeddings.text_embeddings.*", "text_embeddings.*"},
	{"vilt.embeddings.token_type_embeddings.weight", "token_type_embeddings.weight"},
	{"vilt.embeddings.cls_token", "transformer.cls_token"},
	{"vilt.embeddings.position_embeddings", "transformer.pos_embed"},
	{"vilt.embeddings.patch_embeddings.projection.*", "transformer.patch_embed.proj.*"},
	{"vilt.encoder.layer.#.attention.attention.query.*", "transformer.blocks.#.attn.qkv.*[0/3]"},
	{"vilt.encoder.layer.#.attention.attention.key.*", "transformer.blocks.#.attn.qkv.*[1/3]"},
	{"vilt.encoder.layer.#.attention.attention.value.*", "transformer.blocks.#.attn.qkv.*[2/3]"},
	{"vilt.encoder.layer.#.attention.output.dense.*", "transformer.blocks.#.attn.proj.*"},
	{"vilt.encoder.layer.#.layernorm_before.*", "transformer.blocks.#.norm1.*"},
	{"vilt.encoder.layer.#.layernorm_after.*", "transformer.blocks.#.norm2.*"},
	{"vilt.encoder.layer.#.intermediate.dense.*", "transformer.blocks.#.mlp.fc1.*"},
	{"vilt.encoder.layer.#.output.dense.*", "transformer.blocks.#.mlp.fc2.*"},
	{"vilt.layernorm.*", "transformer.norm.*"},
	{"vilt.pooler.*", "pooler.*"},
}

type viltConfig struct {
	bertConfig
	Modalities int `json:"modality_type_vocab_size"`
	ImageSize  int `json:"image_size"`
	PatchSize  int `json:"patch_size"`
	Channels   int `json:"num_channels"`
	MostImage  int `json:"max_image_length"`
	Images     int `json:"num_images"`
	layerEps   float64
}

func buildViLT(im *Import) (*graph.Model, error) {
	c := viltConfig{bertConfig: bertConfig{VocabSize: 30522, Dim: 768, Layers: 12, Heads: 12, Hidden: 3072, Act: "gelu", MaxPositions: 40,
		TokenTypes: 2, Eps: 1e-12}, Modalities: 2, ImageSize: 384, PatchSize: 32, Channels: 3}
	image := pipeline.ImagePixelBERT(384)
	var p *NamedParams
	if im.Naming == "dandelin" {
		p = im.Params(viltNames, "")
		c.released(p)
		image = pipeline.ImagePixelBERT(c.ImageSize)
	} else {
		if err := im.Config(&c); err != nil {
			return nil, err
		}
		c.layerEps = c.Eps
		table := Names{}
		if prefix, _ := im.prefixOf("embeddings.patch_embeddings.projection.weight", "vilt.", ""); prefix == "" {
			table = Names{{"vilt.*", "*"}}
		}
		p = im.Params(table, "")
	}
	im.Ignore("*text_embeddings.position_ids", "a buffer of consecutive numbers")
	im.Ignore("*text_embeddings.token_type_ids", "a buffer of zeros")
	b := graph.NewBuilder(p)
	m := &vilt{viltConfig: c, b: b, p: p}
	if err := m.build(); err != nil {
		return nil, err
	}
	var err error
	if image, err = im.imagePipeline(image); err != nil {
		return nil, err
	}
	if c.Images > 1 {
		several := *image
		several.Layout = pipeline.LayoutSampleImages
		image = &several
	}
	text, err := im.textPipeline("BertTokenizer", c.MaxPositions, c.VocabSize)
	if err != nil {
		return nil, err
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: image, Text: text}}, err
}

// released reads the sizes of a checkpoint without a configuration from its tensors.
func (c *viltConfig) released(p *NamedParams) {
	const embeddings = "vilt.embeddings."
	c.bertConfig = p.bertSizes(embeddings+"text_embeddings", "vilt.encoder.layer.%d")
	c.Modalities = p.dim(embeddings+"token_type_embeddings.weight", 0)
	c.Channels, c.PatchSize = p.dim(embeddings+"patch_embeddings.projection.weight", 1), p.dim(embeddings+"patch_embeddings.projection.weight", 3)
	c.ImageSize = c.PatchSize * block.SquareGrid(p.dim(embeddings+"position_embeddings", 1) - 1)[0]
	c.layerEps = 1e-6
	if p.Has("nlvr2_classifier.0.weight") {
		c.Images = 2
	}
}

// vilt builds one model.
type vilt struct {
	viltConfig
	b    *graph.Builder
	p    *NamedParams
	bert *block.BERT
	in   bertText
}

func (m *vilt) build() error {
	b := m.b
	var err error
	if m.bert, err = m.bertConfig.bert("config"); err != nil {
		return err
	}
	if err := checkSizes("config", size{"modality_type_vocab_size", m.Modalities}, size{"image_size", m.ImageSize}, size{"patch_size", m.PatchSize},
		size{"num_channels", m.Channels}); err != nil {
		return err
	}
	images := max(m.Images, 1)
	if m.PatchSize > m.ImageSize || images >= m.Modalities {
		return fmt.Errorf("config: image_size %d, patch_size %d, num_images %d and modality_type_vocab_size %d do not make a model: expected a patch or "+
			"more, and a type for each picture besides the text's", m.ImageSize, m.PatchSize, m.Images, m.Modalities)
	}
	m.in = newBERTText(b)
	pixels, mask := m.pictures(images)
	var pooled []*graph.Node
	var last *graph.Node
	for i := range b.Layers(images) {
		prefix := ""
		if images > 1 {
			prefix = fmt.Sprintf("image%d.", i)
		}
		last = m.encode(pixels[i], mask[i], i+1, prefix)
		pooled = append(pooled, m.bert.Pool(b, last, "vilt.pooler"))
	}
	all := pooled[0]
	if images > 1 {
		all = b.Concat(1, pooled...)
	}
	m.heads(last, b.Output(all, graph.Joint, "pooled_output"))
	return nil
}

// pictures are the inputs of each picture of a sample: pixels [B, C, H, W] and a mask [B, H, W] of those that are no padding.
func (m *vilt) pictures(n int) (pixels, masks []*graph.Node) {
	b := m.b
	if n == 1 {
		x := b.Input("pixel_values", -1, m.Channels, -5, -6)
		like := b.Rearrange(b.Slice(x, 1, 0, 1), "b 1 h w -> b h w")
		return []*graph.Node{x}, []*graph.Node{b.OptionalInput("pixel_mask", like, 1, -1, -5, -6)}
	}
	x := b.Input("pixel_values", -1, n, m.Channels, -5, -6)
	like := b.Rearrange(b.Slice(x, 2, 0, 1), "b n 1 h w -> b n h w")
	mask := b.OptionalInput("pixel_mask", like, 1, -1, n, -5, -6)
	for i := range n {
		pixels = append(pixels, b.Rearrange(b.Slice(x, 1, i, i+1), "b 1 c h w -> b c h w"))
		masks = append(masks, b.Rearrange(b.Slice(mask, 1, i, i+1), "b 1 h w -> b h w"))
	}
	return pixels, masks
}

// encode runs the text and a picture, whose tokens are of the given type, through the layers.
func (m *vilt) encode(pixels, mask *graph.Node, modality int, prefix string) *graph.Node {
	b, d := m.b, m.Dim
	const embeddings = "vilt.embeddings."
	typed := func(x *graph.Node, kind int) *graph.Node {
		return b.Add(x, b.Slice(b.Parameter(graph.Table, embeddings+"token_type_embeddings.weight", m.Modalities, d), 0, kind, kind+1))
	}
	text := typed(m.bert.Embed(b, embeddings+"text_embeddings", m.in.inputs()), 0)

	size := m.PatchSize
	grid := b.Conv(b.Rearrange(pixels, "b c h w -> b h w c"), embeddings+"patch_embeddings.projection",
		graph.ConvSpec{In: m.Channels, Out: d, KH: size, KW: size, Stride: [2]int{size, size}})
	mask = b.Op(graph.GridMask{}, nil, mask, grid)
	side := m.ImageSize / size
	table := b.Rearrange(b.Parameter(graph.Position, embeddings+"position_embeddings", 1, 1+side*side, d), "1 n d -> n d")
	patches := b.Add(b.Rearrange(grid, "b h w d -> b (h w) d"), b.Op(graph.GridPositions{Rows: side, Columns: side}, nil, b.Slice(table, 0, 1, 0), mask))
	// Patches of the picture come first, in their order: the original draws it at random, and nothing depends on it.
	flat := b.Rearrange(mask, "b h w -> b (h w)")
	first := graph.ShownFirst{Most: max(m.MostImage, 0)}
	patches = b.Op(first, nil, patches, flat)
	shown := b.Rearrange(b.Op(first, nil, b.Rearrange(flat, "b s -> b s 1"), flat), "b s 1 -> b s")
	class := b.Add(b.Parameter(graph.Position, embeddings+"cls_token", 1, 1, d), b.Slice(table, 0, 0, 1))
	picture := typed(b.Prepend(class, patches), modality)

	x := b.Name(b.Concat(1, text, picture), prefix+"embeddings")
	one := b.Op(graph.FillLike{Value: 1}, nil, b.Slice(shown, 1, 0, 1))
	hidden := block.With{Bias: block.HideKeys(b, b.Concat(1, m.in.mask, one, shown))}
	layer := block.ViTLayer.Sized(d, m.Heads, m.Hidden)
	layer.Norm.Eps, layer.MLP.Act = m.layerEps, m.bert.Layer.MLP.Act
	tower := (&block.Transformer{Layer: layer, Stem: "vilt.encoder.layer.%d", Layers: m.Layers, Norm: "vilt.layernorm"}).Apply(b, x, hidden, block.With{})
	tower.NameLayers(b, prefix+"layer%d")
	return b.Name(tower.Last, prefix+"last_hidden_state")
}

// heads adds those that the checkpoint holds. last are the tokens, pooled the poolers of all pictures.
func (m *vilt) heads(last, pooled *graph.Node) {
	b, p := m.b, m.p
	output := func(x *graph.Node, name string) { b.Output(x, graph.Joint, name) }
	text := func() *graph.Node { return b.Op(graph.TakeLike{Axis: 1, LikeAxis: 1}, nil, last, m.in.ids) }
	if words := p.maskedLM(b, m.bert, text(), "mlm_score", "vilt.embeddings.text_embeddings.word_embeddings.weight"); words != nil {
		output(words, "mlm_logits")
	}
	if p.Has("itm_score.fc.weight") {
		output(p.linear(b, pooled, "itm_score.fc"), "itm_logits")
	}
	if p.Has("rank_output.weight") {
		output(p.linear(b, pooled, "rank_output"), "rank_output")
	}
	if p.Has("classifier.weight") {
		output(p.linear(b, text(), "classifier"), "logits") // of each token
	}
	for _, stem := range []string{"classifier", "vqa_classifier", "nlvr2_classifier"} {
		if p.Has(stem + ".0.weight") {
			h := perceptron{FC1: stem + ".0", Norm: stem + ".1", NormFirst: true, FC2: stem + ".3", Act: kernels.ActGELU, Eps: 1e-5}
			output(h.apply(b, p, pooled), "logits")
		}
	}
}
