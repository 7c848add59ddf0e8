package formats

import (
	"errors"
	"strings"
	"testing"
)

// kept is a type that decodes itself, by way of another decoder.
type kept struct{ n int }

func (k *kept) UnmarshalJSON(b []byte) error { return JSON("", b, &k.n) }

func TestJSON(t *testing.T) {
	type layer struct {
		Kind string `json:"kind"`
	}
	type config struct {
		Size   int            `json:"hidden_size"`
		Small  uint8          `json:"small"`
		Eps    float32        `json:"eps"`
		Flag   bool           `json:"flag"`
		Layers []layer        `json:"layers"`
		Names  map[string]int `json:"names"`
		Vision struct {
			Size int `json:"hidden_size"`
		} `json:"vision_config"`
	}
	for _, c := range []struct{ text, want string }{
		{`{"hidden_size": 4, "names": {"a": 1}, "unknown": [1, {"x": null}]} ` + "\n", ""},
		{"\ufeff{}", ""},
		{`{"hidden_size": null}`, ""},
		{`{"hidden_size": "768"}`, `key hidden_size: expected a whole number, found the text "768"`},
		{`{"hidden_size": 1.5}`, `key hidden_size: expected a whole number, found 1.5`},
		{`{"hidden_size": 99999999999999999999}`, `key hidden_size: expected a whole number that 64 bits hold, found 99999999999999999999`},
		{`{"small": 256}`, `key small: expected a whole number from 0 to 255, found 256`},
		{`{"eps": 1e99}`, `key eps: expected a number that 32 bits hold, found 1e99`},
		{`{"eps": [1]}`, `key eps: expected a number, found a list`},
		{`{"flag": "true"}`, `key flag: expected true or false, found the text "true"`},
		{`{"vision_config": {"other": 1, "hidden_size": {}}}`, `key vision_config.hidden_size: expected a whole number, found an object`},
		{`{"vision_config": []}`, `key vision_config: expected an object, found a list`},
		{`{"layers": [{"kind": "a"}, {"kind": 2}]}`, `key layers[1].kind: expected a text, found 2`},
		{`{"layers": {"kind": 2}}`, `key layers: expected a list, found an object`},
		{`{"names": {"a": 1, "b": "x"}}`, `key names.b: expected a whole number, found the text "x"`},
		{`[1]`, `expected an object, found a list`},
		{`"x"`, `expected an object, found the text "x"`},
		{"{\n  \"eps\": NaN}", `is not JSON: line 2, column 10, key eps: found "NaN}", expected a value`},
		{`{"eps": 1,}`, `is not JSON: line 1, column 11: found "}", expected a key in double quotes`},
		{`{"layers": [{}, 'x']}`, `is not JSON: line 1, column 17, key layers[1]: found "'x']}", expected a value`},
		{`{"eps" 1}`, `is not JSON: line 1, column 8, key eps: found "1}", expected a colon`},
		{`{"eps": 1 "flag": true}`, `, key eps: found "\"flag\": true}", expected a comma or the closing brace`},
		{`{"flag": True}`, `is not JSON: line 1, column 10, key flag: found "True}", expected a value`},
		{`{"flag": tru}`, `column 13, key flag: found "}", expected true`},
		{`{} {}`, `is not JSON: line 1, column 4: found "{}", expected the end of the file`},
		{"{\"names\": {\"a\": 1,\n", `ends before its JSON does, at line 2, column 1, key names (incomplete download?)`},
		{`{"names": {"a`, `ends before its JSON does`},
		{" \n", `is empty, JSON was expected`},
		{"\x00\x00\x00", `holds nothing but zeros`},
		{"<!DOCTYPE html><html>", `is a web page (HTML or XML), not JSON: download the file itself`},
		{"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", `is a pointer of Git LFS, not the file itself; run git lfs pull`},
	} {
		var into config
		err := JSON("dir/config.json", []byte(c.text), &into)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.text, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), "dir/config.json: ") || !strings.Contains(err.Error(), c.want) ||
			strings.ContainsAny(err.Error(), "\n\x00") || !errors.Is(err, ErrHeader) {
			t.Errorf("%s: %v, want %s", c.text, err, c.want)
		}
	}
}

func TestJSONOfATypeThatDecodesItself(t *testing.T) {
	var into struct {
		Depth struct {
			Kept kept `json:"kept"`
		} `json:"depth"`
	}
	err := JSON("f", []byte(`{"depth": {"other": "long enough", "kept": "x"}}`), &into)
	if err == nil || err.Error() != `f: expected a whole number, found the text "x"` {
		t.Error(err)
	}
}

func TestStrictJSON(t *testing.T) {
	type inner struct {
		Match string `json:"match"`
	}
	var into struct {
		inner
		Weights string  `json:"weights"`
		More    []inner `json:"overrides"`
	}
	err := StrictJSON("r.json", []byte(`{"weights": "int8", "wieghts": 1}`), &into)
	if err == nil || err.Error() != `r.json: key "wieghts" is not known; known are match, overrides, weights` {
		t.Error(err)
	}
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"a": [1, {"b": "c\"d"}], "e": tru}`))
	f.Add([]byte(`{"a": "x"`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var into struct {
			A []map[string]int `json:"a"`
			B float32          `json:"b"`
		}
		if err := JSON("f", raw, &into); err != nil && strings.ContainsAny(err.Error(), "\n\r\x1b") {
			t.Errorf("%q", err)
		}
	})
}
