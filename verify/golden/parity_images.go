package golden

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
	imageproc "github.com/mmconv/mmconv/graph/pipeline/image"
)

var _ = registerRunner(caseRunner{
	name: "image preprocessing", rank: 10,
	fits: func(c *Case) bool { return c.Kind == "preprocess" && slices.ContainsFunc(c.Expected, isImageRow) },
	run:  runImageCase,
})

// isImageRow recognises FILE|rgb and FILE|PROCESSOR|WHAT.
func isImageRow(e *Expected) bool { return strings.Contains(e.Name, "|") }

// exifMark is the ending of FILE where the picture is turned upright first.
const exifMark = "+exif_transpose"

// runImageCase judges decoders and image processors, whose configurations are in folders of the case's checkpoint.
func runImageCase(ctx context.Context, c *Case, o ParityOptions, res *ParityResult) error {
	if o.Convert != nil {
		return fmt.Errorf("%s: preprocessing has no weights to convert", c.Name)
	}
	files := map[string]string{}
	for _, in := range c.Inputs {
		for _, f := range in.Files() {
			files[filepath.Base(f)] = f
		}
	}
	processors := map[string]*pipeline.Image{}
	informed := map[string]bool{}
	for _, e := range c.Expected {
		if err := ctx.Err(); err != nil {
			return err
		}
		parts := strings.Split(e.Name, "|")
		base, upright := strings.CutSuffix(parts[0], exifMark)
		file := files[base]
		if file == "" || len(parts) > 3 {
			res.add(e, Row{Verdict: Fail, Note: "expected FILE|rgb or FILE|PROCESSOR|WHAT with a FILE among the inputs"})
			continue
		}
		m, err := imageproc.Open(file, imageproc.Limits{MaxPixels: o.MaxPixels})
		if err != nil {
			return err
		}
		if len(parts) == 2 {
			if err := res.judge(e, tensorOfRGB(m), o); err != nil {
				return err
			}
			continue
		}
		if given, ok := c.Inputs[decodedPrefix+base]; ok {
			theirs, err := rgbOf(given.Tensor)
			if err != nil {
				return fmt.Errorf("%s%s: %w", decodedPrefix, base, err)
			}
			theirs.Orientation = m.Orientation
			if !informed[base] {
				informed[base] = true
				defer res.information(comparison{base, m, theirs})
			}
			m = theirs
		}
		p := processors[parts[1]]
		if p == nil {
			if p, err = c.processor(parts[1]); err != nil {
				return err
			}
			processors[parts[1]] = p
		}
		if upright {
			m = m.Upright()
		}
		t, err := processed(p, m, strings.HasPrefix(parts[2], "u8"))
		if err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
		if err := res.judge(e, t, o); err != nil {
			return err
		}
	}
	return nil
}

// processed returns the one tile that a processor makes of a picture, (3, H, W), or all its tiles.
func processed(p *pipeline.Image, m *imageproc.RGB, bytes bool) (*graph.Tensor, error) {
	b, err := imageproc.Process(p, []*imageproc.RGB{m})
	if err != nil {
		return nil, err
	}
	values := b.PixelValues
	if bytes {
		values = b.Pixels
	}
	t, err := values()
	if err != nil {
		return nil, err
	}
	out := &graph.Tensor{Shape: t.Shape, Data: t.Data}
	for len(out.Shape) > 3 && out.Shape[0] == 1 {
		out.Shape = out.Shape[1:]
	}
	return out, nil
}

// processor reads the configuration of a processor of the case.
func (c *Case) processor(name string) (*pipeline.Image, error) {
	if c.Checkpoint() == "" || !filepath.IsLocal(name) {
		return nil, fmt.Errorf("processor %q: the case has no folder for it", name)
	}
	f, err := formats.OpenFiles(filepath.Join(c.Checkpoint(), name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for _, kind := range []struct {
		file  string
		parse func([]byte) (*pipeline.Image, error)
	}{
		{"preprocessor_config.json", pipeline.ImageFromPreprocessorConfig},
		{"open_clip_config.json", pipeline.ImageFromOpenCLIPConfig},
		{"config.json", pipeline.ImageFromTimmConfig},
	} {
		raw, err := f.ReadFile(kind.file)
		if err != nil {
			continue
		}
		p, err := kind.parse(raw)
		if err != nil {
			return nil, fmt.Errorf("processor %q: %w", name, err)
		}
		return p, nil
	}
	return nil, fmt.Errorf("processor %q: expected preprocessor_config.json, open_clip_config.json or config.json in %s", name, f.Dir())
}
