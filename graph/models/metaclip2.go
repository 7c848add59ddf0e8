package models

import "github.com/mmconv/mmconv/graph"

// MetaCLIP 2: A Worldwide Scaling Recipe (Chuang et al., arXiv:2507.22062): CLIP over XLM-R's vocabulary, whose text is pooled
// where the end-of-text token first stands. Source: huggingface/transformers models/metaclip_2/modular_metaclip_2.py.

var _ = Register(&System{
	Name: "metaclip2", Title: "MetaCLIP 2",
	ModelTypes: []string{"metaclip_2", "metaclip_2_vision_model", "metaclip_2_text_model"},
	Namings: []Naming{{Name: "huggingface", Looked: "config.json with model_type metaclip_2, tensors vision_model.* or text_model.*", Recognise: func(im *Import) bool {
		switch im.ModelType() {
		case "metaclip_2", "metaclip_2_vision_model", "metaclip_2_text_model":
			return im.HasTensor("vision_model.embeddings.class_embedding") || im.HasTensor("text_model.embeddings.token_embedding.weight")
		}
		return false
	}}},
	Build: func(im *Import) (*graph.Model, error) {
		c := defaultCLIP()
		vision, text, err := c.read(im, "metaclip_2")
		if err != nil {
			return nil, err
		}
		c.Text.pool, c.tokenizerClass = "eos", "XLMRobertaTokenizer"
		return c.build(im, graph.NewBuilder(im.Params(nil, "")), vision, text)
	},
})
