// Package models holds the systems that mmconv imports, one file a system: its configuration as published, the rule by
// which a checkpoint is recognised, the table of tensor names for each naming, and a builder that makes the graph. The
// blocks that several systems share stand beside them.
package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
)

// System is a kind of model that can be imported. Each registers itself from its own file.
type System struct {
	Name    string // as users write it: "clip"
	Title   string // as its authors write it
	Row     int    // its row in the survey of systems; 0 if none
	Namings []Naming
	// ModelTypes are the values of config.json's model_type that mean this system.
	ModelTypes []string
	// Build makes the model of a checkpoint whose naming was recognised.
	Build func(*Import) (*graph.Model, error)
}

// Naming is one project's way to name the tensors of a system.
type Naming struct {
	Name string // "huggingface", "openai", "open_clip", "timm"
	// Recognise reports whether a checkpoint is of this system in this naming, from its configuration and its tensors'
	// names together. The naming that is most specific should say yes: two that do are an error for the user.
	Recognise func(*Import) bool
	// Looked says what Recognise looks for, for the message that nothing was recognised.
	Looked string
}

var systems []*System

// Register makes a system known.
func Register(s *System) (none struct{}) {
	systems = append(systems, s)
	slices.SortFunc(systems, func(a, b *System) int { return strings.Compare(a.Name, b.Name) })
	return none
}

// Systems returns all systems by name.
func Systems() []*System { return slices.Clone(systems) }

// Options are the user's wishes about an import.
type Options struct {
	System    string // force this system instead of recognising it
	Encoder   string // the checkpoint of the encoder before a projector that stands alone; "" for none
	ImageSize [2]int // height and width to interpolate position tables to; 0 keeps the trained one
}

// Open recognises the system of a checkpoint and builds its model. Every tensor is read by the graph or named in Ignored;
// anything left over is an error.
func Open(c *formats.Checkpoint, o Options) (*graph.Model, error) {
	im, sys, err := recognise(c, o)
	if err != nil {
		return nil, err
	}
	m, err := sys.Build(im)
	if err != nil {
		return nil, fmt.Errorf("%s, read as %s in %s naming: %w", c.Source(), sys.Title, im.Naming, err)
	}
	m.System, m.Naming = sys.Name, im.Naming
	if o.Encoder != "" {
		beside, err := c.Beside(o.Encoder)
		if err != nil {
			return nil, err
		}
		if m, err = withEncoder(im, m, beside); err != nil {
			return nil, err
		}
	}
	if size := o.ImageSize; size != [2]int{} && m.Pipeline != nil && m.Pipeline.Image != nil {
		if sized, err := m.Pipeline.Image.WithSize(size[0], size[1]); err != nil {
			im.Note("%v; it stays as it is", err)
		} else {
			m.Pipeline.Image = sized
		}
	}
	if t := m.Pipeline.Text; t != nil {
		m.Pipeline.Files = append(m.Pipeline.Files, t.Paths()...)
	}
	m.Ignored, m.Notes = append(m.Ignored, im.ignored...), append(c.Notes(), append(im.notes, m.Notes...)...)
	if left := im.leftovers(); len(left) > 0 {
		return nil, fmt.Errorf("%s, read as %s in %s naming: %s", c.Source(), sys.Title, im.Naming, describeLeft(left))
	}
	return m, m.Graph.Check()
}

func describeLeft(left []string) string {
	const most = 5
	s := strings.Join(left[:min(most, len(left))], ", ")
	if len(left) > most {
		s += ", …"
	}
	return fmt.Sprintf("%d tensors have no place in this architecture: %s; the configuration may belong to another model", len(left), s)
}

// recognise finds the system of a checkpoint. Where none knows its tensors and all of them lie below "model.", as a training
// framework stores the model beside itself, they are looked at without.
func recognise(c *formats.Checkpoint, o Options) (*Import, *System, error) {
	im, s, err := recogniseNames(c, o)
	for errors.Is(err, ErrUnrecognised) && (c.Unprefix("model.") || c.Unprefix("module.")) {
		im, s, err = recogniseNames(c, o)
	}
	return im, s, err
}

func recogniseNames(c *formats.Checkpoint, o Options) (*Import, *System, error) {
	var found []match
	im := newImport(c, o)
	for _, s := range systems {
		if o.System != "" && s.Name != o.System {
			continue
		}
		for _, n := range s.Namings {
			if n.Recognise(im) {
				found = append(found, match{s, n.Name})
			}
		}
	}
	if im.configErr != nil {
		return nil, nil, im.configErr
	}
	switch len(found) {
	case 1:
		im.Naming = found[0].naming
		return im, found[0].sys, nil
	case 0:
		return nil, nil, im.unrecognised()
	}
	if best := mostRead(c, o, found); best != nil {
		im.Naming = best.naming
		return im, best.sys, nil
	}
	var names []string
	for _, m := range found {
		names = append(names, fmt.Sprintf("%s (%s naming)", m.sys.Name, m.naming))
	}
	return nil, nil, fmt.Errorf("%s: could be %s: choose with --system", c.Source(), strings.Join(names, " or "))
}

// match is a system whose rule a checkpoint passes, in a naming.
type match struct {
	sys    *System
	naming string
}

// mostRead settles between systems that all claim a checkpoint: of those that account for every tensor, the one that reads most.
// nil where two read as many, or none accounts for all. Building is cheap, since weights are expressions.
func mostRead(c *formats.Checkpoint, o Options, found []match) *match {
	var best *match
	most, tied := -1, false
	for _, m := range found {
		im := newImport(c, o)
		im.Naming = m.naming
		if _, err := m.sys.Build(im); err != nil || len(im.leftovers()) > 0 {
			continue
		}
		switch n := im.readCount(); {
		case n > most:
			best, most, tied = &m, n, false
		case n == most:
			tied = true
		}
	}
	if tied {
		return nil
	}
	return best
}

// ErrUnrecognised is what errors.Is finds in the error of a checkpoint that is of no known system.
var ErrUnrecognised = errors.New("no known system")

type unrecognised struct{ error }

func (unrecognised) Is(target error) bool { return target == ErrUnrecognised }

func (im *Import) unrecognised() error {
	var known []string
	for _, s := range systems {
		known = append(known, s.ModelTypes...)
	}
	slices.Sort(known)
	known = slices.Compact(known)
	var header struct {
		ModelType     string   `json:"model_type"`
		Architectures []string `json:"architectures"`
	}
	names := im.Checkpoint.Names()
	sample := strings.Join(names[:min(3, len(names))], ", ")
	if raw, err := im.ReadFile("config.json"); err == nil && json.Unmarshal(raw, &header) == nil && header.ModelType != "" {
		return unrecognised{fmt.Errorf("%s: config.json says model_type %q, which with tensors named as %s is none of the known systems; known model types: %s",
			im.Source(), header.ModelType, sample, strings.Join(known, ", "))}
	}
	var looked []string
	for _, s := range systems {
		for _, n := range s.Namings {
			if n.Looked != "" {
				looked = append(looked, s.Name+"/"+n.Name+": "+n.Looked)
			}
		}
	}
	return unrecognised{fmt.Errorf("%s: no known system: looked at config.json and open_clip_config.json and at %d tensors (%s); known are %s",
		im.Source(), len(names), sample, strings.Join(looked, "; "))}
}
