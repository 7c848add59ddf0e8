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
}

// Ignored is a tensor of the checkpoint that the import leaves out.
type Ignored struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}
