package pipeline

var _ = registerImageProcessor("LlavaOnevisionImageProcessor", hfOneVision)

// hfOneVision is LLaVA-NeXT's cutting with tiles of the processor's size; pictures of samples with several stay whole.
func hfOneVision(c *hfImage) (*Image, error) {
	p, err := hfStretch(384, Bicubic, CLIPMean, CLIPStd)(c)
	if err != nil {
		return nil, err
	}
	f, err := c.filter(Bicubic)
	if err != nil {
		return nil, err
	}
	size := or(c.Size, hfSize{Int: 384}).square()
	pinpoints := c.ImageGridPinpoints
	if pinpoints == nil {
		for h := 384; h <= 2304; h += 384 {
			for w := 384; w <= 2304; w += 384 {
				pinpoints = append(pinpoints, [2]int{h, w})
			}
		}
	}
	p.Tiling = &Tiling{Kind: TileAnyRes, Filter: f, Size: size.Height, BaseHeight: size.Height, BaseWidth: size.Width, Pinpoints: pinpoints, SingleOnly: true}
	p.Layout = LayoutImageTiles
	return p, nil
}
