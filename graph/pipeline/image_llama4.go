package pipeline

import "fmt"

var _ = registerImageProcessor("Llama4ImageProcessorFast", hfLlama4)

// hfLlama4 is Llama4ImageProcessorFast (transformers models/llama4/image_processing_llama4_fast.py), one tile a picture.
func hfLlama4(c *hfImage) (*Image, error) {
	p, err := hfStretch(336, Bilinear, HalfMean, HalfStd)(c)
	if err == nil && len(p.Steps) == 0 {
		return nil, fmt.Errorf("do_resize is false; expected true")
	}
	return p, err
}
