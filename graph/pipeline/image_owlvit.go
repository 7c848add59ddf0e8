package pipeline

var _ = registerImageProcessor("OwlViTImageProcessor", hfOwlViT)

// hfOwlViT stretches; the crop, if one is asked for, comes after (transformers models/owlvit/image_processing_owlvit.py).
func hfOwlViT(c *hfImage) (*Image, error) {
	p, err := hfStretch(768, Bicubic, CLIPMean, CLIPStd)(c)
	if err == nil && or(c.DoCenterCrop, false) {
		p.Steps = append(p.Steps, or(c.CropSize, hfSize{Int: 768}).square().crop())
	}
	return p, err
}
