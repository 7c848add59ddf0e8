package imageproc

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// goldenCase is what these tests need of a golden case.
type goldenCase struct {
	t        *testing.T
	dir      string
	Inputs   map[string]json.RawMessage
	Expected map[string]struct {
		Shape      []int
		ATol, RTol float64
		Slice      string
	}
}

// openCase finds a case in the repository or, for those that are not kept there, beside it.
func openCase(t *testing.T, name string) *goldenCase {
	t.Helper()
	for _, root := range []string{"../../../testdata/goldens", "../../../../shared/goldens"} {
		dir := filepath.Join(root, name)
		data, err := os.ReadFile(filepath.Join(dir, "case.json"))
		if err != nil {
			continue
		}
		c := &goldenCase{t: t, dir: dir}
		if err := json.Unmarshal(data, c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	t.Skipf("case %s is not here", name)
	return nil
}

func (c *goldenCase) file(path string) []byte {
	data, err := os.ReadFile(filepath.Join(c.dir, path))
	if err != nil {
		c.t.Fatal(err)
	}
	return data
}

func (c *goldenCase) tensor(file, name string) ([]float32, []int) {
	ck, err := formats.Open(filepath.Join(c.dir, file), formats.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	defer ck.Close()
	x, ok := ck.Tensor(name)
	if !ok {
		c.t.Fatalf("%s: no tensor %s", file, name)
	}
	values := make([]float32, x.Len())
	if err := x.Float32s(values, 0); err != nil {
		ints := make([]int64, x.Len())
		if err := x.Int64s(ints, 0); err != nil {
			c.t.Fatal(err)
		}
		for i, v := range ints {
			values[i] = float32(v)
		}
	}
	return values, x.Shape
}

// picture decodes an input, or takes the recorded pixels where the case has them.
func (c *goldenCase) picture(path string) *RGB {
	base := filepath.Base(path)
	m, err := Open(filepath.Join(c.dir, path), Limits{})
	if err != nil {
		c.t.Fatal(err)
	}
	if raw, ok := c.Inputs["decoded_rgb."+base]; ok {
		var ref string
		json.Unmarshal(raw, &ref)
		file, name, _ := strings.Cut(ref, ":")
		values, shape := c.tensor(file, name)
		if shape[0] != m.Height || shape[1] != m.Width {
			c.t.Fatalf("%s: decoded to %d x %d, recorded %v", base, m.Width, m.Height, shape)
		}
		for i, v := range values {
			m.Pix[i] = uint8(v)
		}
	}
	return m
}

// images lists the inputs "images", "image", "image0", ...
func (c *goldenCase) images() (samples [][]*RGB) {
	if raw, ok := c.Inputs["images"]; ok {
		var nested [][]string
		var flat []string
		if json.Unmarshal(raw, &flat) == nil {
			for _, f := range flat {
				samples = append(samples, []*RGB{c.picture(f)})
			}
			return samples
		}
		if err := json.Unmarshal(raw, &nested); err != nil {
			c.t.Fatal(err)
		}
		for _, n := range nested {
			var s []*RGB
			for _, f := range n {
				s = append(s, c.picture(f))
			}
			samples = append(samples, s)
		}
		return samples
	}
	for _, key := range []string{"image", "image0", "image1", "image2"} {
		var f string
		if raw, ok := c.Inputs[key]; ok && json.Unmarshal(raw, &f) == nil {
			samples = append(samples, []*RGB{c.picture(f)})
		}
	}
	return samples
}

// slice applies numpy's basic slicing with positive steps.
func slice(t *testing.T, spec string, x []float32, shape []int) []float32 {
	t.Helper()
	if spec == "" {
		return x
	}
	items := strings.Split(strings.Trim(spec, "[]"), ",")
	index := make([][]int, len(shape))
	for d, n := range shape {
		from, to, step := 0, n, 1
		if d < len(items) {
			for i, part := range strings.Split(strings.TrimSpace(items[d]), ":") {
				if part == "" {
					continue
				}
				v, err := strconv.Atoi(part)
				if err != nil {
					t.Fatal(err)
				}
				if v < 0 {
					v += n
				}
				*[]*int{&from, &to, &step}[i] = v
			}
		}
		for i := from; i < min(to, n); i += step {
			index[d] = append(index[d], i)
		}
	}
	offsets := []int{0}
	for d, n := range shape {
		var next []int
		for _, o := range offsets {
			for _, i := range index[d] {
				next = append(next, o*n+i)
			}
		}
		offsets = next
	}
	out := make([]float32, len(offsets))
	for i, o := range offsets {
		out[i] = x[o]
	}
	return out
}

// worst returns the largest difference and how many values differ.
func worst(t *testing.T, got, want []float32) (diff float64, differing int) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, expected %d", len(got), len(want))
	}
	for i, v := range want {
		d := math.Abs(float64(got[i]) - float64(v))
		if d != 0 {
			differing++
		}
		diff = max(diff, d)
	}
	return diff, differing
}

func planar(m *RGB) ([]float32, []int) {
	n := m.Width * m.Height
	out := make([]float32, 3*n)
	for i := range n {
		for c := range 3 {
			out[c*n+i] = float32(m.Pix[3*i+c])
		}
	}
	return out, []int{3, m.Height, m.Width}
}

func readProcessor(t *testing.T, c *goldenCase, dir string) *pipeline.Image {
	t.Helper()
	var p *pipeline.Image
	var err error
	if _, missing := os.Stat(filepath.Join(c.dir, dir, "preprocessor_config.json")); missing == nil {
		p, err = pipeline.ImageFromPreprocessorConfig(c.file(filepath.Join(dir, "preprocessor_config.json")))
	} else {
		p, err = pipeline.ImageFromTimmConfig(c.file(filepath.Join(dir, "config.json")))
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestProcessors holds every recorded processor to the exact bytes and floats.
func TestProcessors(t *testing.T) {
	c := openCase(t, "preprocess-images")
	for key, e := range c.Expected {
		parts := strings.Split(key, "|")
		t.Run(strings.ReplaceAll(key, "|", "_"), func(t *testing.T) {
			file, transpose := strings.CutSuffix(parts[0], "+exif_transpose")
			p := readProcessor(t, c, filepath.Join("checkpoint", parts[1]))
			p.ExifTranspose = transpose
			b, err := Process(p, []*RGB{c.picture("inputs/" + file)})
			if err != nil {
				t.Fatal(err)
			}
			var got []float32
			var shape []int
			if strings.HasPrefix(parts[2], "u8") {
				got, shape = planar(b.Images[0].Tiles[0])
			} else {
				v, err := b.PixelValues()
				if err != nil {
					t.Fatal(err)
				}
				got, shape = v.Data, v.Shape[1:]
			}
			want, _ := c.tensor("expected.safetensors", key)
			if diff, n := worst(t, slice(t, e.Slice, got, shape), want); n != 0 {
				t.Errorf("%d of %d values differ, by at most %g", n, len(want), diff)
			}
		})
	}
}

// TestJPEGRecorded holds decoded pixels against libjpeg-turbo's, to the bit.
func TestJPEGRecorded(t *testing.T) {
	c := openCase(t, "decode-jpeg")
	for key := range c.Expected {
		file, _, _ := strings.Cut(key, "|")
		m := c.picture("inputs/" + file)
		want, shape := c.tensor("expected.safetensors", key)
		if m.Height != shape[0] || m.Width != shape[1] {
			t.Fatalf("%s: %d x %d, expected %v", file, m.Width, m.Height, shape)
		}
		for i, v := range want {
			if float32(m.Pix[i]) != v {
				t.Fatalf("%s: value %d is %d, recorded is %g", file, i, m.Pix[i], v)
			}
		}
	}
}

// TestModelInputs holds the pixel_values of whole models' cases.
func TestModelInputs(t *testing.T) {
	hf := func(t *testing.T, c *goldenCase) *pipeline.Image { return readProcessor(t, c, "checkpoint") }
	timm := func(t *testing.T, c *goldenCase) *pipeline.Image {
		p, err := pipeline.ImageFromTimmConfig(c.file("checkpoint/config.json"))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	openclip := func(t *testing.T, c *goldenCase) *pipeline.Image {
		p, err := pipeline.ImageFromOpenCLIPConfig(c.file("checkpoint/open_clip_config.json"))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	fixed := func(p *pipeline.Image) func(*testing.T, *goldenCase) *pipeline.Image {
		return func(*testing.T, *goldenCase) *pipeline.Image { return p }
	}
	squash := func(n int) func(*testing.T, *goldenCase) *pipeline.Image {
		return fixed(pipeline.ImageSquash(n, n, pipeline.CLIPMean, pipeline.CLIPStd))
	}
	tower := func(t *testing.T, c *goldenCase) *pipeline.Image {
		return readProcessor(t, c, "checkpoint/vision_tower")
	}
	for _, test := range []struct {
		name  string
		build func(*testing.T, *goldenCase) *pipeline.Image
	}{
		{"clip-hf-dual-quickgelu", hf},
		{"clip-hf-vision-gelu-p14", hf},
		{"clip-openai-rn-shared", fixed(pipeline.ImageOpenAICLIP(96))},
		{"clip-openai-vit-shared", fixed(pipeline.ImageOpenAICLIP(40))},
		{"openclip-vit-shared", openclip},
		{"siglip-openclip-shared", openclip},
		{"siglip-hf-dual", hf},
		{"siglip-hf-interp-48x96", hf},
		{"eva01-clip-shared", fixed(pipeline.ImageOpenAICLIP(56))},
		{"eva02-clip-shared", fixed(pipeline.ImageOpenAICLIP(64))},
		{"eva02-timm", timm},
		{"vit-timm-shared", timm},
		{"nfnet-dm-shared", timm},
		{"nfnet-plain-shared", timm},
		{"albef-vit-shared", squash(64)},
		{"albef_full", squash(32)},
		{"blip2-opt-hf", hf},
		{"blip2-opt-lavis", squash(56)},
		{"instructblip-vicuna-hf-shared", hf},
		{"deepseek_siglip_pipeline", hf},
		{"deepseek_hybrid_pipeline", hf},
		{"llava15-hf-gelu", hf},
		{"llava10-original-linear", func(t *testing.T, c *goldenCase) *pipeline.Image { return tower(t, c).WithPadSquare() }},
		{"llava-next-anyres", hf},
		{"llava16-original-anyres", func(t *testing.T, c *goldenCase) *pipeline.Image {
			return tower(t, c).WithAnyRes([][2]int{{28, 56}, {56, 28}, {56, 56}, {84, 28}, {28, 84}})
		}},
		{"idefics2-shared", hf},
		{"internvl_v2_tiles", fixed(pipeline.ImageInternVL(56, 1, 6, true))},
		{"internvl_6b_style_v1", fixed(pipeline.ImageInternVL(56, 1, 6, true))},
		{"internvl_small_activations", fixed(pipeline.ImageInternVL(56, 1, 6, true))},
		{"qwenvl_vit_resampler", squash(56)},
		{"qwenvl_small_activations_2", squash(48)},
		{"ixc25_560_tiles", fixed(pipeline.ImageXComposer25(560, 4))},
		{"ixc4khd_336_wide", fixed(pipeline.ImageXComposerHD(336, 2))},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := openCase(t, test.name)
			p := test.build(t, c)
			// What is stored in a converted folder must mean the same.
			stored, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			p = new(pipeline.Image)
			if err := json.Unmarshal(stored, p); err != nil {
				t.Fatal(err)
			}
			b, err := ProcessSamples(p, c.images())
			if err != nil {
				t.Fatal(err)
			}
			rows := 0
			for key, e := range c.Expected {
				var i int
				from := b
				switch {
				case key == "pixel_values" || key == "pixel_attention_mask" || key == "pixel_crop0":
				case key == "image_sizes":
					rows++
					want, _ := c.tensor("expected.safetensors", key)
					for i, v := range b.Sizes() {
						if float32(v) != want[i] {
							t.Errorf("image_sizes %v, expected %v", b.Sizes(), want)
						}
					}
					continue
				default:
					if n, _ := fmt.Sscanf(key, "pixel_values.%d", &i); n != 1 {
						continue
					}
					from = b.Image(i)
				}
				rows++
				v, err := from.PixelValues()
				if err != nil {
					t.Fatal(err)
				}
				got, shape := v.Data, v.Shape
				if key == "pixel_attention_mask" {
					got, shape = nil, v.MaskShape
					for _, m := range v.Mask {
						got = append(got, float32(m))
					}
				}
				want, _ := c.tensor("expected.safetensors", key)
				if e.Slice == "" && fmt.Sprint(shape) != fmt.Sprint(e.Shape) {
					t.Fatalf("%s: shape %v, expected %v", key, shape, e.Shape)
				}
				diff, n := worst(t, slice(t, e.Slice, got, shape), want)
				if diff > e.ATol {
					t.Errorf("%s: %d of %d values differ, by at most %g", key, n, len(want), diff)
				} else if n != 0 {
					t.Logf("%s: %d of %d values differ by rounding, at most %g", key, n, len(want), diff)
				}
			}
			if rows == 0 {
				t.Error("the case has no row to compare")
			}
		})
	}
}
