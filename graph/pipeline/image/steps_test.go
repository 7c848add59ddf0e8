package imageproc

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/mmconv/mmconv/graph/pipeline"
)

func TestTargetSizes(t *testing.T) {
	for _, test := range []struct {
		step          pipeline.ImageStep
		w, h          int
		width, height int
	}{
		{pipeline.ImageStep{Op: pipeline.ResizeShortest, Shortest: 224}, 640, 427, 335, 224}, // 335.7 is cut
		{pipeline.ImageStep{Op: pipeline.ResizeShortest, Shortest: 224}, 427, 640, 224, 335},
		{pipeline.ImageStep{Op: pipeline.ResizeShortest, Shortest: 224}, 100, 100, 224, 224},
		{pipeline.ImageStep{Op: pipeline.ResizeShortest, Shortest: 224, Longest: 300}, 640, 320, 300, 150},
		{pipeline.ImageStep{Op: pipeline.ResizeCover, Width: 96, Height: 48}, 100, 75, 96, 72},
		{pipeline.ImageStep{Op: pipeline.ResizeInside, Width: 96, Height: 48}, 100, 75, 64, 48},
		{pipeline.ImageStep{Op: pipeline.ResizeInside, Width: 10, Height: 10}, 40, 10, 10, 2}, // 2.5 to even
		{pipeline.ImageStep{Op: pipeline.ResizeInside, Width: 14, Height: 14}, 40, 10, 14, 4}, // 3.5 to even
		{pipeline.ImageStep{Op: pipeline.ResizeLimit, Shortest: 28, Longest: 98}, 70, 42, 70, 42},
		{pipeline.ImageStep{Op: pipeline.ResizeLimit, Shortest: 28, Longest: 98}, 126, 60, 98, 46},
		{pipeline.ImageStep{Op: pipeline.ResizeLimit, Shortest: 28, Longest: 98}, 10, 500, 28, 98},
		{pipeline.ImageStep{Op: pipeline.ResizeLongest, Shortest: 4, Longest: 24}, 100, 1, 24, 4},
		{pipeline.ImageStep{Op: pipeline.ResizeLongest, Shortest: 4, Longest: 24}, 33, 50, 15, 24},
		{pipeline.ImageStep{Op: pipeline.ResizeMultiple, Shortest: 384, Longest: 639, Multiple: 32}, 640, 480, 512, 384},
		{pipeline.ImageStep{Op: pipeline.ResizeMultiple, Shortest: 384, Longest: 639, Multiple: 32}, 300, 900, 192, 608},
	} {
		if w, h := targetSize(test.step, test.w, test.h); w != test.width || h != test.height {
			t.Errorf("%+v of %d x %d: %d x %d, expected %d x %d", test.step, test.w, test.h, w, h, test.width, test.height)
		}
	}
}

// TestCrop: the two rules for the offset, for pictures larger and smaller than the crop.
func TestCrop(t *testing.T) {
	for _, test := range []struct {
		n, size   int
		hf, torch int
	}{
		{10, 5, 2, 2}, // 2.5: down, and to even
		{12, 5, 3, 4}, // 3.5: down, and to even
		{11, 5, 3, 3},
		{5, 10, -3, -2}, // -2.5: down, and more at the end
		{5, 9, -2, -2},
	} {
		step := pipeline.ImageStep{Op: pipeline.CenterCrop, Width: test.size, Height: test.size}
		if x, _ := cropOffset(step, test.n, test.n); x != test.hf {
			t.Errorf("transformers, %d of %d: %d, expected %d", test.size, test.n, x, test.hf)
		}
		step.HalfEven = true
		if x, _ := cropOffset(step, test.n, test.n); x != test.torch {
			t.Errorf("torchvision, %d of %d: %d, expected %d", test.size, test.n, x, test.torch)
		}
	}
	m := New(2, 1)
	m.set(0, 1, 1, 1)
	m.set(1, 2, 2, 2)
	out, err := runSteps(m, []pipeline.ImageStep{{Op: pipeline.CenterCrop, Width: 4, Height: 3, Fill: []uint8{7, 8, 9}}}, false)
	if err != nil {
		t.Fatal(err)
	}
	if want := "[7 8 9 1 1 1 2 2 2 7 8 9]"; fmt.Sprint(out.Pix[12:24]) != want {
		t.Errorf("%v, expected %s", out.Pix[12:24], want)
	}
}

func TestTilings(t *testing.T) {
	sizes := func(p *pipeline.Image, w, h int) string {
		b, err := Process(p, []*RGB{noise(w, h)})
		if err != nil {
			t.Fatal(err)
		}
		m := b.Images[0]
		text := fmt.Sprintf("%dx%d:", m.Rows, m.Columns)
		for _, tile := range m.Tiles {
			text += fmt.Sprintf(" %dx%d", tile.Width, tile.Height)
		}
		return text
	}
	quarters := &pipeline.Image{Tiling: &pipeline.Tiling{Kind: pipeline.TileQuarters}}
	slices := pipeline.ImageSlices(56, 14, 9, pipeline.HalfMean, pipeline.HalfStd)
	for _, test := range []struct {
		p    *pipeline.Image
		w, h int
		want string
	}{
		{quarters, 7, 5, "2x2: 3x2 4x2 3x3 4x3 7x5"},
		{pipeline.ImageInternVL(8, 1, 6, true), 16, 8, "1x2: 8x8 8x8 8x8"},
		{pipeline.ImageInternVL(8, 1, 6, true), 80, 10, "1x6: 8x8 8x8 8x8 8x8 8x8 8x8 8x8"},
		{pipeline.ImageInternVL(8, 1, 6, false), 12, 12, "2x2: 8x8 8x8 8x8 8x8"}, // fills more than half of four tiles
		{pipeline.ImageInternVL(8, 1, 6, true), 8, 8, "1x1: 8x8"},
		{slices, 20, 30, "0x0: 42x70"},
		{slices, 112, 112, "2x2: 56x56 56x56 56x56 56x56 56x56"},
		{slices, 200, 50, "1x4: 112x28 56x56 56x56 56x56 56x56"},
	} {
		if got := sizes(test.p, test.w, test.h); got != test.want {
			t.Errorf("%s of %d x %d: %s, expected %s", test.p.Tiling.Kind, test.w, test.h, got, test.want)
		}
	}
}

// TestLayouts: where tiles lie in the tensor, what the padding holds, and what the masks say.
func TestLayouts(t *testing.T) {
	big, small := New(2, 2), New(1, 2)
	for i := range big.Pix {
		big.Pix[i] = uint8(10 + i)
	}
	for i := range small.Pix {
		small.Pix[i] = uint8(100 + i)
	}
	p := &pipeline.Image{Normalize: pipeline.Normalize{Mean: []float64{1, 2, 3}, Std: []float64{2, 2, 2}}, Layout: pipeline.LayoutSampleImages}
	b, err := ProcessSamples(p, [][]*RGB{{small}, {big, small}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := b.PixelValues()
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(v.Shape, v.MaskShape) != "[2 2 3 2 2] [2 2 2 2]" {
		t.Fatalf("shapes %v, %v", v.Shape, v.MaskShape)
	}
	if got, want := fmt.Sprint(v.Data[:4], v.Data[12:16], v.Data[24:28]), "[49.5 0 51 0] [0 0 0 0] [4.5 6 7.5 9]"; got != want {
		t.Errorf("%s, expected %s", got, want)
	}
	if got, want := fmt.Sprint(v.Mask), "[1 0 1 0 0 0 0 0 1 1 1 1 1 0 1 0]"; got != want {
		t.Errorf("mask %s, expected %s", got, want)
	}
	raw, err := b.Pixels()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(raw.Data[:4], raw.Data[4:8]), "[100 1 103 1] [101 2 104 2]"; got != want {
		t.Errorf("plain pixels %s, expected %s", got, want)
	}
	p.Layout = pipeline.LayoutTiles
	if _, err := b.PixelValues(); err == nil {
		t.Error("pictures of different sizes were put into one tensor")
	}
	if v, err := b.Image(2).PixelValues(); err != nil || fmt.Sprint(v.Shape) != "[1 3 2 1]" {
		t.Errorf("%v, %v", v, err)
	}
}

// TestInputUnchanged: Process leaves what it is given as it is.
func TestInputUnchanged(t *testing.T) {
	m := noise(31, 17)
	before := string(m.Pix)
	for _, p := range []*pipeline.Image{pipeline.ImageOpenAICLIP(8), pipeline.ImageInternVL(8, 1, 4, true), {}} {
		if _, err := Process(p, []*RGB{m}); err != nil {
			t.Fatal(err)
		}
	}
	if string(m.Pix) != before {
		t.Error("Process changed its input")
	}
}

// FuzzProcess: whatever a stored description asks for, it is refused or carried out.
func FuzzProcess(f *testing.F) {
	for _, p := range []*pipeline.Image{
		pipeline.ImageOpenAICLIP(8), pipeline.ImageSquash(4, 9, pipeline.HalfMean, pipeline.HalfStd), pipeline.ImageInternVL(8, 1, 4, true),
		pipeline.ImageXComposer25(8, 4), pipeline.ImageXComposerHD(8, 4), pipeline.ImagePixelBERT(64), pipeline.ImageOpenAICLIP(8).WithPadSquare(),
		pipeline.ImageOpenAICLIP(8).WithAnyRes([][2]int{{8, 16}, {16, 16}}), pipeline.ImageSlices(28, 14, 4, pipeline.HalfMean, pipeline.HalfStd),
	} {
		stored, err := json.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(stored, uint8(5), uint8(200))
	}
	f.Fuzz(func(t *testing.T, stored []byte, w, h uint8) {
		var p pipeline.Image
		if json.Unmarshal(stored, &p) != nil || w == 0 || h == 0 {
			return
		}
		for _, s := range p.Steps { // what is merely large is slow
			if max(s.Height, s.Width, s.Shortest, s.Longest, s.Multiple, s.MaxTiles) > 64 {
				return
			}
		}
		if p.Tiling != nil && max(p.Tiling.Size, p.Tiling.BaseHeight, p.Tiling.BaseWidth, p.Tiling.MaxTiles, p.Tiling.Patch) > 64 {
			return
		}
		b, err := Process(&p, []*RGB{noise(int(w), int(h)), New(1, 1)})
		if err == nil {
			b.PixelValues()
			b.Pixels()
		}
	})
}
