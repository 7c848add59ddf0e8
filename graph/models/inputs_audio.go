package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// audioPipeline reads the configuration of the feature extractor; without one the system's own preprocessing holds, and a note says so.
func (im *Import) audioPipeline(class string, own *pipeline.Audio) (*pipeline.Audio, error) {
	raw, file, err := im.processor(pipeline.AudioExtractor)
	if err != nil {
		return nil, err
	}
	if raw == nil {
		im.Note("no %s: clips go through the preprocessing that the system was published with", file)
		return own, nil
	}
	p, err := pipeline.ParseAudioExtractor(raw, class)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}
