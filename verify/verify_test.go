package verify

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/quant"
	"github.com/mmconv/mmconv/verify/metric"
	"github.com/mmconv/mmconv/verify/report"
)

// The trained CLIP that the demo embeds, its drawings and its texts.
const (
	shapes        = "../cmd/mmconv/demo"
	shapesSource  = shapes + "/checkpoint"
	shapesImages  = shapes + "/images"
	shapesPrompts = shapes + "/prompts.json"
)

func verifyShapes(t *testing.T, q quant.Options) *report.Report {
	t.Helper()
	dst := filepath.Join(t.TempDir(), "converted")
	if _, err := quant.Convert(t.Context(), shapesSource, dst, q); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(t.Context(), shapesSource, dst, Options{Data: shapesImages, Prompts: shapesPrompts, NoLatency: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func task(t *testing.T, r *report.Report, name string) report.TaskScore {
	t.Helper()
	for _, s := range r.Tasks {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no task %q in %+v", name, r.Tasks)
	return report.TaskScore{}
}

// TestShapes holds a really trained model against its recorded accuracy, and its conversions against what they may lose.
func TestShapes(t *testing.T) {
	var expected struct {
		Top1   float64 `json:"zero_shot_top1"`
		Images int
	}
	raw, err := os.ReadFile(shapes + "/expected.json")
	if err == nil {
		err = json.Unmarshal(raw, &expected)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name                  string
		q                     quant.Options
		maxDrop, minAgreement float64
	}{
		{"float32", quant.Options{Weights: "float32"}, 0, 100},
		{"int8", quant.Options{Weights: "int8", Activations: "int8"}, 0.4, 99},
		{"int4", quant.Options{Weights: "int4", Group: "32", Method: "mse"}, 2, 96},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := verifyShapes(t, c.q)
			s := task(t, r, "zero-shot top-1")
			if s.Before != 100*expected.Top1 || s.Samples != expected.Images {
				t.Errorf("the float model scores %v %% on %d images, recorded are %v %% on %d", s.Before, s.Samples, 100*expected.Top1, expected.Images)
			}
			if s.Drop > c.maxDrop || s.Agreement < c.minAgreement {
				t.Errorf("drop %.3f points (at most %.1f), agreement %.2f %% (at least %.0f)", s.Drop, c.maxDrop, s.Agreement, c.minAgreement)
			}
			if r.Bytes.After <= 0 || c.name != "float32" && r.Bytes.After >= r.Bytes.Before {
				t.Errorf("%d bytes became %d", r.Bytes.Before, r.Bytes.After)
			}
			for _, name := range []string{"image_embeds", "text_embeds", "logits_per_image", "vision.hidden_state.1", "text.hidden_state.1"} {
				found := false
				for _, n := range r.Nodes {
					found = found || n.Name == name && n.Cosine > 0.98
				}
				if !found {
					t.Errorf("value %q was not compared, or is far off", name)
				}
			}
			t.Logf("top-1 %.2f %% -> %.2f %%, agreement %.2f %%, %d -> %d bytes", s.Before, s.After, s.Agreement, r.Bytes.Before, r.Bytes.After)
		})
	}
}

// TestShapesRecorded holds the float pipeline against what the original computed for the whole set, where that is at hand.
func TestShapesRecorded(t *testing.T) {
	dir := "../../shared/real/shapes-clip"
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the recorded embeddings are not here")
	}
	s, err := run.Open(shapesSource, run.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	recorded := map[string]run.Input{}
	if err := run.ReadTensors(dir+"/expected.safetensors", recorded); err != nil {
		t.Fatal(err)
	}
	d, err := LoadDataset(shapesImages, shapesPrompts)
	if err != nil {
		t.Fatal(err)
	}
	in, err := inputsOf(d.Items)
	if err != nil {
		t.Fatal(err)
	}
	in["text"] = run.Input{Texts: d.Texts()}
	r, err := s.NewPass(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"input_ids", "image_embeds", "text_embeds", "logits_per_image"}
	got, err := r.Fetch(t.Context(), names...)
	if err != nil {
		t.Fatal(err)
	}
	for name, tol := range map[string]float64{"input_ids": 0, "image_embeds": 2e-5, "text_embeds": 2e-5, "logits_per_image": 1e-3} {
		want := recorded[name].Tensor
		if name == "input_ids" { // recorded with padding to the longest input
			all, n := want, got[name].Shape[1]
			want = graph.NewTensor(all.Shape[0], n)
			for i := range all.Shape[0] {
				copy(want.Data[i*n:(i+1)*n], all.Data[i*all.Shape[1]:])
			}
		}
		if !want.Shape.Equal(got[name].Shape) {
			t.Errorf("%s has shape %v, recorded is %v", name, got[name].Shape, want.Shape)
			continue
		}
		var m metric.Moments
		m.Add(want.Data, got[name].Data)
		if m.MaxDiff > tol {
			t.Errorf("%s is off by %.3g", name, m.MaxDiff)
		}
	}
}

func TestVerifyKeepGoing(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"red_circle/000.png", "blue_circle/000.png"} {
		raw, err := os.ReadFile(filepath.Join(shapesImages, name))
		if err != nil {
			t.Fatal(err)
		}
		touch(t, filepath.Join(dir, name), string(raw))
		if i == 0 {
			touch(t, filepath.Join(dir, "red_circle/bad.png"), "no picture")
		}
	}
	o := Options{Data: dir, Prompts: shapesPrompts, NoLatency: true}
	_, err := Verify(context.Background(), shapesSource, shapesSource, o)
	if err == nil || !strings.Contains(err.Error(), "bad.png") || !strings.Contains(err.Error(), "--keep-going") {
		t.Errorf("an image that cannot be decoded: %v", err)
	}
	o.KeepGoing = true
	r, err := Verify(context.Background(), shapesSource, shapesSource, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Samples != 2 || len(r.Skipped) != 1 {
		t.Errorf("%d samples, skipped %q", r.Samples, r.Skipped)
	}
	for _, n := range r.Nodes {
		if n.MaxAbs != 0 || n.Cosine != 1 {
			t.Errorf("%s differs from itself", n.Name)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Verify(ctx, shapesSource, shapesSource, o); err != context.Canceled {
		t.Errorf("an interrupted run: %v", err)
	}
	only := t.TempDir()
	touch(t, filepath.Join(only, "bad.png"), "no picture")
	o.Data = only
	if _, err := Verify(context.Background(), shapesSource, shapesSource, o); err == nil || !strings.Contains(err.Error(), "none of the 1 samples") {
		t.Errorf("nothing that can be read: %v", err)
	}
}
