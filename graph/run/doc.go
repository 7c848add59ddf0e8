// Package run makes a model that can be fed, run and asked for any value, from a source checkpoint or a converted folder.
//
//	m, err := run.Open("clip-int8", run.Options{})
//	p, err := m.NewPass(ctx, map[string]run.Input{"images": run.Files("a.png", "b.png")})
//	values, err := p.Fetch(ctx, "image_embeds")
//
// A [Model] is the graph with its engines and what its pipeline needs; it is safe for several goroutines. A [Pass] is one
// passage of inputs through the pipeline, and belongs to one goroutine: each [Feeder] turns the logical inputs that it knows
// (pictures, clips, texts, tensors) into what the graph is fed with. Values are known by name, whether the graph computes
// them or a feeder offers them.
package run
