package imageproc

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph/pipeline"
	nn "github.com/mmconv/mmconv/kernels"
)

// Placed is a picture as its tokens are put together: its size in pixels, and the grid of the tiles that are parts of it, 0
// where it was not cut.
type Placed struct {
	Height, Width int
	Rows, Columns int
}

// Tiles returns how many tiles the picture has, the whole one among them.
func (p Placed) Tiles() int { return p.Rows*p.Columns + 1 }

// Placed returns the pictures as their tokens are put together.
func (b *Batch) Placed() []Placed {
	var placed []Placed
	for _, m := range b.Images {
		placed = append(placed, Placed{m.Height, m.Width, m.Rows, m.Columns})
	}
	return placed
}

// HDViews returns the views of pictures that ResizeHD has brought to whole tiles, (views, 3, tile, tile): of each picture a small copy,
// interpolated from the normalised pixels by torch's bicubic filter without antialiasing, then the tiles row by row
// (CLIPVisionTower.forward of InternLM-XComposer).
func (b *Batch) HDViews() (*Tensor, []Placed, error) {
	tile := 0
	for _, s := range b.Pipeline.Steps {
		if s.Op == pipeline.ResizeHD {
			tile = s.Multiple
		}
	}
	var placed []Placed
	t := &Tensor{}
	for i, m := range b.Images {
		if tile == 0 || len(m.Tiles) != 1 || m.Tiles[0].Height%tile != 0 || m.Tiles[0].Width%tile != 0 {
			return nil, nil, fmt.Errorf("image %d was not brought to whole tiles", i)
		}
		whole, err := b.Image(i).PixelValues()
		if err != nil {
			return nil, nil, err
		}
		h, w := m.Tiles[0].Height, m.Tiles[0].Width
		p := Placed{m.Height, m.Width, h / tile, w / tile}
		placed = append(placed, p)
		size := 3 * tile * tile
		if len(t.Data)+p.Tiles()*size > maxFloats {
			return nil, nil, fmt.Errorf("%w: the views of %d images make a tensor of more than 4 GB", ErrTooLarge, len(b.Images))
		}
		at := len(t.Data)
		t.Data = append(t.Data, make([]float32, p.Tiles()*size)...)
		small := nn.Resize{Batch: 3, Height: h, Width: w, Channels: 1, OutHeight: tile, OutWidth: tile, Filter: nn.Bicubic}
		small.Run(t.Data[at:at+size], whole.Data)
		for y := 0; y < h; y += tile {
			for x := 0; x < w; x += tile {
				at += size
				for row := range 3 * tile {
					copy(t.Data[at+row*tile:][:tile], whole.Data[(row/tile*h+y+row%tile)*w+x:])
				}
			}
		}
	}
	if tile > 0 {
		t.Shape = []int{len(t.Data) / (3 * tile * tile), 3, tile, tile}
	}
	return t, placed, nil
}

// Tokens are the tokens of pictures, one after another: token t is the sum of the rows Index[t*Terms] to
// Index[(t+1)*Terms-1] of the table that [pipeline.Assembly] describes, with their weights.
type Tokens struct {
	Terms   int
	Index   []float32
	Weight  []float32
	Lengths []int // tokens of each picture
}

// maxTokens bounds what pictures may be cut into: far above what a language model reads.
const maxTokens = 1 << 21

// Assemble puts the tokens of pictures together.
func Assemble(a *pipeline.Assembly, pictures []Placed) (*Tokens, error) {
	if err := a.Check(); err != nil {
		return nil, err
	}
	var all []token
	t := &Tokens{Terms: 1}
	first, size := a.Learned(), a.Rows*a.Columns
	for i, p := range pictures {
		if min(p.Height, p.Width) < 1 || min(p.Rows, p.Columns) < 0 || max(p.Rows, p.Columns, size) > maxTokens ||
			p.Tiles() > (maxTokens-first)/size {
			return nil, fmt.Errorf("image %d: %d x %d pixels in %d x %d tiles of %d x %d tokens: expected at most %d tokens of all images", i,
				p.Width, p.Height, p.Columns, p.Rows, a.Columns, a.Rows, maxTokens)
		}
		var tokens []token
		if a.Kind == pipeline.AssembleHD {
			tokens = hdTokens(a, p, first)
		} else {
			tokens = anyResTokens(a, p, first)
		}
		first += p.Tiles() * size
		all = append(all, tokens...)
		t.Lengths = append(t.Lengths, len(tokens))
	}
	for _, s := range all {
		t.Terms = max(t.Terms, len(s))
	}
	t.Index, t.Weight = make([]float32, len(all)*t.Terms), make([]float32, len(all)*t.Terms)
	for i, s := range all {
		for k, x := range s {
			t.Index[i*t.Terms+k], t.Weight[i*t.Terms+k] = float32(x.row), x.weight
		}
	}
	return t, nil
}

// token is a sum of rows.
type token []term

type term struct {
	row    int
	weight float32
}

// tokenGrid is a map of tokens, row by row.
type tokenGrid struct {
	height, width int
	tokens        []token
}

// tileGrid returns the tokens of rows x columns tiles, whose first token is row first, as one grid.
func tileGrid(a *pipeline.Assembly, rows, columns, first int) tokenGrid {
	g := tokenGrid{height: rows * a.Rows, width: columns * a.Columns}
	for y := range g.height {
		for x := range g.width {
			tile := y/a.Rows*columns + x/a.Columns
			g.tokens = append(g.tokens, token{{first + (tile*a.Rows+y%a.Rows)*a.Columns + x%a.Columns, 1}})
		}
	}
	return g
}

// crop leaves rows out at the top and the bottom, and columns at both sides.
func (g tokenGrid) crop(rows, columns int) tokenGrid {
	out := tokenGrid{height: g.height - 2*rows, width: g.width - 2*columns}
	for y := range out.height {
		at := (y+rows)*g.width + columns
		out.tokens = append(out.tokens, g.tokens[at:at+out.width]...)
	}
	return out
}

// shrink interpolates a grid of single rows bilinearly, as torch's F.interpolate with align_corners false.
func (g tokenGrid) shrink(height, width int) tokenGrid {
	out := tokenGrid{height: height, width: width}
	axis := func(i, from, to int) (i0, i1 int, f float32) {
		at := max((float64(i)+0.5)*float64(from)/float64(to)-0.5, 0)
		i0 = int(at)
		return i0, min(i0+1, from-1), float32(at - float64(i0))
	}
	for y := range height {
		y0, y1, fy := axis(y, g.height, height)
		for x := range width {
			x0, x1, fx := axis(x, g.width, width)
			at := func(y, x int, w float32) term { return term{g.tokens[y*g.width+x][0].row, w} }
			out.tokens = append(out.tokens, token{at(y0, x0, (1-fy)*(1-fx)), at(y0, x1, (1-fy)*fx), at(y1, x0, fy*(1-fx)), at(y1, x1, fy*fx)})
		}
	}
	return out
}

// lines returns the tokens row by row, each row followed by the learned one of that number, if it is not negative.
func (g tokenGrid) lines(newline int) []token {
	if newline < 0 {
		return g.tokens
	}
	var all []token
	for y := range g.height {
		all = append(all, g.tokens[y*g.width:(y+1)*g.width]...)
		all = append(all, token{{newline, 1}})
	}
	return all
}

// unpad leaves out what lies outside of a picture that was brought into the grid with its ratio kept (unpad_image of
// haotian-liu/LLaVA, llava/model/llava_arch.py).
func (g tokenGrid) unpad(a *pipeline.Assembly, height, width int) tokenGrid {
	inner := func(length, of, into int) int {
		n := float64(length) * (float64(into) / float64(of))
		if a.RoundUnpad {
			n = math.Round(n*1e7) / 1e7
		}
		return int(n)
	}
	if float64(width)/float64(height) > float64(g.width)/float64(g.height) {
		return g.crop((g.height-min(inner(height, width, g.width), g.height))/2, 0)
	}
	return g.crop(0, (g.width-min(inner(width, height, g.height), g.width))/2)
}

// anyResTokens is the merging of LLaVA-NeXT (prepare_inputs_labels_for_multimodal of haotian-liu/LLaVA and of
// LLaVA-VL/LLaVA-NeXT, pack_image_features of transformers' LlavaNext and LlavaOnevision).
func anyResTokens(a *pipeline.Assembly, p Placed, first int) []token {
	newline := -1
	if a.Newline {
		newline = 0
	}
	base := tileGrid(a, 1, 1, first).tokens
	if p.Rows*p.Columns == 0 {
		if a.Newline {
			base = append(base, token{{newline, 1}})
		}
		return base
	}
	g := tileGrid(a, p.Rows, p.Columns, first+len(base))
	switch {
	case a.Flat:
		for i := range g.tokens {
			g.tokens[i] = token{{first + len(base) + i, 1}}
		}
	case a.Unpad:
		g = g.unpad(a, p.Height, p.Width)
	}
	if a.MaxTiles > 0 {
		times := math.Sqrt(float64(g.height*g.width) / float64(a.MaxTiles*a.Rows*a.Rows))
		if times > 1.1 {
			g = g.shrink(int(math.Floor(float64(g.height)/times)), int(math.Floor(float64(g.width)/times)))
		}
	}
	if a.NoBase {
		base = nil
	}
	return append(base, g.lines(newline)...)
}

// hdTokens is CLIPVisionTower.forward of InternLM-XComposer2-4KHD and 2.5 (build_mlp.py).
func hdTokens(a *pipeline.Assembly, p Placed, first int) []token {
	const newline, separator = 0, 1
	tokens := append(tileGrid(a, 1, 1, first).lines(newline), token{{separator, 1}})
	return append(tokens, tileGrid(a, p.Rows, p.Columns, first+a.Rows*a.Columns).lines(newline)...)
}
