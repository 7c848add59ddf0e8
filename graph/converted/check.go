package converted

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/mmconv/mmconv/formats"
)

// Checked says what became of a file of a converted folder.
type Checked struct {
	Name  string `json:"name"`
	Size  int64  `json:"size"`            // that was written
	Fault string `json:"fault,omitempty"` // empty where it is as it was written
}

// Check holds every file of a converted folder against the digests in its manifest. Others lists files of the folder that
// the manifest does not know.
func Check(ctx context.Context, dir string) (files []Checked, others []string, err error) {
	c, err := formats.OpenFiles(dir)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	m, err := ReadManifest(c)
	switch {
	case err != nil:
		return nil, nil, err
	case m == nil:
		return nil, nil, fmt.Errorf("%s: not a converted model: it has no manifest.json of mmconv, which holds the digests", dir)
	case len(m.Files) == 0:
		return nil, nil, fmt.Errorf("%s: holds no digests: %s did not write them yet; convert the source again to have them", filepath.Join(c.Dir(), ManifestFile), m.Tool)
	}
	known := []string{ManifestFile}
	for _, want := range m.Files {
		fault, err := c.Check(ctx, want)
		if err != nil {
			return nil, nil, err
		}
		files = append(files, Checked{Name: want.Name, Size: want.Size, Fault: fault})
		known = append(known, want.Name)
	}
	for _, name := range []string{GraphFile, WeightsFile} {
		if !slices.Contains(known, name) {
			files = append(files, Checked{Name: name, Fault: "has no digest in " + ManifestFile})
			known = append(known, name)
		}
	}
	listing, err := c.List()
	for _, name := range listing {
		if !slices.Contains(known, name) {
			others = append(others, name)
		}
	}
	return files, others, err
}
