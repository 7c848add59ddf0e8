package pipeline

import "fmt"

// AssemblyKind names a way to put the tokens of a picture's tiles together.
type AssemblyKind string

// The ways, each with how the picture was cut.
const (
	// AssembleAnyRes is LLaVA-NeXT's and LLaVA-OneVision's, behind TileAnyRes: the tokens of the whole picture, then those of
	// the tiles as one grid, row by row. Learned rows: the newline, if there is one.
	AssembleAnyRes AssemblyKind = "anyres"
	// AssembleHD is InternLM-XComposer's, behind ResizeHD: the tokens of the whole picture, a separator, then those of the
	// tiles as one grid, row by row, a newline after each row of both. Learned rows: newline, separator.
	AssembleHD AssemblyKind = "hd"
)

// Assembly says how the tokens of a picture's tiles become those of the picture: each is a sum of a few of the tiles' tokens
// or a learned one, and a graph gathers them by index. The rows of its table are the learned ones, then the tokens of all
// tiles, tile by tile and row by row.
type Assembly struct {
	Kind AssemblyKind `json:"kind"`
	// Rows and Columns are the grid of tokens that a tile has.
	Rows    int `json:"rows"`
	Columns int `json:"columns"`
	// Output is the graph's value that holds the tokens of all pictures, one after another. Those of picture N are offered as
	// Output.N.
	Output string `json:"output"`

	// The rest is for AssembleAnyRes.

	// Newline puts the learned token after each row of the tiles' grid, and after the tokens of a picture that is not cut.
	Newline bool `json:"newline,omitempty"`
	// Unpad leaves out rows or columns of the grid that lie outside of the picture; RoundUnpad takes their number from a
	// product that is rounded to seven digits first, as transformers does.
	Unpad      bool `json:"unpad,omitempty"`
	RoundUnpad bool `json:"round_unpad,omitempty"`
	// MaxTiles, if not 0, shrinks a grid of more tokens than 1.1^2 times those of so many tiles bilinearly (anyres_max_9).
	MaxTiles int `json:"max_tiles,omitempty"`
	// Flat leaves the tiles' tokens in their order, tile by tile, instead of that of the grid.
	Flat bool `json:"flat,omitempty"`
	// NoBase leaves out the tokens of the whole picture.
	NoBase bool `json:"no_base,omitempty"`
}

// Learned returns how many learned rows come before the tiles' tokens.
func (a *Assembly) Learned() int {
	switch {
	case a.Kind == AssembleHD:
		return 2
	case a.Newline:
		return 1
	}
	return 0
}

// Check returns an error that names the first field without sense.
func (a *Assembly) Check() error {
	switch a.Kind {
	case AssembleAnyRes, AssembleHD:
	default:
		return fmt.Errorf("assembly: unknown kind %q", a.Kind)
	}
	if a.Rows < 1 || a.Columns < 1 || a.Rows > maxSide || a.Columns > maxSide {
		return fmt.Errorf("assembly: a grid of %d x %d tokens: expected 1 to %d", a.Rows, a.Columns, maxSide)
	}
	if a.Output == "" {
		return fmt.Errorf("assembly: no output is named")
	}
	if a.MaxTiles < 0 || a.MaxTiles > maxTiles {
		return fmt.Errorf("assembly: at most %d tiles: expected 0 to %d", a.MaxTiles, maxTiles)
	}
	return nil
}
