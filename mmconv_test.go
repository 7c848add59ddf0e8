package mmconv_test

import (
	"context"
	"fmt"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mmconv/mmconv"
)

const demo = "cmd/mmconv/demo/"

// A program that picks the text that fits a picture.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	model := filepath.Join(dir, "clip-int8")
	done, err := mmconv.Convert(ctx, demo+"checkpoint", model, mmconv.ConvertOptions{Weights: "int8"})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%d weights are int8 now, %d stayed float\n", done.Quantized, done.Float)

	m, err := mmconv.Open(ctx, model, mmconv.OpenOptions{})
	if err != nil {
		panic(err)
	}
	defer m.Close()
	picture, err := m.EmbedImages(ctx, mmconv.ImageFile(demo+"images/red_circle/000.png"))
	if err != nil {
		panic(err)
	}
	names := []string{"a blue square", "a red circle"}
	texts, err := m.EmbedTexts(ctx, names...)
	if err != nil {
		panic(err)
	}
	best, at := -1.0, 0
	for i, t := range texts {
		cosine := 0.0
		for j, v := range t.Data {
			cosine += float64(v) * float64(picture[0].Data[j])
		}
		if cosine > best {
			best, at = cosine, i
		}
	}
	fmt.Println(names[at])
	// Output:
	// 35 weights are int8 now, 42 stayed float
	// a red circle
}

func open(t *testing.T, path string) *mmconv.Model {
	t.Helper()
	m, err := mmconv.Open(t.Context(), path, mmconv.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// A picture is the same from a file, from a reader and from memory, and so is its embedding.
func TestImages(t *testing.T) {
	m := open(t, demo+"checkpoint")
	const path = demo + "images/red_circle/000.png"
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	decoded, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	got, err := m.EmbedImages(t.Context(), mmconv.ImageFile(path), mmconv.ImageReader(f), mmconv.ImageOf(decoded))
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range got {
		if len(e.Shape) != 1 || len(e.Data) != e.Shape[0] {
			t.Fatalf("embedding %d has shape %v and %d values", i, e.Shape, len(e.Data))
		}
		for j, v := range e.Data {
			if v != got[0].Data[j] {
				t.Fatalf("embedding %d differs from that of the file at %d", i, j)
			}
		}
	}
	if none, err := m.EmbedImages(t.Context()); err != nil || none != nil {
		t.Errorf("no pictures: %v, %v", none, err)
	}
	if _, err := m.EmbedImages(t.Context(), mmconv.Image{}); err == nil {
		t.Error("a picture that was made by nothing was taken")
	}
}

func TestRun(t *testing.T) {
	m := open(t, demo+"checkpoint")
	if m.System() != "clip" || !strings.Contains(strings.Join(m.Outputs(), " "), "image_embeds") {
		t.Errorf("%s with the outputs %v", m.System(), m.Outputs())
	}
	in := mmconv.Inputs{Images: []mmconv.Image{mmconv.ImageFile(demo + "images/red_circle/000.png")}, Texts: []string{"a red circle"}}
	got, err := m.Run(t.Context(), in, "vision.hidden_state.1", "logits_per_image", "vision.embeddings")
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range got {
		n := 1
		for _, d := range v.Shape {
			n *= d
		}
		if n == 0 || n != len(v.Data) {
			t.Errorf("%s: shape %v, %d values", name, v.Shape, len(v.Data))
		}
	}
	for what, in := range map[string]mmconv.Inputs{
		"nothing to run on": {}, "needs 4 values": {Tensors: map[string]mmconv.Tensor{"x": {Shape: []int{2, 2}}}}, "takes no audio": {Audio: []string{"x.wav"}},
	} {
		if _, err := m.Run(t.Context(), in); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%+v: %v", in, err)
		}
	}
}

func TestTranscribe(t *testing.T) {
	const digits = "testdata/goldens/digits-whisper/"
	m := open(t, digits+"checkpoint")
	got, err := m.Transcribe(t.Context(), digits+"audio/000.flac")
	if err != nil || strings.TrimSpace(got[0]) != "one two again go right eight" {
		t.Errorf("%q, %v", got, err)
	}
}

// A model may be used by several goroutines at once, the first use of each of its parts included.
func TestGoroutines(t *testing.T) {
	m := open(t, demo+"checkpoint")
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first []float32
	for i := range 8 {
		wg.Go(func() {
			text, err := m.EmbedTexts(t.Context(), "a red circle", "a blue square")
			if err == nil && i%2 == 0 {
				_, err = m.EmbedImages(t.Context(), mmconv.ImageFile(demo+"images/red_circle/000.png"))
			}
			if err == nil && i%2 == 1 {
				_, err = m.Run(t.Context(), mmconv.Inputs{Texts: []string{"a red circle"}}, "text.hidden_state.1", "text.embeddings")
			}
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if first == nil {
				first = text[0].Data
			}
			for j, v := range text[0].Data {
				if math.Float32bits(v) != math.Float32bits(first[j]) {
					t.Error("goroutines got different embeddings of one text")
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestCancelled(t *testing.T) {
	m := open(t, demo+"checkpoint")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.EmbedTexts(ctx, "a red circle"); err == nil {
		t.Error("a cancelled context was not noticed")
	}
	if _, err := mmconv.Convert(ctx, demo+"checkpoint", filepath.Join(t.TempDir(), "x"), mmconv.ConvertOptions{}); err == nil {
		t.Error("a cancelled conversion was carried out")
	}
}
