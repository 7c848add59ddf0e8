package pipeline

import "fmt"

var _ = registerImageProcessor("PixtralImageProcessor", hfPixtral)

// hfPixtral makes pictures no larger than the longest edge, with sides that are whole numbers of patches
// (transformers models/pixtral/image_processing_pixtral.py).
func hfPixtral(c *hfImage) (*Image, error) {
	p := &Image{Normalize: c.normalize(CLIPMean, CLIPStd), Layout: LayoutSized}
	f, err := c.filter(Bicubic)
	if err != nil {
		return nil, err
	}
	if !or(c.DoResize, true) {
		return p, nil
	}
	size := or(c.Size, hfSize{LongestEdge: 1024})
	if size.LongestEdge != 0 {
		size.Height, size.Width = size.LongestEdge, size.LongestEdge
	}
	patch := or(c.PatchSize, hfSize{Int: 16}).square()
	if size.Height == 0 || size.Width == 0 || patch.Height != patch.Width {
		return nil, fmt.Errorf("size has neither longest_edge nor height and width, or patch_size is no square")
	}
	p.Steps = []ImageStep{{Op: ResizeWithin, Filter: f, Height: size.Height, Width: size.Width, Multiple: patch.Height}}
	return p, nil
}
