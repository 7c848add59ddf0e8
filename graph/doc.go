// Package graph is mmconv's intermediate representation: a directed acyclic graph of typed operations over float32
// tensors, whose weights are expressions over the tensors of a checkpoint.
//
// A [Node] is one operation and the one value that it computes. Operations are small structs that know their shape rule.
// Nothing in a graph fixes the size of a batch or the length of a sequence: shapes are inferred when a program is compiled
// for given inputs (package exec). Names are how the outside speaks of values: inputs, outputs and the recorded points of a
// pipeline are all names, a value may have several, and any named value can be fed as well as fetched.
//
// Models are built with a [Builder] by the system files in graph/models, rewritten by the passes in graph/fuse and run by
// graph/exec. Token ids and masks are float32 as well (exact up to 2^24), so that there is one kind of value.
package graph
