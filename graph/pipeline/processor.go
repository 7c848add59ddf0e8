package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/mmconv/mmconv/formats"
)

// The parts of a processor: the key of processor_config.json that transformers 5 writes each under, and the file that it had
// before.
var (
	ImageProcessor = ProcessorPart{"image_processor", "preprocessor_config.json"}
	VideoProcessor = ProcessorPart{"video_processor", "video_preprocessor_config.json"}
	AudioExtractor = ProcessorPart{"feature_extractor", "preprocessor_config.json"}
)

// ProcessorPart is a part of a model's processor.
type ProcessorPart struct{ Key, File string }

const processorFile = "processor_config.json"

// Read returns a part's configuration and the name of the file that it is in, nil where there is none. What processor_config.json
// holds goes before a file of its own, as in transformers (image_processing_base.py, get_image_processor_dict); the note says so
// where both are there.
func (p ProcessorPart) Read(read func(name string) ([]byte, error)) (raw []byte, from, note string, err error) {
	own, err := read(p.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", "", err
	}
	whole, err := read(processorFile)
	if errors.Is(err, fs.ErrNotExist) {
		return own, p.File, "", nil
	}
	if err != nil {
		return nil, "", "", err
	}
	var parts map[string]json.RawMessage
	if err := formats.JSON(processorFile, whole, &parts); err != nil {
		return nil, "", "", err
	}
	nested, ok := parts[p.Key]
	if !ok || string(nested) == "null" {
		return own, p.File, "", nil
	}
	if own != nil {
		note = fmt.Sprintf("%s of %s counts; %s is passed over, as transformers does", p.Key, processorFile, p.File)
	}
	return nested, processorFile, note, nil
}
