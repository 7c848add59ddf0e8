package graph

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/formats"
)

func noTensor(name string) (*formats.Tensor, error) {
	return nil, fmt.Errorf("tensor %s: missing", name)
}

func TestDecodeWeightsRefuses(t *testing.T) {
	const w = `{"op":"table","attrs":{"Label":"w","Dims":[2,3],"Data":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}`
	for _, c := range []struct{ name, file, says string }{
		{"no JSON", "{", "unexpected end"},
		{"unknown operation", `{"expressions":[{"op":"explode"}]}`, "unknown operation"},
		{"missing tensor", `{"expressions":[{"tensor":"a"}]}`, "missing"},
		{"argument from the future", `{"expressions":[{"op":"concat","args":[0]}]}`, "not an earlier"},
		{"negative argument", `{"expressions":[` + w + `,{"op":"concat","args":[-1]}]}`, "not an earlier"},
		{"arguments that do not fit", `{"expressions":[` + w + `,{"op":"matvec","args":[0,0]}]}`, "does not fit"},
		{"no arguments", `{"expressions":[{"op":"scaleRows"}]}`, "arguments"},
		{"bad attribute", `{"expressions":[` + w + `,{"op":"slice","attrs":{"Start":"x"},"args":[0]}]}`, "expression 1"},
		{"huge table", `{"expressions":[{"op":"table","attrs":{"Dims":[1099511627776,1099511627776],"Data":""}}]}`, "impossible"},
		{"negative table", `{"expressions":[{"op":"table","attrs":{"Dims":[-1,-1],"Data":"AAAAAA=="}}]}`, "impossible"},
		{"short table", `{"expressions":[{"op":"table","attrs":{"Dims":[2],"Data":"AAAAAA=="}}]}`, "1 values"},
		{"table of broken bytes", `{"expressions":[{"op":"table","attrs":{"Dims":[1],"Data":"AAAA"}}]}`, "3 bytes"},
		{"weight of nothing", `{"weights":[{"name":"a","expression":0}]}`, "expression 0 of 0"},
		{"one name twice", `{"expressions":[` + w + `],"weights":[{"name":"a"},{"name":"a"}]}`, "two"},
	} {
		_, err := DecodeWeights([]byte(c.file), noTensor)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.says)
		}
	}
}

func FuzzDecodeWeights(f *testing.F) {
	var ws []*Weight
	for i, e := range expressions() {
		ws = append(ws, &Weight{Name: fmt.Sprint(i), Kind: Matrix, Expr: e})
	}
	for i := range ws {
		data, err := EncodeWeights(ws[i:i+1], nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	// A file can ask for more than there is memory for.
	var small func(e Expr) bool
	small = func(e Expr) bool {
		for _, a := range e.(*applied).args {
			if !small(a) {
				return false
			}
		}
		return e.Shape().Len() < 1<<12
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ws, err := DecodeWeights(data, noTensor)
		if err != nil {
			return
		}
		for _, w := range ws {
			if small(w.Expr) {
				_, _ = w.Expr.Eval() // must not panic whatever the attributes are
			}
		}
	})
}
