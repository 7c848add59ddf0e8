package formats

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// choice says which files of a folder hold its weights.
type choice struct {
	files []string // one file, or all shards when there is no index
	index string   // the index that names the shards, or empty
	notes []string
}

// preferred lists the names that publishers give to weights, best first. safetensors come first: they need no pickle.
var preferred = []string{
	"model.safetensors",
	"model.safetensors.index.json",
	"open_clip_model.safetensors",
	"pytorch_model.bin",
	"pytorch_model.bin.index.json",
	"open_clip_pytorch_model.bin",
}

// The extensions of weight files.
var (
	safetensorsFiles = []string{".safetensors"}
	torchFiles       = []string{".bin", ".pt", ".pth", ".ckpt"}
)

var shardName = regexp.MustCompile(`^(.+)-(\d{5})-of-(\d{5})(\.[a-z]+)$`)

// chooseWeights applies the rule by which the weights of a folder are found:
//
//  1. the first of the preferred names that is there;
//  2. else, of the safetensors files: the only index, the only complete set of shards, or the only file;
//  3. else the same of .bin, .pt, .pth and .ckpt files.
//
// Files that are passed over are told in notes; several candidates of the same rank are an error.
func chooseWeights(folder string, listing []string) (*choice, error) {
	for _, name := range preferred {
		if slices.Contains(listing, name) {
			c := &choice{}
			if strings.HasSuffix(name, ".index.json") {
				c.index = name
			} else {
				c.files = []string{name}
			}
			c.passOver(listing, name)
			return c, nil
		}
	}
	for _, family := range [][]string{safetensorsFiles, torchFiles} {
		candidates, err := group(folder, listing, family)
		if err != nil {
			return nil, err
		}
		if len(candidates) == 0 {
			continue
		}
		if len(candidates) > 1 {
			names := make([]string, len(candidates))
			for i, c := range candidates {
				names[i] = c.name()
			}
			return nil, &Error{Kind: ErrAmbiguous, File: folder,
				Msg: fmt.Sprintf("any of %s could be the weights; name the file instead of the folder", strings.Join(names, ", "))}
		}
		c := candidates[0]
		c.passOver(listing, c.name())
		return c, nil
	}
	return nil, nil
}

// name is what the choice is called in messages.
func (c *choice) name() string {
	if c.index != "" {
		return c.index
	}
	return c.files[0]
}

// group collects the files of a family into candidates: indexes, numbered shards, single files.
func group(folder string, listing []string, extensions []string) ([]*choice, error) {
	var out []*choice
	indexed := map[string]bool{} // stems of shards that an index speaks for
	for _, name := range listing {
		for _, ext := range extensions {
			if stem, ok := strings.CutSuffix(name, ext+".index.json"); ok {
				out = append(out, &choice{index: name})
				indexed[stem+ext] = true
			}
		}
	}
	shards := map[string]*choice{}
	for _, name := range listing {
		ext := path.Ext(name)
		if !slices.Contains(extensions, ext) || notWeights.MatchString(name) {
			continue
		}
		m := shardName.FindStringSubmatch(name)
		if m == nil {
			out = append(out, &choice{files: []string{name}})
			continue
		}
		stem, of := m[1], m[3]
		if indexed[stem+ext] {
			continue
		}
		key := stem + ext + of
		c := shards[key]
		if c == nil {
			c = &choice{notes: []string{fmt.Sprintf("%s: no index beside the shards; all %s were read", folder, of)}}
			shards[key] = c
			out = append(out, c)
		}
		c.files = append(c.files, name)
		// Listings are sorted: the k-th shard found must be number k.
		if n, _ := strconv.Atoi(m[2]); n != len(c.files) {
			return nil, &Error{Kind: ErrNotFound, File: folder, Msg: fmt.Sprintf("shard %05d-of-%s of %s is missing", len(c.files), of, stem+ext)}
		}
	}
	for _, c := range shards {
		m := shardName.FindStringSubmatch(c.files[len(c.files)-1])
		if m[2] != m[3] {
			return nil, &Error{Kind: ErrNotFound, File: folder, Msg: fmt.Sprintf("shard %05d-of-%s of %s is missing", len(c.files)+1, m[3], m[1]+m[4])}
		}
	}
	return out, nil
}

// passOver notes other weight files of the folder that are not read.
func (c *choice) passOver(listing []string, chosen string) {
	own := strings.TrimSuffix(chosen, ".index.json")
	var other []string
	for _, name := range listing {
		if !slices.Contains(safetensorsFiles, path.Ext(name)) && !slices.Contains(torchFiles, path.Ext(name)) {
			continue
		}
		if name == chosen || slices.Contains(c.files, name) || notWeights.MatchString(name) {
			continue
		}
		if m := shardName.FindStringSubmatch(name); c.index != "" && m != nil && m[1]+m[4] == own {
			continue
		}
		other = append(other, name)
	}
	if len(other) > 0 {
		c.notes = append(c.notes, fmt.Sprintf("weights are read from %s; not read: %s", chosen, strings.Join(other, ", ")))
	}
}
