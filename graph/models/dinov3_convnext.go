package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// DINOv3's convolutional students (Siméoni et al., arXiv:2508.10104), which are ConvNeXts (Liu et al., arXiv:2201.03545). Source:
// huggingface/transformers models/dinov3_convnext/modeling_dinov3_convnext.py.

var _ = Register(&System{
	Name: "dinov3-convnext", Title: "DINOv3 ConvNeXt",
	ModelTypes: []string{"dinov3_convnext"},
	Namings: []Naming{{Name: "huggingface", Looked: "config.json with model_type dinov3_convnext, tensors stages.#.layers.#.depthwise_conv.weight", Recognise: func(im *Import) bool {
		return im.ModelType() == "dinov3_convnext" && im.HasAny("*stages.#.layers.#.depthwise_conv.weight")
	}}},
	Build: buildDINOv3ConvNeXt,
})

func buildDINOv3ConvNeXt(im *Import) (*graph.Model, error) {
	c := struct {
		Channels  int     `json:"num_channels"`
		Dims      []int   `json:"hidden_sizes"`
		Depths    []int   `json:"depths"`
		Act       string  `json:"hidden_act"`
		Eps       float64 `json:"layer_norm_eps"`
		LayerInit float64 `json:"layer_scale_init_value"`
		ImageSize pair    `json:"image_size"`
	}{Channels: 3, Act: "gelu", Eps: 1e-6, LayerInit: 1e-6, ImageSize: pair{224, 224}}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	if c.Dims == nil {
		c.Dims = []int{96, 192, 384, 768}
	}
	if c.Depths == nil {
		c.Depths = []int{3, 3, 9, 3}
	}
	if len(c.Dims) == 0 || len(c.Dims) != len(c.Depths) || len(c.Dims) > 8 {
		return nil, fmt.Errorf("config: %d hidden_sizes and %d depths: expected as many of both, from 1 to 8", len(c.Dims), len(c.Depths))
	}
	sizes := []size{{"num_channels", c.Channels}, {"image_size", c.ImageSize[0]}, {"image_size", c.ImageSize[1]}}
	for _, d := range c.Dims {
		sizes = append(sizes, size{"hidden_sizes", d})
	}
	if err := checkSizes("config", sizes...); err != nil {
		return nil, err
	}
	act, err := activation("hidden_act", c.Act)
	if err != nil {
		return nil, err
	}
	image, err := im.classPipeline("DINOv3ViTImageProcessorFast")
	if err != nil {
		return nil, err
	}
	// A backbone's file has the stages in a module of their own.
	prefix, _ := im.prefixOf("stages.0.downsample_layers.0.weight", "", "model.", "dinov3_convnext.", "dinov3_convnext.model.")
	b := graph.NewBuilder(im.Params(Names{{"layer_norm.*", im.outerNorm(prefix) + "layer_norm.*"}, {"*", prefix + "*"}}, ""))
	s := im.imageSize([2]int(trainedSize(image, c.ImageSize)))
	net := block.ConvNeXt{Channels: c.Channels, Dims: c.Dims, Depths: c.Depths, Act: act, Eps: c.Eps, LayerScale: c.LayerInit > 0}
	stages, err := net.Apply(b, b.Rearrange(im.pixels(b, image, c.Channels, s), "b c h w -> b h w c"), "")
	if err != nil {
		return nil, err
	}
	for i, x := range stages {
		b.Namef(b.Rearrange(x, "b h w c -> b c h w"), "stage%d", i)
	}
	// The pooled token is the mean of the map before the norm.
	x := b.Rearrange(stages[len(stages)-1], "b h w c -> b (h w) c")
	d := c.Dims[len(c.Dims)-1]
	x = b.Concat(1, b.Rearrange(block.Mean(b, x), "b c -> b 1 c"), x)
	x = b.Output(b.LayerNorm(x, "layer_norm", d, c.Eps), graph.Vision, "last_hidden_state")
	b.Output(b.Token(x, 0), graph.Vision, "pooler_output")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: image}}, err
}

// outerNorm is where the norm behind the stages lies, which may be outside of their module.
func (im *Import) outerNorm(prefix string) string {
	outer, _ := im.prefixOf("layer_norm.weight", prefix, "", "dinov3_convnext.")
	return outer
}

// trainedSize is the size that the processor makes, else the configuration's: convolutions take any.
func trainedSize(image *pipeline.Image, own pair) pair {
	for i := len(image.Steps) - 1; i >= 0; i-- {
		if s := image.Steps[i]; s.Height > 0 && s.Width > 0 {
			return pair{s.Height, s.Width}
		}
	}
	return own
}
