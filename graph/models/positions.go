package models

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// interpolation is how an original brings a grid of learned positions to another size.
type interpolation struct {
	Antialias    bool
	AlignCorners bool
	// Offset is added to the target size before the scale is taken of it, which then places the samples (0.1 in
	// transformers before 4.46 and in DINO: it kept sizes from being rounded down).
	Offset float64
}

var (
	// plainBicubic is F.interpolate(mode="bicubic", align_corners=False).
	plainBicubic = interpolation{}
	// timmBicubic is timm's resample_abs_pos_embed, and open_clip's resize_pos_embed.
	timmBicubic = interpolation{Antialias: true}
)

// expr interpolates a table [prefix + from[0]*from[1], dim] to the grid to; the prefix tokens' positions stay.
func (r interpolation) expr(table graph.Expr, prefix int, from, to [2]int) graph.Expr {
	if from == to {
		return table
	}
	return graph.Apply(interpolate{r, prefix, from, to}, table)
}

var _ = graph.RegisterExpr(interpolate{})

// interpolate is the value of [interpolation.expr].
type interpolate struct {
	interpolation
	Prefix   int
	From, To [2]int
}

func (o interpolate) Infer(args []graph.Shape) (graph.Shape, error) {
	for _, grid := range [][2]int{o.From, o.To} {
		if err := checkGrid(grid); err != nil {
			return nil, err
		}
	}
	if len(args) != 1 || len(args[0]) != 2 || o.Prefix < 0 || args[0][0] != o.Prefix+o.From[0]*o.From[1] {
		return nil, fmt.Errorf("the table does not hold %d positions and a grid of %d x %d", o.Prefix, o.From[0], o.From[1])
	}
	return graph.Shape{o.Prefix + o.To[0]*o.To[1], args[0][1]}, nil
}

func (o interpolate) Eval(args []*graph.Tensor) ([]float32, error) {
	dim := args[0].Shape[1]
	out := make([]float32, (o.Prefix+o.To[0]*o.To[1])*dim)
	n := o.Prefix * dim
	copy(out, args[0].Data[:n])
	k := kernels.Resize{Batch: 1, Height: o.From[0], Width: o.From[1], Channels: dim, OutHeight: o.To[0], OutWidth: o.To[1],
		Filter: kernels.Bicubic, AlignCorners: o.AlignCorners, Antialias: o.Antialias}
	if o.Offset != 0 {
		k.ScaleH = (float64(o.To[0]) + o.Offset) / float64(o.From[0])
		k.ScaleW = (float64(o.To[1]) + o.Offset) / float64(o.From[1])
	}
	k.Run(out[n:], args[0].Data[n:])
	return out, nil
}

// squareGrid returns the sides of a square grid of n positions, zeros if n is no square.
func squareGrid(n int) [2]int {
	side := int(math.Round(math.Sqrt(float64(max(n, 0)))))
	if side*side != n {
		return [2]int{}
	}
	return [2]int{side, side}
}

// gridOf returns the grid of patches of an image. Where the patches do not divide the size that a model was trained for, a
// rest is left out at the right and the bottom (SigLIP has 384 pixels in patches of 14); another size they must divide.
func gridOf(image, patch, trained [2]int) ([2]int, error) {
	for i := range 2 {
		if patch[i] < 1 || image[i] < patch[i] || image[i]%patch[i] != 0 && image != trained {
			return [2]int{}, fmt.Errorf("images of %d x %d pixels do not divide into patches of %d x %d: choose an --image-size that does",
				image[0], image[1], patch[0], patch[1])
		}
	}
	return [2]int{image[0] / patch[0], image[1] / patch[1]}, nil
}

// imageSize returns the height and width to build for: the one asked for, else the trained one.
func (im *Import) imageSize(trained [2]int) [2]int {
	if im.Options.ImageSize != [2]int{} {
		return im.Options.ImageSize
	}
	return trained
}
