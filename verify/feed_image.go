package verify

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mmconv/mmconv/graph"
	imageproc "github.com/mmconv/mmconv/verify/image"
)

var _ = RegisterFeeder(StageMedia, Feeder{Name: "images", Feed: feedImages})

// feedImages preprocesses pictures and feeds "pixels", the 8-bit values, where the graph normalises itself, else
// "pixel_values". Where pixel_values are given besides, the graph runs from those, and what preprocessing makes of the
// pictures is offered under their name, to be judged.
func feedImages(r *Run) error {
	batch, err := r.Images()
	if batch == nil || err != nil {
		return err
	}
	if _, given := r.Peek("pixel_values"); given {
		t, err := batch.PixelValues()
		if err != nil {
			return err
		}
		r.Set("pixel_values", &graph.Tensor{Shape: t.Shape, Data: t.Data})
		return nil
	}
	name, make := "pixel_values", batch.PixelValues
	if r.Has("pixels") {
		name, make = "pixels", batch.Pixels
	}
	t, err := make()
	if err != nil {
		return err
	}
	r.Feeds[name] = &graph.Tensor{Shape: t.Shape, Data: t.Data}
	if t.Mask != nil {
		mask := graph.NewTensor(t.MaskShape...)
		for i, v := range t.Mask {
			mask.Data[i] = float32(v)
		}
		if r.Has("pixel_attention_mask") {
			r.Feeds["pixel_attention_mask"] = mask
		} else {
			r.Set("pixel_attention_mask", mask)
		}
	}
	if name == "pixels" && r.isInput("pixel_values") { // the normalisation is folded away
		r.Offer("pixel_values", func() (*graph.Tensor, error) {
			t, err := batch.PixelValues()
			if err != nil {
				return nil, err
			}
			return &graph.Tensor{Shape: t.Shape, Data: t.Data}, nil
		})
	}
	return nil
}

// Images takes the run's pictures ("images", "image", or "image0", "image1", ...) and carries out the model's image
// pipeline on them. It returns nil if there are none. Batches offer their image_sizes and each picture's pixel_values.N.
func (r *Run) Images() (*imageproc.Batch, error) {
	samples := r.takeImages()
	if samples == nil {
		return nil, nil
	}
	p := r.Model.Pipeline
	if p == nil || p.Image == nil {
		return nil, fmt.Errorf("this model takes no images: it has no image preprocessing")
	}
	var decoded [][]*imageproc.RGB
	for _, files := range samples {
		var images []*imageproc.RGB
		for _, f := range files {
			m, err := r.decode(f)
			if err != nil {
				return nil, err
			}
			images = append(images, m)
		}
		decoded = append(decoded, images)
	}
	batch, err := imageproc.ProcessSamples(p.Image, decoded)
	if err != nil {
		return nil, err
	}
	sizes := graph.NewTensor(len(batch.Images), 2)
	for i, v := range batch.Sizes() {
		sizes.Data[i] = float32(v)
	}
	r.Set("image_sizes", sizes)
	for i := range batch.Images {
		one := batch.Image(i)
		r.Offer(fmt.Sprintf("pixel_values.%d", i), func() (*graph.Tensor, error) {
			t, err := one.PixelValues()
			if err != nil {
				return nil, err
			}
			return &graph.Tensor{Shape: t.Shape, Data: t.Data}, nil
		})
	}
	return batch, nil
}

// takeImages takes every input that holds pictures, in the order of their numbers.
func (r *Run) takeImages() [][]string {
	var names []string
	for _, name := range r.Inputs() {
		rest, ok := strings.CutPrefix(name, "image")
		in, _ := r.Peek(name)
		if ok && in.Samples != nil && (rest == "" || rest == "s" || isNumber(rest)) {
			names = append(names, name)
		}
	}
	number := func(name string) int {
		n, _ := strconv.Atoi(strings.TrimPrefix(name, "image"))
		return n
	}
	slices.SortStableFunc(names, func(a, b string) int { return number(a) - number(b) })
	var samples [][]string
	for _, name := range names {
		in, _ := r.Take(name)
		samples = append(samples, in.Samples...)
	}
	return samples
}

// decodedPrefix starts the names of inputs that hold what another decoder made of a file.
const decodedPrefix = "decoded_rgb."

// decode reads a picture. What another decoder made of it stands for our own, whose difference is reported.
func (r *Run) decode(path string) (*imageproc.RGB, error) {
	m, err := imageproc.Open(path, imageproc.Limits{MaxPixels: r.MaxPixels})
	base := filepath.Base(path)
	theirs, given := r.Take(decodedPrefix + base)
	if given {
		r.given[base] = theirs
	} else {
		theirs, given = r.given[base]
	}
	if !given {
		if err != nil {
			return nil, &InputError{path, trimPath(err, path)}
		}
		return m, nil
	}
	t, terr := rgbOf(theirs.Tensor)
	if terr != nil {
		return nil, fmt.Errorf("%s%s: %w", decodedPrefix, base, terr)
	}
	if err != nil {
		r.Note("%v; judged from %s%s", err, decodedPrefix, base)
		return t, nil
	}
	t.Orientation = m.Orientation
	r.Inform(base+"|rgb", tensorOfRGB(m), theirs.Tensor)
	return t, nil
}

// trimPath keeps a message from naming its file twice.
func trimPath(err error, path string) error {
	if rest, ok := strings.CutPrefix(err.Error(), path+": "); ok {
		return fmt.Errorf("%s", rest)
	}
	return err
}

// tensorOfRGB returns a picture's bytes as (height, width, 3).
func tensorOfRGB(m *imageproc.RGB) *graph.Tensor {
	t := graph.NewTensor(m.Height, m.Width, 3)
	for i, v := range m.Pix {
		t.Data[i] = float32(v)
	}
	return t
}

func rgbOf(t *graph.Tensor) (*imageproc.RGB, error) {
	if t == nil || len(t.Shape) != 3 || t.Shape[2] != 3 {
		return nil, fmt.Errorf("expected a tensor of bytes, (height, width, 3)")
	}
	m := imageproc.New(t.Shape[1], t.Shape[0])
	for i, v := range t.Data {
		m.Pix[i] = uint8(v)
	}
	return m, nil
}
