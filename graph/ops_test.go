package graph

import (
	"math"
	"reflect"
	"testing"
)

// Every operation refuses inputs that it cannot take, whatever its attributes are: files can hold anything.
func TestOpsRefuseAnything(t *testing.T) {
	shapes := []Shape{nil, {0}, {1}, {2, 3}, {2, 3, 4}, {2, 3, 4, 5}, {1, 1, 1, 1, 1}, {math.MaxInt, 2}}
	attributes := []int{0, 1, -1, 2, 7, math.MaxInt, math.MinInt}
	for name, typ := range ops {
		for _, a := range attributes {
			op := reflect.New(typ).Elem()
			fillInts(op, a)
			for count := range 5 {
				for i := range shapes {
					n := &Node{Op: op.Interface().(Op)}
					in := make([]Shape, count)
					for j := range in {
						in[j] = shapes[(i+j)%len(shapes)]
					}
					for _, w := range []Shape{{3}, {4, 5}, {4, 1, 1, 5}} {
						n.Params = []*Weight{{Name: "w", Expr: Values("w", nil, w...)}, {Name: "b", Expr: Values("b", nil, w...)}}
						func() {
							defer func() {
								if r := recover(); r != nil {
									t.Errorf("%s%+v of %v and %v: panic: %v", name, n.Op, in, w, r)
								}
							}()
							if s, err := InferNode(n, in); err == nil && s == nil && count > 0 && in[0] != nil {
								t.Logf("%s%+v of %v: a scalar", name, n.Op, in)
							}
						}()
					}
				}
			}
		}
	}
}

func fillInts(v reflect.Value, a int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillInts(v.Field(i), a)
		}
	case reflect.Array:
		for i := range v.Len() {
			fillInts(v.Index(i), a)
		}
	case reflect.Int:
		v.SetInt(int64(a))
	}
}
