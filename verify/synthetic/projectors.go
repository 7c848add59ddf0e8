package synthetic

import "strings"

// LLaVA-1.5 (Liu et al., arXiv:2310.03744): CLIP's ViT-L/14 at 336 pixels and an MLP, in transformers' names, without the language
// model.
var _ = register("llava", map[string]func() *Model{
	"llava-1.5-7b":  func() *Model { return llava(clipVision(1024, 24, 16, 14, 336, 768), 1024, 4096) },
	"llava-1.5-13b": func() *Model { return llava(clipVision(1024, 24, 16, 14, 336, 768), 1024, 5120) },
})

// llava puts an MLP to width out behind a tower of CLIP's.
func llava(tower *Model, width, out int) *Model {
	m := &Model{Preprocessor: tower.Preprocessor, Config: map[string]any{
		"architectures": []string{"LlavaForConditionalGeneration"}, "model_type": "llava", "vision_config": tower.Config,
		"text_config": map[string]any{"model_type": "llama", "hidden_size": out}, "vision_feature_layer": -2,
		"vision_feature_select_strategy": "default", "projector_hidden_act": "gelu",
	}}
	for _, t := range tower.Tensors {
		if strings.HasPrefix(t.Name, "vision_model.") {
			t.Name = "vision_tower." + t.Name
			m.Tensors = append(m.Tensors, t)
		}
	}
	for i, in := range []int{width, out} {
		stem := "multi_modal_projector.linear_" + string(rune('1'+i))
		m.Tensors = append(m.Tensors, Tensor{stem + ".weight", []int{out, in}, Matrix}, Tensor{stem + ".bias", []int{out}, Bias})
	}
	return m
}
