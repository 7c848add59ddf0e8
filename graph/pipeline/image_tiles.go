package pipeline

import (
	"encoding/json"
	"fmt"
)

var (
	_ = registerImageProcessor("Gemma3ImageProcessor", hfGemma3)
	_ = registerImageProcessor("GotOcr2ImageProcessor", hfCropToPatches(TileDynamic, 384, false, CLIPMean, CLIPStd))
	_ = registerImageProcessor("Cohere2VisionImageProcessor", hfCropToPatches(TileCover, 512, true, CLIPMean, CLIPStd))
	_ = registerImageProcessor("JanusImageProcessor", hfJanus)
)

// hfGemma3 stretches pictures, and with pan and scan crops of wide or tall ones too (transformers
// models/gemma3/image_processing_gemma3.py).
func hfGemma3(c *hfImage) (*Image, error) {
	var own struct {
		PanAndScan *bool    `json:"do_pan_and_scan"`
		MinCrop    *int     `json:"pan_and_scan_min_crop_size"`
		MaxCrops   *int     `json:"pan_and_scan_max_num_crops"`
		MinRatio   *float64 `json:"pan_and_scan_min_ratio_to_activate"`
	}
	if err := json.Unmarshal(c.raw, &own); err != nil {
		return nil, err
	}
	p, err := hfStretch(224, Bilinear, HalfMean, HalfStd)(c)
	if err != nil {
		return nil, err
	}
	if or(own.PanAndScan, false) {
		p.Tiling = &Tiling{Kind: TilePanScan, Size: or(own.MinCrop, 256), MaxTiles: or(own.MaxCrops, 4), MinRatio: or(own.MinRatio, 1.2)}
	}
	return p, nil
}

// hfCropToPatches stretches pictures to one tile, or to a grid of them with the whole picture behind (transformers
// models/got_ocr2/image_processing_got_ocr2.py, models/cohere2_vision/image_processing_cohere2_vision_fast.py).
func hfCropToPatches(kind TilingKind, size int, crop bool, mean, std []float64) func(c *hfImage) (*Image, error) {
	stretch := hfStretch(size, Bicubic, mean, std)
	return func(c *hfImage) (*Image, error) {
		var own struct {
			Crop *bool `json:"crop_to_patches"`
			Min  *int  `json:"min_patches"`
			Max  *int  `json:"max_patches"`
		}
		if err := json.Unmarshal(c.raw, &own); err != nil {
			return nil, err
		}
		p, err := stretch(c)
		if err != nil || !or(own.Crop, crop) {
			return p, err
		}
		s := or(c.Size, hfSize{Int: size}).square()
		if s.Height != s.Width {
			return nil, fmt.Errorf("crop_to_patches with tiles of %d x %d pixels: expected squares", s.Height, s.Width)
		}
		f, err := c.filter(Bicubic)
		if err != nil {
			return nil, err
		}
		p.Tiling = &Tiling{Kind: kind, Filter: f, Size: s.Height, MinTiles: or(own.Min, 1), MaxTiles: or(own.Max, 12), Thumbnail: true}
		return p, nil
	}
}

// hfJanus brings the long side to the size and pads to a square (transformers models/janus/image_processing_janus.py).
func hfJanus(c *hfImage) (*Image, error) {
	var own struct {
		Background []float64 `json:"background_color"`
	}
	if err := json.Unmarshal(c.raw, &own); err != nil {
		return nil, err
	}
	p := &Image{Normalize: c.normalize(CLIPMean, CLIPStd)}
	f, err := c.filter(Bicubic)
	if err != nil {
		return nil, err
	}
	if or(c.DoResize, true) {
		s := or(c.Size, hfSize{Int: 384}).square()
		if s.Height != s.Width {
			return nil, fmt.Errorf("size is %d x %d: expected a square", s.Height, s.Width)
		}
		p.Steps = append(p.Steps, ImageStep{Op: ResizeLongest, Filter: f, Longest: s.Height, Shortest: or(c.MinSize, 14), Round: true})
	}
	if or(c.DoPad, true) {
		fill := []uint8{127, 127, 127}
		if own.Background != nil {
			if len(own.Background) != 3 {
				return nil, fmt.Errorf("background_color has %d values: expected 3", len(own.Background))
			}
			for i, v := range own.Background {
				fill[i] = toByte(v)
			}
		}
		p.Steps = append(p.Steps, ImageStep{Op: PadSquare, Fill: fill})
	}
	return p, nil
}
