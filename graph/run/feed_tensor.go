package run

import "context"

var _ = RegisterFeeder(StageTensor, Feeder{Name: "tensors", Feed: feedTensors})

// inputAliases are other projects' names of graph inputs.
var inputAliases = map[string]string{
	"tokens": "decoder_input_ids", // openai/whisper
	"longer": "is_longer",         // LAION-AI/CLAP
}

// feedTensors gives every tensor to the graph value of its name. Tensors that the graph has no place for (a mask that an
// architecture does not read) are named in the notes.
func feedTensors(_ context.Context, p *Pass) error {
	for _, name := range p.Inputs() {
		in, _ := p.Peek(name)
		if in.Tensor == nil {
			continue
		}
		p.Take(name)
		to := name
		if !p.Has(to) && inputAliases[name] != "" {
			to = inputAliases[name]
		}
		if !p.Has(to) {
			p.Note("input %q: the graph does not read it", name)
			continue
		}
		p.Feeds[to] = in.Tensor
	}
	return nil
}
