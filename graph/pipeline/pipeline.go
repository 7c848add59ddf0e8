// Package pipeline describes, as data, what the inputs of a model go through and what its outputs are for: the parts of a
// system that are not its graph. The descriptions are read from the processor configurations that checkpoints are
// published with, stored in converted folders, and interpreted by package verify.
package pipeline

// Pipeline is the whole description. Parts that a model does not have are nil.
type Pipeline struct {
	Image *Image `json:"image,omitempty"`
	Text  *Text  `json:"text,omitempty"`
	Audio *Audio `json:"audio,omitempty"`
	// Decode says how a decoder writes text.
	Decode *Decode `json:"decode,omitempty"`
	Task   *Task   `json:"task,omitempty"`
	// Assembly says how the tokens of a picture's tiles become those of the picture; nil where each tile stands for itself.
	Assembly *Assembly `json:"assembly,omitempty"`
	// Files are those of the checkpoint folder that the pipeline reads (tokenizers), to be kept with a converted model.
	Files []string `json:"files,omitempty"`
}

// Task says which score can be computed from the outputs.
type Task struct {
	// Kind is "contrastive": two embeddings, one of each modality, compared by cosine (zero-shot classification), or
	// "transcription": ids decoded to text, or "ctc".
	Kind string `json:"kind"`
	// Query and Key name the outputs that a contrastive task compares: Query of the image or the clip, Key of the text.
	Query string `json:"query,omitempty"`
	Key   string `json:"key,omitempty"`
}
