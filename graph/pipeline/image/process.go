package imageproc

import (
	"fmt"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// Batch is what pictures become, still in 8 bits.
type Batch struct {
	Pipeline *pipeline.Image
	Images   []Processed
	// Samples are the numbers of pictures that belong to each sample, in order.
	Samples []int
}

// Processed is one picture.
type Processed struct {
	// Height and Width are those of the original (upright, where the pipeline turns pictures upright).
	Height, Width int
	Tiles         []*RGB
	// Rows and Columns are the grid that the parts of the picture form: the tiles without the whole picture that stands
	// before or after them. 0 where the picture is not cut.
	Rows, Columns int
}

// Process carries out p on pictures, each a sample of its own. The pictures are not changed.
func Process(p *pipeline.Image, images []*RGB) (*Batch, error) {
	samples := make([][]*RGB, len(images))
	for i, m := range images {
		samples[i] = []*RGB{m}
	}
	return ProcessSamples(p, samples)
}

// ProcessSamples is Process for samples of several pictures.
func ProcessSamples(p *pipeline.Image, samples [][]*RGB) (*Batch, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	b := &Batch{Pipeline: p}
	for _, images := range samples {
		b.Samples = append(b.Samples, len(images))
		for _, m := range images {
			done, err := processOne(p, m, len(images) > 1)
			if err != nil {
				return nil, fmt.Errorf("image %d: %w", len(b.Images), err)
			}
			b.Images = append(b.Images, done)
		}
	}
	return b, nil
}

// processOne processes a picture, which may be one of a sample of several.
func processOne(p *pipeline.Image, m *RGB, several bool) (Processed, error) {
	if m.Width < 1 || m.Height < 1 || len(m.Pix) != 3*m.Width*m.Height {
		return Processed{}, fmt.Errorf("%d bytes for %d x %d pixels", len(m.Pix), m.Width, m.Height)
	}
	if p.ExifTranspose {
		m = m.Upright()
	}
	out := Processed{Height: m.Height, Width: m.Width, Tiles: []*RGB{m}}
	if p.Tiling != nil && !(several && p.Tiling.SingleOnly) {
		var err error
		if out.Tiles, out.Rows, out.Columns, err = cut(m, p.Tiling); err != nil {
			return out, err
		}
	}
	for i, tile := range out.Tiles {
		done, err := runSteps(tile, p.Steps, p.ConvertLast && p.Tiling == nil)
		if err != nil {
			return out, err
		}
		out.Tiles[i] = done
	}
	return out, nil
}

// Image returns picture i as a batch of its own.
func (b *Batch) Image(i int) *Batch {
	return &Batch{Pipeline: b.Pipeline, Images: b.Images[i : i+1], Samples: []int{1}}
}

// WithLayout returns the same pictures to be laid out in another way.
func (b *Batch) WithLayout(l pipeline.ImageLayout) *Batch {
	p := *b.Pipeline
	p.Layout = l
	return &Batch{Pipeline: &p, Images: b.Images, Samples: b.Samples}
}

// Sizes are the original sizes, (pictures, 2): height and width.
func (b *Batch) Sizes() []int64 {
	var sizes []int64
	for _, m := range b.Images {
		sizes = append(sizes, int64(m.Height), int64(m.Width))
	}
	return sizes
}

// TileCounts are the numbers of tiles of each picture.
func (b *Batch) TileCounts() []int {
	var counts []int
	for _, m := range b.Images {
		counts = append(counts, len(m.Tiles))
	}
	return counts
}
