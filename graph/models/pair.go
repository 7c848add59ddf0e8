package models

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// withEncoder puts a projector that stands alone behind the encoder of another checkpoint, as its configuration says: the hidden
// state of a number, with or without the class token, or where none is chosen the encoder's last state.
func withEncoder(im *Import, projector *graph.Model, c *formats.Checkpoint) (*graph.Model, error) {
	g := projector.Graph
	in := g.Value("vision_features")
	if in == nil {
		return nil, fmt.Errorf("%s: has no input vision_features that an encoder could give: it is no projector that stands alone", im.Source())
	}
	input, ok := in.Op.(graph.Input)
	if !ok {
		return nil, fmt.Errorf("%s: holds an encoder of its own; leave --encoder out", im.Source())
	}
	if len(input.Dims) != 3 {
		return nil, fmt.Errorf("%s: the projector reads %d axes of several pictures at once, which one encoder's tokens do not have", im.Source(), len(input.Dims))
	}
	enc, err := Open(c, Options{ImageSize: im.Options.ImageSize})
	if err != nil {
		return nil, err
	}
	layers, patches, err := im.chosenFeatures()
	if err != nil {
		return nil, err
	}
	x, err := encoderFeatures(c, enc.Graph, layers, patches)
	if err != nil {
		return nil, err
	}
	shapes := enc.Graph.ExampleShapes()
	last := x
	if n := len(x.In); shapes[x] == nil && n > 0 {
		last = x.In[0]
	}
	width := shapes[last].Last() * max(len(layers), 1)
	if want := input.Dims[2]; want > 0 && width != want {
		return nil, fmt.Errorf("%s: the projector reads %d channels a token, the encoder in %s gives %d: they do not belong together", im.Source(), want, c.Source(), width)
	}
	kept := map[*graph.Node]bool{}
	roots := []*graph.Node{x}
	for _, alt := range enc.Graph.Alternates {
		roots = append(roots, alt)
	}
	for _, n := range graph.Sort(roots...) {
		kept[n] = true
	}
	users := g.Users()
	g.Replace(in, x, users)
	for _, name := range enc.Graph.Names() {
		n := enc.Graph.Value(name)
		if !kept[n] || g.Value(name) != nil {
			continue
		}
		n.Names = without(n.Names, name)
		if err := g.SetName(n, name); err != nil {
			return nil, err
		}
	}
	for name, alt := range enc.Graph.Alternates {
		if g.Value(name) != nil {
			g.Alternates[name] = alt
		}
	}
	if projector.Pipeline == nil {
		projector.Pipeline = &pipeline.Pipeline{}
	}
	if enc.Pipeline != nil && projector.Pipeline.Image == nil {
		projector.Pipeline.Image = enc.Pipeline.Image
	}
	read := map[string]bool{}
	for _, t := range graph.Tensors(graph.Weights(graph.Sort(x))) {
		read[t.Name] = true
	}
	for _, name := range c.Names() {
		if !read[name] {
			projector.Ignored = append(projector.Ignored, graph.Ignored{Name: name, Reason: "a part of the encoder's checkpoint that the projector does not see"})
		}
	}
	projector.Notes = append(projector.Notes, enc.Notes...)
	projector.Notes = append(projector.Notes, fmt.Sprintf("the encoder is %s of %s", enc.System, c.Source()))
	return projector, nil
}

func without(names []string, name string) []string {
	var out []string
	for _, n := range names {
		if n != name {
			out = append(out, n)
		}
	}
	return out
}

// chosenFeatures reads which hidden states a projector's configuration chooses, nil where it chooses none, and whether only patches
// are taken of them.
func (im *Import) chosenFeatures() (layers []int, patches bool, err error) {
	var c struct {
		Layer    json.RawMessage `json:"vision_feature_layer"`
		Strategy *string         `json:"vision_feature_select_strategy"`
		Select   json.RawMessage `json:"mm_vision_select_layer"`
		Feature  *string         `json:"mm_vision_select_feature"`
	}
	if err := im.Config(&c); err != nil && im.HasConfig("model_type") {
		return nil, false, err
	}
	llava := strings.HasPrefix(im.ModelType(), "llava")
	raw := c.Layer
	if raw == nil {
		raw = c.Select
	}
	if raw == nil && !llava {
		return nil, false, nil
	}
	if layers, err = featureLayers(raw); err != nil {
		return nil, false, err
	}
	patches = true
	for _, s := range []*string{c.Strategy, c.Feature} {
		if s != nil {
			patches = *s == "default" || *s == "patch"
		}
	}
	return layers, patches, nil
}

var stateName = regexp.MustCompile(`^(.*hidden_state\.)(\d+)$`)

// encoderFeatures is what a projector sees of an encoder's graph.
func encoderFeatures(c *formats.Checkpoint, g *graph.Graph, layers []int, patches bool) (*graph.Node, error) {
	depth, stem := -1, ""
	for _, name := range g.Names() {
		m := stateName.FindStringSubmatch(name)
		if m == nil || strings.HasPrefix(name, "text.") {
			continue
		}
		if n, err := strconv.Atoi(m[2]); err == nil && n > depth {
			depth, stem = n, m[1]
		}
	}
	if layers == nil {
		for _, name := range []string{"vision.last_hidden_state", "last_hidden_state"} {
			if n := g.Value(name); n != nil {
				return n, nil
			}
		}
		if depth >= 0 {
			return g.Value(fmt.Sprintf("%s%d", stem, depth)), nil
		}
		return nil, fmt.Errorf("%s: the encoder names no last_hidden_state that a projector could read", c.Source())
	}
	if depth < 0 {
		return nil, fmt.Errorf("%s: the encoder names no hidden states, of which the projector's configuration chooses %v", c.Source(), layers)
	}
	classToken := false
	for _, t := range graph.Tensors(graph.Weights(graph.Sort(g.Value(fmt.Sprintf("%s%d", stem, depth))))) {
		classToken = classToken || strings.HasSuffix(t.Name, "class_embedding") || strings.HasSuffix(t.Name, "cls_token")
	}
	var parts []*graph.Node
	for _, layer := range layers {
		n := layer
		if n < 0 {
			n += depth + 1
		}
		x := g.Value(fmt.Sprintf("%s%d", stem, n))
		if x == nil {
			return nil, fmt.Errorf("%s: the projector's configuration chooses hidden state %d of an encoder of %d layers", c.Source(), layer, depth)
		}
		if patches && classToken {
			x = &graph.Node{Op: graph.Slice{Axis: 1, Start: 1}, In: []*graph.Node{x}}
		}
		parts = append(parts, x)
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return &graph.Node{Op: graph.Concat{Axis: 2}, In: parts}, nil
}
