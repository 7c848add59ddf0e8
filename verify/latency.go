package verify

import (
	"context"
	"slices"
	"time"

	"github.com/mmconv/mmconv/graph/run"
)

// latencyBudget bounds how long the measurement of latency takes, latencyRounds how many rounds it has.
const (
	latencyBudget = 3 * time.Second
	latencyRounds = 25
)

// latency returns the median time in milliseconds that both models take for the named values, measured in turns so that a
// change of the machine's speed meets both.
func latency(ctx context.Context, before, after *run.Pass, names []string) (b, a float64, err error) {
	one := func(r *run.Pass) (time.Duration, error) {
		start := time.Now()
		_, err := r.Run(ctx, r.Feeds, names...)
		return time.Since(start), err
	}
	// The first run of each compiles and packs.
	for _, r := range []*run.Pass{before, after} {
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

func median(t []time.Duration) float64 {
	slices.Sort(t)
	return t[len(t)/2].Seconds() * 1000
}

// timed returns the outputs of a model that a run reaches and that are not fed: what latency is measured for.
func timed(r *run.Pass, other *run.Model) []string {
	var names []string
	for _, o := range r.Graph().Outputs {
		if r.Check(o.Name) == nil && r.Feeds[o.Name] == nil && other.Value(o.Name) != nil && r.Depends(o.Name, nil) {
			names = append(names, o.Name)
		}
	}
	return names
}
