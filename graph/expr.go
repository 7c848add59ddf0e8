package graph

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"weak"

	"github.com/mmconv/mmconv/formats"
)

// Expr is an expression over the tensors of a checkpoint: a [Leaf], an operation on other expressions (see [Apply]) or what
// a converted folder holds ([Quantized]). Expressions hold no data but small tables; Eval reads and computes. Equal
// expressions are the same object: == says whether two are equal.
type Expr interface {
	Shape() Shape
	// Eval returns the value in row-major order. It may be a view of the checkpoint's memory: callers must not change it.
	Eval() ([]float32, error)
	// String prints the expression over source names. Expressions that differ print apart, as far as the names of their
	// tensors do.
	String() string

	identity() any // a pointer that equal expressions share
}

// Leaf is a tensor of a checkpoint.
type Leaf struct{ Tensor *formats.Tensor }

// Shape returns the tensor's shape.
func (l Leaf) Shape() Shape { return l.Tensor.Shape }

// Eval converts the tensor to float32, or lends its memory where it is float32 already.
func (l Leaf) Eval() ([]float32, error) {
	if view, ok := l.Tensor.Float32View(); ok {
		return view, nil
	}
	out := make([]float32, l.Tensor.Len())
	return out, l.Tensor.Float32s(out, 0)
}

func (l Leaf) String() string { return l.Tensor.Name }

func (l Leaf) identity() any { return l.Tensor }

// ExprOp is what an expression computes from others: a small struct whose fields are its attributes, from which it is
// written to files and read back. A system that needs a computation of its own declares it in its own file and makes it
// known with [RegisterExpr]. One that is a [fmt.Stringer] prints all its attributes itself.
type ExprOp interface {
	// Infer returns the value's shape, given those of the arguments, or an error where they do not fit. Where it returns
	// none, Eval must not panic.
	Infer(args []Shape) (Shape, error)
	// Eval computes the value from those of the arguments, which it must not change but may return parts of.
	Eval(args []*Tensor) ([]float32, error)
}

var exprOps = map[string]reflect.Type{}

// RegisterExpr makes operations of expressions known to the reader of weights; each file that declares some calls it.
func RegisterExpr(list ...ExprOp) (none struct{}) {
	for _, op := range list {
		name := exprName(op)
		if exprOps[name] != nil {
			panic("graph: two operations of expressions are named " + name)
		}
		exprOps[name] = reflect.TypeOf(op)
	}
	return none
}

func exprName(op ExprOp) string { return reflect.TypeOf(op).Name() }

// Apply returns the expression of an operation on others. Where they do not fit, it is one without a shape whose value is
// the error; [Builder.Derived] and [Graph.Check] report it.
func Apply(op ExprOp, args ...Expr) Expr {
	e, err := apply(op, args)
	if err != nil {
		return &illFormed{err}
	}
	return e
}

func apply(op ExprOp, args []Expr) (Expr, error) {
	shapes := make([]Shape, len(args))
	for i, a := range args {
		if err := exprError(a); err != nil {
			return nil, err
		}
		shapes[i] = a.Shape()
	}
	attrs, err := json.Marshal(op)
	if err != nil {
		return nil, fmt.Errorf("expression %s: %w", exprName(op), err)
	}
	e := &applied{op: op, attrs: string(attrs), args: args}
	if e.shape, err = op.Infer(shapes); err != nil {
		return nil, fmt.Errorf("expression %s of shapes %v: %w", e.label(), shapes, err)
	}
	return intern(e), nil
}

// applied is an operation on other expressions.
type applied struct {
	op    ExprOp
	attrs string // the operation's, as JSON
	args  []Expr
	shape Shape
}

// interned holds the expressions that are in use, so that equal ones are one object. It keeps none of them alive.
var interned = struct {
	sync.Mutex
	known map[exprKey]weak.Pointer[applied]
}{known: map[exprKey]weak.Pointer[applied]{}}

type exprKey [sha256.Size]byte

func intern(e *applied) *applied {
	h := sha256.New()
	fmt.Fprintf(h, "%s%s", exprName(e.op), e.attrs)
	for _, a := range e.args {
		fmt.Fprintf(h, ",%p", a.identity())
	}
	k := exprKey(h.Sum(nil))
	interned.Lock()
	defer interned.Unlock()
	if old := interned.known[k].Value(); old != nil {
		return old
	}
	interned.known[k] = weak.Make(e)
	runtime.AddCleanup(e, func(k exprKey) {
		interned.Lock()
		defer interned.Unlock()
		if interned.known[k].Value() == nil { // else an equal expression has been made since
			delete(interned.known, k)
		}
	}, k)
	return e
}

func (e *applied) Shape() Shape { return e.shape }

func (e *applied) Eval() ([]float32, error) {
	args := make([]*Tensor, len(e.args))
	for i, a := range e.args {
		v, err := a.Eval()
		if err != nil {
			return nil, err
		}
		args[i] = &Tensor{a.Shape(), v}
	}
	out, err := e.op.Eval(args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e, err)
	}
	if len(out) != e.shape.Len() {
		return nil, fmt.Errorf("%s: %d values for shape %v", e, len(out), e.shape)
	}
	return out, nil
}

// label prints the operation with its attributes.
func (e *applied) label() string {
	if s, ok := e.op.(fmt.Stringer); ok {
		return s.String()
	}
	return exprName(e.op) + strings.TrimSuffix(e.attrs, "{}")
}

func (e *applied) String() string {
	if len(e.args) == 0 {
		return e.label()
	}
	parts := make([]string, len(e.args))
	for i, a := range e.args {
		parts[i] = a.String()
	}
	return e.label() + "(" + strings.Join(parts, ", ") + ")"
}

func (e *applied) identity() any { return e }

// illFormed stands for an expression whose arguments do not fit.
type illFormed struct{ err error }

func (e *illFormed) Shape() Shape             { return nil }
func (e *illFormed) Eval() ([]float32, error) { return nil, e.err }
func (e *illFormed) String() string           { return e.err.Error() }
func (e *illFormed) identity() any            { return e }

// exprError returns why an expression is ill-formed, nil if it is not.
func exprError(e Expr) error {
	if e, ok := e.(*illFormed); ok {
		return e.err
	}
	return nil
}

// Leaves returns the checkpoint tensors that an expression reads.
func Leaves(e Expr) []*formats.Tensor {
	switch e := e.(type) {
	case Leaf:
		return []*formats.Tensor{e.Tensor}
	case *applied:
		var all []*formats.Tensor
		for _, a := range e.args {
			all = append(all, Leaves(a)...)
		}
		return all
	}
	return nil
}
