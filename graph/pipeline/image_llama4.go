package pipeline

import (
	"encoding/json"
	"fmt"
)

var _ = registerImageProcessor("Llama4ImageProcessorFast", hfLlama4)

// hfLlama4 is Llama4ImageProcessorFast (transformers models/llama4/image_processing_llama4_fast.py). It scales and normalises in
// bfloat16, which is not repeated: float32 is nearer to what was meant.
func hfLlama4(c *hfImage) (*Image, error) {
	var own struct {
		MaxPatches *int  `json:"max_patches"`
		ToCanvas   *bool `json:"resize_to_max_canvas"`
	}
	if err := json.Unmarshal(c.raw, &own); err != nil {
		return nil, err
	}
	f, err := c.filter(Bilinear)
	if err != nil {
		return nil, err
	}
	size := or(c.Size, hfSize{Int: 336}).square()
	if size.Height != size.Width {
		return nil, fmt.Errorf("tiles of %d x %d pixels; expected squares", size.Height, size.Width)
	}
	return &Image{Normalize: c.normalize(HalfMean, HalfStd), Tiling: &Tiling{Kind: TileCanvas, Filter: f.onTensors(), Size: size.Height,
		MaxTiles: or(own.MaxPatches, 16), ToCanvas: or(own.ToCanvas, false)}}, nil
}
