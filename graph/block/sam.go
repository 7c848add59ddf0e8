package block

import (
	"fmt"
	"math"
	"slices"

	"github.com/mmconv/mmconv/graph"
)

// SAM is the image encoder of Segment Anything (Kirillov et al., arXiv:2304.02643, a ViTDet, Li et al., arXiv:2203.16527):
// attention within windows but for a few global blocks, and decomposed relative positions (Li et al., arXiv:2112.01526, MViTv2,
// equation 5), in maps [B, Grid, Grid, Dim]. Names follow segment_anything/modeling/image_encoder.py where they are not fields.
type SAM struct {
	Layer  Layer // [SAMLayer] by its usual names
	Stem   string
	Layers int
	Grid   int   // patches each way
	Window int   // of the blocks that are not global
	Global []int // the numbers of those that are
	// Rows and Columns are the tables of relative positions of an attention, [2 size - 1, head dim].
	Rows, Columns string
}

// SAMLayer has the stems of segment_anything.
var SAMLayer = Layer{
	Norm: Norm{Eps: 1e-6}, Self: Branch{Norm: "norm1"}, Feed: Branch{Norm: "norm2"},
	Attention: Attention{QKV: Projection{Stem: "attn.qkv"}, Q: Projection{Stem: "attn.q_proj"}, K: Projection{Stem: "attn.k_proj"},
		V: Projection{Stem: "attn.v_proj"}, Out: Projection{Stem: "attn.proj"}},
	MLP: MLP{FC1: Projection{Stem: "mlp.lin1"}, FC2: Projection{Stem: "mlp.lin2"}},
}

// Apply runs patches [B, Grid*Grid, Dim] through the blocks.
func (s *SAM) Apply(b *graph.Builder, x *graph.Node) *Tower {
	t := Transformer{Layer: s.Layer, Stem: s.Stem, Layers: s.Layers, Each: func(i int, l *Layer, self, _ *With) {
		size := s.Grid
		if !slices.Contains(s.Global, i) {
			w := Windows{Height: s.Grid, Width: s.Grid, Size: s.Window}
			*self, size = w.With(b, nil, x), s.Window
		}
		self.Rotate = s.relative(b, fmt.Sprintf(s.Stem, i), size)
	}}
	return t.Apply(b, x, With{}, With{})
}

// relative adds to the scores what a query says to the difference of rows and to that of columns. Both sums become a part of
// the product of query and key: the query is followed by what it says to each row and each column, and the key by ones at
// its own. So no bias of all pairs is ever held.
func (s *SAM) relative(b *graph.Builder, at string, size int) func(q, k *graph.Node) (_, _ *graph.Node) {
	a, err := s.Layer.Attention.sized()
	if err != nil {
		b.Fail(err)
		return nil
	}
	undo := float32(math.Sqrt(float64(a.HeadDim))) // the scores are scaled, these sums are not
	return func(q, k *graph.Node) (_, _ *graph.Node) {
		rows := b.MatMulT(b.Rearrange(q, "b (y x) n d -> b n y x d", "y", size), relativeRows(b, join(at, s.Rows), size, a.HeadDim))
		columns := b.MatMulT(b.Rearrange(q, "b (y x) n d -> b n x y d", "y", size), relativeRows(b, join(at, s.Columns), size, a.HeadDim))
		q = b.Concat(3, q, b.Scale(b.Rearrange(rows, "b n y x k -> b (y x) n k"), undo), b.Scale(b.Rearrange(columns, "b n x y k -> b (y x) n k"), undo))
		places := b.Value(b.Derived(graph.Position, fmt.Sprintf("places[%dx%d]", size, size), graph.Apply(onesAtPlaces{size})))
		places = b.Op(graph.Expand{Axis: 0}, nil, b.Op(graph.Expand{Axis: 2}, nil, places, k), k)
		return q, b.Concat(3, k, places)
	}
}

// relativeRows is the table [2 size - 1, dim] of differences as [size, size, dim]: of each query's row to each key's.
func relativeRows(b *graph.Builder, table string, size, dim int) *graph.Node {
	return b.Value(b.Derived(graph.Position, table, graph.Apply(differences{size}, b.Tensor(table, 2*size-1, dim))))
}

var _ = graph.RegisterExpr(differences{}, onesAtPlaces{})

// differences takes row i - j + Size - 1 of a table [2 Size - 1, D] for each i and j, [Size, Size, D].
type differences struct{ Size int }

func (o differences) Infer(args []graph.Shape) (graph.Shape, error) {
	if o.Size < 1 || o.Size > 1<<12 || len(args) != 1 || len(args[0]) != 2 || args[0][0] != 2*o.Size-1 {
		return nil, fmt.Errorf("the table does not hold the differences of %d rows", o.Size)
	}
	return graph.Shape{o.Size, o.Size, args[0][1]}, nil
}

func (o differences) Eval(args []*graph.Tensor) ([]float32, error) {
	dim := args[0].Shape[1]
	out := make([]float32, 0, o.Size*o.Size*dim)
	for i := range o.Size {
		for j := range o.Size {
			out = append(out, args[0].Data[(i-j+o.Size-1)*dim:][:dim]...)
		}
	}
	return out, nil
}

// onesAtPlaces marks the row and the column of each place of a square map, [1, Size*Size, 1, 2 Size].
type onesAtPlaces struct{ Size int }

func (o onesAtPlaces) Infer(args []graph.Shape) (graph.Shape, error) {
	if o.Size < 1 || o.Size > 1<<8 || len(args) != 0 {
		return nil, fmt.Errorf("a map of %d x %d places", o.Size, o.Size)
	}
	return graph.Shape{1, o.Size * o.Size, 1, 2 * o.Size}, nil
}

func (o onesAtPlaces) Eval([]*graph.Tensor) ([]float32, error) {
	out := make([]float32, o.Size*o.Size*2*o.Size)
	for i := range o.Size * o.Size {
		out[2*o.Size*i+i/o.Size], out[2*o.Size*i+o.Size+i%o.Size] = 1, 1
	}
	return out, nil
}
