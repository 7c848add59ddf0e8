// Package converted is the format of converted folders: a manifest, a graph with its table of weights, and the weights
// themselves. Package quant writes such folders, package run opens them. docs/converted.md describes the files.
package converted
