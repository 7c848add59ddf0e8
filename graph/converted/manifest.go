package converted

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/fuse"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// FormatVersion is the version of converted folders that this program writes, and the newest that it reads.
const FormatVersion = 1

// Kind tells our manifest.json from the many others of that name.
const Kind = "mmconv model"

// The files of a converted folder.
const (
	ManifestFile = "manifest.json"
	GraphFile    = "graph.json"
	WeightsFile  = "model.safetensors"
)

// Manifest tells what a converted folder is and where it comes from. It is what makes a folder a converted model.
type Manifest struct {
	Kind          string             `json:"kind"`
	FormatVersion int                `json:"format_version"`
	Tool          string             `json:"tool"`
	System        string             `json:"system"`
	Naming        string             `json:"naming"`
	Components    []graph.Component  `json:"components"`
	Source        Source             `json:"source"`
	Recipe        json.RawMessage    `json:"recipe"` // with the defaults filled in; package quant reads it
	Fusion        *fuse.Report       `json:"fusion"`
	Bytes         Sizes              `json:"bytes"`
	Weights       Counts             `json:"weights"`
	Float         []Stay             `json:"float"`   // what stayed float and why
	Ignored       []graph.Ignored    `json:"ignored"` // tensors of the source that are not in the model
	Notes         []string           `json:"notes"`
	Pipeline      *pipeline.Pipeline `json:"pipeline,omitempty"`
	// Files are the digests of the folder's other files. Folders of older versions have none.
	Files []formats.Digest `json:"files,omitempty"`
}

// Source is the checkpoint that a model was converted from.
type Source struct {
	Name  string           `json:"name"`  // the folder's or file's own name, or hf:OWNER/NAME
	Files []formats.Digest `json:"files"` // that were read for the conversion
}

// Sizes are the bytes of the weights before, as the source stores the tensors that the model needs, and after.
type Sizes struct {
	Before int64 `json:"before"`
	After  int64 `json:"after"`
}

// Counts are the numbers of weights that became integers and that stayed float.
type Counts struct {
	Quantized int `json:"quantized"`
	Float     int `json:"float"`
}

// ReadManifest returns the manifest of a converted folder, nil if it is none.
func ReadManifest(c *formats.Checkpoint) (*Manifest, error) {
	text, err := c.ReadFile(ManifestFile)
	if errors.Is(err, formats.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	file := filepath.Join(c.Dir(), ManifestFile)
	var head struct {
		Kind          string `json:"kind"`
		FormatVersion int    `json:"format_version"`
		Tool          string `json:"tool"`
	}
	if json.Unmarshal(text, &head) != nil || head.Kind != Kind {
		return nil, nil // some other program's
	}
	switch {
	case head.FormatVersion > FormatVersion:
		return nil, fmt.Errorf("%s: format version %d, written by %q, is newer than this mmconv reads (%d): update mmconv, or convert the source again",
			file, head.FormatVersion, head.Tool, FormatVersion)
	case head.FormatVersion < 1:
		return nil, fmt.Errorf("%s: format version %d: expected 1 to %d", file, head.FormatVersion, FormatVersion)
	}
	m := new(Manifest)
	return m, formats.JSON(file, text, m)
}
