package models

import "github.com/mmconv/mmconv/graph"

// UniSpeech-SAT (Chen et al., arXiv:2110.05752): wav2vec 2.0's architecture, trained to tell speakers apart too. Source:
// huggingface/transformers models/unispeech_sat/modeling_unispeech_sat.py; UniSpeech (Wang et al., arXiv:2101.07597) likewise.

var _ = Register(&System{
	Name: "unispeech", Title: "UniSpeech and UniSpeech-SAT",
	ModelTypes: []string{"unispeech", "unispeech-sat"},
	Namings: []Naming{{Name: "huggingface", Looked: "config.json with model_type unispeech or unispeech-sat", Recognise: func(im *Import) bool {
		return im.ModelType() == "unispeech" || im.ModelType() == "unispeech-sat"
	}}},
	Build: func(im *Import) (*graph.Model, error) {
		c := defaultHubert()
		if err := im.Config(c); err != nil {
			return nil, err
		}
		if im.ModelType() == "unispeech" {
			return im.speechModel(c, "unispeech")
		}
		return im.speechModel(c, "unispeech_sat")
	},
})
