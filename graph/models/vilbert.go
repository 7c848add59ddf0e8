package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// ViLBERT: Pretraining Task-Agnostic Visiolinguistic Representations (Lu et al., arXiv:1908.02265) and 12-in-1: Multi-Task
// Vision and Language Representation Learning (Lu et al., arXiv:1912.02315). Sources: facebookresearch/vilbert-multi-task
// vilbert/vilbert.py; jiasenlu/vilbert_beta vilbert/vilbert.py.

var _ = Register(&System{
	Name: "vilbert", Title: "ViLBERT", Row: 15,
	Namings: []Naming{
		{Name: "vilbert", Looked: "config.json with v_biattention_id and t_biattention_id, tensors bert.v_embeddings.* and bert.encoder.c_layer.#.*", Recognise: func(im *Import) bool {
			_, ok := im.prefixOf("v_embeddings.image_embeddings.weight", "bert.", "")
			return ok && im.HasConfig("v_biattention_id", "t_biattention_id")
		}},
	},
	Build: buildViLBERT,
})

type vilbertConfig struct {
	bertConfig
	FeatureSize int    `json:"v_feature_size"`
	TargetSize  int    `json:"v_target_size"`
	VDim        int    `json:"v_hidden_size"`
	VLayers     int    `json:"v_num_hidden_layers"`
	VHeads      int    `json:"v_num_attention_heads"`
	VHidden     int    `json:"v_intermediate_size"`
	VAct        string `json:"v_hidden_act"`
	BiDim       int    `json:"bi_hidden_size"`
	BiHeads     int    `json:"bi_num_attention_heads"`
	VCross      []int  `json:"v_biattention_id"`
	TCross      []int  `json:"t_biattention_id"`
	Fusion      string `json:"fusion_method"`
	Dynamic     bool   `json:"dynamic_attention"`
	CoAttention bool   `json:"with_coattention"`
	TaskTokens  bool   `json:"task_specific_tokens"`
	InBatch     bool   `json:"in_batch_pairs"`
	Model       string `json:"model"`
}

func buildViLBERT(im *Import) (*graph.Model, error) {
	c := vilbertConfig{
		bertConfig:  bertConfig{VocabSize: 30522, Dim: 768, Layers: 12, Heads: 12, Hidden: 3072, Act: "gelu", MaxPositions: 512, TokenTypes: 2},
		FeatureSize: 2048, TargetSize: 1601, VDim: 768, VLayers: 3, VHeads: 12, VHidden: 3072, VAct: "gelu", BiDim: 1024, BiHeads: 16,
		VCross: []int{0, 1}, TCross: []int{10, 11}, Fusion: "mul", CoAttention: true, Model: "bert",
	}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.InBatch {
		im.Note("in_batch_pairs, by which training paired every text with every picture of a batch, is left out: each row is a pair")
	}
	table := Names{}
	if prefix, _ := im.prefixOf("v_embeddings.image_embeddings.weight", "bert.", ""); prefix == "" {
		table = Names{{"bert.*", "*"}}
	}
	p := im.Params(table, "")
	b := graph.NewBuilder(p)
	m := &vilbert{vilbertConfig: c, b: b, p: p}
	if err := m.build(); err != nil {
		return nil, err
	}
	im.Ignore("*biOutput.q_dense#.*", "the original computes nothing with it")
	if !c.CoAttention {
		im.Ignore("*encoder.c_layer.#.*", "with_coattention is false")
	}
	text, err := im.textPipeline("BertTokenizer", c.MaxPositions, c.VocabSize)
	if err != nil {
		return nil, err
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Text: text}, Advice: bertAdvice}, err
}

func (c *vilbertConfig) check() error {
	if err := checkSizes("config", size{"v_feature_size", c.FeatureSize}, size{"v_target_size", c.TargetSize}, size{"v_hidden_size", c.VDim},
		size{"v_num_attention_heads", c.VHeads}, size{"v_intermediate_size", c.VHidden}, size{"bi_hidden_size", c.BiDim},
		size{"bi_num_attention_heads", c.BiHeads}); err != nil {
		return err
	}
	if len(c.VCross) != len(c.TCross) {
		return fmt.Errorf("config: %d v_biattention_id and %d t_biattention_id: expected as many", len(c.VCross), len(c.TCross))
	}
	v, t := 0, 0
	for i := range c.VCross {
		if c.VCross[i] < v || c.VCross[i] > c.VLayers || c.TCross[i] < t || c.TCross[i] > c.Layers {
			return fmt.Errorf("config: v_biattention_id %v and t_biattention_id %v: expected numbers of the %d and %d layers that do not fall",
				c.VCross, c.TCross, c.VLayers, c.Layers)
		}
		v, t = c.VCross[i], c.TCross[i]
	}
	switch {
	case c.Fusion != "mul" && c.Fusion != "sum":
		return fmt.Errorf("config: fusion_method is %q; expected mul or sum", c.Fusion)
	case c.Model != "bert" && c.Model != "roberta":
		return fmt.Errorf("config: model is %q; expected bert or roberta", c.Model)
	}
	return nil
}

// vilbert builds one model.
type vilbert struct {
	vilbertConfig
	b *graph.Builder
	p *NamedParams

	text         *block.BERT
	vision       block.Layer
	tMask, vMask *graph.Node // of tokens, task token included, and of regions
	tBias, vBias block.With
}

func (m *vilbert) build() error {
	b := m.b
	m.Eps = 1e-12 // whatever a configuration says
	var err error
	if m.text, err = m.bertConfig.bert("config"); err != nil {
		return err
	}
	m.vision = block.BERTLayer.Sized(m.VDim, m.VHeads, m.VHidden)
	if m.vision.MLP.Act, err = activation("v_hidden_act", m.VAct); err != nil {
		return err
	}
	t, v := m.embed()
	t, v = m.encode(t, v)
	pool := func(x *graph.Node, stem string, dim int) *graph.Node {
		return b.Act(b.Linear(b.Token(x, 0), stem, dim, m.BiDim), kernels.ActReLU)
	}
	pooledT := b.Output(pool(t, "bert.t_pooler.dense", m.Dim), graph.Joint, "pooled_text")
	pooledV := b.Output(pool(v, "bert.v_pooler.dense", m.VDim), graph.Joint, "pooled_vision")
	pooled := b.Mul(pooledT, pooledV)
	if m.Fusion == "sum" {
		pooled = b.Add(pooledT, pooledV)
	}
	m.heads(t, v, pooled)
	return nil
}

// embed makes the embeddings of both streams.
func (m *vilbert) embed() (t, v *graph.Node) {
	b := m.b
	in := newBERTText(b)
	m.tMask = in.mask
	if m.TaskTokens {
		// The task's token stands behind the first one, without a position, under the same norm.
		task := b.Input("task_ids", -1, 1)
		words := *m.text
		words.NoNorm = true
		t = words.Embed(b, "bert.embeddings", in.inputs())
		t = b.Concat(1, b.Slice(t, 1, 0, 1), b.Embedding(task, "bert.embeddings.task_embeddings", m.p.dim("bert.embeddings.task_embeddings.weight", 0), m.Dim),
			b.Slice(t, 1, 1, 0))
		t = m.text.Layer.Norm.Apply(b, t, "bert.embeddings.LayerNorm", m.Dim)
		m.tMask = b.Concat(1, b.Op(graph.FillLike{Value: 1}, nil, task), m.tMask)
	} else {
		t = m.text.Embed(b, "bert.embeddings", in.inputs())
	}
	features := b.Input("visual_feats", -1, -3, m.FeatureSize)
	boxes := b.Input("visual_loc", -1, -3, 5)
	m.vMask = b.OptionalInput("visual_attention_mask", features, 1, -1, -3)
	v = b.Add(b.Linear(features, "bert.v_embeddings.image_embeddings", m.FeatureSize, m.VDim),
		b.Linear(boxes, "bert.v_embeddings.image_location_embeddings", 5, m.VDim))
	v = m.vision.Norm.Apply(b, v, "bert.v_embeddings.LayerNorm", m.VDim)
	m.tBias, m.vBias = hideKeys(b, m.tMask), hideKeys(b, m.vMask)
	return b.Name(t, "text_embeddings"), b.Name(v, "visual_embeddings")
}

// encode runs the layers of both streams. Before layer TCross[i] of the text and layer VCross[i] of the regions the streams
// attend to one another.
func (m *vilbert) encode(t, v *graph.Node) (_, _ *graph.Node) {
	b := m.b
	tDone, vDone := 0, 0
	text := func(to int) {
		for ; tDone < to; tDone++ {
			t = m.text.Layer.Apply(b, t, fmt.Sprintf("bert.encoder.layer.%d", tDone), m.tBias, block.With{})
			b.Namef(t, "text.layer%d", tDone)
		}
	}
	regions := func(to int) {
		for ; vDone < to; vDone++ {
			at := fmt.Sprintf("bert.encoder.v_layer.%d", vDone)
			with := m.vBias
			if m.Dynamic {
				with.Rotate = m.gates(t, at)
			}
			v = m.vision.Apply(b, v, at, with, block.With{})
			b.Namef(v, "vision.layer%d", vDone)
		}
	}
	tCross, vCross := m.coAttention()
	for i := range b.Layers(len(m.VCross)) {
		text(m.TCross[i])
		regions(m.VCross[i])
		if !m.CoAttention {
			continue
		}
		at := fmt.Sprintf("bert.encoder.c_layer.%d", i)
		toText, toRegions := m.tBias, m.vBias
		toText.KV, toRegions.KV = t, v
		v, t = vCross.AttendTo(b, v, at, toText), tCross.AttendTo(b, t, at, toRegions)
		v, t = vCross.FeedForward(b, v, at), tCross.FeedForward(b, t, at)
		b.Namef(v, "coattention%d.vision", i)
		b.Namef(t, "coattention%d.text", i)
	}
	regions(m.VLayers)
	text(m.Layers)
	return t, v
}

// coAttention describes both halves of a co-attention layer. Queries, keys and values 1 are made of regions, 2 of the text.
func (m *vilbert) coAttention() (t, v block.Layer) {
	half := func(own, other string, prefix string, dim, kv, hidden int, mlp block.MLP) block.Layer {
		l := block.Layer{Dim: dim, Order: block.PostNorm, Norm: m.vision.Norm, Cross: block.Branch{Norm: "biOutput.LayerNorm" + own},
			Feed: block.Branch{Norm: prefix + "_output.LayerNorm"}, MLP: mlp}
		l.MLP.FC1.Stem, l.MLP.FC2.Stem = prefix+"_intermediate.dense", prefix+"_output.dense"
		l.CrossAttention = &block.Attention{Dim: dim, KVDim: kv, Heads: m.BiHeads, HeadDim: m.BiDim / m.BiHeads,
			Q: block.Projection{Stem: "biattention.query" + own}, K: block.Projection{Stem: "biattention.key" + other},
			V: block.Projection{Stem: "biattention.value" + other}, Out: block.Projection{Stem: "biOutput.dense" + own}}
		return l
	}
	return half("2", "1", "t", m.Dim, m.VDim, m.Hidden, m.text.Layer.MLP), half("1", "2", "v", m.VDim, m.Dim, m.VHidden, m.vision.MLP)
}

// gates scale the channels of the regions' queries and keys by what the text's mean says (dynamic_attention).
func (m *vilbert) gates(t *graph.Node, at string) func(q, k *graph.Node) (_, _ *graph.Node) {
	b := m.b
	sum := func(x *graph.Node) *graph.Node { return b.Op(graph.Reduce{Kind: graph.Sum, Axis: 1}, nil, x) }
	mask := b.Rearrange(m.tMask, "b s -> b s 1")
	mean := b.Div(sum(b.Mul(t, mask)), sum(mask))
	gate := func(x *graph.Node, name string) *graph.Node {
		g := b.Act(b.Linear(mean, at+".attention.self."+name, m.Dim, m.VDim), kernels.ActSigmoid)
		g = b.Op(graph.Scale{Mul: 1, Add: 1}, nil, g)
		return b.Mul(x, b.Rearrange(g, "b (h d) -> b 1 h d", "h", m.VHeads))
	}
	return func(q, k *graph.Node) (_, _ *graph.Node) { return gate(q, "dyLinear_q"), gate(k, "dyLinear_k") }
}

// heads adds those that the checkpoint holds: of pre-training (BertPreTrainingHeads) and of tasks (VILBertForVLTasks).
func (m *vilbert) heads(t, v, pooled *graph.Node) {
	b, p := m.b, m.p
	output := func(x *graph.Node, name string) *graph.Node { return b.Output(x, graph.Joint, name) }
	tasks := p.Has("vil_logit.weight")
	if words := p.maskedLM(b, m.text, t, "cls.predictions", "bert.embeddings.word_embeddings.weight"); words != nil {
		b.Name(output(words, "prediction_scores_t"), "linguisic_prediction")
	}
	if p.Has("cls.imagePredictions.decoder.weight") {
		h := b.Act(b.Linear(v, "cls.imagePredictions.transform.dense", m.VDim, m.VDim), m.text.Layer.MLP.Act)
		h = m.vision.Norm.Apply(b, h, "cls.imagePredictions.transform.LayerNorm", m.VDim)
		b.Name(output(b.Linear(h, "cls.imagePredictions.decoder", m.VDim, m.TargetSize), "prediction_scores_v"), "vision_prediction")
	}
	pairs := "vil_binary_prediction"
	if p.Has("cls.bi_seq_relationship.weight") {
		x := output(p.linear(b, pooled, "cls.bi_seq_relationship"), "seq_relationship_score")
		if tasks && !p.Has(pairs+".logit_fc.0.weight") {
			b.Name(x, pairs)
		}
	}
	for _, name := range []string{"vil_prediction", "vil_prediction_gqa"} {
		if x := m.classifier(pooled, name); x != nil {
			output(x, name)
		}
	}
	if x := m.classifier(b.Op(graph.JoinRows{Count: 2}, nil, pooled), pairs); x != nil {
		output(x, pairs)
	}
	for _, name := range []string{"vil_logit", "vil_tri_prediction"} {
		if p.Has(name + ".weight") {
			output(p.linear(b, pooled, name), name)
		}
	}
	if p.Has("vision_logit.weight") {
		hidden := b.Rearrange(b.Op(graph.KeyMask{Value: -10000}, nil, m.vMask), "b 1 1 r -> b r 1")
		output(b.Add(p.linear(b, v, "vision_logit"), hidden), "vision_logit")
	}
	if p.Has("linguisic_logit.weight") {
		output(p.linear(b, t, "linguisic_logit"), "linguisic_logit")
	}
}

// classifier is a SimpleClassifier of either kind: with a norm, or, before the multi-task form, of weight-normed layers.
func (m *vilbert) classifier(x *graph.Node, stem string) *graph.Node {
	switch {
	case m.p.Has(stem + ".logit_fc.0.weight"):
		return perceptron{FC1: stem + ".logit_fc.0", Norm: stem + ".logit_fc.2", FC2: stem + ".logit_fc.3", Act: kernels.ActGELU, Eps: 1e-12}.apply(m.b, m.p, x)
	case m.p.Has(stem + ".main.0.weight_v"):
		return m.weightNormed(m.b.Act(m.weightNormed(x, stem+".main.0"), kernels.ActReLU), stem+".main.3")
	}
	return nil
}

// weightNormed is a linear layer whose matrix is stored as a direction and one length of the whole.
func (m *vilbert) weightNormed(x *graph.Node, stem string) *graph.Node {
	out, in := m.p.dim(stem+".weight_v", 0), m.p.dim(stem+".weight_v", 1)
	v := graph.ReshapeExpr(m.b.Tensor(stem+".weight_v", out, in), 1, out*in)
	w := graph.ReshapeExpr(graph.WeightNormExpr(m.b.Tensor(stem+".weight_g", 1), v, 0), out, in)
	return m.b.Op(graph.Linear{}, []*graph.Weight{m.b.Derived(graph.Matrix, stem+".weight", w), m.b.Weight(graph.Bias, stem+".bias", out)}, x)
}
