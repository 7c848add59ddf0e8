// Package mmconv runs and converts the encoders and projectors of multimodal models: CLIP, SigLIP, Whisper, LLaVA's
// projectors and others, from the checkpoints that their authors published or from the int8 and int4 models that conversion
// makes of them.
//
//	m, err := mmconv.Open(ctx, "clip-int8", mmconv.OpenOptions{})
//	defer m.Close()
//	pictures, err := m.EmbedImages(ctx, mmconv.ImageFile("cat.jpg"), mmconv.ImageFile("dog.jpg"))
//	texts, err := m.EmbedTexts(ctx, "a photo of a cat")
//
// This package is the stable surface of the module. The others are its parts, and may change from one version to the next.
package mmconv

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/models"
	imageproc "github.com/mmconv/mmconv/graph/pipeline/image"
	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/quant"
)

// OpenOptions say how a model is opened. The zero value is what most want.
type OpenOptions struct {
	Threads   int    // 0: one for each processor
	System    string // read a source as this system instead of recognising it
	ImageSize [2]int // height and width to interpolate a source's position tables to; zeros keep the trained size
	MaxPixels int    // bounds the size of pictures; 0 is 178956970, as Pillow has it
}

// Model is a model that is ready to run. It is safe for several goroutines, which take turns.
type Model struct{ m *run.Model }

// Open opens a source checkpoint (a folder, a file, or hf:OWNER/NAME in the Hugging Face cache) or a converted folder.
func Open(ctx context.Context, path string, o OpenOptions) (*Model, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m, err := run.Open(path, run.Options{Threads: o.Threads, MaxPixels: o.MaxPixels,
		Models: models.Options{System: o.System, ImageSize: o.ImageSize}})
	if err != nil {
		return nil, err
	}
	return &Model{m}, nil
}

// Close releases the model's memory and files. Nothing may run on it then.
func (m *Model) Close() { m.m.Close() }

// System returns the name of the model's architecture, as `mmconv systems` lists it.
func (m *Model) System() string { return m.m.Model.System }

// Outputs returns the names of the values that the model exists for. [Model.Run] computes these, and any other named value.
func (m *Model) Outputs() []string {
	var names []string
	for _, o := range m.m.Graph().Outputs {
		names = append(names, o.Name)
	}
	return names
}

// Tensor is a dense tensor of float32 in row-major order.
type Tensor struct {
	Shape []int
	Data  []float32
}

// Image is a picture to be embedded. It is decoded as Pillow would, where it comes from a file.
type Image struct {
	load func(maxPixels int) (*imageproc.RGB, error)
}

// ImageFile is a picture in a file: JPEG, PNG, WebP, TIFF, BMP or GIF.
func ImageFile(path string) Image {
	return Image{func(maxPixels int) (*imageproc.RGB, error) {
		return imageproc.Open(path, imageproc.Limits{MaxPixels: maxPixels})
	}}
}

// ImageReader is a picture in the format of a file, read to its end when it is used.
func ImageReader(r io.Reader) Image {
	return Image{func(maxPixels int) (*imageproc.RGB, error) {
		data, err := io.ReadAll(io.LimitReader(r, maxEncoded+1))
		if err != nil {
			return nil, err
		}
		if len(data) > maxEncoded {
			return nil, fmt.Errorf("picture: longer than %d MiB", maxEncoded>>20)
		}
		return imageproc.Decode(data, imageproc.Limits{MaxPixels: maxPixels})
	}}
}

// maxEncoded bounds a picture that is read from a reader.
const maxEncoded = 1 << 30

// ImageOf is a picture in memory.
func ImageOf(m image.Image) Image {
	return Image{func(int) (*imageproc.RGB, error) { return imageproc.FromImage(m) }}
}

// Inputs are what a model is run on. Systems take of these what they have a pipeline for.
type Inputs struct {
	Images  []Image
	Audio   []string // paths of clips
	Texts   []string
	Tensors map[string]Tensor // values by their names, such as recorded features
}

func (m *Model) pass(ctx context.Context, in Inputs) (*run.Pass, error) {
	inputs := map[string]run.Input{}
	if len(in.Images) > 0 {
		var pictures []*imageproc.RGB
		for i, img := range in.Images {
			if img.load == nil {
				return nil, fmt.Errorf("image %d: made by none of ImageFile, ImageReader and ImageOf", i)
			}
			p, err := img.load(m.m.MaxPixels())
			if err != nil {
				return nil, err
			}
			pictures = append(pictures, p)
		}
		inputs["images"] = run.Input{Images: pictures}
	}
	if len(in.Audio) > 0 {
		inputs["audio"] = run.Files(in.Audio...)
	}
	if len(in.Texts) > 0 {
		inputs["text"] = run.Input{Texts: in.Texts}
	}
	for name, t := range in.Tensors {
		if n := graph.Shape(t.Shape).Len(); n != len(t.Data) {
			return nil, fmt.Errorf("tensor %q: shape %v needs %d values, has %d", name, t.Shape, n, len(t.Data))
		}
		inputs[name] = run.Input{Tensor: &graph.Tensor{Shape: t.Shape, Data: t.Data}}
	}
	if len(inputs) == 0 {
		return nil, errors.New("nothing to run on: Inputs are empty")
	}
	return m.m.NewPass(ctx, inputs)
}

// Run returns named values, or the outputs that the inputs reach where none are named.
func (m *Model) Run(ctx context.Context, in Inputs, values ...string) (map[string]Tensor, error) {
	p, err := m.pass(ctx, in)
	if err != nil {
		return nil, err
	}
	if len(values) == 0 {
		if values, err = p.Outputs(); err != nil {
			return nil, err
		}
	}
	got, err := p.Fetch(ctx, values...)
	if err != nil {
		return nil, err
	}
	out := make(map[string]Tensor, len(got))
	for name, t := range got {
		out[name] = Tensor{Shape: t.Shape, Data: t.Data}
	}
	return out, nil
}

// EmbedImages returns the embedding of each picture: [D] of a contrastive model or a pooled encoder, [tokens, D] of a model
// whose output are tokens.
func (m *Model) EmbedImages(ctx context.Context, images ...Image) ([]Tensor, error) {
	return m.embed(ctx, Inputs{Images: images}, len(images))
}

// EmbedAudio returns the embedding of each clip likewise.
func (m *Model) EmbedAudio(ctx context.Context, clips ...string) ([]Tensor, error) {
	return m.embed(ctx, Inputs{Audio: clips}, len(clips))
}

// EmbedTexts returns the embedding of each text likewise.
func (m *Model) EmbedTexts(ctx context.Context, texts ...string) ([]Tensor, error) {
	return m.embed(ctx, Inputs{Texts: texts}, len(texts))
}

func (m *Model) embed(ctx context.Context, in Inputs, n int) ([]Tensor, error) {
	if n == 0 {
		return nil, nil
	}
	p, err := m.pass(ctx, in)
	if err != nil {
		return nil, err
	}
	name, err := p.Embedding()
	if err != nil {
		return nil, err
	}
	got, err := p.Fetch(ctx, name)
	if err != nil {
		return nil, err
	}
	t := got[name]
	if len(t.Shape) < 2 || t.Shape[0] != n {
		return nil, fmt.Errorf("value %q has shape %v for %d inputs: not one embedding each; Run returns it as it is", name, t.Shape, n)
	}
	out := make([]Tensor, n)
	size := t.Shape[1:].Len()
	for i := range out {
		out[i] = Tensor{Shape: t.Shape[1:], Data: t.Data[i*size : (i+1)*size]}
	}
	return out, nil
}

// Transcribe returns what the model writes of each clip.
func (m *Model) Transcribe(ctx context.Context, clips ...string) ([]string, error) {
	if len(clips) == 0 {
		return nil, nil
	}
	p, err := m.pass(ctx, Inputs{Audio: clips})
	if err != nil {
		return nil, err
	}
	return p.Transcribe(ctx)
}

// ConvertOptions say what weights become. Empty fields mean the defaults: int8 weights by output channel and int8
// activations; int4 in groups of 32.
type ConvertOptions struct {
	Weights     string   // int8, int4, float16, float32
	Activations string   // int8, float32
	GroupSize   string   // 32, 64, 128, channel
	Asymmetric  bool     // zero points
	Method      string   // as `mmconv convert --help` lists them
	Keep        []string // globs of weights to leave as they are
	Only        []string // components to convert: vision, text, audio, projector, decoder
	Recipe      string   // a recipe file, which the fields above overrule
	System      string   // read the source as this system instead of recognising it
	Force       bool     // replace an existing target
	Threads     int      // 0: one for each processor

	// Progress, if set, is called now and then by one goroutine at a time; done and total are bytes of the source's weights as
	// float32.
	Progress func(done, total int64)
}

// Converted says what a conversion did.
type Converted struct {
	System        string
	Quantized     int   // weights that became integers
	Float         int   // weights that stayed float
	Before, After int64 // bytes of the weights in the source and in the converted folder
	Notes         []string
}

// Convert writes the converted folder dst of a source, whole or not at all.
func Convert(ctx context.Context, src, dst string, o ConvertOptions) (*Converted, error) {
	q := quant.Options{Weights: o.Weights, Activations: o.Activations, Group: o.GroupSize, Asymmetric: o.Asymmetric, Method: o.Method,
		Keep: o.Keep, Recipe: o.Recipe, Force: o.Force, Threads: o.Threads, Models: models.Options{System: o.System}}
	for _, c := range o.Only {
		q.Only = append(q.Only, graph.Component(c))
	}
	if o.Progress != nil {
		q.Progress = func(done, total int64, _ string) { o.Progress(done, total) }
	}
	r, err := quant.Convert(ctx, src, dst, q)
	if err != nil {
		return nil, err
	}
	m := r.Manifest
	return &Converted{System: m.System, Quantized: m.Weights.Quantized, Float: m.Weights.Float, Before: m.Bytes.Before, After: m.Bytes.After,
		Notes: m.Notes}, nil
}
