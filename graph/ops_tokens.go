package graph

import "fmt"

var _ = register(SquareGrid{}, Gather{})

// SquareGrid lays tokens [B, N, C] out as the map [B, S, S, C] of S = sqrt(N) rows: what originals do that take the sides
// of a grid from the number of its tokens.
type SquareGrid struct{}

// Infer takes the root.
func (o SquareGrid) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	x := in[0]
	if len(x) != 3 {
		return nil, fmt.Errorf("input %v: expected [B, N, C]", x)
	}
	side := 0
	for side*side < x[1] {
		side++
	}
	if side*side != x[1] {
		return nil, fmt.Errorf("%d tokens make no square grid", x[1])
	}
	return Shape{x[0], side, side, x[2]}, nil
}

// Gather makes each token a weighted sum of rows: token t is the sum over k of weight[t, k] * row index[t, k]. It puts the
// tokens of a picture together from those of its tiles and from learned ones, and interpolates between them. In: rows
// [..., D], whose outer axes count as one; index [T, K]; weight [T, K]. The value is [T, D].
type Gather struct{}

// Infer takes the number of tokens from the index.
func (o Gather) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 3, 3); err != nil {
		return nil, err
	}
	if len(in[0]) < 2 || len(in[1]) != 2 || !in[2].Equal(in[1]) {
		return nil, fmt.Errorf("index %v and weight %v do not fit rows %v", in[1], in[2], in[0])
	}
	if in[0].Rows() == 0 {
		return nil, fmt.Errorf("there are no rows in %v", in[0])
	}
	return Shape{in[1][0], in[0].Last()}, nil
}
