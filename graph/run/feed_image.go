package run

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mmconv/mmconv/graph"
	imageproc "github.com/mmconv/mmconv/graph/pipeline/image"
)

var _ = RegisterFeeder(StageMedia, Feeder{Name: "images", Feed: feedImages})

// feedImages preprocesses pictures and feeds "pixels", the 8-bit values, where the graph normalises itself, else
// "pixel_values". Where pixel_values are given besides, the graph runs from those, and what preprocessing makes of the
// pictures is offered under their name, to be judged.
func feedImages(_ context.Context, p *Pass) error {
	batch, err := p.images()
	if batch == nil || err != nil {
		return err
	}
	if _, given := p.Peek("pixel_values"); given {
		t, err := batch.PixelValues()
		if err != nil {
			return err
		}
		p.Set("pixel_values", &graph.Tensor{Shape: t.Shape, Data: t.Data})
		return nil
	}
	name, make := "pixel_values", batch.PixelValues
	if p.Has("pixels") {
		name, make = "pixels", batch.Pixels
	}
	t, err := make()
	if err != nil {
		return err
	}
	p.Feeds[name] = &graph.Tensor{Shape: t.Shape, Data: t.Data}
	if t.Mask != nil {
		mask := graph.NewTensor(t.MaskShape...)
		for i, v := range t.Mask {
			mask.Data[i] = float32(v)
		}
		if p.Has("pixel_attention_mask") {
			p.Feeds["pixel_attention_mask"] = mask
		} else {
			p.Set("pixel_attention_mask", mask)
		}
	}
	if name == "pixels" && p.IsInput("pixel_values") { // the normalisation is folded away
		p.Offer("pixel_values", pixelValues(batch))
	}
	return nil
}

func pixelValues(b *imageproc.Batch) func(context.Context) (*graph.Tensor, error) {
	return func(context.Context) (*graph.Tensor, error) {
		t, err := b.PixelValues()
		if err != nil {
			return nil, err
		}
		return &graph.Tensor{Shape: t.Shape, Data: t.Data}, nil
	}
}

// images takes the pass's pictures ("images", "image", or "image0", "image1", ...) and carries out the model's image
// pipeline on them. It returns nil if there are none. Batches offer their image_sizes and each picture's pixel_values.N.
func (p *Pass) images() (*imageproc.Batch, error) {
	samples, files, err := p.takeImages()
	if samples == nil || err != nil {
		return nil, err
	}
	batch, err := imageproc.ProcessSamples(p.Pipeline.Image, samples)
	if err != nil {
		return nil, p.blamePicture(err, samples, files)
	}
	sizes := graph.NewTensor(len(batch.Images), 2)
	for i, v := range batch.Sizes() {
		sizes.Data[i] = float32(v)
	}
	p.Set("image_sizes", sizes)
	for i := range batch.Images {
		p.Offer(fmt.Sprintf("pixel_values.%d", i), pixelValues(batch.Image(i)))
	}
	return batch, nil
}

// takeImages takes every input that holds pictures, in the order of their numbers, and decodes those in files.
func (p *Pass) takeImages() (samples [][]*imageproc.RGB, paths []string, err error) {
	var names []string
	for _, name := range p.Inputs() {
		rest, ok := strings.CutPrefix(name, "image")
		in, _ := p.Peek(name)
		if ok && (in.Samples != nil || in.Images != nil) && (rest == "" || rest == "s" || strings.Trim(rest, "0123456789") == "") {
			names = append(names, name)
		}
	}
	if names == nil {
		return nil, nil, nil
	}
	if p.Pipeline.Image == nil {
		return nil, nil, fmt.Errorf("this model takes no images: it has no image preprocessing")
	}
	number := func(name string) int {
		n, _ := strconv.Atoi(strings.TrimPrefix(name, "image"))
		return n
	}
	slices.SortStableFunc(names, func(a, b string) int { return number(a) - number(b) })
	for _, name := range names {
		in, _ := p.Take(name)
		for _, m := range in.Images {
			samples, paths = append(samples, []*imageproc.RGB{m}), append(paths, "")
		}
		for _, files := range in.Samples {
			sample := []*imageproc.RGB{}
			for _, f := range files {
				m, err := p.decode(f)
				if err != nil {
					return nil, nil, err
				}
				sample = append(sample, m)
			}
			samples, paths = append(samples, sample), append(paths, strings.Join(files, ", "))
		}
	}
	return samples, paths, nil
}

// blamePicture charges a fault of preprocessing to the picture that it comes from.
func (p *Pass) blamePicture(err error, samples [][]*imageproc.RGB, files []string) error {
	for i, s := range samples {
		if _, one := imageproc.ProcessSamples(p.Pipeline.Image, [][]*imageproc.RGB{s}); one != nil && files[i] != "" {
			return &InputError{files[i], fmt.Errorf("a picture of %d x %d pixels: %w", s[0].Width, s[0].Height, one)}
		}
	}
	return err
}

// decode reads a picture. What another decoder made of it stands for our own.
func (p *Pass) decode(path string) (*imageproc.RGB, error) {
	m, err := imageproc.Open(path, imageproc.Limits{MaxPixels: p.options.MaxPixels})
	if p.Recording != nil {
		theirs, rerr := p.Recording.Decoded(path)
		if rerr != nil {
			return nil, rerr
		}
		if theirs != nil {
			if err != nil {
				p.Note("%v; judged from what the original's decoder made of it", err)
				return theirs, nil
			}
			theirs.Orientation = m.Orientation
			p.Recording.Compare(path, m, theirs)
			return theirs, nil
		}
	}
	if err != nil {
		return nil, &InputError{path, trimPath(err, path)}
	}
	return m, nil
}

// trimPath keeps a message from naming its file twice.
func trimPath(err error, path string) error {
	if rest, ok := strings.CutPrefix(err.Error(), path+": "); ok {
		return fmt.Errorf("%s", rest)
	}
	return err
}
