package verify

var _ = RegisterFeeder(StageTensor, Feeder{Name: "tensors", Feed: feedTensors})

// inputAliases are other projects' names of graph inputs.
var inputAliases = map[string]string{
	"tokens": "decoder_input_ids", // openai/whisper
	"longer": "is_longer",         // LAION-AI/CLAP
}

// feedTensors gives every tensor to the graph value of its name. Tensors that the graph has no place for (a mask that an
// architecture does not read) are named in the notes.
func feedTensors(r *Run) error {
	for _, name := range r.Inputs() {
		in, _ := r.Peek(name)
		if in.Tensor == nil {
			continue
		}
		r.Take(name)
		to := name
		if !r.Has(to) && inputAliases[name] != "" {
			to = inputAliases[name]
		}
		if !r.Has(to) {
			r.Note("input %q: the graph does not read it", name)
			continue
		}
		r.Feeds[to] = in.Tensor
	}
	return nil
}
