package golden

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/run"
)

// pixelMask makes the mask of a padded batch of pictures, [B, H, W], from the sizes that mmdetection's projects keep beside a
// batch (img_meta), which SOHO's cases have in their configuration; nil where there are none.
func pixelMask(config []byte) *graph.Tensor {
	var c struct {
		Pictures []struct {
			Pad   []int `json:"pad_shape"`
			Image []int `json:"img_shape"`
		} `json:"img_meta"`
	}
	if json.Unmarshal(config, &c) != nil || len(c.Pictures) == 0 {
		return nil
	}
	var height, width int
	for _, m := range c.Pictures {
		if len(m.Pad) < 2 || len(m.Image) < 2 {
			return nil
		}
		height, width = max(height, m.Pad[0]), max(width, m.Pad[1])
	}
	const most = 1 << 13
	if height < 1 || width < 1 || height > most || width > most || len(c.Pictures) > 64 {
		return nil
	}
	t := graph.NewTensor(len(c.Pictures), height, width)
	for i, m := range c.Pictures {
		for y := range min(m.Image[0], height) {
			for x := range min(m.Image[1], width) {
				t.Data[(i*height+y)*width+x] = 1
			}
		}
	}
	return t
}

// withPixelMask adds that mask to a case's inputs where the model takes one and the case gives none.
func (g *group) withPixelMask(m *run.Model, checkpoint string) {
	if _, given := g.in["pixel_mask"]; given || !m.IsInput("pixel_mask") {
		return
	}
	config, err := os.ReadFile(filepath.Join(checkpoint, "config.json"))
	if err != nil {
		return
	}
	if t := pixelMask(config); t != nil {
		g.in["pixel_mask"] = run.Input{Tensor: t}
	}
}
