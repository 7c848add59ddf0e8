package run

import (
	"context"

	"github.com/mmconv/mmconv/graph"
)

var _ = RegisterFeeder(StageAfter, Feeder{Name: "clap", Feed: feedCLAP})

// feedCLAP serves models with feature fusion: which clips are longer is a column, whatever shape it was given in.
func feedCLAP(_ context.Context, p *Pass) error {
	if longer := p.Feeds["is_longer"]; longer != nil {
		p.Feeds["is_longer"] = &graph.Tensor{Shape: graph.Shape{len(longer.Data), 1}, Data: longer.Data}
	}
	return nil
}
