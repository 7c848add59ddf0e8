package graph

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/mmconv/mmconv/formats"
)

// weightsFile holds the weights of a graph, whose own file has them by name, as expressions.
type weightsFile struct {
	Expressions []exprFile   `json:"expressions"` // each after its arguments
	Weights     []weightFile `json:"weights"`
}

// exprFile is a tensor of a checkpoint or an operation on earlier expressions.
type exprFile struct {
	Tensor string          `json:"tensor,omitempty"`
	Shape  Shape           `json:"shape,omitempty"` // the tensor's
	Op     string          `json:"op,omitempty"`
	Attrs  json.RawMessage `json:"attrs,omitempty"`
	Args   []int           `json:"args,omitempty"`
}

type weightFile struct {
	Name       string `json:"name"`
	Kind       Kind   `json:"kind"`
	Expression int    `json:"expression"`
	InputMean  floats `json:"input_mean,omitempty"`
}

// EncodeWeights writes weights as expressions over tensors, so that [DecodeWeights] gets the same weights from the same
// checkpoint. Name gives each tensor a name that tells it from the others; nil stands for its name in its checkpoint.
func EncodeWeights(ws []*Weight, name func(*formats.Tensor) string) ([]byte, error) {
	if name == nil {
		name = func(t *formats.Tensor) string { return t.Name }
	}
	var f weightsFile
	index := map[any]int{}                  // by identity
	tensors := map[string]*formats.Tensor{} // by name
	var write func(e Expr) (int, error)
	write = func(e Expr) (int, error) {
		if i, ok := index[e.identity()]; ok {
			return i, nil
		}
		var ef exprFile
		switch e := e.(type) {
		case Leaf:
			ef.Tensor, ef.Shape = name(e.Tensor), e.Shape()
			if tensors[ef.Tensor] != nil {
				return 0, fmt.Errorf("two tensors are named %q", ef.Tensor)
			}
			tensors[ef.Tensor] = e.Tensor
		case *applied:
			ef.Op = exprName(e.op)
			if e.attrs != "{}" {
				ef.Attrs = json.RawMessage(e.attrs)
			}
			for _, a := range e.args {
				i, err := write(a)
				if err != nil {
					return 0, err
				}
				ef.Args = append(ef.Args, i)
			}
		default:
			return 0, fmt.Errorf("%s is no expression over tensors", e)
		}
		index[e.identity()] = len(f.Expressions)
		f.Expressions = append(f.Expressions, ef)
		return len(f.Expressions) - 1, nil
	}
	for _, w := range ws {
		i, err := write(w.Expr)
		if err != nil {
			return nil, fmt.Errorf("weight %s: %w", w.Name, err)
		}
		f.Weights = append(f.Weights, weightFile{w.Name, w.Kind, i, w.InputMean})
	}
	return json.Marshal(f)
}

// DecodeWeights reads weights that EncodeWeights wrote; tensor returns the tensor of a name. The file may be hostile:
// everything in it is checked.
func DecodeWeights(data []byte, tensor func(name string) (*formats.Tensor, error)) ([]*Weight, error) {
	var f weightsFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	exprs := make([]Expr, 0, len(f.Expressions))
	for i, ef := range f.Expressions {
		e, err := ef.decode(exprs, tensor)
		if err != nil {
			return nil, fmt.Errorf("weights: expression %d: %w", i, err)
		}
		exprs = append(exprs, e)
	}
	var ws []*Weight
	seen := map[string]bool{}
	for _, wf := range f.Weights {
		if wf.Expression < 0 || wf.Expression >= len(exprs) {
			return nil, fmt.Errorf("weights: %s is expression %d of %d", wf.Name, wf.Expression, len(exprs))
		}
		if seen[wf.Name] {
			return nil, fmt.Errorf("weights: two are named %q", wf.Name)
		}
		seen[wf.Name] = true
		ws = append(ws, &Weight{Name: wf.Name, Kind: wf.Kind, Expr: exprs[wf.Expression], InputMean: wf.InputMean})
	}
	return ws, nil
}

// decode returns the expression, given those before it.
func (f exprFile) decode(earlier []Expr, tensor func(name string) (*formats.Tensor, error)) (Expr, error) {
	if f.Op == "" {
		t, err := tensor(f.Tensor)
		if err != nil {
			return nil, err
		}
		if !f.Shape.Equal(t.Shape) {
			return nil, fmt.Errorf("tensor %s: expected shape %v, found %v", f.Tensor, f.Shape, Shape(t.Shape))
		}
		return Leaf{t}, nil
	}
	t := exprOps[f.Op]
	if t == nil {
		return nil, fmt.Errorf("unknown operation %q; a newer mmconv may have written this", f.Op)
	}
	v := reflect.New(t)
	if len(f.Attrs) > 0 {
		if err := json.Unmarshal(f.Attrs, v.Interface()); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Op, err)
		}
	}
	args := make([]Expr, len(f.Args))
	for i, a := range f.Args {
		if a < 0 || a >= len(earlier) {
			return nil, fmt.Errorf("%s: argument %d is not an earlier expression", f.Op, a)
		}
		args[i] = earlier[a]
	}
	e, err := apply(v.Elem().Interface().(ExprOp), args)
	if err != nil {
		return nil, err
	}
	if err := e.Shape().check(); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Op, err)
	}
	if t, ok := v.Elem().Interface().(table); ok && len(t.Data) != t.Dims.Len() {
		return nil, fmt.Errorf("table %s: %d values for shape %v", t.Label, len(t.Data), t.Dims)
	}
	return e, nil
}
