package models

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
)

// Vision transformers in transformers' naming: ViT (Dosovitskiy et al., arXiv:2010.11929), DeiT (Touvron et al.,
// arXiv:2012.12877) and the encoder of masked autoencoders (He et al., arXiv:2111.06377). Sources: huggingface/transformers
// models/{vit,deit,vit_mae}/modeling_*.py.

var _ = Register(&System{
	Name: "vit-hf", Title: "ViT, DeiT and ViT-MAE",
	ModelTypes: []string{"vit", "deit", "vit_mae"},
	Namings: []Naming{{Name: "huggingface", Looked: "config.json with model_type vit, deit or vit_mae, tensors encoder.layer.#.attention.attention.query.weight", Recognise: func(im *Import) bool {
		switch im.ModelType() {
		case "vit", "deit", "vit_mae":
			return im.hasViT("vit.", "deit.")
		}
		return false
	}}},
	Build: buildHFViT,
})

func buildHFViT(im *Import) (*graph.Model, error) {
	c := struct {
		hfViT
		Pooled    int    `json:"pooler_output_size"`
		PoolerAct string `json:"pooler_act"`
	}{hfViT: defaultHFViT(), PoolerAct: "tanh"}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	if c.Pooled == 0 {
		c.Pooled = c.Dim
	}
	act, err := activation("pooler_act", c.PoolerAct)
	if err != nil {
		return nil, err
	}
	for _, p := range []*block.Projection{&c.layer.Attention.Q, &c.layer.Attention.K, &c.layer.Attention.V} {
		p.Bias = bias(c.QKVBias)
	}
	class, prefix := "ViTImageProcessor", "vit."
	if im.ModelType() == "deit" {
		class, prefix = "DeiTImageProcessor", "deit."
		c.embedded = append(c.embedded, "embeddings.distillation_token")
	}
	im.Ignore("decoder.*", "draws the masked patches in pre-training")
	b, t, p, err := c.open(im, class, prefix)
	if err != nil {
		return nil, err
	}
	b.Output(t.Last, graph.Vision, "last_hidden_state")
	if b.Params.Has("pooler.dense.weight") {
		b.Output(b.Act(b.Linear(b.Token(t.Last, 0), "pooler.dense", c.Dim, c.Pooled), act), graph.Vision, "pooler_output")
	}
	head := func(stem string, token int) *graph.Node {
		return b.Linear(b.Token(t.Last, token), stem, c.Dim, im.Dim(stem+".weight", 0))
	}
	switch {
	case b.Params.Has("classifier.weight"):
		b.Output(head("classifier", 0), graph.Vision, "logits")
	case b.Params.Has("distillation_classifier.weight") && len(c.embedded) > 1:
		own := b.Name(head("cls_classifier", 0), "cls_logits")
		teacher := b.Name(head("distillation_classifier", 1), "distillation_logits")
		b.Output(b.Scale(b.Add(own, teacher), 0.5), graph.Vision, "logits")
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: p}, err
}
