package models

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// CLIP's ResNets (Radford et al., arXiv:2103.00020, section 2.4): a stem of three convolutions, strides by average pooling
// (Zhang 2019), attention pooling. Sources: openai/CLIP clip/model.py ModifiedResNet and AttentionPool2d; mlfoundations/
// open_clip src/open_clip/modified_resnet.py.

var _ = Register(&System{
	Name: "clip-resnet", Title: "CLIP ModifiedResNet", Row: 1,
	Namings: []Naming{
		{Name: "openai", Looked: "tensors visual.attnpool.* and visual.layer1.*, no config", Recognise: func(im *Import) bool {
			return !im.hasOpenCLIPConfig() && im.isModifiedResNet()
		}},
		{Name: "open_clip", Looked: "open_clip_config.json, tensors visual.attnpool.*", Recognise: func(im *Import) bool {
			return im.hasOpenCLIPConfig() && im.isModifiedResNet()
		}},
	},
	Build: func(im *Import) (*graph.Model, error) {
		if im.Naming == "open_clip" {
			return buildOpenCLIPResNet(im)
		}
		return buildOpenAIResNet(im)
	},
})

func (im *Import) isModifiedResNet() bool {
	return im.HasTensor("visual.attnpool.q_proj.weight") && im.HasTensor("visual.layer1.0.conv1.weight")
}

// modifiedResNet is the vision tower; its sizes are those of its tensors.
type modifiedResNet struct {
	Blocks    [4]int
	Width     int // channels of the stem
	Heads     int
	ImageSize int
	OutputDim int
}

// readModifiedResNet reads the sizes from the tensors, as clip.model.build_model does.
func readModifiedResNet(im *Import) *modifiedResNet {
	r := &modifiedResNet{Width: im.Dim("visual.layer1.0.conv1.weight", 0), OutputDim: im.Dim("visual.attnpool.c_proj.weight", 0)}
	for i := range r.Blocks {
		r.Blocks[i] = im.Count(fmt.Sprintf("visual.layer%d.#.conv1.weight", i+1))
	}
	r.Heads = r.Width * 32 / 64
	grid := math.Round(math.Sqrt(float64(im.Dim("visual.attnpool.positional_embedding", 0) - 1)))
	r.ImageSize = int(grid) * 32
	return r
}

func (r *modifiedResNet) check() error {
	return checkSizes("vision tower", size{"width", r.Width}, size{"heads", r.Heads}, size{"image size", r.ImageSize},
		size{"output", r.OutputDim}, size{"blocks of layer1", r.Blocks[0]}, size{"blocks of layer2", r.Blocks[1]},
		size{"blocks of layer3", r.Blocks[2]}, size{"blocks of layer4", r.Blocks[3]})
}

// mapNamed gives a channels-last map the name of the original's NCHW one.
func mapNamed(b *graph.Builder, x *graph.Node, name string) *graph.Node {
	b.Name(b.Rearrange(x, "b h w c -> b c h w"), name)
	return x
}

// features builds the tower: image features [B, OutputDim].
func (r *modifiedResNet) features(b *graph.Builder, pixels *graph.Node) *graph.Node {
	if err := r.check(); err != nil {
		b.Fail(err)
		return pixels
	}
	net := block.ResNet{Blocks: r.Blocks[:], Width: r.Width, DeepStem: true, AveragePool: true}
	stem, stages := net.Apply(b, b.Rearrange(pixels, "b c h w -> b h w c"), "visual")
	mapNamed(b, stem, "vision.stem")
	for i, x := range stages {
		mapNamed(b, x, fmt.Sprintf("vision.layer%d", i+1))
	}
	return r.attentionPool(b, stages[len(stages)-1], net.Out())
}

// attentionPool lets the mean of all positions attend to it and to them.
func (r *modifiedResNet) attentionPool(b *graph.Builder, x *graph.Node, dim int) *graph.Node {
	const stem = "visual.attnpool"
	positions := (r.ImageSize / 32) * (r.ImageSize / 32)
	x = b.Rearrange(x, "b h w c -> b (h w) c")
	mean := b.Rearrange(block.Mean(b, x), "b c -> b 1 c")
	x = b.Concat(1, mean, x)
	x = b.Add(x, b.Parameter(graph.Position, stem+".positional_embedding", positions+1, dim))
	pool := block.Attention{Dim: dim, Heads: r.Heads, Q: block.Projection{Stem: "q_proj"}, K: block.Projection{Stem: "k_proj"}, V: block.Projection{Stem: "v_proj"}}
	h := pool.Apply(b, b.Slice(x, 1, 0, 1), stem, block.With{KV: x})
	return b.Linear(b.Rearrange(h, "b 1 c -> b c"), stem+".c_proj", dim, r.OutputDim)
}

// build joins the tower with the text tower.
func (r *modifiedResNet) build(im *Import, t *clipText, table Names, image *pipeline.Image, words *pipeline.Text) (*graph.Model, error) {
	im.Ignore("visual.*.num_batches_tracked", "counts the steps of training")
	if trained := [2]int{r.ImageSize, r.ImageSize}; im.imageSize(trained) != trained {
		return nil, fmt.Errorf("the attention pooling has positions for images of %d x %d pixels, which the originals do not interpolate: leave --image-size out",
			r.ImageSize, r.ImageSize)
	}
	b := graph.NewBuilder(im.Params(table, ""))
	features := r.features(b, im.pixels(b, image, 3, [2]int{r.ImageSize, r.ImageSize}))
	return im.contrastive(b, image, words, features, t.projected(b, t.features(b, "text.")))
}

func buildOpenAIResNet(im *Import) (*graph.Model, error) {
	r := readModifiedResNet(im)
	t, err := readOpenAIText(im)
	if err != nil {
		return nil, err
	}
	words, err := pipeline.OpenAICLIPTextFromFiles(im.ReadFile, t.MaxPositions, t.VocabSize)
	if err != nil {
		return nil, err
	}
	return r.build(im, t, openaiNames, pipeline.ImageOpenAICLIP(r.ImageSize), words)
}

func buildOpenCLIPResNet(im *Import) (*graph.Model, error) {
	o, err := im.openCLIP()
	if err != nil {
		return nil, err
	}
	r := readModifiedResNet(im)
	var blocks []int
	if err := json.Unmarshal(o.Vision.Layers, &blocks); err != nil || len(blocks) != 4 {
		return nil, fmt.Errorf("%s: vision_cfg.layers is %s: expected four numbers for a ResNet", openCLIPFile, o.Vision.Layers)
	}
	r.Blocks = [4]int(blocks)
	if o.Vision.HeadWidth < 1 {
		return nil, fmt.Errorf("%s: vision_cfg.head_width is %d", openCLIPFile, o.Vision.HeadWidth)
	}
	r.Heads = r.Width * 32 / o.Vision.HeadWidth
	size, err := o.imageSize()
	if err != nil {
		return nil, err
	}
	if size[0] != size[1] {
		return nil, fmt.Errorf("%s: vision_cfg.image_size is %d x %d: expected a square for a ResNet", openCLIPFile, size[0], size[1])
	}
	r.ImageSize = size[0]
	t, err := o.text()
	if err != nil {
		return nil, err
	}
	image, words, err := im.openCLIPPipeline()
	if err != nil {
		return nil, err
	}
	return r.build(im, &t, im.openCLIPNames(), image, words)
}
