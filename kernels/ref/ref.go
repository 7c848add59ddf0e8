// Package ref computes what package kernels computes, in float64 and in the simplest way, as the standard that the kernels'
// tests measure against. Nothing else should use it.
package ref
