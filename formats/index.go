package formats

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"unicode/utf8"
)

// parseIndex reads a shard index: {"metadata": {…}, "weight_map": {tensor: file}}. Every error is an *Error without File.
func parseIndex(text []byte) (map[string]string, error) {
	if !utf8.Valid(text) {
		return nil, &Error{Kind: ErrHeader, Msg: "is not UTF-8"}
	}
	p := &headerParser{dec: json.NewDecoder(bytes.NewReader(text)), what: "index"}
	p.dec.UseNumber()
	weights := map[string]string{}
	seen := map[string]bool{}
	p.object(func(key string) {
		if seen[key] {
			p.fail(ErrDuplicate, "", "has the key %s twice", quote(key))
			return
		}
		seen[key] = true
		if key != "weight_map" {
			p.skip()
			return
		}
		p.object(func(tensor string) {
			if _, twice := weights[tensor]; twice {
				p.fail(ErrDuplicate, tensor, "appears twice in the index")
				return
			}
			tok := p.token()
			file, ok := tok.(string)
			if !ok {
				p.fail(ErrHeader, tensor, "has %s in the index, a file name was expected", describe(tok))
			}
			weights[tensor] = file
		})
	})
	if p.err == nil && len(bytes.TrimSpace(text[p.dec.InputOffset():])) > 0 {
		p.fail(ErrHeader, "", "goes on after its closing brace")
	}
	if p.err == nil && !seen["weight_map"] {
		p.fail(ErrHeader, "", "has no weight_map")
	}
	if p.err != nil {
		return nil, p.err
	}
	return weights, nil
}

// shardsOf gives the files that an index names, sorted.
func shardsOf(weights map[string]string) []string {
	seen := map[string]bool{}
	var out []string
	for _, f := range weights {
		if !seen[f] {
			seen[f] = true
			out = append(out, f)
		}
	}
	sort.Strings(out)
	return out
}

// checkShard holds a shard's tensors against what the index says about it.
func checkShard(path, index, shard string, tensors []*Tensor, weights map[string]string) error {
	found := make(map[string]bool, len(tensors))
	for _, t := range tensors {
		found[t.Name] = true
		switch file, ok := weights[t.Name]; {
		case !ok:
			return &Error{Kind: ErrIndex, File: path, Tensor: t.Name, Msg: "is in the shard but not in " + index}
		case file != shard:
			return &Error{Kind: ErrIndex, File: path, Tensor: t.Name, Msg: fmt.Sprintf("is in this shard, %s says it is in %s", index, quote(file))}
		}
	}
	var missing []string
	for name, file := range weights {
		if file == shard && !found[name] {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		sort.Strings(missing)
		return &Error{Kind: ErrIndex, File: path, Tensor: missing[0], Msg: fmt.Sprintf("%s says it is in this shard, it is not (%d such tensors)", index, len(missing))}
	}
	return nil
}
