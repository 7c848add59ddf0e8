package pipeline

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/formats"
)

// timmConfig is the pretrained_cfg of a timm model: in config.json under that key, or spread over its top level in older
// files of the hub.
type timmConfig struct {
	InputSize     []int     `json:"input_size"`
	Interpolation string    `json:"interpolation"`
	CropPct       float64   `json:"crop_pct"`
	CropMode      string    `json:"crop_mode"`
	Mean          []float64 `json:"mean"`
	Std           []float64 `json:"std"`
}

// ImageFromTimmConfig reads the config.json of a timm model and returns timm's evaluation transform (timm.data,
// resolve_data_config and transforms_imagenet_eval): input_size (3, height, width), interpolation, crop_pct, crop_mode
// center, squash or border, mean and std.
func ImageFromTimmConfig(config []byte) (*Image, error) {
	var file struct {
		timmConfig
		PretrainedCfg *timmConfig `json:"pretrained_cfg"`
	}
	if err := formats.JSON("config.json", config, &file); err != nil {
		return nil, err
	}
	c := file.PretrainedCfg
	if c == nil {
		c = &file.timmConfig
	}
	p, err := c.image()
	if err == nil {
		err = p.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("config.json, pretrained_cfg: %w", err)
	}
	return p, nil
}

func (c *timmConfig) image() (*Image, error) {
	height, width := 224, 224
	if c.InputSize != nil {
		if len(c.InputSize) != 3 {
			return nil, fmt.Errorf("input_size %v: expected channels, height, width", c.InputSize)
		}
		height, width = c.InputSize[1], c.InputSize[2]
	}
	filter, err := filterNamed(c.Interpolation, Bicubic)
	if err != nil {
		return nil, err
	}
	pct := c.CropPct
	if pct == 0 {
		pct = 0.875
	}
	if !(pct > 0) {
		return nil, fmt.Errorf("crop_pct %v: expected a positive number", pct)
	}
	mean, std := c.Mean, c.Std
	if mean == nil {
		mean = ImageNetMean
	}
	if std == nil {
		std = ImageNetStd
	}
	scaledHeight, scaledWidth := clampInt(math.Floor(float64(height)/pct)), clampInt(math.Floor(float64(width)/pct))
	crop := ImageStep{Op: CenterCrop, Height: height, Width: width, HalfEven: true}
	var resize ImageStep
	switch c.CropMode {
	case "squash":
		resize = ImageStep{Op: ResizeExact, Filter: filter, Height: scaledHeight, Width: scaledWidth}
	case "border":
		resize = ImageStep{Op: ResizeInside, Filter: filter, Height: scaledHeight, Width: scaledWidth}
		for _, m := range mean {
			crop.Fill = append(crop.Fill, toByte(math.RoundToEven(255*m)))
		}
	case "", "center":
		resize = ImageStep{Op: ResizeShortest, Filter: filter, Shortest: scaledHeight}
		if scaledHeight != scaledWidth {
			// Here timm leaves the interpolation out, so that its default holds.
			resize = ImageStep{Op: ResizeCover, Filter: Bilinear, Height: scaledHeight, Width: scaledWidth}
		}
	default:
		return nil, fmt.Errorf("crop_mode %q: expected center, squash or border", c.CropMode)
	}
	return &Image{Steps: []ImageStep{resize, crop}, Normalize: torchNormalize(mean, std)}, nil
}

func filterNamed(name string, def Filter) (Filter, error) {
	switch name {
	case "", "random":
		return def, nil
	case "nearest", "box", "bilinear", "hamming", "bicubic", "lanczos":
		return Filter(name), nil
	}
	return "", fmt.Errorf("interpolation %q: expected nearest, box, bilinear, hamming, bicubic or lanczos", name)
}
