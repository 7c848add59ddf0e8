package synthetic

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/mmconv/mmconv/graph/models"
	"github.com/mmconv/mmconv/graph/run"
)

// TestImports checks that what is written imports as the model that it says it is.
func TestImports(t *testing.T) {
	m := clipVision(32, 2, 2, 8, 16, 12)
	var files [][]byte
	for _, name := range []string{"a", "b"} {
		dir := filepath.Join(t.TempDir(), name)
		var last int64
		if err := m.Write(t.Context(), dir, 7, func(done int64) { last = done }); err != nil {
			t.Fatal(err)
		}
		if last != m.Bytes() {
			t.Errorf("%d bytes were reported, %d are the model's", last, m.Bytes())
		}
		l, err := run.Load(dir, models.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if l.Model.System != "clip" || l.Bytes() != m.Bytes() {
			t.Errorf("read as %s of %d bytes, written were %d", l.Model.System, l.Bytes(), m.Bytes())
		}
		l.Close()
		raw, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, raw)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the same seed gave two checkpoints")
	}
}

// TestFusionImports checks that the early-fusion models have the tensors of what they say they are, no more and no fewer.
func TestFusionImports(t *testing.T) {
	if testing.Short() {
		t.Skip("writes full-size checkpoints")
	}
	for system, config := range map[string]string{"soho": "resnet18", "simvlm": "base"} {
		m, err := New(system, config)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), system)
		if err := m.Write(t.Context(), dir, 1, func(int64) {}); err != nil {
			t.Fatal(err)
		}
		l, err := run.Load(dir, models.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if l.Model.System != system {
			t.Errorf("%s %s is read as %s", system, config, l.Model.System)
		}
		l.Close()
	}
}

// TestDistribution holds the values against what they are meant to be like: the scale of a layer that keeps its input's, and
// tails heavier than a normal distribution's.
func TestDistribution(t *testing.T) {
	var b bytes.Buffer
	const rows, cols = 256, 512
	if err := (Tensor{"w", []int{rows, cols}, Matrix}).write(&b, 1, func(int) {}); err != nil {
		t.Fatal(err)
	}
	v := make([]float32, rows*cols)
	if err := binary.Read(&b, binary.LittleEndian, v); err != nil {
		t.Fatal(err)
	}
	var m2, m4 float64
	for _, x := range v {
		m2 += float64(x) * float64(x)
		m4 += math.Pow(float64(x), 4)
	}
	m2, m4 = m2/float64(len(v)), m4/float64(len(v))
	if std := math.Sqrt(m2 * cols); std < 0.7 || std > 1.3 {
		t.Errorf("the layer scales its input by %.2f", std)
	}
	if kurtosis := m4 / m2 / m2; kurtosis < 4 || kurtosis > 40 {
		t.Errorf("kurtosis %.1f: a normal distribution has 3, trained layers have 4 to 40", kurtosis)
	}
}

func TestUnknown(t *testing.T) {
	if _, err := New("clip", "vit-x"); err == nil {
		t.Error("an unknown architecture was found")
	}
	if _, err := New("x", "vit-l-14"); err == nil {
		t.Error("an unknown system was found")
	}
	for system, configs := range Systems() {
		for _, c := range configs {
			if m, err := New(system, c); err != nil || m.Bytes() < 1e8 {
				t.Errorf("%s %s: %v", system, c, err)
			}
		}
	}
}

// TestLLaVA: a tower and a projector import as LLaVA.
func TestLLaVA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	if err := llava(clipVision(32, 2, 2, 8, 16, 12), 32, 24).Write(t.Context(), dir, 7, nil); err != nil {
		t.Fatal(err)
	}
	l, err := run.Load(dir, models.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Model.System != "llava" {
		t.Errorf("read as %s, want llava", l.Model.System)
	}
}
