package models

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// ALBEF: Align before Fuse: Vision and Language Representation Learning with Momentum Distillation (Li et al.,
// arXiv:2107.07651), whole: a vision transformer, and a BERT whose first half reads text and whose second half attends to the
// image. Source: salesforce/ALBEF models/{model_pretrain,model_retrieval,model_ve,model_vqa,xbert,vit}.py.

var _ = Register(&System{
	Name: "albef", Title: "ALBEF", Row: 20,
	Namings: []Naming{
		{Name: "albef", Looked: "tensors visual_encoder.blocks.#.* and text_encoder.*.crossattention.*", Recognise: func(im *Import) bool {
			_, ok := im.prefixOf(albefMark, albefStems...)
			return ok && im.HasTensor("visual_encoder.patch_embed.proj.weight") && im.HasAny("text_encoder.*encoder.layer.#.crossattention.self.query.weight")
		}},
	},
	Build: buildALBEF,
})

// albefStems are what stands before the text encoder: pre-training has the masked-word head beside it.
var albefStems = []string{"text_encoder.bert.", "text_encoder."}

const albefMark = "embeddings.word_embeddings.weight"

// albefBERT is the release's config_bert.json.
type albefBERT struct {
	bertConfig
	FusionLayer  int `json:"fusion_layer"`
	EncoderWidth int `json:"encoder_width"`
}

// readALBEFBERT reads bert_config: a section of config.json, or where that is not one config_bert.json; shapes else.
func readALBEFBERT(im *Import, p *NamedParams) (*albefBERT, error) {
	own := &albefBERT{bertConfig: p.bertSizes("bert.embeddings", "bert.encoder.layer.%d")}
	for own.FusionLayer < own.Layers && !p.Has(fmt.Sprintf("bert.encoder.layer.%d.crossattention.self.query.weight", own.FusionLayer)) {
		own.FusionLayer++
	}
	own.EncoderWidth = p.dim("patch_embed.proj.weight", 0)
	if im.HasConfig("bert_config") {
		whole := struct {
			BERT any `json:"bert_config"`
		}{own}
		if raw := im.config["bert_config"]; len(raw) > 0 && raw[0] == '{' {
			if err := im.Config(&whole); err != nil {
				return nil, err
			}
		}
	}
	if err := im.ConfigFile("config_bert.json", own); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if own.FusionLayer < 0 || own.FusionLayer > own.Layers {
		return nil, fmt.Errorf("config: bert_config.fusion_layer is %d; expected 0 to num_hidden_layers, %d", own.FusionLayer, own.Layers)
	}
	return own, checkSizes("bert_config", size{"encoder_width", own.EncoderWidth})
}

func buildALBEF(im *Import) (*graph.Model, error) {
	for _, part := range []string{"visual_encoder_m.*", "text_encoder_m.*", "vision_proj_m.*", "text_proj_m.*", "text_decoder_m.*", "cls_head_m.*"} {
		im.Ignore(part, "the momentum twin of training")
	}
	for _, buffer := range []string{"image_queue", "text_queue", "idx_queue", "queue_ptr"} {
		im.Ignore(buffer, "the queue of negatives of training")
	}
	im.Ignore("*embeddings.position_ids", "a buffer of consecutive numbers")
	im.Ignore("text_decoder.*", "the decoder that answers questions, which is no encoder")
	stem, _ := im.prefixOf(albefMark, albefStems...)
	p := im.Params(Names{
		{"bert.*", stem + "*"}, {"cls.*", "text_encoder.cls.*"}, {"vision_proj.*", "vision_proj.*"}, {"text_proj.*", "text_proj.*"},
		{"itm_head.*", "itm_head.*"}, {"cls_head.*", "cls_head.*"}, {"temp", "temp"}, {"*", "visual_encoder.*"}}, "")
	c, err := readALBEFBERT(im, p)
	if err != nil {
		return nil, err
	}
	b := graph.NewBuilder(p)
	bert, err := c.bert("bert_config")
	if err != nil {
		return nil, err
	}
	bert.CrossAttend(c.EncoderWidth, func(i int) bool { return i >= c.FusionLayer })
	t, err := newALBEFVision(im, b, p)
	if err != nil {
		return nil, err
	}
	if t.width != c.EncoderWidth {
		return nil, fmt.Errorf("config: bert_config.encoder_width is %d, and the image encoder's tokens have %d channels", c.EncoderWidth, t.width)
	}
	s := im.imageSize(t.image)
	line := &pipeline.Pipeline{}
	if line.Image, err = im.imagePipeline(pipeline.ImageSquash(s[0], s[1], pipeline.CLIPMean, pipeline.CLIPStd)); err != nil {
		return nil, err
	}
	if line.Text, err = im.textPipeline("BertTokenizer", c.MaxPositions, c.VocabSize); err != nil {
		return nil, err
	}
	vision := t.tower(im.pixels(b, line.Image, t.channels, s), s)
	vision.NameLayers(b, "vit.layer%d")
	image := b.Output(vision.Last, graph.Vision, "image_embeds")

	in := newBERTText(b)
	hidden := hideKeys(b, in.mask)
	x := b.Name(bert.Embed(b, "bert.embeddings", in.inputs()), "text.embeddings")
	const layers = "bert.encoder.layer.%d"
	text := x
	if c.FusionLayer > 0 {
		tower := bert.Encode(b, x, layers, block.BERTPass{Self: hidden, To: c.FusionLayer})
		tower.NameLayers(b, "text.layer%d")
		text = b.Name(tower.Last, "text_embeds")
	}
	fused := bert.Encode(b, text, layers, block.BERTPass{Self: hidden, Cross: block.With{KV: image}, From: c.FusionLayer})
	for i, x := range fused.Hidden[1:] {
		b.Namef(x, "fusion.layer%d", c.FusionLayer+i)
	}
	last := b.Output(fused.Last, graph.Joint, "last_hidden_state")

	if p.Has("vision_proj.weight") && p.Has("text_proj.weight") {
		query := b.Output(b.L2Norm(p.linear(b, b.Token(image, 0), "vision_proj"), 1e-12), graph.Vision, "image_feat")
		key := b.Output(b.L2Norm(p.linear(b, b.Token(text, 0), "text_proj"), 1e-12), graph.Text, "text_feat")
		line.Task = &pipeline.Task{Kind: "contrastive", Query: "image_feat", Key: "text_feat"}
		if p.Has("temp") {
			b.Output(b.Div(b.MatMulT(query, key), b.Parameter(graph.Scalar, "temp", 1)), graph.Joint, "itc_sim")
		}
	} else {
		im.Ignore("temp", "the temperature of a contrastive head that the checkpoint does not hold")
	}
	if p.Has("itm_head.weight") {
		b.Output(p.linear(b, b.Token(last, 0), "itm_head"), graph.Joint, "itm_logits")
	}
	if words := p.maskedLM(b, bert, last, "cls.predictions", "bert.embeddings.word_embeddings.weight"); words != nil {
		b.Output(words, graph.Joint, "mlm_logits")
	}
	if p.Has("cls_head.0.weight") { // visual entailment
		b.Output(perceptron{FC1: "cls_head.0", FC2: "cls_head.2", Act: kernels.ActReLU}.apply(b, p, b.Token(last, 0)), graph.Joint, "logits")
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: line, Advice: bertAdvice}, err
}
