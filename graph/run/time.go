package run

import (
	"context"
	"slices"
	"time"
)

// Time returns the median and the best time that the graph takes for the named values, after a first run that compiles.
func (p *Pass) Time(ctx context.Context, rounds int, names ...string) (typical, best time.Duration, err error) {
	var times []time.Duration
	for range rounds + 1 {
		start := time.Now()
		if _, err := p.Run(ctx, p.Feeds, names...); err != nil {
			return 0, 0, err
		}
		times = append(times, time.Since(start))
	}
	times = times[1:]
	slices.Sort(times)
	return times[len(times)/2], times[0], nil
}
