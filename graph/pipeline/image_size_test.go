package pipeline

import (
	"slices"
	"testing"
)

func TestWithSize(t *testing.T) {
	crop := ImageOpenAICLIP(224)
	for _, c := range []struct{ height, width, shortest int }{{224, 224, 224}, {336, 336, 336}, {96, 192, 192}, {192, 96, 192}} {
		p, err := crop.WithSize(c.height, c.width)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(p.Steps, func(s ImageStep) bool { return s.Op == CenterCrop })
		if p.Steps[i].Height != c.height || p.Steps[i].Width != c.width || p.Steps[0].Shortest != c.shortest {
			t.Errorf("%dx%d: the steps are %+v", c.height, c.width, p.Steps)
		}
	}
	if crop.Steps[0].Shortest != 224 {
		t.Error("the processor itself was changed")
	}
	squash := ImageSquash(384, 384, HalfMean, HalfStd)
	if p, err := squash.WithSize(48, 96); err != nil || p.Steps[0].Height != 48 || p.Steps[0].Width != 96 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := ImageInternVL(448, 1, 12, true).WithSize(224, 224); err == nil {
		t.Error("a tiling was given a size")
	}
}
