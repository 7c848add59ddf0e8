package pipeline

import (
	"fmt"

	"github.com/mmconv/mmconv/formats"
)

// ImageFromOpenCLIPConfig reads an open_clip_config.json and returns open_clip's image_transform_v2 for evaluation:
// the vision tower's image_size, which overrules preprocess_cfg's size, and of preprocess_cfg mean and std (by default
// CLIP's), interpolation, resize_mode shortest, longest or squash, and fill_color.
func ImageFromOpenCLIPConfig(config []byte) (*Image, error) {
	var c struct {
		ModelCfg struct {
			VisionCfg struct {
				ImageSize *hfSize `json:"image_size"`
			} `json:"vision_cfg"`
		} `json:"model_cfg"`
		PreprocessCfg struct {
			Size          hfSize     `json:"size"`
			Mean          hfChannels `json:"mean"`
			Std           hfChannels `json:"std"`
			Interpolation string     `json:"interpolation"`
			ResizeMode    string     `json:"resize_mode"`
			FillColor     int        `json:"fill_color"`
		} `json:"preprocess_cfg"`
	}
	fail := func(err error) (*Image, error) { return nil, fmt.Errorf("open_clip_config.json: %w", err) }
	if err := formats.JSON("open_clip_config.json", config, &c); err != nil {
		return nil, err
	}
	pp := c.PreprocessCfg
	size := or(c.ModelCfg.VisionCfg.ImageSize, pp.Size).square()
	if size.Height == 0 {
		size = hfSize{Height: 224, Width: 224}
	}
	filter, err := filterNamed(pp.Interpolation, Bicubic)
	if err != nil {
		return fail(err)
	}
	mean, std := []float64(pp.Mean), []float64(pp.Std)
	if mean == nil {
		mean = CLIPMean
	}
	if std == nil {
		std = CLIPStd
	}
	p := ImageShortestCrop(size.Height, size.Width, mean, std)
	switch pp.ResizeMode {
	case "", "shortest":
		if size.Height == size.Width {
			p.Steps[0].Filter = filter
		} // else the original leaves the interpolation out, and its default, bicubic, stays
	case "longest":
		if pp.FillColor < 0 || pp.FillColor > 255 {
			return fail(fmt.Errorf("fill_color %d: expected 0 to 255", pp.FillColor))
		}
		fill := uint8(pp.FillColor)
		p.Steps[0] = ImageStep{Op: ResizeInside, Filter: filter, Height: size.Height, Width: size.Width}
		p.Steps[1].Fill = []uint8{fill, fill, fill}
	case "squash":
		p.Steps = []ImageStep{{Op: ResizeExact, Filter: filter, Height: size.Height, Width: size.Width}}
	default:
		return fail(fmt.Errorf("resize_mode %q: expected shortest, longest or squash", pp.ResizeMode))
	}
	if err := p.Check(); err != nil {
		return fail(err)
	}
	return p, nil
}
