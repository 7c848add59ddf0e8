package run

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
	imageproc "github.com/mmconv/mmconv/graph/pipeline/image"
)

var (
	_ = RegisterFeeder(StageMedia, Feeder{Name: "assembled images", Feed: feedTiles})
	_ = RegisterFeeder(StageAfter, Feeder{Name: "assembled images", Feed: splitTokens})
)

// The inputs of a graph that puts the tokens of pictures together, see [graph.Gather].
const (
	tokenIndex  = "token_index"
	tokenWeight = "token_weight"
)

// feedTiles feeds models that put the tokens of a picture's tiles together: the tiles of all pictures, without those that
// fill a batch up, and where each token of the pictures is found. Tiles that come as a tensor are taken to be those of
// pictures of image_sizes, or of the pictures that are given beside it.
func feedTiles(_ context.Context, p *Pass) error {
	a := p.Pipeline.Assembly
	if a == nil {
		return nil
	}
	batch, err := p.images()
	if err != nil {
		return err
	}
	placed, err := p.placed()
	if err != nil {
		return err
	}
	given, ok := p.Take("pixel_values")
	switch {
	case batch != nil && a.Kind == pipeline.AssembleHD:
		views, of, err := batch.HDViews()
		if err != nil {
			return err
		}
		placed = of
		p.Feeds["pixel_values"] = &graph.Tensor{Shape: views.Shape, Data: views.Data}
		for i := range of {
			p.Offer(fmt.Sprintf("pixel_crop%d", i), pixelValues(batch.Image(i)))
		}
	case batch != nil:
		placed = batch.Placed()
		t, err := batch.WithLayout(pipeline.LayoutTiles).Pixels()
		if err != nil {
			return err
		}
		p.Feeds["pixels"] = &graph.Tensor{Shape: t.Shape, Data: t.Data}
		p.Offer("pixel_values", pixelValues(batch))
	case placed == nil:
		return nil
	}
	if ok && given.Tensor != nil {
		delete(p.Feeds, "pixels")
		if p.Feeds["pixel_values"], err = realTiles(given.Tensor, placed); err != nil {
			return err
		}
	}
	tokens, err := imageproc.Assemble(a, placed)
	if err != nil {
		return err
	}
	n := len(tokens.Index) / tokens.Terms
	p.Feeds[tokenIndex] = &graph.Tensor{Shape: graph.Shape{n, tokens.Terms}, Data: tokens.Index}
	p.Feeds[tokenWeight] = &graph.Tensor{Shape: graph.Shape{n, tokens.Terms}, Data: tokens.Weight}
	lengths := graph.NewTensor(len(tokens.Lengths))
	for i, l := range tokens.Lengths {
		lengths.Data[i] = float32(l)
	}
	p.Set(tokenLengths, lengths)
	p.Set("split_lengths", lengths) // as InternLM-XComposer calls them
	return nil
}

// tokenLengths is the value that holds the number of tokens of each picture.
const tokenLengths = "feature_lens"

// placed returns the pictures that image_sizes tells of, nil if that is not given.
func (p *Pass) placed() ([]imageproc.Placed, error) {
	sizes, ok := p.Take("image_sizes")
	if !ok || sizes.Tensor == nil {
		return nil, nil
	}
	if s := sizes.Tensor.Shape; len(s) != 2 || s[1] != 2 {
		return nil, fmt.Errorf("input %q: expected height and width of each image, (images, 2); found shape %v", "image_sizes", s)
	}
	var placed []imageproc.Placed
	for i := range sizes.Tensor.Shape[0] {
		one := imageproc.Placed{Height: int(sizes.Tensor.Data[2*i]), Width: int(sizes.Tensor.Data[2*i+1])}
		if min(one.Height, one.Width) < 1 {
			return nil, fmt.Errorf("input %q: image %d has %d x %d pixels", "image_sizes", i, one.Width, one.Height)
		}
		one.Rows, one.Columns = imageproc.TileGrid(p.Pipeline.Image, one.Height, one.Width)
		placed = append(placed, one)
	}
	return placed, nil
}

// realTiles returns the tiles of a batch [images, tiles, 3, H, W] one after another, without those that fill it up. A
// tensor of four axes holds nothing else.
func realTiles(t *graph.Tensor, placed []imageproc.Placed) (*graph.Tensor, error) {
	if len(t.Shape) == 4 {
		return t, nil
	}
	if len(t.Shape) != 5 || t.Shape[0] != len(placed) {
		return nil, fmt.Errorf("input %q: expected the tiles of %d images, (images, tiles, 3, height, width); found shape %v", "pixel_values",
			len(placed), t.Shape)
	}
	each, size := t.Shape[1], t.Shape[2:].Len()
	out := &graph.Tensor{}
	for i, p := range placed {
		if p.Tiles() > each {
			return nil, fmt.Errorf("input %q: image %d of %d x %d pixels has %d tiles; found shape %v", "pixel_values", i, p.Width, p.Height,
				p.Tiles(), t.Shape)
		}
		out.Data = append(out.Data, t.Data[i*each*size:][:p.Tiles()*size]...)
	}
	out.Shape = append(graph.Shape{len(out.Data) / max(size, 1)}, t.Shape[2:]...)
	return out, nil
}

// splitTokens offers the tokens of each picture.
func splitTokens(_ context.Context, p *Pass) error {
	a, lengths := p.Pipeline.Assembly, p.values[tokenLengths]
	if a == nil || lengths == nil || p.Check(a.Output) != nil {
		return nil
	}
	feeds := maps.Clone(p.Feeds)
	var once sync.Once
	var all *graph.Tensor
	var err error
	first := 0
	for i, l := range lengths.Data {
		from, n := first, int(l)
		first += n
		p.Offer(fmt.Sprintf("%s.%d", a.Output, i), func(ctx context.Context) (*graph.Tensor, error) {
			once.Do(func() {
				var out map[string]*graph.Tensor
				out, err = p.Run(ctx, feeds, a.Output)
				all = out[a.Output]
			})
			if err != nil {
				return nil, err
			}
			rows := graph.Tensor{Shape: graph.Shape{n, all.Shape.Last()}}
			rows.Data = slices.Clone(all.Data[from*all.Shape.Last():][:n*all.Shape.Last()])
			return &rows, nil
		})
	}
	return nil
}
