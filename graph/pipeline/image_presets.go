package pipeline

// Pixel statistics that encoders were trained with.
var (
	CLIPMean     = []float64{0.48145466, 0.4578275, 0.40821073}
	CLIPStd      = []float64{0.26862954, 0.26130258, 0.27577711}
	ImageNetMean = []float64{0.485, 0.456, 0.406}
	ImageNetStd  = []float64{0.229, 0.224, 0.225}
	HalfMean     = []float64{0.5, 0.5, 0.5}
	HalfStd      = []float64{0.5, 0.5, 0.5}
)

func torchNormalize(mean, std []float64) Normalize {
	return Normalize{ToTensor: true, Mean: mean, Std: std}
}

// ImageOpenAICLIP is openai/CLIP's clip._transform for models of size x size pixels; EVA-CLIP's image_transform is the same
// with its own statistics.
func ImageOpenAICLIP(size int) *Image {
	return ImageShortestCrop(size, size, CLIPMean, CLIPStd)
}

// ImageShortestCrop brings the short side to the model's size with the bicubic filter, keeping the ratio, and crops
// height x width from the centre; conversion to RGB comes last. It is image_transform of open_clip and of EVA-CLIP.
func ImageShortestCrop(height, width int, mean, std []float64) *Image {
	resize := ImageStep{Op: ResizeShortest, Filter: Bicubic, Shortest: height}
	if height != width {
		resize = ImageStep{Op: ResizeCover, Filter: Bicubic, Height: height, Width: width}
	}
	return &Image{
		ConvertLast: true,
		Steps:       []ImageStep{resize, {Op: CenterCrop, Height: height, Width: width, HalfEven: true}},
		Normalize:   torchNormalize(mean, std),
	}
}

// ImageSquash stretches a picture to height x width with the bicubic filter: the evaluation transform of ALBEF, LAVIS's
// BlipImageEvalProcessor, Qwen-VL, CogVLM and MiniGPT-4, each with its statistics.
func ImageSquash(height, width int, mean, std []float64) *Image {
	return &Image{
		Steps:     []ImageStep{{Op: ResizeExact, Filter: Bicubic, Height: height, Width: width}},
		Normalize: torchNormalize(mean, std),
	}
}

// ImageInternVL is InternVL 1.5's dynamic_preprocess with tiles of size x size pixels and ImageNet's statistics. With
// maxTiles 1 the picture is stretched to one tile.
func ImageInternVL(size, minTiles, maxTiles int, thumbnail bool) *Image {
	p := ImageSquash(size, size, ImageNetMean, ImageNetStd)
	if maxTiles > 1 {
		p.Tiling = &Tiling{Kind: TileDynamic, Filter: Bicubic, Size: size, MinTiles: max(minTiles, 1), MaxTiles: maxTiles, Thumbnail: thumbnail}
	}
	return p
}

// ImageXComposerHD is HD_transform of InternLM-XComposer2-4KHD: tiles of 336 pixels in the release, at most hdNum of them.
// The model itself cuts the picture.
func ImageXComposerHD(tile, hdNum int) *Image {
	return &Image{
		Steps:     []ImageStep{{Op: ResizeHD, Filter: Bilinear, Multiple: tile, MaxTiles: hdNum, Fill: []uint8{255, 255, 255}}},
		Normalize: torchNormalize(CLIPMean, CLIPStd),
	}
}

// ImageXComposer25 is Image_transform of InternLM-XComposer 2.5: as ImageXComposerHD, but small pictures are not made
// larger than their tiles, and white is added at the end only.
func ImageXComposer25(tile, hdNum int) *Image {
	p := ImageXComposerHD(tile, hdNum)
	p.Steps[0].NoUpscale, p.Steps[0].PadEnd = true, true
	return p
}

// ImageSlices is the slice_image of MiniCPM-V and of LLaVA-UHD: slices of about size x size pixels (448, 336), sides
// multiples of the patch, at most maxSlices of them beside the whole picture. Tiles differ in size.
func ImageSlices(size, patch, maxSlices int, mean, std []float64) *Image {
	return &Image{
		Tiling:    &Tiling{Kind: TileSlices, Filter: Bicubic, Size: size, Patch: patch, MaxTiles: maxSlices},
		Normalize: torchNormalize(mean, std),
		Layout:    LayoutMasked,
	}
}

// ImagePixelBERT is pixelbert_transform of dandelin/ViLT: the short side to size, the long side to at most 1333/800 of it,
// both multiples of 32.
func ImagePixelBERT(size int) *Image {
	return &Image{
		Steps:     []ImageStep{{Op: ResizeMultiple, Filter: Bicubic, Shortest: size, Longest: clampInt(1333.0 / 800 * float64(size)), Multiple: 32}},
		Normalize: torchNormalize(HalfMean, HalfStd),
		Layout:    LayoutMasked,
	}
}

// ImageSOHO is the evaluation transform of SOHO and of mmdetection's projects: inside 600 x 1000 pixels, whichever way they lie,
// the ratio kept, bytes normalised by ImageNet's statistics. The original pads sides to multiples of 32; here they are cut to them.
func ImageSOHO() *Image {
	mean, std := make([]float64, 3), make([]float64, 3)
	for i := range mean {
		mean[i], std[i] = ImageNetMean[i]*255, ImageNetStd[i]*255
	}
	return &Image{
		Steps:     []ImageStep{{Op: ResizeMultiple, Filter: Bilinear, Shortest: 600, Longest: 1000, Multiple: 32}},
		Normalize: Normalize{Mean: mean, Std: std},
		Layout:    LayoutMasked,
	}
}

// WithPadSquare returns the processor as LLaVA uses it with image_aspect_ratio "pad": the picture is first put in the
// centre of a square of the mean colour, int(mean * 255) (process_images of haotian-liu/LLaVA).
func (p *Image) WithPadSquare() *Image {
	q := *p
	var fill []uint8
	for _, m := range p.Normalize.Mean {
		fill = append(fill, toByte(m*255))
	}
	q.Steps = append([]ImageStep{{Op: PadSquare, Fill: fill}}, p.Steps...)
	return &q
}

// WithAnyRes returns the processor as LLaVA-NeXT uses it with image_aspect_ratio "anyres": pinpoints are the resolutions
// to choose from, (height, width); tiles have the size of the processor's crop, and the whole picture is stretched to a
// square of its shortest edge (process_anyres_image of haotian-liu/LLaVA). Tiles then pass through the processor's steps.
func (p *Image) WithAnyRes(pinpoints [][2]int) *Image {
	q := *p
	t := &Tiling{Kind: TileAnyRes, Filter: Bicubic, Pinpoints: pinpoints}
	for _, s := range p.Steps {
		switch s.Op {
		case ResizeShortest:
			t.BaseHeight, t.BaseWidth = s.Shortest, s.Shortest
		case ResizeExact:
			t.BaseHeight, t.BaseWidth = s.Height, s.Width
		case CenterCrop:
			t.Size = s.Height
		}
	}
	if t.Size == 0 {
		t.Size = t.BaseHeight
	}
	q.Tiling = t
	return &q
}
