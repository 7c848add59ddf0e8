package pipeline

import (
	"fmt"
	"slices"
)

// Image says how a picture becomes a vision encoder's input. It is data: a system's file fills it (from a published
// preprocessor configuration or from what the original project keeps in code), a converted folder stores it as JSON, and
// package verify/image carries it out. A decoded picture is cut as Tiling says (by default it is one tile), Steps run on
// each tile in 8-bit arithmetic, and Normalize turns the bytes into floats, NCHW.
type Image struct {
	// ExifTranspose turns the picture upright first, as its EXIF orientation says. Processors built on Pillow's Image.open do not.
	ExifTranspose bool `json:"exif_transpose,omitempty"`
	// ConvertLast leaves the conversion to RGB until after the steps, as openai/CLIP and open_clip do: transparent pictures
	// are then resized with premultiplied alpha, and pictures with a palette by nearest neighbour.
	ConvertLast bool        `json:"convert_rgb_last,omitempty"`
	Tiling      *Tiling     `json:"tiling,omitempty"`
	Steps       []ImageStep `json:"steps,omitempty"`
	Normalize   Normalize   `json:"normalize"`
	Layout      ImageLayout `json:"layout,omitempty"`
}

// ImageOp names what an ImageStep does.
type ImageOp string

// The steps, with the fields of ImageStep that each reads. Sizes in pixels.
const (
	// ResizeExact stretches to Height x Width.
	ResizeExact ImageOp = "resize"
	// ResizeShortest brings the short side to Shortest; the long side is cut to an integer. Where it then passes Longest
	// (if that is set), the picture is made smaller still (torchvision's Resize, transformers' get_resize_output_image_size).
	ResizeShortest ImageOp = "resize_shortest"
	// ResizeCover keeps the ratio and covers Height x Width; sides are rounded half to even (timm's ResizeKeepRatio, longest=0).
	ResizeCover ImageOp = "resize_cover"
	// ResizeInside keeps the ratio and fits into Height x Width (timm's ResizeKeepRatio, longest=1).
	ResizeInside ImageOp = "resize_inside"
	// ResizeLimit makes the long side at most Longest, then each side at least Shortest (Idefics2).
	ResizeLimit ImageOp = "resize_limit"
	// ResizeLongest brings the long side to Longest; no side gets shorter than Shortest (DeepSeek-VL).
	ResizeLongest ImageOp = "resize_longest"
	// ResizeMultiple brings the short side to Shortest, the long side to at most Longest, and cuts both to multiples of
	// Multiple (ViLT, Pixel-BERT).
	ResizeMultiple ImageOp = "resize_multiple"
	// ResizeWithin makes no side longer than Height or Width, keeps the ratio, and rounds both up to multiples of Multiple
	// (Pixtral).
	ResizeWithin ImageOp = "resize_within"
	// ResizeHD brings the long side to as many tiles of Multiple pixels as MaxTiles tiles in all allow, at most as many as
	// the picture fills where NoUpscale is set, and pads the other side to a multiple with Fill, on both ends or, with
	// PadEnd, at the end only (InternLM-XComposer's HD_transform).
	ResizeHD ImageOp = "resize_hd"
	// CenterCrop cuts Height x Width from the centre; what lies outside of the picture is Fill (black by default).
	CenterCrop ImageOp = "center_crop"
	// PadSquare puts the picture in the centre of a square of its longer side, filled with Fill (LLaVA's expand2square).
	PadSquare ImageOp = "pad_square"
)

// ImageStep is one step on 8-bit pixels.
type ImageStep struct {
	Op        ImageOp `json:"op"`
	Filter    Filter  `json:"filter,omitempty"`
	Height    int     `json:"height,omitempty"`
	Width     int     `json:"width,omitempty"`
	Shortest  int     `json:"shortest,omitempty"`
	Longest   int     `json:"longest,omitempty"`
	Multiple  int     `json:"multiple,omitempty"`
	MaxTiles  int     `json:"max_tiles,omitempty"`
	NoUpscale bool    `json:"no_upscale,omitempty"`
	PadEnd    bool    `json:"pad_end,omitempty"`
	// Round makes ResizeLongest round the sides to whole numbers instead of cutting them (Janus in transformers).
	Round bool `json:"round,omitempty"`
	// HalfEven is torchvision's rule for the crop's offset, round((n-size)/2) with halves to even; without it the offset
	// is floor((n-size)/2), as transformers' center_crop has it.
	HalfEven bool `json:"half_even,omitempty"`
	// Unrounded resizes in float32 and leaves the values as they come, as torchvision does with tensors of floats. Only the last
	// step may be so.
	Unrounded bool `json:"unrounded,omitempty"`
	// Fill is the colour of what is added: red, green, blue; empty is black.
	Fill []uint8 `json:"fill,omitempty"`
}

// Filter is a resampling filter of Pillow, antialiased when it makes a picture smaller (nearest excepted).
type Filter string

// Pillow's filters.
const (
	Nearest  Filter = "nearest"
	Box      Filter = "box"
	Bilinear Filter = "bilinear"
	Hamming  Filter = "hamming"
	Bicubic  Filter = "bicubic"
	Lanczos  Filter = "lanczos"
)

// Filters of torchvision on 8-bit tensors, with antialias.
const (
	// BicubicTensor is Pillow's with weights of 16 bits (torch, aten/src/ATen/native/cpu/UpSampleKernelAVXAntialias.h).
	BicubicTensor Filter = "bicubic_tensor"
	// BilinearTensor computes in float32 and rounds once, as torchvision does where the machine's vectors are not AVX2's.
	BilinearTensor Filter = "bilinear_tensor"
)

// known reports whether it is a filter.
func (f Filter) known() bool {
	return slices.Contains(filterCodes, f) || f == BicubicTensor || f == BilinearTensor
}

// onTensors is the filter as torchvision has it on 8-bit tensors. Those have no Lanczos filter: it is replaced by the bicubic one.
func (f Filter) onTensors() Filter {
	switch f {
	case Bicubic, Lanczos:
		return BicubicTensor
	case Bilinear:
		return BilinearTensor
	}
	return f
}

// onTensors makes a processor of Pillow's that of the class "…Fast", which is the same on 8-bit tensors.
func (p *Image) onTensors() {
	for i := range p.Steps {
		p.Steps[i].Filter = p.Steps[i].Filter.onTensors()
	}
	if p.Tiling != nil {
		p.Tiling.Filter = p.Tiling.Filter.onTensors()
	}
}

// filterCodes are the filters by their codes in PIL.Image.Resampling, which preprocessor configurations give.
var filterCodes = []Filter{Nearest, Lanczos, Bilinear, Bicubic, Box, Hamming}

// TilingKind names a way to cut a picture.
type TilingKind string

// The ways to cut a picture into tiles.
const (
	// TileAnyRes is LLaVA-NeXT's: the picture stretched to BaseHeight x BaseWidth, then the tiles, row by row, of the
	// picture resized into the best of the Pinpoints and padded with black.
	TileAnyRes TilingKind = "anyres"
	// TileDynamic is InternVL 1.5's: the picture stretched to the grid of MinTiles to MaxTiles tiles whose ratio is
	// nearest, row by row, then with Thumbnail the whole picture in one tile where there are several.
	TileDynamic TilingKind = "dynamic"
	// TileQuarters is Idefics2's: four quarters, row by row, then the picture itself.
	TileQuarters TilingKind = "quarters"
	// TileSlices is MiniCPM-V's and LLaVA-UHD's: the picture with about Size x Size pixels in all and its ratio, sides
	// multiples of Patch; then, where it has more pixels than that, slices of about as many pixels, row by row, in the
	// grid of at most MaxTiles whose ratio is nearest.
	TileSlices TilingKind = "slices"
	// TileSplit is Idefics3's and SmolVLM's: the picture brought to Longest pixels along its long side, then stretched to sides
	// that are multiples of Size, in tiles row by row; where there are several, the picture stretched to one tile follows. With
	// MaxTiles 1 there is that one alone.
	TileSplit TilingKind = "split"
	// TileCanvas is Llama 4's: the picture, its ratio kept, in the canvas of at most MaxTiles tiles that it is enlarged least to
	// fill (with ToCanvas: most), padded with black below and on the right; tiles row by row, then, where there are several,
	// the picture stretched to one.
	TileCanvas TilingKind = "canvas"
	// TilePanScan is Gemma 3's: the whole picture, then 2 to MaxTiles crops one behind the other along its long side, where that is
	// MinRatio times the short one and no crop has a side of less than Size.
	TilePanScan TilingKind = "pan_scan"
	// TileCover is Cohere 2 Vision's, as TileDynamic but for the choice of the grid: the one that enlarges the picture least.
	TileCover TilingKind = "cover"
)

// Tiling says how a picture is cut into tiles of Size x Size pixels.
type Tiling struct {
	Kind       TilingKind `json:"kind"`
	Filter     Filter     `json:"filter,omitempty"`
	Size       int        `json:"size,omitempty"`
	BaseHeight int        `json:"base_height,omitempty"`
	BaseWidth  int        `json:"base_width,omitempty"`
	// Pinpoints are the resolutions to choose from, (height, width).
	Pinpoints [][2]int `json:"pinpoints,omitempty"`
	MinTiles  int      `json:"min_tiles,omitempty"`
	MaxTiles  int      `json:"max_tiles,omitempty"`
	Thumbnail bool     `json:"thumbnail,omitempty"`
	ToCanvas  bool     `json:"to_canvas,omitempty"`
	Patch     int      `json:"patch,omitempty"`
	// Longest is the long side that a picture is brought to first; 0 leaves its size.
	Longest int `json:"longest,omitempty"`
	// MinRatio is from which ratio of the sides on a picture is cut.
	MinRatio float64 `json:"min_ratio,omitempty"`
	// SingleOnly leaves the pictures of samples with several whole.
	SingleOnly bool `json:"single_only,omitempty"`
}

// Normalize turns a byte x into (x * scale - mean) / std, per channel.
type Normalize struct {
	// Factor is the scale. The product is taken in float64 and rounded to float32, as transformers' rescale does; 0 leaves
	// the byte's value.
	Factor float64 `json:"factor,omitempty"`
	// ToTensor divides by 255 in float32 instead, as torchvision's ToTensor does.
	ToTensor bool `json:"to_tensor,omitempty"`
	// Mean and Std are of the scaled values, red, green, blue; empty leaves the step out.
	Mean []float64 `json:"mean,omitempty"`
	Std  []float64 `json:"std,omitempty"`
}

// Scale returns the factor by which bytes are multiplied.
func (n Normalize) Scale() float64 {
	switch {
	case n.ToTensor:
		return 1.0 / 255
	case n.Factor != 0:
		return n.Factor
	}
	return 1
}

// ImageLayout is how the tiles of a batch are put together.
type ImageLayout string

// The layouts. H and W are those of the largest tile; smaller ones are padded with zeros at the bottom and right, after
// normalisation, where a mask tells the padding.
const (
	LayoutTiles        ImageLayout = ""              // (tiles of all pictures, 3, H, W); all tiles are of one size
	LayoutImageTiles   ImageLayout = "image_tiles"   // (pictures, tiles, 3, H, W); fewer tiles are filled up with zeros
	LayoutSized        ImageLayout = "sized"         // (tiles of all pictures, 3, H, W), and their sizes (tiles, 2)
	LayoutMasked       ImageLayout = "masked"        // (tiles of all pictures, 3, H, W), and a mask (tiles, H, W)
	LayoutSampleImages ImageLayout = "sample_images" // (samples, tiles of the sample, 3, H, W), and a mask (samples, tiles, H, W)
)

// Bounds on what a configuration may ask for: far above any encoder's, and small enough that no product of two sides
// overflows or asks for gigabytes.
const (
	maxSide  = 8192
	maxTiles = 4096
)

// Check returns an error that names the first field without sense. Whoever reads an Image from a file calls it.
func (p *Image) Check() error {
	for i, s := range p.Steps {
		if err := s.check(); err != nil {
			return fmt.Errorf("image pipeline, step %d (%s): %w", i, s.Op, err)
		}
		if s.Unrounded && (i+1 < len(p.Steps) || s.Op != ResizeExact && s.Op != ResizeShortest || s.Filter != Bilinear && s.Filter != Bicubic) {
			return fmt.Errorf("image pipeline, step %d (%s): unrounded; expected so of a last, bilinear or bicubic resize only", i, s.Op)
		}
	}
	if p.Tiling != nil {
		if err := p.Tiling.check(); err != nil {
			return fmt.Errorf("image pipeline, tiling %q: %w", p.Tiling.Kind, err)
		}
	}
	n := p.Normalize
	if len(n.Mean) != len(n.Std) || (len(n.Mean) != 0 && len(n.Mean) != 3) {
		return fmt.Errorf("image pipeline: mean and std must have 3 values each, have %d and %d", len(n.Mean), len(n.Std))
	}
	for _, s := range n.Std {
		if float32(s) == 0 {
			return fmt.Errorf("image pipeline: std %v has a zero", n.Std)
		}
	}
	switch p.Layout {
	case LayoutTiles, LayoutSized, LayoutImageTiles, LayoutMasked, LayoutSampleImages:
	default:
		return fmt.Errorf("image pipeline: unknown layout %q", p.Layout)
	}
	return nil
}

func (s ImageStep) check() error {
	var sizes []int
	resizes := true
	switch s.Op {
	case ResizeExact, ResizeCover, ResizeInside:
		sizes = []int{s.Height, s.Width}
	case ResizeShortest:
		sizes = []int{s.Shortest}
		if s.Longest != 0 && s.Longest < s.Shortest {
			return fmt.Errorf("the longest edge %d is less than the shortest, %d", s.Longest, s.Shortest)
		}
	case ResizeLimit, ResizeLongest:
		sizes = []int{s.Shortest, s.Longest}
	case ResizeMultiple:
		sizes = []int{s.Shortest, s.Longest, s.Multiple}
	case ResizeWithin:
		sizes = []int{s.Height, s.Width, s.Multiple}
	case ResizeHD:
		sizes = []int{s.Multiple, s.MaxTiles}
	case CenterCrop:
		sizes = []int{s.Height, s.Width}
		resizes = false
	case PadSquare:
		resizes = false
	default:
		return fmt.Errorf("unknown step")
	}
	if resizes && !s.Filter.known() {
		return fmt.Errorf("unknown filter %q", s.Filter)
	}
	if len(s.Fill) != 0 && len(s.Fill) != 3 {
		return fmt.Errorf("fill must have 3 values, has %d", len(s.Fill))
	}
	return checkSides(append(sizes, s.Longest+1)...)
}

func (t *Tiling) check() error {
	switch t.Kind {
	case TileAnyRes:
		if len(t.Pinpoints) == 0 {
			return fmt.Errorf("no resolutions to choose from")
		}
		if err := checkSides(t.Size, t.BaseHeight, t.BaseWidth); err != nil {
			return err
		}
		for _, p := range t.Pinpoints {
			if err := checkSides(p[0], p[1]); err != nil {
				return err
			}
			if p[0]%t.Size != 0 || p[1]%t.Size != 0 {
				return fmt.Errorf("the resolution %dx%d (height x width) is no multiple of the tile, %d", p[0], p[1], t.Size)
			}
			if p[0]/t.Size*p[1]/t.Size > maxTiles {
				return fmt.Errorf("the resolution %dx%d makes more than %d tiles of %d pixels", p[0], p[1], maxTiles, t.Size)
			}
		}
	case TileDynamic, TileCover:
		if err := checkSides(t.Size); err != nil {
			return err
		}
		if t.MinTiles < 1 || t.MaxTiles < t.MinTiles || t.MaxTiles > maxTiles || t.Size*t.Size*t.MaxTiles > maxSide*maxSide {
			return fmt.Errorf("from %d to %d tiles of %d pixels: expected 1 <= min <= max <= %d, and %d pixels in all at most",
				t.MinTiles, t.MaxTiles, t.Size, maxTiles, maxSide*maxSide)
		}
	case TileSlices:
		if err := checkSides(t.Size, t.Patch); err != nil {
			return err
		}
		if t.MaxTiles < 1 || t.MaxTiles > maxTiles || t.Size*t.Size*t.MaxTiles > maxSide*maxSide {
			return fmt.Errorf("%d tiles of %d x %d pixels: expected 1 to %d, and %d pixels in all at most",
				t.MaxTiles, t.Size, t.Size, maxTiles, maxSide*maxSide)
		}
	case TileSplit:
		if err := checkSides(t.Size, t.Longest+1); err != nil {
			return err
		}
		if tiles := t.Longest/t.Size + 1; t.Longest > maxSplitSide || tiles*tiles > maxTiles {
			return fmt.Errorf("a long side of %d pixels in tiles of %d: expected at most %d pixels and %d tiles", t.Longest, t.Size, maxSplitSide, maxTiles)
		}
	case TileCanvas:
		if err := checkSides(t.Size); err != nil {
			return err
		}
		if most := 1 << 8; t.MaxTiles < 1 || t.MaxTiles > most || t.Size*t.MaxTiles > maxSplitSide {
			return fmt.Errorf("%d tiles of %d pixels: expected 1 to %d, and %d pixels a side at most", t.MaxTiles, t.Size, most, maxSplitSide)
		}
	case TileQuarters:
		return nil
	case TilePanScan:
		if t.MaxTiles < 1 || t.MaxTiles > maxTiles {
			return fmt.Errorf("%d crops: expected 1 to %d", t.MaxTiles, maxTiles)
		}
		return checkSides(t.Size)
	default:
		return fmt.Errorf("unknown kind")
	}
	if !t.Filter.known() {
		return fmt.Errorf("unknown filter %q", t.Filter)
	}
	return nil
}

func checkSides(sides ...int) error {
	for _, n := range sides {
		if n < 1 || n > maxSide {
			return fmt.Errorf("a size of %d pixels: expected 1 to %d", n, maxSide)
		}
	}
	return nil
}
