package block

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// ClassRelativeBias is the relative position bias [1, heads, N, N] of a class token and the patches of a grid behind it, out of
// a table [(2 h - 1)(2 w - 1) + 3, heads] of the differences of rows and columns on the stored grid; its last three rows are of
// the class token to patches, of patches to it, and of it to itself (BEiT, arXiv:2106.08254; huggingface/transformers
// models/beit/modeling_beit.py, which brings the table to another grid bilinearly).
func ClassRelativeBias(b *graph.Builder, table string, stored, grid [2]int, heads int) *graph.Node {
	if err := checkGrid(stored); err != nil {
		b.Fail(fmt.Errorf("config: %w", err))
		return b.Value(b.Derived(graph.Position, table, graph.Values("missing", nil)))
	}
	rows := (2*stored[0]-1)*(2*stored[1]-1) + 3
	e := graph.Apply(classBias{stored, grid}, b.Tensor(table, rows, heads))
	return b.Value(b.Derived(graph.Position, table, e))
}

var _ = graph.RegisterExpr(classBias{})

// classBias is the value of [ClassRelativeBias].
type classBias struct{ From, To [2]int }

func (o classBias) Infer(args []graph.Shape) (graph.Shape, error) {
	for _, grid := range [][2]int{o.From, o.To} {
		if err := checkGrid(grid); err != nil {
			return nil, err
		}
	}
	if len(args) != 1 || len(args[0]) != 2 || args[0][0] != (2*o.From[0]-1)*(2*o.From[1]-1)+3 {
		return nil, fmt.Errorf("the table does not hold the differences of a grid of %d x %d and a class token", o.From[0], o.From[1])
	}
	n := o.To[0]*o.To[1] + 1
	if n > 1<<14 {
		return nil, fmt.Errorf("%d tokens are too many for a bias of pairs", n)
	}
	return graph.Shape{1, args[0][1], n, n}, nil
}

func (o classBias) Eval(args []*graph.Tensor) ([]float32, error) {
	heads := args[0].Shape[1]
	table := args[0].Data
	special := table[len(table)-3*heads:]
	rows, columns := 2*o.To[0]-1, 2*o.To[1]-1
	if o.From != o.To {
		resized := make([]float32, rows*columns*heads)
		k := kernels.Resize{Batch: 1, Height: 2*o.From[0] - 1, Width: 2*o.From[1] - 1, Channels: heads, OutHeight: rows, OutWidth: columns, Filter: kernels.Bilinear}
		k.Run(resized, table[:len(table)-3*heads])
		table = resized
	}
	n := o.To[0]*o.To[1] + 1
	out := make([]float32, heads*n*n)
	for i := range n {
		for j := range n {
			var from []float32
			switch {
			case i == 0 && j == 0:
				from = special[2*heads:]
			case i == 0:
				from = special
			case j == 0:
				from = special[heads:]
			default:
				p, q := i-1, j-1
				from = table[((p/o.To[1]-q/o.To[1]+o.To[0]-1)*columns+p%o.To[1]-q%o.To[1]+o.To[1]-1)*heads:]
			}
			for h := range heads {
				out[(h*n+i)*n+j] = from[h]
			}
		}
	}
	return out, nil
}
