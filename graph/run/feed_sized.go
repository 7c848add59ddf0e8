package run

import (
	"context"
	"fmt"

	"github.com/mmconv/mmconv/graph"
)

var _ = RegisterFeeder(StageMedia, Feeder{Name: "image sizes", Feed: feedSized})

// sizedMask is the mask of what is not padding, [pictures, H, W], of a graph that sees pictures of different sizes.
const sizedMask = "sized_pixel_mask"

// feedSized feeds models of pictures that are padded at the right and the bottom, (pictures, 3, H, W), beside the sizes that they
// have without, (pictures, 2) of height and width (Pixtral in transformers).
func feedSized(_ context.Context, p *Pass) error {
	if !p.Has(sizedMask) {
		return nil
	}
	batch, err := p.images()
	if err != nil {
		return err
	}
	var pixels, sizes *graph.Tensor
	if batch != nil {
		t, err := batch.PixelValues()
		if err != nil {
			return err
		}
		pixels, sizes = &graph.Tensor{Shape: t.Shape, Data: t.Data}, &graph.Tensor{}
		for _, m := range batch.Images {
			for _, tile := range m.Tiles {
				sizes.Data = append(sizes.Data, float32(tile.Height), float32(tile.Width))
			}
		}
		sizes.Shape = graph.Shape{len(sizes.Data) / 2, 2}
		p.Set("pixel_values", pixels)
		p.Set("image_sizes", sizes)
	}
	if in, ok := p.Take("pixel_values"); ok && in.Tensor != nil {
		pixels, sizes = in.Tensor, nil
	}
	if in, ok := p.Take("image_sizes"); ok && in.Tensor != nil {
		sizes = in.Tensor
	}
	if pixels == nil {
		return nil
	}
	p.Feeds["pixel_values"] = pixels
	if sizes == nil {
		return nil
	}
	if len(pixels.Shape) != 4 || !sizes.Shape.Equal(graph.Shape{pixels.Shape[0], 2}) {
		return fmt.Errorf("input %q: expected height and width of each picture beside pixel_values (pictures, 3, height, width); found %v beside %v", "image_sizes",
			sizes.Shape, pixels.Shape)
	}
	h, w := pixels.Shape[2], pixels.Shape[3]
	mask := graph.NewTensor(pixels.Shape[0], h, w)
	for i := range pixels.Shape[0] {
		rows, columns := int(sizes.Data[2*i]), int(sizes.Data[2*i+1])
		if rows < 1 || columns < 1 || rows > h || columns > w {
			return fmt.Errorf("input %q: picture %d has %d x %d pixels (height x width) of pixel_values %v", "image_sizes", i, rows, columns, pixels.Shape)
		}
		for y := range rows {
			for x := range columns {
				mask.Data[(i*h+y)*w+x] = 1
			}
		}
	}
	p.Feeds[sizedMask] = mask
	return nil
}
