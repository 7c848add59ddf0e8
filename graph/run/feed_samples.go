package run

import (
	"context"
	"fmt"
	"slices"

	"github.com/mmconv/mmconv/graph"
)

var _ = RegisterFeeder(StageMedia, Feeder{Name: "image samples", Feed: feedSamples})

// The inputs of a graph that sees pictures of several samples at once, without those that fill a batch up.
const (
	realPixels = "real_pixel_values" // [pictures, 3, H, W]
	realMask   = "real_pixel_mask"   // [pictures, H, W]
)

// feedSamples feeds models whose samples have several pictures or tiles, (samples, pictures, 3, H, W), filled up with zeros where
// a sample has fewer: the graph gets the real ones (Idefics2 and its kin in transformers).
func feedSamples(_ context.Context, p *Pass) error {
	if !p.Has(realPixels) {
		return nil
	}
	batch, err := p.images()
	if err != nil {
		return err
	}
	var pixels, mask *graph.Tensor
	if batch != nil {
		t, err := batch.PixelValues()
		if err != nil {
			return err
		}
		pixels = &graph.Tensor{Shape: t.Shape, Data: t.Data}
		mask = graph.NewTensor(t.MaskShape...)
		for i, v := range t.Mask {
			mask.Data[i] = float32(v)
		}
		p.Set("pixel_values", pixels)
		p.Set("pixel_attention_mask", mask)
	}
	if in, ok := p.Take("pixel_values"); ok && in.Tensor != nil {
		pixels, mask = in.Tensor, nil
	}
	if in, ok := p.Take("pixel_attention_mask"); ok && in.Tensor != nil {
		mask = in.Tensor
	}
	if pixels == nil {
		return nil
	}
	if n := len(pixels.Shape); n != 4 && n != 5 {
		return fmt.Errorf("input %q: expected the pictures of samples, (samples, pictures, 3, height, width); found shape %v", "pixel_values", pixels.Shape)
	}
	real, size := realPictures(pixels)
	p.Feeds[realPixels] = take(pixels, real, size)
	if mask == nil {
		return nil
	}
	channels := len(pixels.Shape) - 3
	if want := slices.Delete(slices.Clone(pixels.Shape), channels, channels+1); !mask.Shape.Equal(want) {
		return fmt.Errorf("input %q: expected shape %v beside pixel_values %v; found %v", "pixel_attention_mask", want, pixels.Shape, mask.Shape)
	}
	p.Feeds[realMask] = take(mask, real, size[1:])
	return nil
}

// realPictures returns the pictures that are not all zero, and the shape of one. Where none is real, all are.
func realPictures(t *graph.Tensor) ([]int, graph.Shape) {
	size := t.Shape[len(t.Shape)-3:]
	n := size.Len()
	var real []int
	for i := range t.Shape[:len(t.Shape)-3].Len() {
		for _, v := range t.Data[i*n : (i+1)*n] {
			if v != 0 {
				real = append(real, i)
				break
			}
		}
	}
	if real == nil {
		for i := range t.Shape[:len(t.Shape)-3].Len() {
			real = append(real, i)
		}
	}
	return real, size
}

// take copies those of the elements of that shape.
func take(t *graph.Tensor, which []int, size graph.Shape) *graph.Tensor {
	n := size.Len()
	out := graph.NewTensor(append(graph.Shape{len(which)}, size...)...)
	for i, at := range which {
		copy(out.Data[i*n:(i+1)*n], t.Data[at*n:])
	}
	return out
}
