package pipeline

var (
	_ = registerImageProcessor("DINOv3ViTImageProcessor", hfDINOv3)
	_ = registerImageProcessor("DINOv3ViTImageProcessorFast", hfDINOv3)
)

// hfDINOv3 is DINOv3ViTImageProcessorFast, which scales first and resizes floats (transformers
// models/dinov3_vit/image_processing_dinov3_vit_fast.py).
func hfDINOv3(c *hfImage) (*Image, error) {
	p, err := hfStretch(224, Bilinear, ImageNetMean, ImageNetStd)(c)
	if err != nil {
		return nil, err
	}
	for i := range p.Steps {
		p.Steps[i].Unrounded = true
	}
	if or(c.DoCenterCrop, false) {
		p.Steps = append(p.Steps, or(c.CropSize, hfSize{Int: 224}).square().crop())
	}
	return p, nil
}
