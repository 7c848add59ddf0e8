// Package verify proves what an import or a conversion cost. It carries out a model's pipeline (preprocessing, graph,
// what comes after) on a source checkpoint and on a converted folder, measures the difference node by node and task by
// task, and holds the figures against bounds; and it runs golden cases, the recorded outputs of other frameworks, row by
// row.
//
// Everything that grows with the systems registers itself from a file of its own: a [Feeder] turns logical inputs (images,
// clips, texts, tensors) into what a graph is fed with, a case runner carries out a kind of golden case, a [Task] computes
// a score, a [Metric] a figure, a report format a file.
package verify
