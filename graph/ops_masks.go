package graph

import "fmt"

var _ = register(GridMask{}, SinePositions{}, GridPositions{}, ShownFirst{}, EmbeddingMean{}, SelectEach{}, JoinRows{})

// GridMask brings a mask of pixels [B, H, W] of 1 (picture) and 0 (padding) to the size of a map [B, h, w, ...], by the nearest
// pixel as torch's F.interpolate has it: cell (i, j) takes pixel (floor(i H / h), floor(j W / w)). With Square, the mask counts
// as H x H pixels, as SOHO's get_vis_mask makes it whatever the width: columns that are missing are padding. In: mask, map. The
// value is [B, h, w].
type GridMask struct {
	Square bool `json:",omitempty"`
}

// Infer takes the map's size over.
func (o GridMask) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	mask, like := in[0], in[1]
	if len(mask) != 3 || len(like) < 3 || mask[0] != like[0] || mask[1] < like[1] || mask[2] < like[2] && !o.Square {
		return nil, fmt.Errorf("mask %v of pixels does not fit the map %v", mask, like)
	}
	return like[:3], nil
}

// SinePositions are the positions of DETR (Carion et al. 2020, models/position_encoding.py, normalised): rows and columns of a
// mask [B, H, W] are counted where it is 1, divided by the last count (plus Eps) and taken once round; half of the Dim
// channels are sines and cosines of the row, the other half of the column. The value is [B, H, W, Dim].
type SinePositions struct {
	Dim int
	Eps float64
}

// Infer adds the channels.
func (o SinePositions) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	if len(in[0]) != 3 || o.Dim < 4 || o.Dim%4 != 0 {
		return nil, fmt.Errorf("mask %v and %d channels: expected [B, H, W] and a multiple of 4", in[0], o.Dim)
	}
	return append(append(Shape{}, in[0]...), o.Dim), nil
}

// GridPositions brings learned positions of a grid to the size of each picture: mask [B, H, W] is 1 on the picture's rows and
// columns, from the top left on, and the table [Rows*Columns, D] is interpolated bilinearly, corners aligned, to those; behind
// them positions are zero (dandelin/ViLT, visual_embed). In: table, mask. The value is [B, H*W, D].
type GridPositions struct {
	Rows, Columns int
}

// Infer multiplies the sides of the mask.
func (o GridPositions) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	table, mask := in[0], in[1]
	if len(table) != 2 || len(mask) != 3 || o.Rows < 1 || o.Columns < 1 || table[0]/o.Rows != o.Columns || table[0]%o.Rows != 0 {
		return nil, fmt.Errorf("table %v of %d x %d positions and mask %v do not fit", table, o.Rows, o.Columns, mask)
	}
	return Shape{mask[0], mask[1] * mask[2], table[1]}, nil
}

// ShownFirst moves the tokens of a sample that a mask [B, S] shows before those that it hides; each keep their order. Most, where
// not 0, is how many tokens are kept. In: x [B, S, ...], mask.
type ShownFirst struct {
	Most int `json:",omitempty"`
}

// Infer bounds the number of tokens.
func (o ShownFirst) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	x, mask := in[0], in[1]
	if len(x) < 2 || len(mask) != 2 || x[0] != mask[0] || x[1] != mask[1] || o.Most < 0 {
		return nil, fmt.Errorf("mask %v does not fit tokens %v", mask, x)
	}
	if o.Most > 0 {
		return x.With(1, min(x[1], o.Most)), nil
	}
	return x, nil
}

// EmbeddingMean averages rows of a table: ids [..., N] of which those below zero do not count. Where none counts, the value is
// zero. Params: table [V, D]. The value is [..., D].
type EmbeddingMean struct{}

func (o EmbeddingMean) slots() (least, most int) { return 1, 1 }

// Infer replaces the ids by channels.
func (o EmbeddingMean) Infer(in, p []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	if len(in[0]) == 0 {
		return nil, fmt.Errorf("a single id is no list of them")
	}
	return in[0].With(len(in[0])-1, p[0].Last()), nil
}

// SelectEach picks positions of each sample: x[b, index[b, p]]. In: x [B, S, D], index [B, P]. The value is [B, P, D].
type SelectEach struct{}

// Infer replaces the positions.
func (o SelectEach) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	if len(in[0]) != 3 || len(in[1]) != 2 || in[0][0] != in[1][0] || in[0][1] == 0 {
		return nil, fmt.Errorf("index %v does not fit %v", in[1], in[0])
	}
	return in[0].With(1, in[1][1]), nil
}

// JoinRows puts every Count rows behind one another, [B, D] to [B/Count, Count*D]: what originals make of samples that belong
// together. Rows that are too few at the end are left out.
type JoinRows struct {
	Count int
}

// Infer divides the rows.
func (o JoinRows) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	if len(in[0]) != 2 || o.Count < 1 {
		return nil, fmt.Errorf("input %v by %d: expected [B, D] by at least 1", in[0], o.Count)
	}
	return Shape{in[0][0] / o.Count, o.Count * in[0][1]}, nil
}
