package quant

import (
	"testing"

	"github.com/mmconv/mmconv/graph"
)

// TestAdvice holds a system's choices against a recipe: they come before its own, for integers only.
func TestAdvice(t *testing.T) {
	advice := []graph.Advice{{Match: "*pooler*", Weights: "float16"}, {Match: "*dense*", Activations: "float32"}}
	choice := func(r *Recipe, name string) Choice {
		c, _ := r.advised(advice).choiceFor([]string{name})
		return c
	}
	for name, test := range map[string]struct {
		recipe               Recipe
		weight               string
		weights, activations string
	}{
		"advised":             {weight: "bert.pooler.x", weights: "float16"},
		"activations":         {recipe: Recipe{Choice: Choice{Weights: "int4", Activations: "int8"}}, weight: "dense", weights: "int4", activations: "float32"},
		"own override":        {recipe: Recipe{Overrides: []Override{{"*pooler*", Choice{Weights: "int4"}}}}, weight: "pooler", weights: "int4"},
		"plain":               {recipe: Recipe{Plain: true}, weight: "pooler"},
		"float is left alone": {recipe: Recipe{Choice: Choice{Weights: "float32"}}, weight: "pooler", weights: "float32"},
		"kept":                {recipe: Recipe{Keep: []string{"*pooler*"}}, weight: "pooler", weights: "source"},
	} {
		if c := choice(&test.recipe, test.weight); c.Weights != test.weights || c.Activations != test.activations {
			t.Errorf("%s: %s weights, %s activations; expected %s and %s", name, c.Weights, c.Activations, test.weights, test.activations)
		}
	}
}
