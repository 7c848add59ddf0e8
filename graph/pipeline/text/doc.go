// Package text turns texts into the ids that models take, and ids into texts, as the original tokenizers do: CLIP's and
// GPT-2's byte-level BPE, BERT's WordPiece, SentencePiece's unigram and BPE models, tiktoken's rank files, the pipelines
// of huggingface/tokenizers, and CTC alphabets. What to do is data (pipeline.Text); each kind of tokenizer registers itself
// from its own file and puts the same stages together:
//
//	added tokens are cut out → each part is normalised → split into words → cut into tokens by a model → ids
package text
