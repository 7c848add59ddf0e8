package models

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/exec"
)

func fetch(t *testing.T, m *graph.Model, feeds map[string]*graph.Tensor, name string) *graph.Tensor {
	t.Helper()
	e, err := exec.New(m.Graph, exec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	out, err := e.Run(t.Context(), feeds, name)
	if err != nil {
		t.Fatal(err)
	}
	return out[name]
}

func largestDifference(a, b *graph.Tensor) float64 {
	worst := 0.0
	for i, v := range a.Data {
		worst = math.Max(worst, math.Abs(float64(v-b.Data[i])))
	}
	return worst
}

// Every kind of feature fusion, on a checkpoint that gets its weights added: a clip that is not longer than the window gives
// what the model without fusion gives of its first spectrogram, whatever the others hold; of a longer one, attention without
// weights adds whole clip and crops, once where it is doubled (AFF) and by halves where it is not (iAFF).
func TestFusions(t *testing.T) {
	const branch, frames, bins, dim = "audio_branch.", 501, 32, 12
	plainTensors, files := golden(t, "clap-laion-unfused")
	plain := open(t, plainTensors.write(t, files), Options{})
	r := rand.New(rand.NewPCG(1, 2))
	mel := tensors{}
	mel.random(r, "x", 2, 4, frames, bins)
	x := mel["x"]
	first := graph.NewTensor(2, 1, frames, bins)
	for b := range 2 {
		copy(first.Data[b*frames*bins:(b+1)*frames*bins], x.Data[b*4*frames*bins:])
	}
	want := fetch(t, plain, map[string]*graph.Tensor{"logmel": first}, "audio_embeds")
	longer := &graph.Tensor{Shape: graph.Shape{2, 1}, Data: []float32{0, 1}}
	fused := map[string]*graph.Tensor{}
	for _, kind := range []string{"daf_1d", "aff_1d", "iaff_1d", "daf_2d", "aff_2d", "iaff_2d"} {
		ts, files := golden(t, "clap-laion-unfused")
		files["config.json"] = strings.NewReplacer(`"enable_fusion": false`, `"enable_fusion": true`, `"fusion_type": "None"`, fmt.Sprintf(`"fusion_type": %q`, kind)).Replace(files["config.json"])
		r := rand.New(rand.NewPCG(3, 4)) // the crops' weights are the same for all kinds of a dimension
		stem, channels := branch+"patch_embed.fusion_model.", dim
		if strings.HasSuffix(kind, "1d") {
			stem, channels = branch+"fusion_model.", bins
			ts.random(r, branch+"mel_conv1d.0.weight", bins, bins, 5)
			ts.random(r, branch+"mel_conv1d.0.bias", bins)
			ts.norm(branch+"mel_conv1d.1", bins)
		} else {
			ts.random(r, branch+"patch_embed.mel_conv2d.weight", dim, 1, 4, 12)
			ts.random(r, branch+"patch_embed.mel_conv2d.bias", dim)
		}
		for _, part := range []struct {
			name  string
			first int
			kinds string
		}{{"local_att", 0, "aff iaff"}, {"global_att", 1, "aff iaff"}, {"local_att2", 0, "iaff"}, {"global_att2", 1, "iaff"}} {
			if !strings.Contains(" "+part.kinds+" ", " "+kind[:len(kind)-3]+" ") {
				continue
			}
			at := func(i int) string { return fmt.Sprintf("%s%s.%d", stem, part.name, part.first+i) }
			inner := channels / 4
			ts[at(0)+".weight"], ts[at(0)+".bias"] = graph.NewTensor(inner, channels, 1, 1), graph.NewTensor(inner)
			ts.norm(at(1), inner)
			ts[at(3)+".weight"], ts[at(3)+".bias"] = graph.NewTensor(channels, inner, 1, 1), graph.NewTensor(channels)
			ts.norm(at(4), channels)
		}
		m := open(t, ts.write(t, files), Options{})
		feeds := map[string]*graph.Tensor{"mel_fusion": x, "is_longer": longer}
		got := fetch(t, m, feeds, "audio_embeds")
		n := got.Shape[1]
		short := &graph.Tensor{Data: got.Data[:n]}
		if d := largestDifference(short, want); !(d < 1e-5) {
			t.Errorf("%s: a clip within the window differs by %g from what the model without fusion makes of it", kind, d)
		}
		long := &graph.Tensor{Shape: graph.Shape{n}, Data: got.Data[n:]}
		if d := largestDifference(long, &graph.Tensor{Data: want.Data[n:]}); !(d > 1e-3) {
			t.Errorf("%s: the crops of a longer clip change the embedding by %g alone", kind, d)
		}
		fused[kind] = long
	}
	for _, d := range []string{"_1d", "_2d"} {
		if diff := largestDifference(fused["aff"+d], fused["daf"+d]); !(diff < 1e-5) {
			t.Errorf("aff%s without weights differs by %g from the sum", d, diff)
		}
	}
	// Half of the sum is another image, but the norm behind the patches takes a factor away.
	if diff := largestDifference(fused["iaff_1d"], fused["daf_1d"]); !(diff > 1e-4) {
		t.Errorf("iaff_1d without weights should be half the sum, and differs from it by %g", diff)
	}
	if diff := largestDifference(fused["iaff_2d"], fused["daf_2d"]); !(diff < 1e-3) {
		t.Errorf("iaff_2d without weights differs by %g from the sum behind the norm", diff)
	}
}

// norm adds a batch norm that changes nothing.
func (ts tensors) norm(name string, n int) {
	for part, v := range map[string]float32{"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1 - 1e-5} {
		x := graph.NewTensor(n)
		for i := range x.Data {
			x.Data[i] = v
		}
		ts[name+"."+part] = x
	}
}

// Options that no architecture can have are refused by name.
func TestCLAPRefuses(t *testing.T) {
	for change, want := range map[[2]string]string{
		{`"window_size": 4`, `"window_size": 0`}:                                    "window_size",
		{`"spec_size": 128`, `"spec_size": 100`}:                                    "multiple",
		{`"patch_size": 4`, `"patch_size": [4]`}:                                    "patch_size",
		{`"hidden_act": "gelu"`, `"hidden_act": "sing"`}:                            "hidden_act",
		{`"patch_embed_input_channels": 1`, `"patch_embed_input_channels": 3`}:      "patch_embed_input_channels",
		{`"position_embedding_type": "absolute"`, `"position_embedding_type": "x"`}: "position_embedding_type",
	} {
		ts, files := golden(t, "clap-hf-fused-long-sharded")
		if !strings.Contains(files["config.json"], change[0]) {
			t.Fatalf("the configuration has no %s", change[0])
		}
		files["config.json"] = strings.Replace(files["config.json"], change[0], change[1], 1)
		if err := tryOpen(t, ts.write(t, files), change[1]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error about %s", change[1], err, want)
		}
	}
}

// A tower alone is what it is in the whole model, but for the norm of its embedding, which the original leaves to the whole.
func TestCLAPTowersAlone(t *testing.T) {
	const whole = "clap-hf-fused-long-sharded"
	ids := &graph.Tensor{Shape: graph.Shape{2, 4}, Data: []float32{0, 14, 22, 2, 0, 9, 2, 1}}
	mel := tensors{}
	mel.random(rand.New(rand.NewPCG(5, 6)), "x", 1, 4, 201, 64)
	feeds := map[string]*graph.Tensor{"input_ids": ids, "input_features": mel["x"], "is_longer": {Shape: graph.Shape{1, 1}, Data: []float32{1}}}
	for _, tower := range []struct{ name, drop, projected, out string }{
		{"audio", "text_", "audio.projected", "audio_embeds"}, {"text", "audio_", "text.projected", "text_embeds"},
	} {
		ts, files := golden(t, whole)
		m := open(t, ts.write(t, files), Options{})
		want := fetch(t, m, feeds, tower.projected)
		for name := range ts {
			if strings.HasPrefix(name, tower.drop) || strings.HasPrefix(name, "logit_scale") {
				delete(ts, name)
			}
		}
		var config map[string]json.RawMessage
		if err := json.Unmarshal([]byte(files["config.json"]), &config); err != nil {
			t.Fatal(err)
		}
		files["config.json"] = string(config[tower.name+"_config"])
		alone := open(t, ts.write(t, files), Options{})
		feeds := maps.Clone(feeds)
		maps.DeleteFunc(feeds, func(name string, _ *graph.Tensor) bool { return alone.Graph.Value(name) == nil })
		if d := largestDifference(fetch(t, alone, feeds, tower.out), want); d != 0 {
			t.Errorf("the %s tower alone differs by %g", tower.name, d)
		}
	}
}
