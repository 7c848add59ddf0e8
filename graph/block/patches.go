package block

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// Patches is the patch embedding of a vision transformer (Dosovitskiy et al., arXiv:2010.11929): a convolution whose stride
// is its size.
type Patches struct {
	Projection           // its stem counts behind at
	Channels, Dim int    // of the image, of a token
	Height, Width int    // of a patch
	Stride        [2]int // zeros: the patch's size (patches that overlap have less)
}

// Apply cuts pixels [B, C, H, W] into patches [B, rows * columns, Dim], row by row.
func (p Patches) Apply(b *graph.Builder, pixels *graph.Node, at string) *graph.Node {
	if p.Stride == [2]int{} {
		p.Stride = [2]int{p.Height, p.Width}
	}
	x := b.Rearrange(pixels, "b c h w -> b h w c")
	x = b.Conv(x, join(at, p.Stem), graph.ConvSpec{In: p.Channels, Out: p.Dim, KH: p.Height, KW: p.Width, Stride: p.Stride, NoBias: !p.biased(b, at)})
	return b.Rearrange(x, "b h w c -> b (h w) c")
}

// Interpolation is how an original brings a grid of learned positions to another size.
type Interpolation struct {
	Bilinear     bool // instead of bicubic
	Antialias    bool
	AlignCorners bool
	// Offset is added to the target size before the scale is taken of it, which then places the samples (0.1 in transformers
	// before 4.46 and in DINO: it kept sizes from being rounded down).
	Offset float64
}

var (
	// PlainBicubic is F.interpolate(mode="bicubic", align_corners=False).
	PlainBicubic = Interpolation{}
	// TimmBicubic is timm's resample_abs_pos_embed, and open_clip's resize_pos_embed.
	TimmBicubic = Interpolation{Antialias: true}
)

// Expr interpolates a table [before + from[0]*from[1], dim] to the grid to; the positions of the tokens before the patches
// stay.
func (r Interpolation) Expr(table graph.Expr, before int, from, to [2]int) graph.Expr {
	if from == to {
		return table
	}
	return graph.Apply(resizedPositions{r, before, from, to}, table)
}

var _ = graph.RegisterExpr(resizedPositions{})

// resizedPositions is the value of [Interpolation.Expr].
type resizedPositions struct {
	Interpolation
	Before   int
	From, To [2]int
}

func (o resizedPositions) Infer(args []graph.Shape) (graph.Shape, error) {
	for _, grid := range [][2]int{o.From, o.To} {
		if err := checkGrid(grid); err != nil {
			return nil, err
		}
	}
	if len(args) != 1 || len(args[0]) != 2 || o.Before < 0 || args[0][0] != o.Before+o.From[0]*o.From[1] {
		return nil, fmt.Errorf("the table does not hold %d positions and a grid of %d x %d", o.Before, o.From[0], o.From[1])
	}
	return graph.Shape{o.Before + o.To[0]*o.To[1], args[0][1]}, nil
}

func (o resizedPositions) Eval(args []*graph.Tensor) ([]float32, error) {
	dim := args[0].Shape[1]
	out := make([]float32, (o.Before+o.To[0]*o.To[1])*dim)
	n := o.Before * dim
	copy(out, args[0].Data[:n])
	k := kernels.Resize{Batch: 1, Height: o.From[0], Width: o.From[1], Channels: dim, OutHeight: o.To[0], OutWidth: o.To[1],
		Filter: kernels.Bicubic, AlignCorners: o.AlignCorners, Antialias: o.Antialias}
	if o.Bilinear {
		k.Filter = kernels.Bilinear
	}
	if o.Offset != 0 {
		k.ScaleH = (float64(o.To[0]) + o.Offset) / float64(o.From[0])
		k.ScaleW = (float64(o.To[1]) + o.Offset) / float64(o.From[1])
	}
	k.Run(out[n:], args[0].Data[n:])
	return out, nil
}

// checkGrid refuses grids that no picture has.
func checkGrid(grid [2]int) error {
	const most = 1 << 14
	for _, n := range grid {
		if n < 1 || n > most {
			return fmt.Errorf("a grid of %d x %d patches: expected 1 to %d", grid[0], grid[1], most)
		}
	}
	return nil
}

// Positions is a table of learned positions of a grid of patches.
type Positions struct {
	Interpolation
	Table        string // the tensor's full name
	Before       int    // rows of it for class and register tokens, before those of the grid
	Stored, Grid [2]int // rows and columns of the stored grid, and of the one that is built
	Dim          int
}

// Value returns the table for the grid, [Before + patches, Dim].
func (p Positions) Value(b *graph.Builder) *graph.Node {
	table := b.Tensor(p.Table, p.Before+p.Stored[0]*p.Stored[1], p.Dim)
	return b.Value(b.Derived(graph.Position, p.Table, p.Expr(table, p.Before, p.Stored, p.Grid)))
}

// TextPositions adds the first rows of a learned table [most, dim] to a sequence x [B, S, dim], as many as it is long.
func TextPositions(b *graph.Builder, x *graph.Node, table string, most, dim int) *graph.Node {
	like := x
	if _, ok := x.Op.(graph.Embedding); ok { // the ids have the length already
		like = x.In[0]
	}
	positions := b.Parameter(graph.Position, table, most, dim)
	return b.Add(x, b.Op(graph.TakeLike{Axis: 0, LikeAxis: 1}, nil, positions, like))
}

// SquareGrid returns the sides of a square grid of n positions, zeros if n is no square.
func SquareGrid(n int) [2]int {
	side := int(math.Round(math.Sqrt(float64(max(n, 0)))))
	if side*side != n {
		return [2]int{}
	}
	return [2]int{side, side}
}

// Grid returns the grid of patches of an image. Where the patches do not divide the size that a model was trained for, a
// rest is left out at the right and the bottom (SigLIP has 384 pixels in patches of 14); another size they must divide.
func Grid(image, patch, trained [2]int) ([2]int, error) {
	for i := range 2 {
		if patch[i] < 1 || image[i] < patch[i] || image[i]%patch[i] != 0 && image != trained {
			return [2]int{}, fmt.Errorf("images of %d x %d pixels do not divide into patches of %d x %d: choose an --image-size that does",
				image[0], image[1], patch[0], patch[1])
		}
	}
	return [2]int{image[0] / patch[0], image[1] / patch[1]}, nil
}
