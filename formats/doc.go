// Package formats reads and writes model files, and knows nothing of models. It turns bytes into checked, lazily read
// tensors, and tensors into files that appear whole or not at all.
//
// Open takes what a user has: a folder, a single file, or hf:OWNER/NAME in the Hugging Face cache. It answers with a
// Checkpoint: tensors by name, whatever the number of files that hold them, and the small JSON and text files beside them.
// Only headers are read; a Tensor finds its values when it is asked for them, in ranges, so that a caller can stream through
// a model that is larger than memory.
//
// Two families of files are read: safetensors (single, or shards with their index) and PyTorch's (zip archives, TorchScript
// archives, legacy pickles). Nothing in a file is ever executed. Everything in a file is hostile until it is checked: see the
// kinds of Error for what is refused. WriteSafetensors writes, WriteDir and WriteFile make what is written appear at once.
package formats
