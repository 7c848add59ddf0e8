package bench

import (
	"encoding/json"
	"testing"

	"github.com/mmconv/mmconv/kernels"
)

func TestGemm(t *testing.T) {
	schemes, err := ParseSchemes("float32,int8,int8-g32,int4-g32-asym,int4-channel-f32")
	if err != nil {
		t.Fatal(err)
	}
	shapes, err := ParseShapes("3x40x70,1x64x64")
	if err != nil {
		t.Fatal(err)
	}
	var records []Record
	o := Options{Shapes: shapes, Schemes: schemes, Threads: []int{1, 2}, Warm: true, Cold: false, Rounds: 3}
	if err := Gemm(o, func(r Record) { records = append(records, r) }); err != nil {
		t.Fatal(err)
	}
	if want := len(shapes) * len(schemes) * 2; len(records) != want {
		t.Fatalf("%d records, want %d", len(records), want)
	}
	for _, r := range records {
		if r.GopsBest <= 0 || r.GopsMedian > r.GopsBest || r.PeakGops <= 0 || r.Share <= 0 || r.ISA != kernels.Active().String() || r.Weights != "warm" || r.GBps <= 0 || r.PeakGBps <= 0 {
			t.Errorf("impossible record %+v", r)
		}
	}
	var fields map[string]any
	data, _ := json.Marshal(records[0])
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"m", "k", "n", "scheme", "threads", "isa", "weights", "gops_best", "gops_median", "peak_gops", "share"} {
		if _, ok := fields[name]; !ok {
			t.Errorf("no field %q in %s", name, data)
		}
	}
}

func TestParse(t *testing.T) {
	for name, want := range map[string]string{
		"int8": "int8", "int8-channel": "int8", "int4": "int4-channel", "int4-g32": "int4-g32", "int4-g32-asym": "int4-g32-asym", "int8-asym-f32": "int8-asym",
	} {
		s, err := ParseScheme(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if s.Scheme.String() != want {
			t.Errorf("%s was read as %v", name, s.Scheme)
		}
	}
	for _, name := range []string{"", "int7", "int8-g0", "int8-gx", "int8-f32-asym", "float32-asym", "int4-g32-", "int4-g32-asym-f32-x"} {
		if _, err := ParseScheme(name); err == nil {
			t.Errorf("scheme %q: accepted", name)
		}
	}
	for _, list := range []string{"", "1x2", "1x2x3x4", "0x2x3", "-1x2x3", "1x2xc", "1x9999999x1", "1x1000000x1000000", "vit-z"} {
		if _, err := ParseShapes(list); err == nil {
			t.Errorf("shapes %q: accepted", list)
		}
	}
	if shapes, err := ParseShapes("vit-b-32, 7x8x9"); err != nil || len(shapes) != 5 {
		t.Errorf("vit-b-32 and a shape gave %v, %v", shapes, err)
	}
}
