package quant

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/converted"
	"github.com/mmconv/mmconv/kernels"
)

// Choice says how weights are stored. Empty fields leave it to what is more general: an override to its recipe, the recipe
// to the defaults.
type Choice struct {
	// Weights is int8, int4, float16, float32, or source: the numbers as the checkpoint has them.
	Weights string `json:"weights,omitempty"`
	// Activations are int8, dynamic per token, or float32. They matter to quantized weights only.
	Activations string `json:"activations,omitempty"`
	// GroupSize is how many values along a row share a scale.
	GroupSize GroupSize `json:"group_size,omitempty"`
	// Asymmetric gives every scale a zero point.
	Asymmetric *bool `json:"asymmetric,omitempty"`
	// Method is how the integers are chosen.
	Method string `json:"method,omitempty"`
	// Scales are float16 or float32.
	Scales string `json:"scales,omitempty"`
}

// Recipe is the whole of what a user wants of a conversion: the flags as data. A recipe file holds one as JSON.
type Recipe struct {
	Choice
	// Keep lists globs; matching weights stay as in the checkpoint.
	Keep []string `json:"keep,omitempty"`
	// Only lists the components to convert; all if empty.
	Only []graph.Component `json:"only,omitempty"`
	// NoFuse lists fusion passes to leave out.
	NoFuse []string `json:"no_fuse,omitempty"`
	// Overrides choose otherwise for the weights that a glob matches; of several that match, later ones count more.
	Overrides []Override `json:"overrides,omitempty"`
	// Plain leaves out what the system's own recipe has for single weights.
	Plain bool `json:"plain,omitempty"`
	// AllowNonfinite converts weights that hold NaN or infinities.
	AllowNonfinite bool `json:"allow_nonfinite,omitempty"`
}

// Override is a choice for some weights.
type Override struct {
	// Match is a glob over the names of weights and of the tensors that they are made of.
	Match string `json:"match"`
	Choice
}

// GroupSize is "channel" (a whole row), "32", "64" or "128".
type GroupSize string

// UnmarshalJSON takes a number as well as a string.
func (g *GroupSize) UnmarshalJSON(text []byte) error {
	var n int
	if json.Unmarshal(text, &n) == nil {
		*g = GroupSize(strconv.Itoa(n))
		return nil
	}
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf(`group_size %s: expected 32, 64, 128 or "channel"`, text)
	}
	*g = GroupSize(s)
	return nil
}

// The values that the fields of a choice take.
var (
	weightsNames    = []string{"int8", "int4", "float16", "float32", "source"}
	activationNames = []string{"int8", "float32"}
	groupNames      = []string{"channel", "32", "64", "128"}
	scaleNames      = []string{"float16", "float32"}
)

// The defaults. Groups and scales go by the format: see groupOf and scalesOf.
const (
	defaultWeights     = "int8"
	defaultActivations = "int8"
	defaultMethod      = "mse"
)

// ReadRecipe reads a recipe file. Unknown fields and values are refused.
func ReadRecipe(file string) (*Recipe, error) {
	text, err := formats.ReadBounded(file, maxRecipe)
	if err != nil {
		return nil, fmt.Errorf("recipe %w", err)
	}
	r, err := parseRecipe(text)
	if err != nil {
		return nil, fmt.Errorf("recipe %s: %w", file, err)
	}
	return r, nil
}

// RecipeOf reads the recipe, with the defaults filled in, that a folder was converted by.
func RecipeOf(m *converted.Manifest) (*Recipe, error) {
	r := new(Recipe)
	return r, formats.JSON(converted.ManifestFile, m.Recipe, r)
}

// maxRecipe bounds a recipe file.
const maxRecipe = 16 << 20

func parseRecipe(text []byte) (*Recipe, error) {
	var r Recipe
	if err := formats.StrictJSON("", text, &r); err != nil {
		return nil, err
	}
	return &r, r.Check()
}

// Check reports the first value that means nothing.
func (r *Recipe) Check() error {
	if err := r.Choice.check(); err != nil {
		return err
	}
	for _, glob := range r.Keep {
		if _, err := path.Match(glob, ""); err != nil {
			return fmt.Errorf("keep %q: not a glob: %w", glob, err)
		}
	}
	for _, o := range r.Overrides {
		if _, err := path.Match(o.Match, ""); err != nil || o.Match == "" {
			return fmt.Errorf("override %q: match is not a glob", o.Match)
		}
		if err := o.check(); err != nil {
			return fmt.Errorf("override %q: %w", o.Match, err)
		}
	}
	return nil
}

func (c *Choice) check() error {
	for _, f := range []struct {
		name, value string
		known       []string
	}{
		{"weights", c.Weights, weightsNames},
		{"activations", c.Activations, activationNames},
		{"group size", string(c.GroupSize), groupNames},
		{"scales", c.Scales, scaleNames},
	} {
		if f.value != "" && !slices.Contains(f.known, f.value) {
			return fmt.Errorf("%s %q: expected one of %s", f.name, f.value, strings.Join(f.known, ", "))
		}
	}
	if c.Method != "" {
		if _, err := MethodByName(c.Method); err != nil {
			return err
		}
	}
	return nil
}

// over returns the choice with the fields that a more special one sets.
func (c Choice) over(special Choice) Choice {
	set := func(field *string, value string) {
		if value != "" {
			*field = value
		}
	}
	if special.Weights != "" && special.Weights != c.Weights {
		// Another format has defaults of its own for what goes by the format.
		c.Weights, c.GroupSize, c.Scales = special.Weights, "", ""
	}
	set(&c.Activations, special.Activations)
	set((*string)(&c.GroupSize), string(special.GroupSize))
	set(&c.Method, special.Method)
	set(&c.Scales, special.Scales)
	if special.Asymmetric != nil {
		c.Asymmetric = special.Asymmetric
	}
	return c
}

// withDefaults fills the empty fields.
func (c Choice) withDefaults() Choice {
	return Choice{Weights: defaultWeights, Activations: defaultActivations, Method: defaultMethod}.over(c)
}

// scheme returns the stored numbers' scheme; ok is false for floats.
func (c *Choice) scheme() (s kernels.Scheme, ok bool) {
	switch c.Weights {
	case "int8":
		s.Bits = 8
	case "int4":
		s.Bits, s.Group = 4, 32
	default:
		return s, false
	}
	switch c.GroupSize {
	case "":
	case "channel":
		s.Group = 0
	default:
		s.Group, _ = strconv.Atoi(string(c.GroupSize)) // checked before
	}
	s.Asymmetric = c.Asymmetric != nil && *c.Asymmetric
	return s, true
}

// halfScales reports whether scales are stored as float16: where groups make them many, unless it is said otherwise. A
// group of 32 int4 numbers takes 16 bytes, its scale 2 or 4 more; the error that the shorter scale adds is below 2^-11 of a
// weight, a hundredth of what int4 costs (docs/quantization.md has the figures).
func (c *Choice) halfScales(s kernels.Scheme) bool {
	if c.Scales != "" {
		return c.Scales == "float16"
	}
	return s.Group > 0
}

// advised returns the recipe with a system's advice before its own overrides, which count more. Advice is for integers: a recipe
// that makes none is returned as it is.
func (r *Recipe) advised(advice []graph.Advice) *Recipe {
	c := r.Choice.withDefaults()
	if _, integers := c.scheme(); !integers || r.Plain || len(advice) == 0 {
		return r
	}
	own := *r
	own.Overrides = nil
	for _, a := range advice {
		own.Overrides = append(own.Overrides, Override{Match: a.Match, Choice: Choice{Weights: a.Weights, Activations: a.Activations}})
	}
	own.Overrides = append(own.Overrides, r.Overrides...)
	return &own
}

// choiceFor returns what a recipe wants for a weight, with the reason where it is to be kept.
func (r *Recipe) choiceFor(names []string) (c Choice, kept string) {
	c = r.Choice
	for _, o := range r.Overrides {
		if matches(o.Match, names) {
			c = c.over(o.Choice)
			kept = ""
			if c.Weights == "source" {
				kept = fmt.Sprintf("kept by the recipe's %q", o.Match)
			}
		}
	}
	for _, glob := range r.Keep {
		if matches(glob, names) {
			c.Weights, kept = "source", fmt.Sprintf("kept by --keep %s", glob)
		}
	}
	return c, kept
}

func matches(glob string, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { ok, _ := path.Match(glob, name); return ok })
}
