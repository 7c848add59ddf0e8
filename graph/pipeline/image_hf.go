package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/formats"
)

// hfImage is preprocessor_config.json as transformers publishes it. A key that a file leaves out keeps the default of its
// class; null counts as left out.
type hfImage struct {
	ImageProcessorType   string      `json:"image_processor_type"`
	FeatureExtractorType string      `json:"feature_extractor_type"`
	DoResize             *bool       `json:"do_resize"`
	Size                 *hfSize     `json:"size"`
	Resample             *int        `json:"resample"`
	DoCenterCrop         *bool       `json:"do_center_crop"`
	CropSize             *hfSize     `json:"crop_size"`
	CropPct              *float64    `json:"crop_pct"`
	DoRescale            *bool       `json:"do_rescale"`
	RescaleFactor        *float64    `json:"rescale_factor"`
	DoNormalize          *bool       `json:"do_normalize"`
	ImageMean            *hfChannels `json:"image_mean"`
	ImageStd             *hfChannels `json:"image_std"`
	DoPad                *bool       `json:"do_pad"`
	ImageAspectRatio     string      `json:"image_aspect_ratio"`
	ImageGridPinpoints   hfPinpoints `json:"image_grid_pinpoints"`
	DoImageSplitting     *bool       `json:"do_image_splitting"`
	SizeDivisor          *int        `json:"size_divisor"`
	ImageSize            int         `json:"image_size"`
	MinSize              *int        `json:"min_size"`
	MaxSliceNums         *int        `json:"max_slice_nums"`
	ScaleResolution      *int        `json:"scale_resolution"`
	PatchSize            *hfSize     `json:"patch_size"`
	NormMean             *hfChannels `json:"norm_mean"`
	NormStd              *hfChannels `json:"norm_std"`

	raw []byte // the file, for classes with keys of their own
}

// hfSize is a size as an integer, as [height, width] or as an object.
type hfSize struct {
	Int          int
	Height       int `json:"height"`
	Width        int `json:"width"`
	ShortestEdge int `json:"shortest_edge"`
	LongestEdge  int `json:"longest_edge"`
}

func (s *hfSize) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &s.Int) == nil {
		return nil
	}
	var pair []int
	if json.Unmarshal(b, &pair) == nil {
		if len(pair) == 1 {
			s.Int = pair[0]
			return nil
		}
		if len(pair) == 2 {
			s.Height, s.Width = pair[0], pair[1]
			return nil
		}
		return fmt.Errorf("a size of %d numbers: expected one, or height and width", len(pair))
	}
	type object hfSize
	return formats.JSON("", b, (*object)(s))
}

// square returns the size with a bare integer taken as the side of a square.
func (s hfSize) square() hfSize {
	if s.Int != 0 {
		return hfSize{Height: s.Int, Width: s.Int}
	}
	return s
}

// shortest returns the size with a bare integer taken as the shortest edge.
func (s hfSize) shortest() hfSize {
	if s.Int != 0 {
		return hfSize{ShortestEdge: s.Int}
	}
	return s
}

// hfChannels is a number for every channel, or one for all.
type hfChannels []float64

func (c *hfChannels) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var one float64
	if json.Unmarshal(b, &one) == nil {
		*c = hfChannels{one, one, one}
		return nil
	}
	return formats.JSON("", b, (*[]float64)(c))
}

// hfPinpoints are resolutions as a list or, in older configurations of LLaVA, as a string that holds one.
type hfPinpoints [][2]int

func (p *hfPinpoints) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		b = []byte(strings.NewReplacer("(", "[", ")", "]").Replace(text))
	}
	var rows [][]int
	if err := formats.JSON("", b, &rows); err != nil {
		return err
	}
	*p = nil
	for _, r := range rows {
		if len(r) != 2 {
			return fmt.Errorf("a resolution of %d numbers in image_grid_pinpoints: expected 2", len(r))
		}
		*p = append(*p, [2]int{r[0], r[1]})
	}
	return nil
}

// hfImageProcessors are the classes of transformers by name, each with its defaults.
var hfImageProcessors = map[string]func(c *hfImage) (*Image, error){}

// registerImageProcessor makes a class known. Classes register themselves from the file that reads them; one that is named
// "…Fast" is registered under that name where its steps are others, else it is the class without on 8-bit tensors.
func registerImageProcessor(class string, build func(c *hfImage) (*Image, error)) (none struct{}) {
	hfImageProcessors[class] = build
	return none
}

var (
	_ = registerImageProcessor("CLIPImageProcessor", hfCLIP(Bicubic, CLIPMean, CLIPStd))
	_ = registerImageProcessor("ChineseCLIPImageProcessor", hfCLIP(Bicubic, CLIPMean, CLIPStd))
	_ = registerImageProcessor("BitImageProcessor", hfCLIP(Bicubic, CLIPMean, CLIPStd))
	_ = registerImageProcessor("LlavaImageProcessor", hfLLaVA)
	_ = registerImageProcessor("LlavaNextImageProcessor", hfLLaVANext)
	_ = registerImageProcessor("SiglipImageProcessor", hfStretch(224, Bicubic, HalfMean, HalfStd))
	_ = registerImageProcessor("BlipImageProcessor", hfStretch(384, Bicubic, CLIPMean, CLIPStd))
	_ = registerImageProcessor("ViTImageProcessor", hfStretch(224, Bilinear, HalfMean, HalfStd))
	_ = registerImageProcessor("BeitImageProcessor", hfStretchCrop(256, 224, Bicubic, HalfMean, HalfStd))
	_ = registerImageProcessor("DeiTImageProcessor", hfStretchCrop(256, 224, Bicubic, HalfMean, HalfStd))
	_ = registerImageProcessor("ConvNextImageProcessor", hfConvNext)
	_ = registerImageProcessor("ViltImageProcessor", hfVilt)
	_ = registerImageProcessor("Idefics2ImageProcessor", hfIdefics2)
	_ = registerImageProcessor("VLMImageProcessor", hfDeepSeek)
	_ = registerImageProcessor("MiniCPMVImageProcessor", hfMiniCPM)
)

// ImageProcessorTypes lists the image processor classes that ImageFromPreprocessorConfig knows.
func ImageProcessorTypes() []string { return slices.Sorted(maps.Keys(hfImageProcessors)) }

// ImageFromPreprocessorConfig reads a preprocessor_config.json of transformers: its image_processor_type, or the
// feature_extractor_type of older files, decides on the meaning and on the defaults. The "Fast" variants of the classes
// are the classes themselves with the arithmetic of torchvision on 8-bit tensors.
func ImageFromPreprocessorConfig(config []byte) (*Image, error) {
	return ImageOfProcessorClass(config, "")
}

// ImageOfProcessorClass is ImageFromPreprocessorConfig for a file that may name no class: it then is one of the given class.
func ImageOfProcessorClass(config []byte, class string) (*Image, error) {
	var c hfImage
	if err := formats.JSON("", config, &c); err != nil {
		return nil, err
	}
	name := c.ImageProcessorType
	if name == "" {
		name = strings.Replace(c.FeatureExtractorType, "FeatureExtractor", "ImageProcessor", 1)
	}
	if name == "" {
		name = class
	}
	c.raw = config
	build := hfImageProcessors[name]
	fast := false
	if build == nil {
		plain := strings.TrimSuffix(name, "Pil")
		plain, fast = strings.CutSuffix(plain, "Fast")
		build = hfImageProcessors[plain]
	}
	if build == nil {
		return nil, fmt.Errorf("unknown image_processor_type %q; known are %s",
			name, strings.Join(ImageProcessorTypes(), ", "))
	}
	p, err := build(&c)
	if err == nil {
		if fast {
			p.onTensors()
		}
		err = p.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

func or[T any](v *T, def T) T {
	if v == nil {
		return def
	}
	return *v
}

func (c *hfImage) filter(def Filter) (Filter, error) {
	if c.Resample == nil {
		return def, nil
	}
	if *c.Resample < 0 || *c.Resample >= len(filterCodes) {
		return "", fmt.Errorf("resample %d: expected a filter code of Pillow, 0 to %d", *c.Resample, len(filterCodes)-1)
	}
	return filterCodes[*c.Resample], nil
}

func (c *hfImage) normalize(mean, std []float64) Normalize {
	var n Normalize
	if or(c.DoRescale, true) {
		n.Factor = or(c.RescaleFactor, 1.0/255)
	}
	if or(c.DoNormalize, true) {
		n.Mean, n.Std = or(c.ImageMean, mean), or(c.ImageStd, std)
	}
	return n
}

// resize returns the step of classes that take either a shortest edge or height and width.
func (s hfSize) resize(f Filter) (ImageStep, error) {
	switch {
	case s.ShortestEdge != 0:
		return ImageStep{Op: ResizeShortest, Filter: f, Shortest: s.ShortestEdge}, nil
	case s.Height != 0 && s.Width != 0:
		return ImageStep{Op: ResizeExact, Filter: f, Height: s.Height, Width: s.Width}, nil
	}
	return ImageStep{}, fmt.Errorf("size has neither shortest_edge nor height and width")
}

func (s hfSize) crop() ImageStep {
	return ImageStep{Op: CenterCrop, Height: s.Height, Width: s.Width}
}

func hfCLIP(filter Filter, mean, std []float64) func(c *hfImage) (*Image, error) {
	return func(c *hfImage) (*Image, error) {
		p := &Image{Normalize: c.normalize(mean, std)}
		f, err := c.filter(filter)
		if err != nil {
			return nil, err
		}
		if or(c.DoResize, true) {
			step, err := or(c.Size, hfSize{ShortestEdge: 224}).shortest().resize(f)
			if err != nil {
				return nil, err
			}
			p.Steps = append(p.Steps, step)
		}
		if or(c.DoCenterCrop, true) {
			p.Steps = append(p.Steps, or(c.CropSize, hfSize{Int: 224}).square().crop())
		}
		if c.ImageAspectRatio == "pad" {
			p = p.WithPadSquare()
		}
		return p, nil
	}
}

func hfLLaVA(c *hfImage) (*Image, error) {
	p, err := hfCLIP(Bicubic, CLIPMean, CLIPStd)(c)
	if err == nil && or(c.DoPad, false) && c.ImageAspectRatio != "pad" {
		p = p.WithPadSquare()
	}
	return p, err
}

func hfLLaVANext(c *hfImage) (*Image, error) {
	pinpoints := c.ImageGridPinpoints
	if pinpoints == nil {
		pinpoints = hfPinpoints{{336, 672}, {672, 336}, {672, 672}, {1008, 336}, {336, 1008}}
	}
	plain := *c
	plain.ImageAspectRatio = ""
	p, err := hfCLIP(Bicubic, CLIPMean, CLIPStd)(&plain)
	if err != nil {
		return nil, err
	}
	base := or(c.Size, hfSize{ShortestEdge: 224}).shortest()
	if base.ShortestEdge != 0 {
		base.Height, base.Width = base.ShortestEdge, base.ShortestEdge
	}
	f, err := c.filter(Bicubic)
	if err != nil {
		return nil, err
	}
	p.Tiling = &Tiling{
		Kind: TileAnyRes, Filter: f, Size: or(c.CropSize, hfSize{Int: 224}).square().Height,
		BaseHeight: base.Height, BaseWidth: base.Width, Pinpoints: pinpoints,
	}
	if or(c.DoPad, true) {
		p.Layout = LayoutImageTiles
	}
	return p, nil
}

func hfStretch(size int, filter Filter, mean, std []float64) func(c *hfImage) (*Image, error) {
	return func(c *hfImage) (*Image, error) {
		p := &Image{Normalize: c.normalize(mean, std)}
		f, err := c.filter(filter)
		if err != nil {
			return nil, err
		}
		if or(c.DoResize, true) {
			s := or(c.Size, hfSize{Int: size}).square()
			if s.Height == 0 || s.Width == 0 {
				return nil, fmt.Errorf("size has no height and width")
			}
			p.Steps = append(p.Steps, ImageStep{Op: ResizeExact, Filter: f, Height: s.Height, Width: s.Width})
		}
		return p, nil
	}
}

func hfStretchCrop(size, crop int, filter Filter, mean, std []float64) func(c *hfImage) (*Image, error) {
	stretch := hfStretch(size, filter, mean, std)
	return func(c *hfImage) (*Image, error) {
		p, err := stretch(c)
		if err == nil && or(c.DoCenterCrop, true) {
			p.Steps = append(p.Steps, or(c.CropSize, hfSize{Int: crop}).square().crop())
		}
		return p, err
	}
}

// hfConvNext: below 384 the shortest edge goes to int(size / crop_pct) and a square is cropped, from 384 on the picture is
// stretched.
func hfConvNext(c *hfImage) (*Image, error) {
	p := &Image{Normalize: c.normalize(HalfMean, HalfStd)}
	f, err := c.filter(Bilinear)
	if err != nil {
		return nil, err
	}
	if !or(c.DoResize, true) {
		return p, nil
	}
	n := or(c.Size, hfSize{ShortestEdge: 384}).shortest().ShortestEdge
	if n == 0 {
		return nil, fmt.Errorf("size has no shortest_edge")
	}
	if n >= 384 {
		p.Steps = []ImageStep{{Op: ResizeExact, Filter: f, Height: n, Width: n}}
		return p, nil
	}
	pct := or(c.CropPct, 224.0/256)
	if !(pct > 0) {
		return nil, fmt.Errorf("crop_pct %v: expected a positive number", pct)
	}
	p.Steps = []ImageStep{
		{Op: ResizeShortest, Filter: f, Shortest: clampInt(float64(n) / pct)},
		{Op: CenterCrop, Height: n, Width: n},
	}
	return p, nil
}

func hfVilt(c *hfImage) (*Image, error) {
	p := &Image{Normalize: c.normalize(HalfMean, HalfStd), Layout: LayoutMasked}
	f, err := c.filter(Bicubic)
	if err != nil {
		return nil, err
	}
	if or(c.DoResize, true) {
		n := or(c.Size, hfSize{ShortestEdge: 384}).shortest().ShortestEdge
		p.Steps = []ImageStep{{
			Op: ResizeMultiple, Filter: f, Shortest: n, Longest: clampInt(1333.0 / 800 * float64(n)), Multiple: or(c.SizeDivisor, 32),
		}}
	}
	if !or(c.DoPad, true) {
		p.Layout = LayoutTiles
	}
	return p, nil
}

func hfIdefics2(c *hfImage) (*Image, error) {
	p := &Image{Normalize: c.normalize(HalfMean, HalfStd), Layout: LayoutSampleImages}
	f, err := c.filter(Bilinear)
	if err != nil {
		return nil, err
	}
	if or(c.DoImageSplitting, false) {
		p.Tiling = &Tiling{Kind: TileQuarters}
	}
	if or(c.DoResize, true) {
		s := or(c.Size, hfSize{ShortestEdge: 378, LongestEdge: 980})
		switch {
		case s.ShortestEdge != 0 && s.LongestEdge != 0:
			p.Steps = []ImageStep{{Op: ResizeLimit, Filter: f, Shortest: s.ShortestEdge, Longest: s.LongestEdge}}
		case s.Height != 0 && s.Width != 0:
			p.Steps = []ImageStep{{Op: ResizeExact, Filter: f, Height: s.Height, Width: s.Width}}
		default:
			return nil, fmt.Errorf("size has neither shortest_edge and longest_edge nor height and width")
		}
	}
	return p, nil
}

// hfDeepSeek is VLMImageProcessor of deepseek-ai/DeepSeek-VL (deepseek_vl/models/image_processing_vlm.py).
func hfDeepSeek(c *hfImage) (*Image, error) {
	var fill []uint8
	for _, m := range or(c.ImageMean, CLIPMean) {
		fill = append(fill, toByte(m*255))
	}
	return &Image{
		Steps: []ImageStep{
			{Op: ResizeLongest, Filter: Bicubic, Longest: c.ImageSize, Shortest: or(c.MinSize, 14)},
			{Op: PadSquare, Fill: fill},
		},
		Normalize: c.normalize(CLIPMean, CLIPStd),
	}, nil
}

// hfMiniCPM is MiniCPMVImageProcessor of openbmb's MiniCPM-V 2.5 and 2.6 (image_processing_minicpmv.py of the releases).
func hfMiniCPM(c *hfImage) (*Image, error) {
	return ImageSlices(or(c.ScaleResolution, 448), or(c.PatchSize, hfSize{Int: 14}).square().Height, or(c.MaxSliceNums, 9),
		or(c.NormMean, HalfMean), or(c.NormStd, HalfStd)), nil
}

// toByte cuts a number to an integer from 0 to 255.
func toByte(x float64) uint8 { return uint8(min(clampInt(x), 255)) }

// clampInt cuts a number from a file to an integer that no later arithmetic overflows.
func clampInt(x float64) int {
	return int(math.Max(0, math.Min(x, 1<<30)))
}
