package pipeline

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestImageDefaults: a configuration that names its class only has the class's defaults.
func TestImageDefaults(t *testing.T) {
	hf := func(mean, std []float64) Normalize { return Normalize{Factor: 1.0 / 255, Mean: mean, Std: std} }
	clip := []ImageStep{{Op: ResizeShortest, Filter: Bicubic, Shortest: 224}, {Op: CenterCrop, Height: 224, Width: 224}}
	for class, want := range map[string]Image{
		"CLIPImageProcessor":     {Steps: clip, Normalize: hf(CLIPMean, CLIPStd)},
		"CLIPImageProcessorFast": {Steps: onTensors(clip), Normalize: hf(CLIPMean, CLIPStd)},
		"LlavaNextImageProcessor": {
			Steps: clip, Normalize: hf(CLIPMean, CLIPStd), Layout: LayoutImageTiles,
			Tiling: &Tiling{Kind: TileAnyRes, Filter: Bicubic, Size: 224, BaseHeight: 224, BaseWidth: 224,
				Pinpoints: [][2]int{{224, 448}}},
		},
		"SiglipImageProcessor": {Steps: []ImageStep{{Op: ResizeExact, Filter: Bicubic, Height: 224, Width: 224}}, Normalize: hf(HalfMean, HalfStd)},
		"BlipImageProcessor":   {Steps: []ImageStep{{Op: ResizeExact, Filter: Bicubic, Height: 384, Width: 384}}, Normalize: hf(CLIPMean, CLIPStd)},
		"ViTImageProcessor":    {Steps: []ImageStep{{Op: ResizeExact, Filter: Bilinear, Height: 224, Width: 224}}, Normalize: hf(HalfMean, HalfStd)},
		"DeiTImageProcessor": {
			Steps:     []ImageStep{{Op: ResizeExact, Filter: Bicubic, Height: 256, Width: 256}, {Op: CenterCrop, Height: 224, Width: 224}},
			Normalize: hf(HalfMean, HalfStd),
		},
		"ConvNextImageProcessor": {Steps: []ImageStep{{Op: ResizeExact, Filter: Bilinear, Height: 384, Width: 384}}, Normalize: hf(HalfMean, HalfStd)},
		"ViltImageProcessor": {
			Steps:     []ImageStep{{Op: ResizeMultiple, Filter: Bicubic, Shortest: 384, Longest: 639, Multiple: 32}},
			Normalize: hf(HalfMean, HalfStd), Layout: LayoutMasked,
		},
		"Idefics2ImageProcessor": {
			Steps:     []ImageStep{{Op: ResizeLimit, Filter: Bilinear, Shortest: 378, Longest: 980}},
			Normalize: hf(HalfMean, HalfStd), Layout: LayoutSampleImages,
		},
	} {
		config := `{"image_processor_type": "` + class + `"}`
		if class == "LlavaNextImageProcessor" { // its default resolutions are for tiles of 336 pixels
			config = `{"image_processor_type": "` + class + `", "image_grid_pinpoints": "[(224, 448)]"}`
		}
		got, err := ImageFromPreprocessorConfig([]byte(config))
		if err != nil {
			t.Errorf("%s: %v", class, err)
			continue
		}
		if d := cmp.Diff(&want, got); d != "" {
			t.Errorf("%s:\n%s", class, d)
		}
	}
}

// TestImageConfigForms: the ways in which published files write the same thing.
func TestImageConfigForms(t *testing.T) {
	want := &Image{
		Steps:     []ImageStep{{Op: ResizeShortest, Filter: Lanczos, Shortest: 64}, {Op: CenterCrop, Height: 32, Width: 32}},
		Normalize: Normalize{Factor: 0.5, Mean: HalfMean, Std: HalfStd},
	}
	for _, config := range []string{
		`{"feature_extractor_type": "CLIPFeatureExtractor", "size": 64, "crop_size": 32, "resample": 1, "rescale_factor": 0.5, "image_mean": 0.5, "image_std": [0.5, 0.5, 0.5]}`,
		`{"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 64}, "crop_size": {"height": 32, "width": 32}, "resample": 1, "rescale_factor": 0.5, "image_mean": [0.5, 0.5, 0.5], "image_std": 0.5, "do_resize": null}`,
		`{"image_processor_type": "CLIPImageProcessor", "size": [64], "crop_size": [32, 32], "resample": 1, "rescale_factor": 0.5, "image_mean": [0.5, 0.5, 0.5], "image_std": 0.5}`,
	} {
		got, err := ImageFromPreprocessorConfig([]byte(config))
		if err != nil {
			t.Errorf("%s: %v", config, err)
		} else if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s:\n%s", config, d)
		}
	}
	off, err := ImageFromPreprocessorConfig([]byte(`{"image_processor_type": "CLIPImageProcessor", "do_resize": false, "do_center_crop": false, "do_rescale": false, "do_normalize": false}`))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&Image{}, off); d != "" {
		t.Errorf("all switches off:\n%s", d)
	}
}

func TestImageConfigErrors(t *testing.T) {
	for config, want := range map[string]string{
		`{`:  "ends before its JSON does",
		`{}`: `unknown image_processor_type ""; known are`,
		`{"image_processor_type": "SamImageProcessor"}`:                                                             `unknown image_processor_type "SamImageProcessor"`,
		`{"image_processor_type": "CLIPImageProcessor", "resample": 9}`:                                             "resample 9",
		`{"image_processor_type": "CLIPImageProcessor", "size": {"longest_edge": 5}}`:                               "neither shortest_edge nor height and width",
		`{"image_processor_type": "CLIPImageProcessor", "size": -5}`:                                                "a size of -5 pixels",
		`{"image_processor_type": "SiglipImageProcessor", "size": 1000000}`:                                         "a size of 1000000 pixels",
		`{"image_processor_type": "CLIPImageProcessor", "image_std": [1, 0, 1]}`:                                    "has a zero",
		`{"image_processor_type": "CLIPImageProcessor", "image_mean": [1, 0]}`:                                      "3 values each",
		`{"image_processor_type": "CLIPImageProcessor", "image_mean": [1, 0], "image_aspect_ratio": "pad"}`:         "fill must have 3 values",
		`{"image_processor_type": "LlavaNextImageProcessor", "image_grid_pinpoints": [[100, 224]]}`:                 "100x224 (height x width) is no multiple of the tile, 224",
		`{"image_processor_type": "LlavaNextImageProcessor", "image_grid_pinpoints": [[100]]}`:                      "1 numbers in image_grid_pinpoints",
		`{"image_processor_type": "VLMImageProcessor"}`:                                                             "a size of 0 pixels",
		`{"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": 0}`:         "crop_pct 0",
		`{"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": 0.0000001}`: "pixels: expected 1 to",
	} {
		_, err := ImageFromPreprocessorConfig([]byte(config))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, expected one line with %q", config, err, want)
		}
	}
}

func TestImageTimm(t *testing.T) {
	resize := func(p *Image) ImageStep { return p.Steps[0] }
	for config, want := range map[string]ImageStep{
		`{"pretrained_cfg": {"input_size": [3, 224, 224], "crop_pct": 0.9}}`:                        {Op: ResizeShortest, Filter: Bicubic, Shortest: 248},
		`{"input_size": [3, 224, 224], "interpolation": "bilinear"}`:                                {Op: ResizeShortest, Filter: Bilinear, Shortest: 256},
		`{"pretrained_cfg": {"input_size": [3, 224, 192], "crop_pct": 1}}`:                          {Op: ResizeCover, Filter: Bilinear, Height: 224, Width: 192},
		`{"pretrained_cfg": {"input_size": [3, 224, 224], "crop_pct": 0.9, "crop_mode": "squash"}}`: {Op: ResizeExact, Filter: Bicubic, Height: 248, Width: 248},
		`{"pretrained_cfg": {"input_size": [3, 224, 224], "crop_pct": 0.9, "crop_mode": "border"}}`: {Op: ResizeInside, Filter: Bicubic, Height: 248, Width: 248},
	} {
		p, err := ImageFromTimmConfig([]byte(config))
		if err != nil {
			t.Errorf("%s: %v", config, err)
		} else if d := cmp.Diff(want, resize(p)); d != "" {
			t.Errorf("%s:\n%s", config, d)
		}
	}
	for config, want := range map[string]string{
		`{"pretrained_cfg": {"crop_mode": "round"}}`:     `crop_mode "round"`,
		`{"pretrained_cfg": {"input_size": [3, 224]}}`:   "input_size [3 224]",
		`{"pretrained_cfg": {"interpolation": "magic"}}`: `interpolation "magic"`,
		`{"pretrained_cfg": {"crop_pct": -1}}`:           "crop_pct -1",
	} {
		if _, err := ImageFromTimmConfig([]byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, expected %q", config, err, want)
		}
	}
}

func TestImageOpenCLIP(t *testing.T) {
	config := func(pp string) []byte {
		return []byte(`{"model_cfg": {"vision_cfg": {"image_size": [48, 96]}}, "preprocess_cfg": {` + pp + `}}`)
	}
	crop := ImageStep{Op: CenterCrop, Height: 48, Width: 96, HalfEven: true}
	filled := crop
	filled.Fill = []uint8{9, 9, 9}
	for pp, want := range map[string][]ImageStep{
		``: {{Op: ResizeCover, Filter: Bicubic, Height: 48, Width: 96}, crop},
		`"size": 20, "interpolation": "bilinear", "mean": null, "std": null`: {{Op: ResizeCover, Filter: Bicubic, Height: 48, Width: 96}, crop},
		`"resize_mode": "longest", "fill_color": 9`:                          {{Op: ResizeInside, Filter: Bicubic, Height: 48, Width: 96}, filled},
		`"resize_mode": "squash"`:                                            {{Op: ResizeExact, Filter: Bicubic, Height: 48, Width: 96}},
	} {
		p, err := ImageFromOpenCLIPConfig(config(pp))
		if err != nil {
			t.Errorf("%s: %v", pp, err)
			continue
		}
		if d := cmp.Diff(want, p.Steps); d != "" {
			t.Errorf("%s:\n%s", pp, d)
		}
		if !p.ConvertLast || !p.Normalize.ToTensor {
			t.Errorf("%s: %+v", pp, p)
		}
	}
	square, err := ImageFromOpenCLIPConfig([]byte(`{"preprocess_cfg": {"size": 20, "interpolation": "bilinear"}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []ImageStep{{Op: ResizeShortest, Filter: Bilinear, Shortest: 20}, {Op: CenterCrop, Height: 20, Width: 20, HalfEven: true}}
	if d := cmp.Diff(want, square.Steps); d != "" {
		t.Error(d)
	}
	if _, err := ImageFromOpenCLIPConfig(config(`"resize_mode": "none"`)); err == nil {
		t.Error(`resize_mode "none" was taken`)
	}
}

// TestImageOfProcessorClass: a class that the file names counts, else the one given.
func TestImageOfProcessorClass(t *testing.T) {
	for config, op := range map[string]ImageOp{
		`{"size": 20}`: ResizeExact,
		`{"size": 20, "image_processor_type": "CLIPImageProcessor"}`:     ResizeShortest,
		`{"size": 20, "feature_extractor_type": "CLIPFeatureExtractor"}`: ResizeShortest,
	} {
		p, err := ImageOfProcessorClass([]byte(config), "SiglipImageProcessor")
		if err != nil || p.Steps[0].Op != op {
			t.Errorf("%s: %+v, %v", config, p, err)
		}
	}
}

// TestImageStored: what a converted folder stores is read back as it was.
func TestImageStored(t *testing.T) {
	for _, p := range []*Image{
		ImageOpenAICLIP(224), ImageSquash(10, 20, HalfMean, HalfStd), ImageInternVL(448, 1, 12, true), ImageXComposer25(560, 24),
		ImagePixelBERT(800), ImageOpenAICLIP(28).WithPadSquare(), ImageOpenAICLIP(28).WithAnyRes([][2]int{{28, 56}}),
	} {
		if err := p.Check(); err != nil {
			t.Error(err)
		}
		stored, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var got Image
		if err := json.Unmarshal(stored, &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(p, &got); d != "" {
			t.Error(d)
		}
	}
}

func FuzzImageConfigs(f *testing.F) {
	for class := range hfImageProcessors {
		f.Add([]byte(`{"image_processor_type": "` + class + `", "size": {"shortest_edge": 9, "longest_edge": 90}, "crop_pct": 0.5, "image_size": 24, "image_mean": [1], "image_grid_pinpoints": "[(1,2)]"}`))
	}
	f.Add([]byte(`{"pretrained_cfg": {"input_size": [3, 5, 5], "crop_mode": "border", "mean": [1e300, -1, 0], "std": [1, 1, 1]}}`))
	f.Add([]byte(`{"preprocess_cfg": {"size": [4, 5], "resize_mode": "longest", "fill_color": 3}}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		for _, read := range []func([]byte) (*Image, error){ImageFromPreprocessorConfig, ImageFromTimmConfig, ImageFromOpenCLIPConfig} {
			if p, err := read(config); err == nil {
				if err := p.Check(); err != nil {
					t.Fatalf("accepted, but %v", err)
				}
			}
		}
	})
}

func onTensors(steps []ImageStep) []ImageStep {
	p := Image{Steps: slices.Clone(steps)}
	p.onTensors()
	return p.Steps
}
