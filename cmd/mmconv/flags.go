package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

func parseFinite(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("expected a number, found %q", s)
	}
	return v, nil
}

// sizeValue is a flag of an image size: "336" or "HEIGHTxWIDTH".
type sizeValue struct{ p *[2]int }

func imageSize(f *pflag.FlagSet, p *[2]int) {
	f.Var(sizeValue{p}, "image-size", "interpolate position tables to this image size: N or HEIGHTxWIDTH")
}

func (v sizeValue) Type() string { return "size" }

func (v sizeValue) String() string {
	if v.p == nil || *v.p == [2]int{} {
		return ""
	}
	return fmt.Sprintf("%dx%d", v.p[0], v.p[1])
}

func (v sizeValue) Set(s string) error {
	h, w, two := strings.Cut(s, "x")
	if !two {
		w = h
	}
	for i, part := range []string{h, w} {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 || n > 1<<16 {
			return fmt.Errorf("expected N or HEIGHTxWIDTH in pixels, found %q", s)
		}
		v.p[i] = n
	}
	return nil
}
