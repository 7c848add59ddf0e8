package verify

import (
	"slices"
	"time"

	"github.com/mmconv/mmconv/graph"
)

// latencyBudget bounds how long the measurement of latency takes, latencyRounds how many rounds it has.
const (
	latencyBudget = 3 * time.Second
	latencyRounds = 25
)

// latency returns the median time in milliseconds that both models take for the named values, measured in turns so that a
// change of the machine's speed meets both.
func latency(before, after *Run, names []string) (b, a float64, err error) {
	one := func(r *Run) (time.Duration, error) {
		start := time.Now()
		_, err := r.Engine.Run(r.Feeds, names...)
		return time.Since(start), err
	}
	// The first run of each compiles and packs.
	for _, r := range []*Run{before, after} {
		if _, err := one(r); err != nil {
			return 0, 0, err
		}
	}
	var tb, ta []time.Duration
	for start := time.Now(); len(tb) < latencyRounds && (len(tb) < 3 || time.Since(start) < latencyBudget); {
		x, err := one(before)
		if err != nil {
			return 0, 0, err
		}
		y, err := one(after)
		if err != nil {
			return 0, 0, err
		}
		tb, ta = append(tb, x), append(ta, y)
	}
	return median(tb), median(ta), nil
}

// Time returns the median and the best time that a run takes for the named values, after a first one that compiles.
func (r *Run) Time(rounds int, names ...string) (typical, best time.Duration, err error) {
	var times []time.Duration
	for range rounds + 1 {
		start := time.Now()
		if _, err := r.Engine.Run(r.Feeds, names...); err != nil {
			return 0, 0, err
		}
		times = append(times, time.Since(start))
	}
	times = times[1:]
	slices.Sort(times)
	return times[len(times)/2], times[0], nil
}

func median(t []time.Duration) float64 {
	slices.Sort(t)
	return t[len(t)/2].Seconds() * 1000
}

// timed returns the outputs of a model that a run reaches and that are not fed: what latency is measured for.
func (r *Run) timed(other *Session) []string {
	var names []string
	for _, o := range r.Graph().Outputs {
		if r.Check(o.Name) == nil && r.Feeds[o.Name] == nil && other.Graph().Value(o.Name) != nil && r.fresh(o.Name, map[string]*graph.Tensor{}) {
			names = append(names, o.Name)
		}
	}
	return names
}
