package models

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// audioPipeline reads preprocessor_config.json; without it the system's own preprocessing holds, and a note says so.
func (im *Import) audioPipeline(class string, own *pipeline.Audio) (*pipeline.Audio, error) {
	for _, file := range []string{"preprocessor_config.json", "processor_config.json"} {
		raw, err := im.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || err == nil && file == "processor_config.json" && !strings.Contains(string(raw), `"feature_extractor"`) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p, err := pipeline.ParseAudioExtractor(raw, class)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return p, nil
	}
	im.Note("no preprocessor_config.json: clips go through the preprocessing that the system was published with")
	return own, nil
}
