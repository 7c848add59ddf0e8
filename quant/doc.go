// Package quant makes converted models and opens them: it decides what happens to every weight of a model, chooses the
// integers, and writes the folder that the executor runs from.
//
// The files follow the way of the data. A [Recipe] says what is wanted; [Prepare] imports a source, fuses its graph and
// makes a [Plan], which is data and leaves nothing to decide; [Conversion.Write] evaluates one weight at a time, has a
// [Method] choose its numbers, and puts them where the plan says. [Load] opens either a source or a converted folder as a
// model that runs.
package quant
