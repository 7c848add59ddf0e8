package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// InternLM-XComposer2-4KHD (Dong et al., arXiv:2404.06512) and InternLM-XComposer-2.5 (Zhang et al., arXiv:2407.03320): CLIP on
// a small copy of the image and on its tiles, whose patches are put together by fours; learned tokens stand between rows and
// between the two. Sources: InternLM/InternLM-XComposer build_mlp.py and ixc_utils.py, modeling_internlm_xcomposer2.py.

var _ = Register(&System{
	Name: "xcomposer", Title: "InternLM-XComposer", Row: 9,
	ModelTypes: []string{"internlm-xcomposer2", "internlmxcomposer2"},
	Namings: []Naming{
		{Name: "internlm", Looked: "tensors plora_glb_GN and vision_proj.*", Recognise: func(im *Import) bool {
			return im.HasTensor("plora_glb_GN") && im.HasTensor("plora_sub_GN") && im.HasTensor("vision_proj.0.weight")
		}},
	},
	Build: buildXComposer,
})

func buildXComposer(im *Import) (*graph.Model, error) {
	const root = "vit.vision_tower."
	im.languageModel("model.*", "output.weight")
	im.Ignore("video_mem_proj.*", "the projection of OmniLive's memory of videos")
	im.Ignore("*.embeddings.position_ids", "a buffer of consecutive numbers")
	p := im.Params(Names{{"vision_model.*", root + "vision_model.*"}}, "")
	b := graph.NewBuilder(p)
	out, width := p.dim("vision_proj.0.weight", 0), p.dim("vision_proj.0.weight", 1)
	project := func(x *graph.Node) *graph.Node {
		return b.Linear(b.Act(b.Linear(x, "vision_proj.0", width, out), kernels.ActGELU), "vision_proj.2", out, out)
	}
	const byFours = "n (y v) (x u) c -> n (y x) (v u c)"
	pipe := &pipeline.Pipeline{}
	if !im.HasAny(root + "*") {
		for _, name := range []string{"plora_glb_GN", "plora_sub_GN"} {
			im.Ignore(name, "stands between the rows of an image's tiles, which are put together behind a tower only")
		}
		x := b.Op(graph.SquareGrid{}, nil, visionFeatures(b, width/4))
		b.Output(project(b.Rearrange(x, byFours, "v", 2, "u", 2)), graph.Projector, "visual_tokens")
		g, err := b.Graph()
		return &graph.Model{Graph: g, Pipeline: pipe}, err
	}

	c := struct {
		Vision clipVision `json:"vision_config"`
		HDNum  int        `json:"hd_num"`
	}{clipFromTensors(im, root), 25}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	v := &c.Vision
	if err := v.check(); err != nil {
		return nil, err
	}
	if own := [2]int{v.ImageSize, v.ImageSize}; im.imageSize(own) != own {
		return nil, fmt.Errorf("--image-size: images are cut into tiles of %d pixels, whatever their size", v.ImageSize)
	}
	grid := v.ImageSize / v.PatchSize
	if err := checkSizes("vision_config", size{"image_size / patch_size / 2", grid / 2}); err != nil {
		return nil, err
	}
	pipe.Image = pipeline.ImageXComposerHD(v.ImageSize, c.HDNum)
	if v.ImageSize == 560 { // 2.5 differs from 4KHD, whose tiles have 336 pixels
		pipe.Image = pipeline.ImageXComposer25(v.ImageSize, c.HDNum)
	}
	pipe.Assembly = &pipeline.Assembly{Kind: pipeline.AssembleHD, Rows: grid / 2, Columns: grid / 2, Output: "visual_tokens"}
	// The small copy is interpolated from normalised pixels, so that no image of bytes could be fed.
	tower := im.clipTower(v)
	tower.build(b, b.Input("pixel_values", -1, v.Channels, v.ImageSize, v.ImageSize))
	x := b.Named("vision.last_hidden_state")
	b.Name(b.Slice(x, 0, 0, 2), "clip.last_hidden")
	x = b.Rearrange(b.Slice(x, 1, 1, 0), "n (y v x u) c -> n (y x) (v u c)", "y", grid/2, "x", grid/2, "v", 2, "u", 2)
	learned := func(name string) *graph.Node {
		return b.Value(b.Derived(graph.Position, name, graph.ReshapeExpr(b.Tensor(name, width), 1, width)))
	}
	x = assemble(b, x, learned("plora_sub_GN"), learned("plora_glb_GN"))
	x = b.Name(b.Rearrange(x, "t c -> 1 t c"), "merged")
	b.Output(project(x), graph.Projector, "visual_tokens")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: pipe}, err
}

// clipFromTensors returns a vision tower of OpenAI's CLIP by the shapes of its tensors, which stand behind a prefix.
func clipFromTensors(im *Import, prefix string) clipVision {
	v := defaultCLIP().Vision
	const patches = "vision_model.embeddings.patch_embedding.weight"
	v.HiddenSize, v.Channels, v.PatchSize = im.Dim(prefix+patches, 0), im.Dim(prefix+patches, 1), im.Dim(prefix+patches, 2)
	v.Heads = v.HiddenSize / 64
	v.Layers = im.Count(prefix + "vision_model.encoder.layers.#.layer_norm1.weight")
	v.IntermediateSize = im.Dim(prefix+"vision_model.encoder.layers.0.mlp.fc1.weight", 0)
	v.ImageSize = v.PatchSize * block.SquareGrid(im.Dim(prefix+"vision_model.embeddings.position_embedding.weight", 0) - 1)[0]
	return v
}
