// Package exec compiles graphs for given input shapes and runs them: a schedule, one arena for all values, weights packed
// once for the kernels.
package exec

import (
	"github.com/mmconv/mmconv/graph"
)

// Options of an engine.
type Options struct {
	Threads int // 0: one for each processor
}
