package golden

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/graph/pipeline/audio"
	"github.com/mmconv/mmconv/graph/run"
)

var _ = registerRunner(caseRunner{
	name: "audio preprocessing", rank: 20,
	fits: func(c *Case) bool { return c.Kind == "preprocess" && c.Checkpoint() == "" },
	run:  runAudioCase,
})

// frontends are the feature extractors that audio cases name, with the parameters that their models are published with.
var frontends = map[string]func() (*pipeline.Audio, error){
	"whisper80":    func() (*pipeline.Audio, error) { return pipeline.WhisperAudio(80), nil },
	"whisper128":   func() (*pipeline.Audio, error) { return pipeline.WhisperAudio(128), nil },
	"clap_fused":   func() (*pipeline.Audio, error) { return clapFrontend("fusion") },
	"clap_unfused": func() (*pipeline.Audio, error) { return clapFrontend("rand_trunc") },
	"hubert": func() (*pipeline.Audio, error) {
		return pipeline.ParseAudioExtractor([]byte(`{"do_normalize": true}`), "Wav2Vec2FeatureExtractor")
	},
}

// clapFrontend is that of laion/clap-htsat-fused and laion/clap-htsat-unfused.
func clapFrontend(truncation string) (*pipeline.Audio, error) {
	return pipeline.ParseAudioExtractor(fmt.Appendf(nil, `{"frequency_min": 50, "frequency_max": 14000, "truncation": %q, "padding": "repeatpad"}`, truncation),
		"ClapFeatureExtractor")
}

// runAudioCase judges the decoding, resampling and features of clips: rows are named CLIP.WHAT.
func runAudioCase(ctx context.Context, c *Case, o ParityOptions, res *ParityResult) error {
	if o.Convert != nil {
		return fmt.Errorf("%s: preprocessing has no weights to convert", c.Name)
	}
	for _, e := range c.Expected {
		if err := ctx.Err(); err != nil {
			return err
		}
		clip, what, _ := strings.Cut(e.Name, ".")
		for name := range c.Inputs {
			if rest, ok := strings.CutPrefix(e.Name, name+"."); ok && len(name) > len(clip) {
				clip, what = name, rest
			}
		}
		files := c.Inputs[clip].Files()
		if len(files) != 1 {
			res.add(e, Row{Verdict: Fail, Note: fmt.Sprintf("expected CLIP.WHAT with a CLIP among the inputs, found no clip %q", clip)})
			continue
		}
		t, err := audioValue(files[0], what)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
		if t == nil {
			res.missing(e, run.ErrNoValue, o)
			continue
		}
		if err := res.judge(e, t, o); err != nil {
			return err
		}
	}
	return nil
}

// audioValue computes what a row is of, nil for a name that is not known.
func audioValue(file, what string) (*graph.Tensor, error) {
	if what == "mono" {
		r, err := audio.Open(file)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return vector(audio.ReadAll(r, 0))
	}
	if k, ok := strings.CutPrefix(what, "wave"); ok {
		rate, err := strconv.Atoi(strings.TrimSuffix(k, "k"))
		if err != nil || rate < 1 || rate > 1000 {
			return nil, nil
		}
		return vector(audio.Load(file, 1000*rate))
	}
	name, part, _ := strings.Cut(what, ".")
	make := frontends[name]
	if make == nil {
		return nil, nil
	}
	p, err := make()
	if err != nil {
		return nil, err
	}
	wave, err := audio.Load(file, p.SampleRate)
	if err != nil {
		return nil, err
	}
	f, err := audio.Extract(p, wave, audio.Choices{})
	if err != nil {
		return nil, err
	}
	t := &graph.Tensor{Shape: slices.Clone(f.Shape), Data: f.Data}
	if len(t.Shape) == 4 && t.Shape[1] > 1 { // the four spectrograms of a fused model are equal for a clip that fits
		t.Data = t.Data[:len(t.Data)/t.Shape[1]]
		t.Shape[1] = 1
	}
	if part == "pad" {
		return &graph.Tensor{Shape: graph.Shape{1}, Data: t.Data[len(t.Data)-1:]}, nil
	}
	return t, nil
}

func vector(data []float32, err error) (*graph.Tensor, error) {
	return &graph.Tensor{Shape: graph.Shape{len(data)}, Data: data}, err
}
