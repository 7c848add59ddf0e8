package graph

import "github.com/mmconv/mmconv/graph/pipeline"

// Model is what an import gives: a graph, what its inputs go through, and an account of the checkpoint.
type Model struct {
	System   string // the system's name, as `mmconv systems` lists it
	Naming   string // whose tensor names the checkpoint has
	Graph    *Graph
	Pipeline *pipeline.Pipeline
	Ignored  []Ignored // tensors that no part of the graph reads, by name
	Notes    []string  // choices that the import made, for the report
	Advice   []Advice  // which weights a conversion to integers should treat otherwise; later ones count more
}

// Advice says of the weights that a glob matches how they are best converted, where a recipe makes integers of them and says
// nothing of its own about them. An empty field leaves it to the recipe.
type Advice struct {
	Match       string
	Weights     string
	Activations string
}

// Ignored is a tensor of the checkpoint that the import leaves out.
type Ignored struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}
