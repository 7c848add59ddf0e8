package models

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/formats"
)

// TestEncoder: a projector's folder with the encoder's is what both are in one; one that does not fit is named.
func TestEncoder(t *testing.T) {
	ts, files := golden(t, "llava15-hf-gelu")
	want := open(t, ts.write(t, files), Options{})
	projector, encoder := tensors{}, tensors{}
	for name, x := range ts {
		if rest, ok := strings.CutPrefix(name, "vision_tower."); ok {
			encoder[rest] = x
		} else {
			projector[name] = x
		}
	}
	var c struct {
		Vision json.RawMessage `json:"vision_config"`
	}
	if err := json.Unmarshal([]byte(files["config.json"]), &c); err != nil {
		t.Fatal(err)
	}
	tower := encoder.write(t, map[string]string{"config.json": string(c.Vision), "preprocessor_config.json": files["preprocessor_config.json"]})
	dir := projector.write(t, map[string]string{"config.json": files["config.json"]})
	got := open(t, dir, Options{Encoder: tower})
	sameOutputs(t, got, want, 0)
	if got.Pipeline.Image == nil {
		t.Error("the encoder's preprocessing is not the pair's")
	}

	const other = "../../testdata/goldens/clip-hf-vision-gelu-p14/checkpoint"
	for name, o := range map[string]struct{ dir, encoder, want string }{
		"width":        {dir, "../../testdata/goldens/clip-hf-dual-quickgelu/checkpoint", "do not belong together"},
		"whole":        {ts.write(t, files), tower, "holds an encoder of its own"},
		"no projector": {other, tower, "no input vision_features"},
		"no encoder":   {dir, dir, "no last_hidden_state|names no hidden states"},
		"no folder":    {dir, tower + "x", "does not exist"},
	} {
		c, err := formats.Open(o.dir, formats.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(c, Options{Encoder: o.encoder})
		ok := false
		for _, w := range strings.Split(o.want, "|") {
			ok = ok || err != nil && strings.Contains(err.Error(), w)
		}
		if !ok {
			t.Errorf("%s: %v; want %q", name, err, o.want)
		}
		c.Close()
	}
}
