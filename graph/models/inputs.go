package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// size is a number of a configuration that must be positive.
type size struct {
	key   string
	value int
}

// checkSizes refuses configurations whose numbers no architecture can have; they would be divided by or allocated.
func checkSizes(section string, sizes ...size) error {
	const most = 1 << 24
	for _, s := range sizes {
		if s.value < 1 || s.value > most {
			return fmt.Errorf("config: %s.%s is %d; expected 1 to %d", section, s.key, s.value, most)
		}
	}
	return nil
}

// imagePipeline reads the configuration of the image processor; without one the system's own preprocessing holds, and a note
// says so.
func (im *Import) imagePipeline(own *pipeline.Image) (*pipeline.Image, error) {
	raw, file, err := im.processor(pipeline.ImageProcessor)
	if err != nil {
		return nil, err
	}
	if raw == nil {
		im.Note("no %s: images go through the preprocessing that the system was published with", file)
		return own, nil
	}
	p, err := pipeline.ImageOfProcessorClass(raw, imageProcessors[im.ModelType()])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}

// processor reads a part of the processor's configuration, nil where there is none.
func (im *Import) processor(part pipeline.ProcessorPart) (raw []byte, file string, err error) {
	raw, file, note, err := part.Read(im.ReadFile)
	if note != "" {
		im.Note("%s", note)
	}
	return raw, file, err
}

// imageProcessors are the classes that transformers takes for a model_type where preprocessor_config.json names none
// (models/auto/image_processing_auto.py).
var imageProcessors = map[string]string{
	"clip": "CLIPImageProcessor", "clip_vision_model": "CLIPImageProcessor", "llava": "CLIPImageProcessor",
	"siglip": "SiglipImageProcessor", "siglip_vision_model": "SiglipImageProcessor",
	"blip": "BlipImageProcessor", "blip-2": "BlipImageProcessor", "instructblip": "BlipImageProcessor",
	"llava_next": "LlavaNextImageProcessor", "idefics2": "Idefics2ImageProcessor", "vilt": "ViltImageProcessor",
}

// imageSize returns the height and width to build for: the one asked for, else the trained one.
func (im *Import) imageSize(trained [2]int) [2]int {
	if im.Options.ImageSize != [2]int{} {
		return im.Options.ImageSize
	}
	return trained
}

// pixels adds the input of a vision tower: the pixels 0..255 that preprocessing gives, normalised inside the graph, so
// that the normalisation can be folded into the first convolution. The normalised value is pixel_values.
func (im *Import) pixels(b *graph.Builder, image *pipeline.Image, channels int, size [2]int) *graph.Node {
	if image.Layout == pipeline.LayoutMasked || image.Layout == pipeline.LayoutSampleImages {
		// Padding happens after the normalisation, so that it has to be done outside.
		return b.Input("pixel_values", -1, channels, size[0], size[1])
	}
	x := b.Input("pixels", -1, channels, size[0], size[1])
	return b.Name(b.Op(graph.Normalize{Normalize: image.Normalize}, nil, x), "pixel_values")
}

// textPipeline finds the tokenizer that lies beside the weights in transformers' files; class is the tokenizer's class
// where no file names one. Without tokenizer files the model takes ids only, and a note says so.
func (im *Import) textPipeline(class string, context, vocabulary int) (*pipeline.Text, error) {
	t, err := pipeline.TextFromFiles(im.ReadFile, "", class, context)
	if err != nil {
		return nil, err
	}
	t.Vocabulary = vocabulary
	return t, im.noteTokenizer(t)
}

// noteTokenizer notes a missing tokenizer.
func (im *Import) noteTokenizer(t *pipeline.Text) error {
	if t.Kind == "" {
		im.Note("%s", t.Missing())
	}
	return t.Check()
}
