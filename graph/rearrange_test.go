package graph

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func iota32(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(i)
	}
	return v
}

// naive applies a permutation element by element.
func naive(p *Permutation, src []float32) []float32 {
	out := make([]float32, len(src))
	to := make(Shape, len(p.Perm))
	for i, a := range p.Perm {
		to[i] = p.From[a]
	}
	for i := range out {
		at := make([]int, len(p.From))
		rest := i
		for ax := len(to) - 1; ax >= 0; ax-- {
			at[p.Perm[ax]] = rest % to[ax]
			rest /= to[ax]
		}
		j := 0
		for ax, x := range at {
			j = j*p.From[ax] + x
		}
		out[i] = src[j]
	}
	return out
}

func TestRearrange(t *testing.T) {
	for _, c := range []struct {
		pattern string
		sizes   map[string]int
		in, out Shape
	}{
		{"b s (h d) -> b h s d", map[string]int{"h": 3}, Shape{2, 5, 12}, Shape{2, 3, 5, 4}},
		{"b h s d -> b s (h d)", nil, Shape{2, 3, 5, 4}, Shape{2, 5, 12}},
		{"b c h w -> b h w c", nil, Shape{2, 3, 5, 7}, Shape{2, 5, 7, 3}},
		{"b (y p) (x q) c -> (b y x) (p q) c", map[string]int{"p": 2, "q": 3}, Shape{2, 4, 9, 5}, Shape{12, 6, 5}},
		{"b (h r) (w s) c -> b h w (r s c)", map[string]int{"r": 2, "s": 2}, Shape{1, 4, 6, 3}, Shape{1, 2, 3, 12}},
		{"a b -> b a", nil, Shape{1, 7}, Shape{7, 1}},
		{"b 1 t c -> b t c", nil, Shape{2, 1, 3, 4}, Shape{2, 3, 4}},
		{"d -> 1 1 d", nil, Shape{5}, Shape{1, 1, 5}},
		{"a b c -> c b a", nil, Shape{3, 0, 2}, Shape{2, 0, 3}},
	} {
		o := Rearrange{c.pattern, c.sizes}
		p, err := o.Solve(c.in)
		if err != nil {
			t.Fatal(err)
		}
		if !p.Out.Equal(c.out) {
			t.Errorf("%s of %v: %v, want %v", c.pattern, c.in, p.Out, c.out)
		}
		src := iota32(c.in.Len())
		got := make([]float32, len(src))
		p.Apply(got, src)
		if want := naive(p, src); !slices.Equal(got, want) {
			t.Errorf("%s of %v: %v, want %v", c.pattern, c.in, got, want)
		}
		if p.Identity() && !slices.Equal(got, src) {
			t.Errorf("%s of %v moves elements, and says that it does not", c.pattern, c.in)
		}
	}
}

func TestRearrangeRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	letters := strings.Split("abcdef", "")
	for range 300 {
		n := 1 + r.IntN(5)
		in := make(Shape, n)
		for i := range in {
			in[i] = 1 + r.IntN(4)
		}
		right := slices.Clone(letters[:n])
		r.Shuffle(n, func(i, j int) { right[i], right[j] = right[j], right[i] })
		p, err := Rearrange{Pattern: strings.Join(letters[:n], " ") + " -> " + strings.Join(right, " ")}.Solve(in)
		if err != nil {
			t.Fatal(err)
		}
		src := iota32(in.Len())
		got := make([]float32, len(src))
		p.Apply(got, src)
		if want := naive(p, src); !slices.Equal(got, want) {
			t.Fatalf("%v of %v: %v, want %v", right, in, got, want)
		}
	}
}

func TestRearrangeRefuses(t *testing.T) {
	for _, c := range []struct {
		pattern string
		in      Shape
		says    string
	}{
		{"a b", Shape{1, 2}, "no arrow"},
		{"a b -> b", Shape{1, 2}, "missing on the right"},
		{"a b -> b a c", Shape{1, 2}, "right only"},
		{"a a -> a", Shape{1, 2}, "twice"},
		{"(a b) -> a b", Shape{6}, "both unknown"},
		{"a -> a", Shape{1, 2}, "expected 1 axes"},
		{"(a -> a", Shape{1}, "parentheses"},
		{"1 a -> a", Shape{3, 2}, "should be 1"},
	} {
		if _, err := (Rearrange{Pattern: c.pattern}).Solve(c.in); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q of %v: error %v, want one with %q", c.pattern, c.in, err, c.says)
		}
	}
	if _, err := (Rearrange{"(a b) -> a b", map[string]int{"a": 4}}).Solve(Shape{6}); err == nil {
		t.Error("6 does not divide by 4, and nothing was said")
	}
}
