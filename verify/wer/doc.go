// Package wer holds word and character error rates, and the text normalisers of Whisper that they are measured with.
package wer
