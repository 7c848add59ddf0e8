package models

import (
	_ "embed" // the tables of architectures
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// timm: huggingface/pytorch-image-models. A checkpoint names an architecture that timm registers in code and what its
// arguments were changed to (model_args); the tables hold, by architecture, those arguments that tensors do not give.

//go:embed timm_vit.json
var timmViTTable []byte

//go:embed timm_eva.json
var timmEVATable []byte

//go:embed timm_nfnet.json
var timmNFNetTable []byte

// timmArchitectures are the arguments of the architectures by name, as JSON.
var timmArchitectures = map[string]map[string]json.RawMessage{
	familyViT: table(timmViTTable), familyEVA: table(timmEVATable), familyNFNet: table(timmNFNetTable),
}

func table(raw []byte) map[string]json.RawMessage {
	t := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &t); err != nil {
		panic(err) // the file is a part of the program
	}
	return t
}

// The families of timm's architectures that are known here.
const (
	familyViT    = "vision_transformer"
	familySigLIP = "siglip" // those of vision_transformer.py that belong to SigLIP
	familyEVA    = "eva"
	familyNFNet  = "nfnet"
)

// timmFamily returns the family of an architecture, "" if it is not known.
func timmFamily(architecture string) string {
	for family, names := range timmArchitectures {
		if _, ok := names[architecture]; ok {
			if family == familyViT && strings.Contains(architecture, "siglip") {
				return familySigLIP
			}
			return family
		}
	}
	return ""
}

// timmConfig is the config.json that timm publishes checkpoints with.
type timmConfig struct {
	Architecture string          `json:"architecture"`
	NumClasses   *int            `json:"num_classes"`
	GlobalPool   *string         `json:"global_pool"`
	ModelArgs    json.RawMessage `json:"model_args"`
	InputSize    []int           `json:"input_size"` // older files hold pretrained_cfg's keys at the top
	Pretrained   struct {
		InputSize []int `json:"input_size"`
	} `json:"pretrained_cfg"`
}

// timmArchitecture returns the architecture that config.json names, "" if it names none. The tag of the weights, behind a
// dot, does not matter.
func (im *Import) timmArchitecture() string {
	var name string
	_ = json.Unmarshal(im.config["architecture"], &name)
	name, _, _ = strings.Cut(name, ".")
	return name
}

// timmTrunk returns the architecture that open_clip_config.json names for the vision tower, "" if it names none.
func (im *Import) timmTrunk() string {
	c, err := im.openCLIP()
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(c.Vision.TimmModel, ".")
	return name
}

// timmArguments fills args with an architecture's arguments, then with those that override them.
func timmArguments(architecture string, args any, override ...json.RawMessage) error {
	var own json.RawMessage
	for _, names := range timmArchitectures {
		if raw, ok := names[architecture]; ok {
			own = raw
		}
	}
	if own == nil {
		return fmt.Errorf("config: architecture %q of timm is not known", architecture)
	}
	for i, raw := range append([]json.RawMessage{own}, override...) {
		if len(raw) == 0 {
			continue
		}
		if err := json.Unmarshal(raw, args); err != nil {
			if i == 0 {
				return err
			}
			return fmt.Errorf("config: model_args: %w", err)
		}
	}
	return nil
}

// pair is an option of timm that is one number for height and width, or both.
type pair [2]int

// UnmarshalJSON reads a number or a list of two.
func (p *pair) UnmarshalJSON(raw []byte) error {
	var n int
	if json.Unmarshal(raw, &n) == nil {
		*p = pair{n, n}
		return nil
	}
	var both []int
	if err := json.Unmarshal(raw, &both); err != nil || len(both) != 2 {
		return fmt.Errorf("%s: expected a number, or height and width", raw)
	}
	*p = pair{both[0], both[1]}
	return nil
}

// timmImage returns the config and timm's evaluation transform.
func (im *Import) timmImage() (*timmConfig, *pipeline.Image, error) {
	c := &timmConfig{}
	if err := im.Config(c); err != nil {
		return nil, nil, err
	}
	raw, err := im.ReadFile("config.json")
	if err != nil {
		return nil, nil, err
	}
	image, err := pipeline.ImageFromTimmConfig(raw)
	return c, image, err
}

// inputSize returns the height and width that the weights were trained for, zeros if the config does not say.
func (c *timmConfig) inputSize() pair {
	s := c.Pretrained.InputSize
	if s == nil {
		s = c.InputSize
	}
	if len(s) != 3 {
		return pair{}
	}
	return pair{s[1], s[2]}
}
