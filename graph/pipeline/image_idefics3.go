package pipeline

import (
	"encoding/json"
	"fmt"
)

var (
	_ = registerImageProcessor("Idefics3ImageProcessor", hfIdefics3)
	_ = registerImageProcessor("SmolVLMImageProcessor", hfIdefics3)
)

// maxSplitSide bounds the long side that pictures are brought to before they are split.
const maxSplitSide = 1 << 16

// hfIdefics3 is Idefics3ImageProcessor (transformers models/idefics3/image_processing_idefics3.py).
func hfIdefics3(c *hfImage) (*Image, error) {
	var own struct {
		MaxImageSize *hfSize `json:"max_image_size"`
	}
	if err := json.Unmarshal(c.raw, &own); err != nil {
		return nil, err
	}
	f, err := c.filter(Lanczos)
	if err != nil {
		return nil, err
	}
	t := &Tiling{Kind: TileSplit, Filter: f, Size: or(own.MaxImageSize, hfSize{LongestEdge: 364}).LongestEdge}
	if t.Size == 0 {
		return nil, fmt.Errorf("max_image_size has no longest_edge")
	}
	if or(c.DoResize, true) {
		if t.Longest = or(c.Size, hfSize{LongestEdge: 4 * 364}).LongestEdge; t.Longest == 0 {
			return nil, fmt.Errorf("size has no longest_edge")
		}
	}
	if !or(c.DoImageSplitting, true) {
		t.MaxTiles = 1
	}
	return &Image{Normalize: c.normalize(HalfMean, HalfStd), Tiling: t, Layout: LayoutSampleImages}, nil
}
