// Package audio turns audio files into what audio encoders take, equal to the original preprocessors within float32
// rounding: it decodes WAV and FLAC, averages the channels, resamples as torchaudio does, and computes the features of
// Whisper, CLAP, HuBERT and wav2vec 2.0.
//
// Reading streams: [Open] gives a [Reader] of mono samples, [Resample] wraps it, [Windows] cuts it, and none of them holds
// more than a few blocks, however long the file. [Load] is the short way for a clip that fits in memory. [Extract] carries
// out a [pipeline.Audio].
//
// Where an original draws at random (the crop of a long clip), the choice is an input ([Choices]); without one the lowest
// value that the original could have drawn is taken, so that results repeat.
package audio
