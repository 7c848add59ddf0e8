// Package kernels holds mmconv's numeric functions: matrix products over float32 and packed int8/int4 weights, attention,
// norms, activations, convolutions and number-format conversion. It works on slices and knows nothing of graphs, files or
// quantization policy.
//
// Every kernel has a portable Go version, which is its documented reference, and assembly for the instruction sets that
// pay. The instruction set is chosen once at start from the processor's features (see [Active]); the environment variable
// MMCONV_ISA forces another, which must be one that the processor has.
package kernels
