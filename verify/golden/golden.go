package golden

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/run"
)

// Case is a golden case: a checkpoint, inputs, and what the original implementation made of them. docs/verification.md
// describes the format.
type Case struct {
	Dir       string
	Name      string
	System    string
	Kind      string
	Row       int
	Notes     string
	Inputs    map[string]run.Input
	Expected  []*Expected // in the order of case.json
	reference *formats.Checkpoint
	tensors   []*formats.Checkpoint
	model     string
}

// Expected is one recorded tensor.
type Expected struct {
	Name       string
	Shape      graph.Shape // of what is stored, after the slice
	What       string
	ATol, RTol float64
	Slice      *Slice
	Needs      string // what lies outside of the encoders and is needed for it: the row is not run
	Final      bool   // bounds on a converted model hold for it
	Exact      bool   // ids: compared exactly
	tensor     *formats.Tensor
}

// Load reads the recorded values.
func (e *Expected) Load() (*graph.Tensor, error) { return graph.ReadTensor(e.tensor) }

// maxCaseFile bounds case.json.
const maxCaseFile = 16 << 20

type caseFile struct {
	Name       string
	System     string
	Kind       string
	Row        int
	Notes      string `json:"config_notes"`
	Checkpoint *string
	Inputs     map[string]json.RawMessage
	Expected   json.RawMessage
	Tolerance  struct{ ATol, RTol *float64 }
}

type expectedFile struct {
	Shape []int
	DType string
	What  string
	ATol  *float64
	RTol  *float64
	Slice *string
	Needs string
	Final bool
}

// LoadCase reads a case's folder. Expected tensors and inputs are checked to be there; their data is read when it is used.
func LoadCase(dir string) (_ *Case, err error) {
	path := filepath.Join(dir, "case.json")
	raw, err := formats.ReadBounded(path, maxCaseFile)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s: no case.json there: a golden case is a folder with case.json, expected.safetensors and inputs", dir)
		}
		return nil, err
	}
	var f caseFile
	if err := formats.JSON(path, raw, &f); err != nil {
		return nil, err
	}
	c := &Case{Dir: dir, Name: f.Name, System: f.System, Kind: f.Kind, Row: f.Row, Notes: f.Notes, Inputs: map[string]run.Input{}}
	defer func() {
		if err != nil {
			c.Close()
			err = fmt.Errorf("%s: %w", path, err)
		}
	}()
	if c.Name == "" {
		c.Name = filepath.Base(dir)
	}
	if f.Checkpoint != nil && *f.Checkpoint != "" {
		if c.model, err = c.path(*f.Checkpoint); err != nil {
			return nil, fmt.Errorf("checkpoint: %w", err)
		}
	}
	stores := map[string]*formats.Checkpoint{}
	for name, raw := range f.Inputs {
		if c.Inputs[name], err = c.input(raw, stores); err != nil {
			return nil, fmt.Errorf("input %q: %w", name, err)
		}
	}
	if c.reference, err = c.openTensors("expected.safetensors", stores); err != nil {
		return nil, err
	}
	if err = c.readExpected(f); err != nil {
		return nil, err
	}
	return c, nil
}

// Close releases the case's files.
func (c *Case) Close() {
	for _, t := range c.tensors {
		t.Close()
	}
	c.tensors = nil
}

// Checkpoint returns the path of the case's model, "" if it has none.
func (c *Case) Checkpoint() string { return c.model }

// path resolves a path of case.json, which must stay inside the case.
func (c *Case) path(name string) (string, error) {
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", fmt.Errorf("%q: expected a path inside the case's folder", name)
	}
	p := filepath.Join(c.Dir, filepath.FromSlash(name))
	if _, err := os.Stat(p); err != nil {
		return "", err
	}
	return p, nil
}

func (c *Case) openTensors(name string, stores map[string]*formats.Checkpoint) (*formats.Checkpoint, error) {
	if s := stores[name]; s != nil {
		return s, nil
	}
	p, err := c.path(name)
	if err != nil {
		return nil, err
	}
	s, err := formats.Open(p, formats.Options{})
	if err != nil {
		return nil, err
	}
	stores[name] = s
	c.tensors = append(c.tensors, s)
	return s, nil
}

const tensorMark = ".safetensors:"

func (c *Case) input(raw json.RawMessage, stores map[string]*formats.Checkpoint) (run.Input, error) {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		if i := strings.Index(one, tensorMark); i >= 0 {
			file, name := one[:i+len(tensorMark)-1], one[i+len(tensorMark):]
			s, err := c.openTensors(file, stores)
			if err != nil {
				return run.Input{}, err
			}
			t, ok := s.Tensor(name)
			if !ok {
				return run.Input{}, fmt.Errorf("%s has no tensor %q; it has %s", file, name, strings.Join(s.Names(), ", "))
			}
			values, err := graph.ReadTensor(t)
			return run.Input{Tensor: values}, err
		}
		p, err := c.path(one)
		return run.Input{Samples: [][]string{{p}}}, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return run.Input{}, fmt.Errorf("expected a file, a list of files or file.safetensors:tensor, found %.40s", raw)
	}
	var in run.Input
	for _, item := range list {
		var files []string
		if json.Unmarshal(item, &one) == nil {
			files = []string{one}
		} else if err := json.Unmarshal(item, &files); err != nil {
			return run.Input{}, fmt.Errorf("expected a file or a list of files in the list, found %.40s", item)
		}
		for i, f := range files {
			p, err := c.path(f)
			if err != nil {
				return run.Input{}, err
			}
			files[i] = p
		}
		in.Samples = append(in.Samples, files)
	}
	return in, nil
}

func (c *Case) readExpected(f caseFile) error {
	if len(f.Expected) == 0 {
		return errors.New(`"expected" is missing`)
	}
	dec := json.NewDecoder(bytes.NewReader(f.Expected))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return errors.New(`"expected": expected an object`)
	}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := tok.(string)
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		var x expectedFile
		if err := formats.JSON("", value, &x); err != nil {
			return fmt.Errorf("expected %q: %w", name, err)
		}
		e := &Expected{Name: name, Shape: x.Shape, What: x.What, Needs: x.Needs, Final: x.Final}
		e.ATol, e.RTol = orElse(x.ATol, f.Tolerance.ATol), orElse(x.RTol, f.Tolerance.RTol)
		if !(e.ATol >= 0) || !(e.RTol >= 0) {
			return fmt.Errorf("expected %q: tolerances %g and %g are no bounds", name, e.ATol, e.RTol)
		}
		if x.Slice != nil {
			if e.Slice, err = ParseSlice(*x.Slice); err != nil {
				return fmt.Errorf("expected %q: %w", name, err)
			}
		}
		t, ok := c.reference.Tensor(name)
		if !ok {
			return fmt.Errorf("expected.safetensors has no tensor %q", name)
		}
		if x.Shape != nil && !slices.Equal(t.Shape, x.Shape) {
			return fmt.Errorf("expected %q: case.json says shape %v, expected.safetensors has %v", name, x.Shape, t.Shape)
		}
		e.Shape, e.tensor = t.Shape, t
		last := name[strings.LastIndex(name, ".")+1:]
		e.Exact = last == "generated_ids"
		c.Expected = append(c.Expected, e)
	}
	if len(c.Expected) == 0 {
		return errors.New(`"expected" is empty`)
	}
	return nil
}

// orElse returns the first bound that is given, else 0.
func orElse(bounds ...*float64) float64 {
	for _, b := range bounds {
		if b != nil {
			return *b
		}
	}
	return 0
}
