package synthetic

import "fmt"

// The vision towers of openai/CLIP with their projections, as transformers' CLIPVisionModelWithProjection (Radford et al.
// 2021, table 19).
var _ = register("clip", map[string]func() *Model{
	"vit-b-32":     func() *Model { return clipVision(768, 12, 12, 32, 224, 512) },
	"vit-b-16":     func() *Model { return clipVision(768, 12, 12, 16, 224, 512) },
	"vit-l-14":     func() *Model { return clipVision(1024, 24, 16, 14, 224, 768) },
	"vit-l-14-336": func() *Model { return clipVision(1024, 24, 16, 14, 336, 768) },
})

func clipVision(width, layers, heads, patch, size, projection int) *Model {
	m := &Model{
		Config: map[string]any{
			"architectures": []string{"CLIPVisionModelWithProjection"}, "model_type": "clip_vision_model",
			"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers, "num_attention_heads": heads,
			"patch_size": patch, "image_size": size, "projection_dim": projection, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
		},
		Preprocessor: map[string]any{
			"image_processor_type": "CLIPImageProcessor", "resample": 3, "do_resize": true, "do_center_crop": true, "do_rescale": true,
			"do_normalize": true, "do_convert_rgb": true, "rescale_factor": 1.0 / 255,
			"size": map[string]int{"shortest_edge": size}, "crop_size": map[string]int{"height": size, "width": size},
			"image_mean": []float64{0.48145466, 0.4578275, 0.40821073}, "image_std": []float64{0.26862954, 0.26130258, 0.27577711},
		},
	}
	add := func(like Likeness, name string, shape ...int) {
		m.Tensors = append(m.Tensors, Tensor{name, shape, like})
	}
	linear := func(name string, out, in int) {
		add(Matrix, name+".weight", out, in)
		add(Bias, name+".bias", out)
	}
	norm := func(name string) {
		add(Gain, name+".weight", width)
		add(Bias, name+".bias", width)
	}
	add(Embedding, "vision_model.embeddings.class_embedding", width)
	add(Matrix, "vision_model.embeddings.patch_embedding.weight", width, 3, patch, patch)
	add(Embedding, "vision_model.embeddings.position_embedding.weight", (size/patch)*(size/patch)+1, width)
	norm("vision_model.pre_layrnorm")
	for i := range layers {
		p := fmt.Sprintf("vision_model.encoder.layers.%d.", i)
		norm(p + "layer_norm1")
		for _, name := range []string{"q_proj", "k_proj", "v_proj", "out_proj"} {
			linear(p+"self_attn."+name, width, width)
		}
		norm(p + "layer_norm2")
		linear(p+"mlp.fc1", 4*width, width)
		linear(p+"mlp.fc2", width, 4*width)
	}
	norm("vision_model.post_layernorm")
	add(Matrix, "visual_projection.weight", projection, width)
	return m
}
