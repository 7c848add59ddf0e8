// Package bench times matrix products against the peak of the processor's units, measured in the same run.
//
// All schemes of a shape are timed in turn, round after round, with the peaks in every round, so that what else goes on in
// the machine strikes all of them alike; best and median of the rounds are reported. Warm weights are the same in each call.
// Cold ones are copies that together exceed the last-level cache and are used in rotation, so that each call reads its
// weights from memory.
package bench
