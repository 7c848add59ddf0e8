package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// LLaVA in the naming of its authors, with any-resolution tiling from LLaVA-1.6 (LLaVA-NeXT) on, and Yi-VL, whose projector
// has norms. Sources: haotian-liu/LLaVA llava/model/{llava_arch.py, multimodal_projector/builder.py,
// multimodal_encoder/clip_encoder.py}, llava/mm_utils.py; LLaVA-VL/LLaVA-NeXT, the same files and siglip_encoder.py; 01-ai/Yi
// VL/llava/model/multimodal_projector/builder.py.

// llavaConfig is the config.json of checkpoints in LLaVA's original naming.
type llavaConfig struct {
	HiddenSize    int             `json:"hidden_size"`
	MMHiddenSize  int             `json:"mm_hidden_size"`
	VisionTower   string          `json:"mm_vision_tower"`
	VisionConfig  json.RawMessage `json:"vision_config"` // not LLaVA's own: the tower's configuration, if it lies here
	SelectLayer   int             `json:"mm_vision_select_layer"`
	SelectFeature string          `json:"mm_vision_select_feature"`
	ProjectorType string          `json:"mm_projector_type"`
	AspectRatio   string          `json:"image_aspect_ratio"`
	MergeType     string          `json:"mm_patch_merge_type"`
	Pinpoints     json.RawMessage `json:"image_grid_pinpoints"`
	MultiScale    bool            `json:"s2"`
}

// readLLaVA reads the configuration.
func (im *Import) readLLaVA() (*llavaConfig, error) {
	c := &llavaConfig{SelectLayer: -2, SelectFeature: "patch", MergeType: "flat"}
	if err := im.Config(c); err != nil {
		return nil, err
	}
	if c.SelectFeature != "patch" && c.SelectFeature != "cls_patch" {
		return nil, fmt.Errorf("config: mm_vision_select_feature is %q; expected patch or cls_patch", c.SelectFeature)
	}
	if c.MultiScale {
		return nil, fmt.Errorf("config: s2 is true; towers that see an image in several scales are not supported")
	}
	return c, checkSizes("config", size{"hidden_size", c.HiddenSize})
}

func recogniseLLaVA(im *Import) bool {
	var c llavaConfig
	if im.Config(&c) != nil || c.VisionTower == "" && c.MMHiddenSize == 0 {
		return false
	}
	layers, _ := c.layers()
	return layers > 0 && im.HasAny("*mm_projector.*") || c.ProjectorType == "identity" && c.VisionTower != ""
}

var mlpProjector = regexp.MustCompile(`^mlp(\d+)x_gelu(_Norm)?$`)

// layers returns the number of linear layers of the projector, 0 for one that is not made of them, and whether norms follow
// them. LLaVA-1.0 does not name its type.
func (c *llavaConfig) layers() (n int, norms bool) {
	if c.ProjectorType == "" || c.ProjectorType == "linear" {
		return 1, false
	}
	if m := mlpProjector.FindStringSubmatch(c.ProjectorType); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n, m[2] != ""
	}
	return 0, false
}

// originalLLaVA is a model in LLaVA's original naming up to its projector.
type originalLLaVA struct {
	*llavaConfig
	b        *graph.Builder     // reads the language model's checkpoint, where the projector lies
	tower    *llavaTower        // nil: the projector stands alone
	image    *pipeline.Image    // nil without a tower
	assembly *pipeline.Assembly // nil where each image is one tile
	features *graph.Node        // what the projector sees, [B, N, width]
	width    int
}

// originalLLaVA builds what comes before the projector: the tower, or an input for its features.
func (im *Import) originalLLaVA() (*originalLLaVA, error) {
	c, err := im.readLLaVA()
	if err != nil {
		return nil, err
	}
	m := &originalLLaVA{llavaConfig: c}
	im.languageModel("model.layers.*", "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
	tower, folder, weights, err := im.originalTower(c)
	if err != nil {
		return nil, err
	}
	if tower == nil {
		if err := checkSizes("config", size{"mm_hidden_size", c.MMHiddenSize}); err != nil {
			return nil, err
		}
		m.b, m.width = graph.NewBuilder(im.Params(nil, "")), c.MMHiddenSize
		m.features = visionFeatures(m.b, m.width)
		return m, nil
	}
	m.tower, m.width = tower, tower.width
	if m.image, err = folder.imagePipeline(tower.image); err != nil {
		return nil, err
	}
	switch {
	case c.AspectRatio == "pad":
		m.image = m.image.WithPadSquare()
	case strings.HasPrefix(c.AspectRatio, "anyres"):
		if err := m.anyRes(); err != nil {
			return nil, err
		}
	}
	b := graph.NewBuilder(weights)
	tower.build(b, im.pixels(b, m.image, tower.channels, tower.size))
	layer := c.SelectLayer
	if !tower.classToken {
		layer = tower.last // siglip_encoder.py does not ask
	}
	m.features = selectFeatures(b, []int{layer}, tower.depth, c.SelectFeature == "cls_patch" || !tower.classToken)
	b.Params = im.Params(nil, "")
	m.b = b
	return m, nil
}

// stem returns where the projector's tensors lie.
func (im *Import) projectorStem() string {
	if im.HasAny("mm_projector.*") {
		return "mm_projector"
	}
	return "model.mm_projector"
}

func buildOriginalLLaVA(im *Import) (*graph.Model, error) {
	m, err := im.originalLLaVA()
	if err != nil {
		return nil, err
	}
	b, x, in := m.b, m.features, m.width
	stem := im.projectorStem()
	n, norms := m.layers()
	index := 0 // of the projector's nn.Sequential
	for i := range b.Layers(n) {
		name := stem
		if m.ProjectorType != "" && m.ProjectorType != "linear" {
			name = fmt.Sprintf("%s.%d", stem, index)
		}
		if i > 0 {
			x = b.Act(x, kernels.ActGELU)
		}
		x = b.Linear(x, name, in, m.HiddenSize)
		b.Namef(x, "projector.linear_%d", i+1)
		index += 2 // a GELU stands between
		if norms {
			x = b.LayerNorm(x, fmt.Sprintf("%s.%d", stem, index-1), m.HiddenSize, 1e-5)
			b.Namef(x, "norm%d", index-1)
			index++
		}
		in = m.HiddenSize
	}
	return m.finish(im, x, "image_features")
}

// finish puts the tiles' tokens together, where an image has several, and names the output.
func (m *originalLLaVA) finish(im *Import, x *graph.Node, output string) (*graph.Model, error) {
	b := m.b
	p := &pipeline.Pipeline{Image: m.image, Assembly: m.assembly}
	if m.assembly != nil {
		m.assembly.Output = output
		b.Name(x, "projected")
		var learned []*graph.Node
		if m.assembly.Newline {
			learned = append(learned, b.Parameter(graph.Position, "model.image_newline", 1, m.HiddenSize))
		}
		x = assemble(b, x, learned...)
	} else {
		im.Ignore("model.image_newline", "follows the rows of tiles, and images are not cut into any")
	}
	b.Output(x, graph.Projector, output)
	if output != "visual_tokens" {
		b.Name(x, "visual_tokens")
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: p}, err
}

// assemble gathers the tokens of pictures from learned rows and those of their tiles, as the feeder says that carries out
// pipeline.Assembly.
func assemble(b *graph.Builder, tiles *graph.Node, learned ...*graph.Node) *graph.Node {
	index := b.Input("token_index", -3, -4)
	weight := b.Input("token_weight", -3, -4)
	rows := b.Concat(0, append(learned, b.Rearrange(tiles, "n s d -> (n s) d"))...)
	return b.Op(graph.Gather{}, nil, rows, index, weight)
}

// anyRes reads how images are cut into tiles, and how the tiles' tokens are put together.
func (m *originalLLaVA) anyRes() error {
	t := m.tower
	if err := checkSizes("vision_config", size{"patch_size", t.patch}); err != nil {
		return err
	}
	pinpoints, err := m.pinpoints(t.size)
	if err != nil {
		return err
	}
	if t.classToken && m.SelectFeature == "cls_patch" {
		return fmt.Errorf("config: image_aspect_ratio is %s, which cannot put the class tokens of tiles together: mm_vision_select_feature must be patch", m.AspectRatio)
	}
	most := 0
	if rest, ok := strings.CutPrefix(m.AspectRatio, "anyres_max_"); ok {
		if most, err = strconv.Atoi(rest); err != nil || most < 1 {
			return fmt.Errorf("config: image_aspect_ratio is %q; expected anyres_max_ and a number of tiles", m.AspectRatio)
		}
	} else if m.AspectRatio != "anyres" {
		return fmt.Errorf("config: image_aspect_ratio is %q; expected square, pad, anyres or anyres_max_N", m.AspectRatio)
	}
	merge, noBase := strings.CutSuffix(m.MergeType, "_nobase")
	m.image = m.image.WithAnyRes(pinpoints)
	a := &pipeline.Assembly{Kind: pipeline.AssembleAnyRes, Rows: t.size[0] / t.patch, Columns: t.size[1] / t.patch, NoBase: noBase}
	switch merge {
	case "flat":
		a.Flat = true
	case "spatial":
	case "spatial_unpad":
		a.Unpad, a.Newline, a.MaxTiles = true, true, most
	default:
		return fmt.Errorf("config: mm_patch_merge_type is %q; expected flat, spatial or spatial_unpad, or one of them with _nobase", m.MergeType)
	}
	m.assembly = a
	if err := m.image.Check(); err != nil {
		return fmt.Errorf("config: image_grid_pinpoints: %w", err)
	}
	return nil
}

var pinpointRange = regexp.MustCompile(`\((\d+)x(\d+)\)`)

// pinpoints reads the resolutions to choose from, as (height, width): a list of (width, height), that as a string, or the
// first and the last number of tiles each way, "(1x1),...,(6x6)".
func (m *originalLLaVA) pinpoints(tile [2]int) ([][2]int, error) {
	var text string
	raw := m.Pinpoints
	if json.Unmarshal(raw, &text) == nil {
		if all := pinpointRange.FindAllStringSubmatch(text, -1); all != nil {
			var from, to [2]int
			for i := range 2 {
				from[i], _ = strconv.Atoi(all[0][i+1])
				to[i], _ = strconv.Atoi(all[len(all)-1][i+1])
			}
			const most = 64 // tiles each way
			if max(to[0], to[1]) > most {
				return nil, fmt.Errorf("config: image_grid_pinpoints is %q; expected at most %d tiles each way", text, most)
			}
			var out [][2]int
			for w := from[0]; w <= to[0]; w++ {
				for h := from[1]; h <= to[1]; h++ {
					out = append(out, [2]int{h * tile[0], w * tile[0]})
				}
			}
			return out, nil
		}
		raw = json.RawMessage(strings.NewReplacer("(", "[", ")", "]").Replace(text))
	}
	var list [][2]int
	if err := json.Unmarshal(raw, &list); err != nil || len(list) == 0 {
		return nil, fmt.Errorf("config: image_grid_pinpoints is %.60s; expected a list of widths and heights in pixels", m.Pinpoints)
	}
	for i, p := range list {
		list[i] = [2]int{p[1], p[0]}
	}
	return list, nil
}

// inTower is where LLaVA's checkpoints hold a tower that was trained along.
const inTower = "model.vision_tower.vision_tower."

// originalTower finds the tower that a configuration names, a folder relative to the checkpoint or a model in the Hugging Face
// cache, with the folder that holds its preprocessing and its tensors: fine-tuned towers lie in the language model's
// checkpoint. Without one the projector stands alone.
func (im *Import) originalTower(c *llavaConfig) (*llavaTower, *Import, graph.Params, error) {
	if im.HasAny(inTower + "*") {
		im.Ignore(inTower+"*.embeddings.position_ids", "a buffer of consecutive numbers")
	}
	if len(c.VisionConfig) > 0 && string(c.VisionConfig) != "null" {
		t, err := im.llavaTower()
		return t, im, im.Params(nil, inTower), err
	}
	if c.VisionTower == "" {
		return nil, nil, nil, nil
	}
	sub, err := im.SubImport(c.VisionTower)
	if errors.Is(err, fs.ErrNotExist) {
		var found *formats.Checkpoint
		if found, err = formats.Open("hf:"+c.VisionTower, formats.Options{}); err == nil {
			sub = im.adopt(found)
			err = sub.configErr
		}
	}
	switch {
	case err == nil:
	case im.HasAny(inTower + "*"):
		t, known := im.knownTower(c.VisionTower)
		if !known {
			return nil, nil, nil, fmt.Errorf("config: mm_vision_tower %q: its tensors are here, and its configuration is neither in a folder beside the checkpoint nor in the Hugging Face cache: %w", c.VisionTower, err)
		}
		return t, im, im.Params(nil, inTower), nil
	case errors.Is(err, fs.ErrNotExist):
		im.Note("mm_vision_tower %q is neither a folder beside the checkpoint nor a model in the Hugging Face cache: the projector is read alone, and starts from vision_features", c.VisionTower)
		return nil, nil, nil, nil
	default:
		return nil, nil, nil, fmt.Errorf("config: mm_vision_tower %q: %w", c.VisionTower, err)
	}
	var weights graph.Params = sub.Params(nil, "")
	prefix, holder := "", sub
	if im.HasAny(inTower + "*") {
		sub.Ignore("*", "the language model's checkpoint holds the tower as it was fine-tuned")
		weights, prefix, holder = im.Params(nil, inTower), inTower, im
	}
	sub.Ignore("*.embeddings.position_ids", "a buffer of consecutive numbers")
	sub.Ignore("text_model.*", "the text tower, which LLaVA does not use")
	for _, name := range []string{"text_projection.weight", "logit_scale", "logit_bias", "visual_projection.weight"} {
		sub.Ignore(name, "part of the contrastive head, which LLaVA does not use")
	}
	kind, read := sub.ModelType(), sub.Config
	switch kind {
	case "clip", "siglip": // a model of two towers, as published
		kind += "_vision_model"
		read = sub.visionSection
	}
	t, err := sub.towerOf(kind, holder.Count(prefix+"vision_model.encoder.layers.#.layer_norm1.weight"), read)
	if err == nil && !t.classToken {
		holder.Ignore(prefix+"vision_model.head.*", "the pooling head, which LLaVA does not use")
	}
	return t, sub, weights, err
}

// knownTower returns a tower whose configuration is not at hand but known by its name; sizes are those of its tensors.
func (im *Import) knownTower(name string) (*llavaTower, bool) {
	if !strings.HasPrefix(name, "openai/clip-vit-") {
		return nil, false
	}
	v := defaultCLIP().Vision
	const patches = inTower + "vision_model.embeddings.patch_embedding.weight"
	v.HiddenSize, v.PatchSize = im.Dim(patches, 0), im.Dim(patches, 2)
	v.Heads = v.HiddenSize / 64
	v.Layers = im.Count(inTower + "vision_model.encoder.layers.#.layer_norm1.weight")
	v.IntermediateSize = im.Dim(inTower+"vision_model.encoder.layers.0.mlp.fc1.weight", 0)
	v.ImageSize = v.PatchSize * block.SquareGrid(im.Dim(inTower+"vision_model.embeddings.position_embedding.weight", 0) - 1)[0]
	im.Note("mm_vision_tower %q is not at hand: its tensors are here, and its sizes are read from them", name)
	return im.clipTower(&v), true
}
