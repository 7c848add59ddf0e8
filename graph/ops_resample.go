package graph

import (
	"fmt"
	"math"
)

var _ = register(ResizeLike{}, SizeMask{}, SineGrid{}, PatchMask{}, FractionalPositions{}, RegionAlign{})

// ResizeLike interpolates maps [B, H, W, C] to the height and width of another map, as torch's F.interpolate with align_corners
// false. In: x, like [B', H', W', ...].
type ResizeLike struct {
	Mode      string // bilinear, bicubic
	Antialias bool   `json:",omitempty"`
}

// Infer takes the size over.
func (o ResizeLike) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	if len(in[0]) != 4 || len(in[1]) < 3 {
		return nil, fmt.Errorf("map %v does not resize to the size of %v", in[0], in[1])
	}
	return Shape{in[0][0], in[1][1], in[1][2], in[0][3]}, nil
}

// SizeMask is 1 for the tokens of a picture and 0 for the padding behind them, where pictures of different sizes share a batch:
// the first h w tokens of a sample of h rows and w columns. In: sizes [B, 2] of rows and columns, tokens [B, N, ...]. The value
// is [B, N].
type SizeMask struct{}

// Infer takes the number of tokens over.
func (o SizeMask) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	if len(in[0]) != 2 || in[0][1] != 2 || len(in[1]) < 2 || in[0][0] != in[1][0] {
		return nil, fmt.Errorf("sizes %v do not fit tokens %v", in[0], in[1])
	}
	return in[1][:2], nil
}

// SineGrid are the two-dimensional positions of MAE (He et al. 2022, util/pos_embed.py of facebookresearch/mae) of the tokens of
// pictures of different sizes: half of the Dim channels are sines and cosines of the column, half of the row; padding has zeros.
// In: sizes [B, 2] of rows and columns, tokens [B, N, ...]. The value is [B, N, Dim].
type SineGrid struct {
	Dim int
}

// Infer adds the channels.
func (o SineGrid) Infer(in, _ []Shape) (Shape, error) {
	s, err := SizeMask{}.Infer(in, nil)
	if err != nil {
		return nil, err
	}
	if o.Dim < 4 || o.Dim%4 != 0 {
		return nil, fmt.Errorf("%d channels of positions: expected a multiple of 4", o.Dim)
	}
	return append(append(Shape{}, s...), o.Dim), nil
}

// PatchMask brings a mask of pixels [B, H, W] of 1 (picture) and 0 (padding) to patches of Size x Size pixels: a patch counts if
// a pixel of it does. The value is [B, H/Size, W/Size].
type PatchMask struct {
	Size int
}

// Infer divides the sides.
func (o PatchMask) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	x := in[0]
	if len(x) != 3 || o.Size < 1 {
		return nil, fmt.Errorf("mask %v does not divide into patches of %d pixels", x, o.Size)
	}
	return Shape{x[0], x[1] / o.Size, x[2] / o.Size}, nil
}

// FractionalPositions are the positions of patches in a table of Side x Side, by the fractions of a picture's height and width
// that they lie at (Idefics2 in transformers, models/idefics2/modeling_idefics2.py, after NaViT, Dehghani et al. 2023). The
// picture has as many rows and columns as are 1 in the first column and the first row of its mask; where its sizes are given
// besides, these. Masked patches have position 0. In: mask [B, H, W][, sizes [B, 2]]. The value is [B, H W].
type FractionalPositions struct {
	Side int
}

// Infer joins rows and columns.
func (o FractionalPositions) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 2); err != nil {
		return nil, err
	}
	x := in[0]
	if len(x) != 3 || o.Side < 1 || len(in) == 2 && !in[1].Equal(Shape{x[0], 2}) {
		return nil, fmt.Errorf("masks and sizes %v have no positions in a table of %d x %d", in, o.Side, o.Side)
	}
	return Shape{x[0], x[1] * x[2]}, nil
}

// RegionAlign cuts a map [B, H, W, C] into Side x Side regions and reads each at a few places, as LLaVA-UHD's resampler does:
// torchvision's roi_align without aligned coordinates, with as many samples a bin as the region is larger (He et al. 2017, Mask
// R-CNN, section 3). Of how many rows and columns a region is read follows from the map's ratio. The value is
// [B Side Side, rows columns, C].
type RegionAlign struct {
	Side int
}

// Infer chooses the places by the map's size.
func (o RegionAlign) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	x := in[0]
	if len(x) != 4 || o.Side < 1 || min(x[1], x[2]) < 1 {
		return nil, fmt.Errorf("map %v does not divide into %d x %d regions", x, o.Side, o.Side)
	}
	rows, columns := o.Places(x[1], x[2])
	return Shape{x[0] * o.Side * o.Side, rows * columns, x[3]}, nil
}

// Places returns at how many rows and columns a region of a map of that height and width is read: of the candidates the ones
// whose ratio is nearest to the map's, the first of several.
func (o RegionAlign) Places(height, width int) (rows, columns int) {
	candidates := [][2]int{{4, 2}, {3, 2}, {4, 3}, {3, 3}, {2, 4}, {2, 3}, {3, 4}} // columns, rows
	ratio, least := math.Log(float64(width)/float64(height)), math.Inf(1)
	for _, c := range candidates {
		if e := math.Abs(ratio - math.Log(float64(c[0])/float64(c[1]))); e < least {
			least, columns, rows = e, c[0], c[1]
		}
	}
	return rows, columns
}
