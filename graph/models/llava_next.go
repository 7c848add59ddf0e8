package models

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// LLaVA-NeXT (Liu et al., LLaVA-NeXT: Improved reasoning, OCR, and world knowledge, 2024) and LLaVA-OneVision (Li et al.,
// arXiv:2408.03326): images are cut into tiles of a resolution that fits them, and the tiles' tokens put together again.
// Sources: huggingface/transformers models/llava_next and models/llava_onevision, modeling_*.py and image_processing_*.py.

var _ = Register(&System{
	Name: "llava-next", Title: "LLaVA-NeXT", Row: 11,
	ModelTypes: []string{"llava_next", "llava_onevision"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type llava_next or llava_onevision, tensors multi_modal_projector.*", Recognise: func(im *Import) bool {
			switch im.ModelType() {
			case "llava_next", "llava_onevision":
				return im.HasAny("*multi_modal_projector.linear_1.weight")
			}
			return false
		}},
	},
	Build: buildLLaVANext,
})

func buildLLaVANext(im *Import) (*graph.Model, error) {
	oneVision := im.ModelType() == "llava_onevision"
	c := struct {
		llavaHF
		Aspect string `json:"vision_aspect_ratio"`
	}{llavaHF: defaultLLaVAHF()}
	output := "image_features"
	if oneVision {
		output = "visual_tokens"
		c.Strategy, c.Aspect, c.FeatureLayer = "full", "anyres_max_9", []byte("-1")
	}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	a := &pipeline.Assembly{Kind: pipeline.AssembleAnyRes, Output: output, Newline: true, Unpad: true, RoundUnpad: true}
	if oneVision {
		var err error
		rest, ok := strings.CutPrefix(c.Aspect, "anyres_max_")
		if a.MaxTiles, err = strconv.Atoi(rest); !ok || err != nil || a.MaxTiles < 1 {
			return nil, fmt.Errorf("config: vision_aspect_ratio is %q; expected anyres_max_ and a number of tiles", c.Aspect)
		}
	}
	p, err := c.parts(im)
	if err != nil {
		return nil, err
	}
	b := p.b
	if p.tower == nil {
		// How many tokens a tile has is the tower's to say.
		im.Ignore("image_newline", "follows the rows of tiles, which are put together behind a tower only")
		im.Ignore("model.image_newline", "follows the rows of tiles, which are put together behind a tower only")
		b.Output(p.projected, graph.Projector, output)
		g, err := b.Graph()
		return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{}}, err
	}
	if err := checkSizes("vision_config", size{"patch_size", p.tower.patch}); err != nil {
		return nil, err
	}
	if p.image.Tiling == nil {
		return nil, fmt.Errorf("preprocessor_config.json: images are not cut into tiles; expected LlavaNextImageProcessor or LlavaOnevisionImageProcessor")
	}
	a.Rows, a.Columns = p.tower.size[0]/p.tower.patch, p.tower.size[1]/p.tower.patch
	b.Name(p.projected, "projected")
	x := assemble(b, p.projected, b.Parameter(graph.Position, "image_newline", 1, c.Text.HiddenSize))
	b.Output(x, graph.Projector, output)
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: p.image, Assembly: a}}, err
}
