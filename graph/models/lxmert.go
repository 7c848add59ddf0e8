package models

import (
	"encoding/json"
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// LXMERT: Learning Cross-Modality Encoder Representations from Transformers (Tan and Bansal, arXiv:1908.07490). Sources:
// huggingface/transformers models/lxmert/modeling_lxmert.py; airsplay/lxmert src/lxrt/{modeling,entry}.py and src/tasks/*_model.py.

var _ = Register(&System{
	Name: "lxmert", Title: "LXMERT", Row: 16,
	ModelTypes: []string{"lxmert"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type lxmert, tensors lxmert.encoder.visn_fc.*", Recognise: func(im *Import) bool {
			return im.ModelType() == "lxmert" && im.isLXMERT()
		}},
		{Name: "airsplay", Looked: "tensors bert.encoder.visn_fc.* or lxrt_encoder.model.bert.encoder.visn_fc.*", Recognise: func(im *Import) bool {
			return im.ModelType() != "lxmert" && im.isLXMERT()
		}},
	},
	Build: buildLXMERT,
})

// lxmertStems are what stands before the encoder: transformers' and airsplay's, of pre-training and of tasks.
var lxmertStems = []string{"lxmert.", "lxrt_encoder.model.bert.", "bert.", ""}

const lxmertMark = "encoder.visn_fc.visn_fc.weight"

func (im *Import) isLXMERT() bool {
	_, ok := im.prefixOf(lxmertMark, lxmertStems...)
	return ok
}

type lxmertConfig struct {
	bertConfig
	Layers      json.RawMessage `json:"num_hidden_layers"` // an object of three numbers, or one that means nothing
	Language    int             `json:"l_layers"`
	Cross       int             `json:"x_layers"`
	Vision      int             `json:"r_layers"`
	FeatureSize int             `json:"visual_feat_dim"`
	BoxSize     int             `json:"visual_pos_dim"`
}

func buildLXMERT(im *Import) (*graph.Model, error) {
	prefix, _ := im.prefixOf(lxmertMark, lxmertStems...)
	table := Names{{"lxmert.*", prefix + "*"}}
	if prefix == "lxrt_encoder.model.bert." {
		table = append(table, [2]string{"answer_head.*", "*"}) // logit_fc
	}
	p := im.Params(table, "")
	const visual = "lxmert.encoder.visn_fc."
	c := lxmertConfig{bertConfig: p.bertSizes("lxmert.embeddings", "lxmert.encoder.layer.%d"),
		Language: p.layers("lxmert.encoder.layer.%d.output.dense.weight"), Vision: p.layers("lxmert.encoder.r_layers.%d.output.dense.weight"),
		Cross:       p.layers("lxmert.encoder.x_layers.%d.lang_output.dense.weight"),
		FeatureSize: p.dim(visual+"visn_fc.weight", 1), BoxSize: p.dim(visual+"box_fc.weight", 1)}
	if len(im.config) > 0 {
		if err := im.Config(&c); err != nil {
			return nil, err
		}
	}
	c.Eps = 1e-12 // whatever a configuration says
	im.Ignore("*embeddings.position_ids", "a buffer of consecutive numbers")
	b := graph.NewBuilder(p)
	if err := c.build(b, p); err != nil {
		return nil, err
	}
	text, err := im.textPipeline("LxmertTokenizer", c.MaxPositions, c.VocabSize)
	if err != nil {
		return nil, err
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Text: text}, Advice: bertAdvice}, err
}

func (c *lxmertConfig) build(b *graph.Builder, p *NamedParams) error {
	bert, err := c.bert("config")
	if err == nil {
		err = checkSizes("config", size{"visual_feat_dim", c.FeatureSize}, size{"visual_pos_dim", c.BoxSize})
	}
	if err != nil {
		return err
	}
	d, layer := c.Dim, bert.Layer
	in := newBERTText(b)
	features := b.Input("visual_feats", -1, -3, c.FeatureSize)
	boxes := b.Input("visual_pos", -1, -3, c.BoxSize)
	vMask := b.OptionalInput("visual_attention_mask", features, 1, -1, -3)
	tBias, vBias := block.With{Bias: block.HideKeys(b, in.mask)}, block.With{Bias: block.HideKeys(b, vMask)}

	t := b.Name(bert.Embed(b, "lxmert.embeddings", in.inputs()), "text_embeddings")
	const visual = "lxmert.encoder.visn_fc."
	v := b.Add(layer.Norm.Apply(b, b.Linear(features, visual+"visn_fc", c.FeatureSize, d), visual+"visn_layer_norm", d),
		layer.Norm.Apply(b, b.Linear(boxes, visual+"box_fc", c.BoxSize, d), visual+"box_layer_norm", d))
	v = b.Name(b.Scale(v, 0.5), "visual_embeddings")
	for i := range b.Layers(c.Language) {
		t = b.Namef(layer.Apply(b, t, fmt.Sprintf("lxmert.encoder.layer.%d", i), tBias, block.With{}), "language.layer%d", i)
	}
	for i := range b.Layers(c.Vision) {
		v = b.Namef(layer.Apply(b, v, fmt.Sprintf("lxmert.encoder.r_layers.%d", i), vBias, block.With{}), "vision.layer%d", i)
	}
	language, vision := c.half(layer, "lang"), c.half(layer, "visn")
	for i := range b.Layers(c.Cross) {
		at := fmt.Sprintf("lxmert.encoder.x_layers.%d", i)
		toText, toRegions := tBias, vBias
		toText.KV, toRegions.KV = t, v
		t, v = language.AttendTo(b, t, at, toRegions), vision.AttendTo(b, v, at, toText)
		t, v = language.Attend(b, t, at, tBias), vision.Attend(b, v, at, vBias)
		t = b.Namef(language.FeedForward(b, t, at), "cross%d.language", i)
		v = b.Namef(vision.FeedForward(b, v, at), "cross%d.vision", i)
	}
	pooled := b.Output(bert.Pool(b, t, "lxmert.pooler"), graph.Joint, "pooled_output")
	c.heads(b, p, bert, t, v, pooled)
	return nil
}

// half describes one stream of a cross-modality layer. Both attend to one another by the same weights.
func (c *lxmertConfig) half(l block.Layer, stream string) block.Layer {
	l = l.WithCross(block.Attention{Q: block.Projection{Stem: "visual_attention.att.query"}, K: block.Projection{Stem: "visual_attention.att.key"},
		V: block.Projection{Stem: "visual_attention.att.value"}, Out: block.Projection{Stem: "visual_attention.output.dense"}}, c.Dim)
	l.Cross.Norm, l.Self.Norm, l.Feed.Norm = "visual_attention.output.LayerNorm", stream+"_self_att.output.LayerNorm", stream+"_output.LayerNorm"
	a := &l.Attention
	a.Q.Stem, a.K.Stem, a.V.Stem = stream+"_self_att.self.query", stream+"_self_att.self.key", stream+"_self_att.self.value"
	a.Out.Stem = stream + "_self_att.output.dense"
	l.MLP.FC1.Stem, l.MLP.FC2.Stem = stream+"_inter.dense", stream+"_output.dense"
	return l
}

// heads adds those that the checkpoint holds.
func (c *lxmertConfig) heads(b *graph.Builder, p *NamedParams, bert *block.BERT, t, v, pooled *graph.Node) {
	if words := p.maskedLM(b, bert, t, "cls.predictions", "lxmert.embeddings.word_embeddings.weight"); words != nil {
		b.Output(words, graph.Joint, "prediction_logits")
	}
	if p.Has("cls.seq_relationship.weight") {
		b.Output(p.linear(b, pooled, "cls.seq_relationship"), graph.Joint, "cross_relationship_score")
	}
	if p.Has("answer_head.logit_fc.0.weight") {
		h := perceptron{FC1: "answer_head.logit_fc.0", Norm: "answer_head.logit_fc.2", FC2: "answer_head.logit_fc.3", Act: kernels.ActGELU, Eps: 1e-12}
		b.Output(h.apply(b, p, pooled), graph.Joint, "question_answering_score")
	}
	// What the regions' objects, attributes and features are taken for, in pre-training.
	const objects = "obj_predict_head."
	if !p.Has(objects + "transform.dense.weight") {
		return
	}
	h := b.Act(b.Linear(v, objects+"transform.dense", c.Dim, c.Dim), bert.Layer.MLP.Act)
	h = bert.Layer.Norm.Apply(b, h, objects+"transform.LayerNorm", c.Dim)
	for _, what := range []string{"obj", "attr", "feat"} {
		if stem := objects + "decoder_dict." + what; p.Has(stem + ".weight") {
			b.Output(p.linear(b, h, stem), graph.Joint, "object_prediction."+what)
		}
	}
}
