package audio

import (
	"fmt"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// fusedChannels is the shrunk spectrogram and three crops (Wu et al. 2023, Large-scale contrastive language-audio
// pretraining with feature fusion, section 3.2).
const fusedChannels = 4

// fuse makes the four spectrograms of a clip longer than the window. A clip longer by less than a frame counts as not
// longer: its one spectrogram stands four times.
func fuse(p *pipeline.Audio, wave []float32, length int, starts []int, out []float32) (bool, error) {
	m := p.Mel
	chunk, total := frameCount(m, length), frameCount(m, len(wave))
	mel := make([]float32, total*m.Bins)
	logMel(m, p.SampleRate, wave, mel)
	size := chunk * m.Bins
	if total == chunk {
		for ch := range fusedChannels {
			copy(out[ch*size:(ch+1)*size], mel)
		}
		return false, nil
	}
	possible := total - chunk + 1
	if starts == nil {
		starts = chunkStarts(possible)
	}
	if len(starts) != fusedChannels-1 {
		return false, fmt.Errorf("%d starts of crops: expected %d", len(starts), fusedChannels-1)
	}
	shrink(out[:size], mel, chunk, total, m.Bins)
	for i, start := range starts {
		if start < 0 || start >= possible {
			return false, fmt.Errorf("crop %d starts at frame %d: expected 0 to %d, for %d frames in %d", i, start, possible-1, chunk, total)
		}
		copy(out[(i+1)*size:(i+2)*size], mel[start*m.Bins:])
	}
	return true, nil
}

// chunkStarts is the first start of each third of the possible ones, split as numpy.array_split does; 0 where a third is
// empty.
func chunkStarts(possible int) []int {
	starts := make([]int, fusedChannels-1)
	at := 0
	for i := range starts {
		n := possible / len(starts)
		if i < possible%len(starts) {
			n++
		}
		if n > 0 {
			starts[i] = at
		}
		at += n
	}
	return starts
}

// shrink resizes (from, bins) to (to, bins) linearly between the two nearest frames, without antialiasing, positions in
// float32: torch.nn.functional.interpolate(mode="bilinear", align_corners=False). The conversions keep every step rounded.
func shrink(out, mel []float32, to, from, bins int) {
	scale := float32(from) / float32(to)
	for f := range to {
		at := max(0, float32(scale*(float32(f)+0.5))-0.5)
		low := min(int(at), from-1)
		high := min(low+1, from-1)
		w := float32(at - float32(low))
		a, b := mel[low*bins:(low+1)*bins], mel[high*bins:(high+1)*bins]
		for i := range bins {
			out[f*bins+i] = float32((1-w)*a[i]) + float32(w*b[i])
		}
	}
}
