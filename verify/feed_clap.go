package verify

import (
	"github.com/mmconv/mmconv/graph"
)

var _ = RegisterFeeder(StageAfter, Feeder{Name: "clap", Feed: feedCLAP})

// feedCLAP serves models with feature fusion: which clips are longer is a column, whatever shape it was given in; golden
// cases hold one of the four spectrograms where all are equal, and what comes out where no clip counts as longer.
func feedCLAP(r *Run) error {
	longer := r.Feeds["is_longer"]
	if longer == nil {
		return nil
	}
	longer = &graph.Tensor{Shape: graph.Shape{len(longer.Data), 1}, Data: longer.Data}
	r.Feeds["is_longer"] = longer
	for _, name := range []string{"input_features", "mel_fusion", "audio.image"} {
		if e := r.Recorded(name); e == nil || len(e.Shape) != 4 || e.Shape[1] != 1 || e.Slice != nil || r.Check(name) != nil {
			continue
		}
		r.Offer(name, func() (*graph.Tensor, error) {
			t := r.Feeds[name]
			if t == nil {
				out, err := r.Engine.Run(r.Feeds, name)
				if err != nil {
					return nil, err
				}
				t = out[name]
			}
			return firstOfAxis1(t), nil
		})
	}
	if r.Graph().Value("audio_embeds") != nil {
		r.Offer("audio_embeds_not_longer", func() (*graph.Tensor, error) {
			feeds := map[string]*graph.Tensor{"is_longer": graph.NewTensor(longer.Shape...)}
			for name, t := range r.Feeds {
				if feeds[name] == nil {
					feeds[name] = t
				}
			}
			out, err := r.Engine.Run(feeds, "audio_embeds")
			return out["audio_embeds"], err
		})
	}
	return nil
}

// firstOfAxis1 keeps the first element of axis 1.
func firstOfAxis1(t *graph.Tensor) *graph.Tensor {
	inner := t.Shape[2:].Len()
	out := graph.NewTensor(t.Shape.With(1, 1)...)
	for i := range t.Shape[0] {
		copy(out.Data[i*inner:(i+1)*inner], t.Data[i*t.Shape[1]*inner:])
	}
	return out
}
