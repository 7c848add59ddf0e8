package quant_test

import (
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/models"
	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/quant"
)

// TestOnlyProjector: the encoder before a projector that is converted alone stays float, and the projector does not.
func TestOnlyProjector(t *testing.T) {
	for _, name := range []string{"llava15-hf-gelu", "gemma3-panscan"} {
		l, err := run.Load("../testdata/goldens/"+name+"/checkpoint", models.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		g := l.Model.Graph.Clone()
		if err := g.Prune(graph.Projector); err != nil {
			t.Fatal(err)
		}
		p, err := quant.MakePlan(g, &quant.Recipe{Only: []graph.Component{graph.Projector}})
		if err != nil {
			t.Fatal(err)
		}
		projector := 0
		for _, r := range p.Rows {
			switch {
			case r.Quantized == nil:
			case strings.Contains(r.Source, "vision_tower"):
				t.Errorf("%s: %s of the encoder is quantized", name, r.Name)
			default:
				projector++
			}
		}
		if projector == 0 {
			t.Errorf("%s: nothing of the projector is quantized", name)
		}
	}
}
