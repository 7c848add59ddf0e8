package verify

import (
	"fmt"
	"slices"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/verify/audio"
)

var _ = RegisterFeeder(StageMedia, Feeder{Name: "audio", Feed: feedAudio})

// feedAudio makes the features of clips. What the original draws at random comes from the inputs rand_trunc_start and
// fusion_chunk_starts.
func feedAudio(r *Run) error {
	in, ok := r.Peek("audio")
	if !ok || in.Samples == nil {
		return nil
	}
	r.Take("audio")
	if r.Model.Pipeline == nil || r.Model.Pipeline.Audio == nil {
		return fmt.Errorf("this model takes no audio: it has no audio preprocessing")
	}
	var waves [][]float32
	for _, file := range in.Files() {
		wave, err := r.loadClip(file)
		if err != nil {
			return &InputError{file, trimPath(err, file)}
		}
		waves = append(waves, wave)
	}
	r.clips = in.Files()
	return r.FeedWaves(waves)
}

// maxClip is the most seconds of a clip that a model takes at once: what comes after would cost memory by its square.
const maxClip = 600

// loadClip reads what the pipeline can use of a clip: one sample more than the model's window where the rest is cut off, so
// that it is known to be longer; everything where a golden case has recorded it.
func (r *Run) loadClip(file string) ([]float32, error) {
	p := r.Model.Pipeline.Audio
	limit := maxClip*p.SampleRate + 1
	switch _, start := r.Peek("rand_trunc_start"); {
	case r.recorded != nil:
		limit = 0
	case p.Samples > 0 && p.Truncate != pipeline.TruncateFusion && !start:
		limit = p.Samples + 1
	}
	wave, err := audio.LoadKernel(file, p.SampleRate, r.kernel, limit)
	if err == nil && r.recorded == nil && len(wave) > maxClip*p.SampleRate {
		err = fmt.Errorf("it is longer than the %d s that this model takes at once: cut it into pieces", maxClip)
	}
	return wave, err
}

// FeedWaves makes the features of clips at the model's rate and feeds them.
func (r *Run) FeedWaves(waves [][]float32) error {
	p := r.Model.Pipeline.Audio
	if len(waves) == 1 {
		w := waves[0]
		r.Set(fmt.Sprintf("waveform_%dk", p.SampleRate/1000), &graph.Tensor{Shape: graph.Shape{len(w)}, Data: w})
	}
	f, err := audio.ExtractBatch(p, waves, r.audioChoices(len(waves)))
	if err != nil {
		return err
	}
	t := &graph.Tensor{Shape: f.Shape, Data: f.Data}
	if r.Has(p.Input) && r.in[p.Input].Tensor == nil {
		r.Feeds[p.Input] = t
	} else {
		r.Set(p.Input, t)
	}
	if n := len(t.Data); n > 0 {
		r.Set(p.Input+".pad", &graph.Tensor{Shape: graph.Shape{1}, Data: t.Data[n-1:]})
	}
	if f.Mask != nil {
		mask := graph.NewTensor(len(waves), len(f.Mask)/len(waves))
		for i, v := range f.Mask {
			mask.Data[i] = float32(v)
		}
		if r.Has("attention_mask") && !r.textMask() {
			r.Feeds["attention_mask"] = mask
		} else {
			r.Set("attention_mask", mask)
		}
	}
	if r.Has("is_longer") {
		longer := graph.NewTensor(len(waves), 1)
		for i, l := range f.IsLonger {
			if l {
				longer.Data[i] = 1
			}
		}
		r.Feeds["is_longer"] = longer
	}
	return nil
}

// textMask reports whether the graph's attention mask is that of its text tower.
func (r *Run) textMask() bool {
	return slices.ContainsFunc(r.Graph().Components(), func(c graph.Component) bool { return c == graph.Text }) ||
		r.Model.Pipeline.Text != nil && r.Model.Pipeline.Text.Mask
}

func (r *Run) audioChoices(clips int) []audio.Choices {
	var c audio.Choices
	if in, ok := r.Take("rand_trunc_start"); ok && in.Tensor != nil && len(in.Tensor.Data) > 0 {
		start := int(in.Tensor.Data[0])
		c.TruncStart = &start
	}
	if in, ok := r.Take("fusion_chunk_starts"); ok && in.Tensor != nil {
		for _, v := range in.Tensor.Data {
			c.ChunkStarts = append(c.ChunkStarts, int(v))
		}
	}
	if c.TruncStart == nil && c.ChunkStarts == nil {
		return nil
	}
	return slices.Repeat([]audio.Choices{c}, clips)
}
