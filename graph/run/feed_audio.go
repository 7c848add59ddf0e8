package run

import (
	"context"
	"fmt"
	"slices"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/graph/pipeline/audio"
)

var _ = RegisterFeeder(StageMedia, Feeder{Name: "audio", Feed: feedAudio})

// feedAudio makes the features of clips. What the original draws at random comes from the inputs rand_trunc_start and
// fusion_chunk_starts.
func feedAudio(ctx context.Context, p *Pass) error {
	in, ok := p.Peek("audio")
	if !ok || in.Samples == nil && in.Waves == nil {
		return nil
	}
	p.Take("audio")
	if p.Pipeline.Audio == nil {
		return fmt.Errorf("this model takes no audio: it has no audio preprocessing")
	}
	waves := in.Waves
	if waves == nil {
		for _, file := range in.Files() {
			if err := ctx.Err(); err != nil {
				return err
			}
			wave, err := p.loadClip(file)
			if err != nil {
				return &InputError{file, trimPath(err, file)}
			}
			waves = append(waves, wave)
		}
	}
	if p.splits(waves) {
		return p.split(ctx, in.Files(), waves)
	}
	p.clips = in.Files()
	for _, w := range waves {
		p.waves = append(p.waves, len(w))
	}
	return p.feedWaves(waves)
}

// maxClip is the most seconds of a clip that a model takes at once: what comes after would cost memory by its square.
const maxClip = 600

// loadClip reads what the pipeline can use of a clip: one sample more than the model's window where the rest is cut off, so
// that it is known to be longer; everything where what was made of all of it is recorded.
func (p *Pass) loadClip(file string) ([]float32, error) {
	d := p.Pipeline.Audio
	limit := maxClip*d.SampleRate + 1
	switch _, start := p.Peek("rand_trunc_start"); {
	case p.Recording != nil:
		limit = 0
	case d.Samples > 0 && d.Truncate != pipeline.TruncateFusion && !start:
		limit = d.Samples + 1
	}
	wave, notes, err := audio.LoadKernel(file, d.SampleRate, p.kernel, limit)
	for _, n := range notes {
		p.Note("%s: %s; what is there was read", file, n)
	}
	if err == nil && p.Recording == nil && len(wave) > maxClip*d.SampleRate {
		err = fmt.Errorf("it is longer than the %d s that this model takes at once: cut it into pieces", maxClip)
	}
	return wave, err
}

// feedWaves makes the features of clips at the model's rate and feeds them.
func (p *Pass) feedWaves(waves [][]float32) error {
	d := p.Pipeline.Audio
	if len(waves) == 1 {
		w := waves[0]
		p.Set(fmt.Sprintf("waveform_%dk", d.SampleRate/1000), &graph.Tensor{Shape: graph.Shape{len(w)}, Data: w})
	}
	f, err := audio.ExtractBatch(d, waves, p.audioChoices(len(waves)))
	if err != nil {
		return err
	}
	t := &graph.Tensor{Shape: f.Shape, Data: f.Data}
	if p.Has(d.Input) && p.in[d.Input].Tensor == nil {
		p.Feeds[d.Input] = t
	} else {
		p.Set(d.Input, t)
	}
	if n := len(t.Data); n > 0 {
		p.Set(d.Input+".pad", &graph.Tensor{Shape: graph.Shape{1}, Data: t.Data[n-1:]})
	}
	if f.Mask != nil {
		mask := graph.NewTensor(len(waves), len(f.Mask)/len(waves))
		for i, v := range f.Mask {
			mask.Data[i] = float32(v)
		}
		if p.Has("attention_mask") && !p.textMask() {
			p.Feeds["attention_mask"] = mask
		} else {
			p.Set("attention_mask", mask)
		}
	}
	if p.Has("is_longer") {
		longer := graph.NewTensor(len(waves), 1)
		for i, l := range f.IsLonger {
			if l {
				longer.Data[i] = 1
			}
		}
		p.Feeds["is_longer"] = longer
	}
	return nil
}

// textMask reports whether the graph's attention mask is that of its text tower.
func (p *Pass) textMask() bool {
	return slices.ContainsFunc(p.Graph().Components(), func(c graph.Component) bool { return c == graph.Text }) ||
		p.Pipeline.Text != nil && p.Pipeline.Text.Mask
}

func (p *Pass) audioChoices(clips int) []audio.Choices {
	var c audio.Choices
	if in, ok := p.Take("rand_trunc_start"); ok && in.Tensor != nil && len(in.Tensor.Data) > 0 {
		start := int(in.Tensor.Data[0])
		c.TruncStart = &start
	}
	if in, ok := p.Take("fusion_chunk_starts"); ok && in.Tensor != nil {
		for _, v := range in.Tensor.Data {
			c.ChunkStarts = append(c.ChunkStarts, int(v))
		}
	}
	if c.TruncStart == nil && c.ChunkStarts == nil {
		return nil
	}
	return slices.Repeat([]audio.Choices{c}, clips)
}
