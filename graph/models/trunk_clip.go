package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// buildTrunkCLIP builds open_clip's models whose vision tower is timm's (TimmModel in src/open_clip/timm_model.py): the
// trunk, then the trunk's own head, a projection, an MLP, or nothing.
func buildTrunkCLIP(im *Import) (*graph.Model, error) {
	o, err := im.openCLIP()
	if err != nil {
		return nil, err
	}
	name := im.timmTrunk()
	args := defaultViT(timmFamily(name))
	if err := timmArguments(name, &args, o.Vision.TimmArguments); err != nil {
		return nil, fmt.Errorf("%s: vision_cfg: %w", openCLIPFile, err)
	}
	args.GlobalPool = o.Vision.TimmPool
	if args.ImgSize, err = o.imageSize(); err != nil {
		return nil, err
	}
	text, err := o.text()
	if err != nil {
		return nil, err
	}
	image, words, err := im.openCLIPPipeline()
	if err != nil {
		return nil, err
	}
	im.ignoreOpenCLIPBuffers()
	im.ignoreEVABuffers("visual.trunk.")
	p := im.Params(append(im.openCLIPNames(), visualNames("visual.trunk.")...), "")
	b := graph.NewBuilder(p)
	t, err := newViTTower(b, p, args)
	if err != nil {
		return nil, err
	}
	size := im.imageSize(t.image)
	tower := t.tower(im.pixels(b, image, t.channels, size), size)
	tower.NameStates(b, "vision.hidden_state.%d")
	b.Name(tower.Last, "vision.norm")
	if tower.Mapped != nil {
		b.Name(tower.Mapped, "vision.map")
	}
	x := tower.Pooled
	switch {
	case t.has("head.weight"):
		x = b.LinearIf(t.has("head.bias"), x, "head", t.width, o.EmbedDim)
	case t.has("visual.head.proj.weight"):
		x = b.LinearIf(t.has("visual.head.proj.bias"), x, "visual.head.proj", t.width, o.EmbedDim)
	case t.has("visual.head.mlp.fc1.weight"):
		x = b.Act(b.Linear(x, "visual.head.mlp.fc1", t.width, 2*o.EmbedDim), kernels.ActGELU)
		x = b.LinearIf(t.has("visual.head.mlp.fc2.bias"), x, "visual.head.mlp.fc2", 2*o.EmbedDim, o.EmbedDim)
	}
	return im.contrastive(b, image, words, x, text.projected(b, text.features(b, "text.")))
}

// visualNames lets timm's names stand for tensors behind a prefix; what the text tower and the pair have keeps its own.
func visualNames(prefix string) Names {
	return Names{
		{"logit_scale", "logit_scale"}, {"logit_bias", "logit_bias"}, {"visual.head.*", "visual.head.*"},
		{"*", prefix + "*"},
	}
}

// contrastive joins two towers of open_clip: the features are what the model exists for, the similarities are scaled, and
// with a bias they are those of a sigmoid loss.
func (im *Import) contrastive(b *graph.Builder, image *pipeline.Image, words *pipeline.Text, imageFeatures, textFeatures *graph.Node) (*graph.Model, error) {
	if err := im.noteTokenizer(words); err != nil {
		return nil, err
	}
	if imageFeatures == nil || textFeatures == nil {
		b.Fail(fmt.Errorf("tensors visual.proj and text_projection: expected both in a model of two towers"))
		_, err := b.Graph()
		return nil, err
	}
	b.Output(imageFeatures, graph.Vision, "image_features")
	b.Output(textFeatures, graph.Text, "text_features")
	x := b.Name(b.L2Norm(imageFeatures, 0), "image_embeds")
	y := b.Name(b.L2Norm(textFeatures, 0), "text_embeds")
	sigmoid := im.HasTensor("logit_bias")
	logits := scaledSimilarity(b, x, y, sigmoid)
	b.Output(logits, graph.Joint, "logits_per_image")
	b.Output(b.Rearrange(logits, "i t -> t i"), graph.Joint, "logits_per_text")
	if sigmoid {
		b.Output(b.Act(logits, kernels.ActSigmoid), graph.Joint, "probs")
	}
	g, err := b.Graph()
	p := &pipeline.Pipeline{Image: image, Text: words, Task: &pipeline.Task{Kind: "contrastive", Query: "image_features", Key: "text_features"}}
	return &graph.Model{Graph: g, Pipeline: p}, err
}
