// Package exec compiles graphs for given input shapes and runs them: a schedule, one arena for all values, weights packed
// once for the kernels. The unfused float graph and the fused quantized graph run through the same engine, so that a
// difference between them is the conversion's.
package exec
