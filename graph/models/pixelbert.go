package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// Pixel-BERT: Aligning Image Pixels with Text by Deep Multi-Modal Transformers (Huang et al., arXiv:2004.00849), of which no
// code was published. Source: zezeze97/pixelbert src/modeling/{e2e_model,resnet50gcb_extra,modeling}.py.

var _ = Register(&System{
	Name: "pixelbert", Title: "Pixel-BERT", Row: 18,
	Namings: []Naming{
		{Name: "pixelbert", Looked: "tensors cnn.grid_encoder.0.weight and transformer.bert.visual_embeddings.*", Recognise: func(im *Import) bool {
			return im.HasTensor("cnn.grid_encoder.0.weight") && im.HasTensor("cnn.stage1.0.conv1.weight") &&
				im.HasTensor("transformer.bert.visual_embeddings.row_position_embeddings.weight")
		}},
	},
	Build: buildPixelBERT,
})

// pixelBERTNames translates torchvision's names of a ResNet's stages.
var pixelBERTNames = Names{{"cnn.layer#.*", "cnn.stage#.*"}, {"bert.*", "transformer.bert.*"}, {"cls.*", "transformer.cls.*"}, {"classifier.*", "transformer.classifier.*"}}

type pixelBERTConfig struct {
	bertConfig
	Rows    int       `json:"max_grid_row_position_embeddings"`
	Columns int       `json:"max_grid_col_position_embeddings"`
	Mean    []float64 `json:"img_pixel_mean"`
	Std     []float64 `json:"img_pixel_std"`
	Format  string    `json:"img_input_format"`
	Longest int       `json:"max_img_size"`
}

func buildPixelBERT(im *Import) (*graph.Model, error) {
	p := im.Params(pixelBERTNames, "")
	const visual = "bert.visual_embeddings."
	c := pixelBERTConfig{bertConfig: p.bertSizes("bert.embeddings", "bert.encoder.layer.%d"), Rows: p.dim(visual+"row_position_embeddings.weight", 0),
		Columns: p.dim(visual+"col_position_embeddings.weight", 0), Mean: []float64{123.675, 116.28, 103.53}, Std: []float64{1, 1, 1}, Format: "BGR", Longest: 768}
	if len(im.config) > 0 {
		if err := im.Config(&c); err != nil {
			return nil, err
		}
	}
	if len(c.Mean) != 3 || len(c.Std) != 3 {
		return nil, fmt.Errorf("config: img_pixel_mean and img_pixel_std have %d and %d numbers; expected one for each of 3 channels", len(c.Mean), len(c.Std))
	}
	if im.HasAny("cnn.*.context_block.*") {
		return nil, fmt.Errorf("tensors cnn.*.context_block.*: a ResNet with global context blocks (PixelBertWithResNet50GCB); expected one without")
	}
	im.Ignore(p.source(visual+"position_embeddings.weight"), "a table that the original makes and does not read")
	im.Ignore("*.num_batches_tracked", "a count of training")
	im.Ignore("*embeddings.position_ids", "a buffer of consecutive numbers")
	b := graph.NewBuilder(p)
	if err := c.build(b, p); err != nil {
		return nil, err
	}
	own := pipeline.ImagePixelBERT(min(max(c.Longest, 1), 1<<14))
	own.Normalize = pipeline.Normalize{Mean: c.Mean, Std: c.Std}
	image, err := im.imagePipeline(own)
	if err != nil {
		return nil, err
	}
	text, err := im.textPipeline("BertTokenizer", c.MaxPositions, c.VocabSize)
	if err != nil {
		return nil, err
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: image, Text: text}, Advice: bertAdvice}, err
}

// resNetOf has the sizes of a ResNet in torchvision's names that tensors show.
func resNetOf(p *NamedParams, at string) *block.ResNet {
	r := &block.ResNet{Width: p.dim(at+"conv1.weight", 0), Channels: p.dim(at+"conv1.weight", 1), Basic: !p.Has(at + "layer1.0.conv3.weight")}
	for s := 1; s <= 4; s++ {
		r.Blocks = append(r.Blocks, p.layers(fmt.Sprintf("%slayer%d.%%d.conv1.weight", at, s)))
	}
	return r
}

func (c *pixelBERTConfig) build(b *graph.Builder, p *NamedParams) error {
	bert, err := c.bert("config")
	if err != nil {
		return err
	}
	net := resNetOf(p, "cnn.")
	net.StrideFirst = true
	if err := checkSizes("config", size{"max_grid_row_position_embeddings", c.Rows}, size{"max_grid_col_position_embeddings", c.Columns},
		size{"cnn.conv1", net.Width}, size{"channels", net.Channels}); err != nil {
		return err
	}
	d := c.Dim
	in := newBERTText(b)
	pixels := b.Input("pixel_values", -1, net.Channels, -5, -6)
	x := b.Rearrange(pixels, "b c h w -> b h w c")
	if c.Format == "BGR" { // pictures are read as RGB
		x = b.Concat(3, b.Slice(x, 3, 2, 3), b.Slice(x, 3, 1, 2), b.Slice(x, 3, 0, 1))
	}
	stem, stages := net.Apply(b, x, "cnn")
	namedMap(b, stem, "stem")
	for i, s := range stages {
		namedMap(b, s, "stage%d", i+1)
	}
	grid := b.Conv(stages[len(stages)-1], "cnn.grid_encoder.0", graph.ConvSpec{In: net.Out(), Out: d, KH: 3, KW: 3, Stride: [2]int{1, 1}, Pad: graph.Pad2(1, 1), NoBias: true})
	grid = b.Act(b.Op(graph.Pool{Max: true, Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil, grid), kernels.ActReLU)
	b.Name(grid, "grid")

	const visual = "bert.visual_embeddings."
	rows := b.Op(graph.TakeLike{Axis: 0, LikeAxis: 1}, nil, b.Parameter(graph.Position, visual+"row_position_embeddings.weight", c.Rows, d), grid)
	columns := b.Op(graph.TakeLike{Axis: 0, LikeAxis: 2}, nil, b.Parameter(graph.Position, visual+"col_position_embeddings.weight", c.Columns, d), grid)
	v := b.Add(b.Add(grid, b.Rearrange(rows, "h d -> h 1 d")), columns)
	v = b.Add(b.Rearrange(v, "b h w d -> b (h w) d"), b.Parameter(graph.Table, visual+"token_type_embeddings.weight", 1, d))
	v = b.Name(bert.Layer.Norm.Apply(b, v, visual+"LayerNorm", d), "visual_embeddings")
	t := b.Name(bert.Embed(b, "bert.embeddings", in.inputs()), "text_embeddings")
	shown := b.Op(graph.FillLike{Value: 1, Axes: 2}, nil, v)
	tower := bert.Encode(b, b.Concat(1, t, v), "bert.encoder.layer.%d", block.BERTPass{Self: hideKeys(b, b.Concat(1, in.mask, shown))})
	tower.NameLayers(b, "layer%d")
	last := b.Output(tower.Last, graph.Joint, "last_hidden_state")
	pooled := b.Output(bert.Pool(b, last, "bert.pooler"), graph.Joint, "pooled_output")
	text := b.Op(graph.TakeLike{Axis: 1, LikeAxis: 1}, nil, last, in.ids)
	if words := p.maskedLM(b, bert, text, "cls.predictions", "bert.embeddings.word_embeddings.weight"); words != nil {
		b.Output(words, graph.Joint, "mlm_scores")
	}
	if p.Has("cls.seq_relationship.weight") {
		b.Output(p.linear(b, pooled, "cls.seq_relationship"), graph.Joint, "itm_scores")
	}
	if p.Has("classifier.0.weight") {
		b.Output(perceptron{FC1: "classifier.0", FC2: "classifier.2", Act: kernels.ActReLU}.apply(b, p, pooled), graph.Joint, "logits")
	}
	return nil
}
