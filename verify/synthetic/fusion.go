package synthetic

import "fmt"

// Early-fusion models at their published sizes: a BERT-base, or what their papers say, over regions, patches or a grid.
var (
	_ = register("oscar", map[string]func() *Model{
		"base":  func() *Model { return oscar(768, 12, 12, 2054, false) },
		"large": func() *Model { return oscar(1024, 24, 16, 2054, true) },
	})
	_ = register("visualbert", map[string]func() *Model{"base": func() *Model { return visualBERT(2048) }})
	_ = register("vilbert", map[string]func() *Model{"base": vilbert})
	_ = register("lxmert", map[string]func() *Model{"base": lxmert})
	_ = register("vilt", map[string]func() *Model{"b-32": vilt})
	_ = register("albef", map[string]func() *Model{"base": albef})
	_ = register("pixelbert", map[string]func() *Model{"resnet50": pixelBERT})
	_ = register("soho", map[string]func() *Model{"resnet18": soho})
	_ = register("simvlm", map[string]func() *Model{"base": simVLM})
)

// maker adds tensors to a model.
type maker struct{ *Model }

func (m maker) add(like Likeness, name string, shape ...int) {
	m.Tensors = append(m.Tensors, Tensor{name, shape, like})
}

func (m maker) linear(name string, out, in int) {
	m.add(Matrix, name+".weight", out, in)
	m.add(Bias, name+".bias", out)
}

func (m maker) norm(name string, n int) {
	m.add(Gain, name+".weight", n)
	m.add(Bias, name+".bias", n)
}

// batchNorm is a norm with statistics like a trained one's.
func (m maker) batchNorm(name string, n int) {
	m.norm(name, n)
	m.add(Bias, name+".running_mean", n)
	m.add(Gain, name+".running_var", n)
}

const (
	bertVocabulary = 30522
	bertPositions  = 512
)

func bertConfig(kind string, dim, layers, heads int) map[string]any {
	return map[string]any{"model_type": kind, "hidden_size": dim, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": 4 * dim,
		"vocab_size": bertVocabulary, "max_position_embeddings": bertPositions, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12}
}

// tables are BERT's embeddings.
func (m maker) tables(at string, dim, positions int) {
	m.add(Embedding, at+".word_embeddings.weight", bertVocabulary, dim)
	m.add(Embedding, at+".position_embeddings.weight", positions, dim)
	m.add(Embedding, at+".token_type_embeddings.weight", 2, dim)
	m.norm(at+".LayerNorm", dim)
}

// attention is a branch in BERT's names: projections behind self, what goes out and its norm behind output.
func (m maker) attention(self, output string, dim, kv int) {
	m.linear(self+".query", dim, dim)
	m.linear(self+".key", dim, kv)
	m.linear(self+".value", dim, kv)
	m.linear(output+".dense", dim, dim)
	m.norm(output+".LayerNorm", dim)
}

func (m maker) feedForward(inner, output string, dim int) {
	m.linear(inner+".dense", 4*dim, dim)
	m.linear(output+".dense", dim, 4*dim)
	m.norm(output+".LayerNorm", dim)
}

func (m maker) layer(at string, dim int) {
	m.attention(at+".attention.self", at+".attention.output", dim, dim)
	m.feedForward(at+".intermediate", at+".output", dim)
}

func (m maker) layers(format string, n, dim int) {
	for i := range n {
		m.layer(fmt.Sprintf(format, i), dim)
	}
}

// Li et al. 2020, arXiv:2004.06165; large as in VinVL (Zhang et al., arXiv:2101.00529).
func oscar(dim, layers, heads, features int, norm bool) *Model {
	c := bertConfig("bert", dim, layers, heads)
	c["img_feature_dim"], c["img_feature_type"], c["use_img_layernorm"], c["img_layer_norm_eps"] = features, "faster_r-cnn", norm, 1e-12
	m := maker{&Model{Config: c}}
	m.tables("bert.embeddings", dim, bertPositions)
	m.linear("bert.img_embedding", dim, features)
	if norm {
		m.norm("bert.LayerNorm", dim)
	}
	m.layers("bert.encoder.layer.%d", layers, dim)
	m.linear("bert.pooler.dense", dim, dim)
	return m.Model
}

// Li et al. 2019, arXiv:1908.03557.
func visualBERT(features int) *Model {
	const dim, layers = 768, 12
	c := bertConfig("visual_bert", dim, layers, 12)
	c["visual_embedding_dim"] = features
	m := maker{&Model{Config: c}}
	const at = "visual_bert.embeddings"
	m.tables(at, dim, bertPositions)
	m.linear(at+".visual_projection", dim, features)
	m.add(Embedding, at+".visual_position_embeddings.weight", bertPositions, dim)
	m.add(Embedding, at+".visual_token_type_embeddings.weight", 2, dim)
	m.layers("visual_bert.encoder.layer.%d", layers, dim)
	m.linear("visual_bert.pooler.dense", dim, dim)
	return m.Model
}

// Tan and Bansal 2019, arXiv:1908.07490: 9 layers of language, 5 of vision, 5 across.
func lxmert() *Model {
	const dim, features = 768, 2048
	c := bertConfig("lxmert", dim, 9, 12)
	c["l_layers"], c["r_layers"], c["x_layers"], c["visual_feat_dim"], c["visual_pos_dim"] = 9, 5, 5, features, 4
	delete(c, "num_hidden_layers")
	m := maker{&Model{Config: c}}
	m.tables("lxmert.embeddings", dim, bertPositions)
	const visual = "lxmert.encoder.visn_fc."
	m.linear(visual+"visn_fc", dim, features)
	m.norm(visual+"visn_layer_norm", dim)
	m.linear(visual+"box_fc", dim, 4)
	m.norm(visual+"box_layer_norm", dim)
	m.layers("lxmert.encoder.layer.%d", 9, dim)
	m.layers("lxmert.encoder.r_layers.%d", 5, dim)
	for i := range 5 {
		at := fmt.Sprintf("lxmert.encoder.x_layers.%d.", i)
		m.attention(at+"visual_attention.att", at+"visual_attention.output", dim, dim)
		m.attention(at+"lang_self_att.self", at+"lang_self_att.output", dim, dim)
		m.attention(at+"visn_self_att.self", at+"visn_self_att.output", dim, dim)
		m.feedForward(at+"lang_inter", at+"lang_output", dim)
		m.feedForward(at+"visn_inter", at+"visn_output", dim)
	}
	m.linear("lxmert.pooler.dense", dim, dim)
	return m.Model
}

// Lu et al. 2019, arXiv:1908.02265: bert_base_6layer_6conect of jiasenlu/vilbert_beta.
func vilbert() *Model {
	const dim, layers, visual, both, features, targets = 768, 12, 1024, 1024, 2048, 1601
	c := bertConfig("bert", dim, layers, 12)
	for key, value := range map[string]any{"v_feature_size": features, "v_target_size": targets, "v_hidden_size": visual, "v_num_hidden_layers": 6,
		"v_num_attention_heads": 8, "v_intermediate_size": visual, "v_hidden_act": "gelu", "bi_hidden_size": both, "bi_num_attention_heads": 8,
		"v_biattention_id": []int{0, 1, 2, 3, 4, 5}, "t_biattention_id": []int{6, 7, 8, 9, 10, 11}, "with_coattention": true, "fusion_method": "mul"} {
		c[key] = value
	}
	m := maker{&Model{Config: c}}
	m.tables("bert.embeddings", dim, bertPositions)
	const regions = "bert.v_embeddings."
	m.linear(regions+"image_embeddings", visual, features)
	m.linear(regions+"image_location_embeddings", visual, 5)
	m.norm(regions+"LayerNorm", visual)
	m.layers("bert.encoder.layer.%d", layers, dim)
	branch := func(inner, output string, width, hidden int) {
		m.linear(inner+".dense", hidden, width)
		m.linear(output+".dense", width, hidden)
		m.norm(output+".LayerNorm", width)
	}
	for i := range 6 {
		v := fmt.Sprintf("bert.encoder.v_layer.%d.", i)
		m.attention(v+"attention.self", v+"attention.output", visual, visual)
		branch(v+"intermediate", v+"output", visual, visual)
		at := fmt.Sprintf("bert.encoder.c_layer.%d.", i)
		for side, width := range []int{visual, dim} {
			for _, name := range []string{"query", "key", "value"} {
				m.linear(fmt.Sprintf("%sbiattention.%s%d", at, name, side+1), both, width)
			}
			m.linear(fmt.Sprintf("%sbiOutput.dense%d", at, side+1), width, both)
			m.norm(fmt.Sprintf("%sbiOutput.LayerNorm%d", at, side+1), width)
		}
		branch(at+"v_intermediate", at+"v_output", visual, visual)
		branch(at+"t_intermediate", at+"t_output", dim, 4*dim)
	}
	m.linear("bert.t_pooler.dense", both, dim)
	m.linear("bert.v_pooler.dense", both, visual)
	m.linear("cls.bi_seq_relationship", 2, both)
	return m.Model
}

// Kim et al. 2021, arXiv:2102.03334.
func vilt() *Model {
	const dim, layers, size, patch = 768, 12, 384, 32
	c := bertConfig("vilt", dim, layers, 12)
	c["max_position_embeddings"], c["modality_type_vocab_size"], c["image_size"], c["patch_size"] = 40, 2, size, patch
	m := maker{&Model{Config: c}}
	const at = "vilt.embeddings."
	m.tables(at+"text_embeddings", dim, 40)
	m.add(Embedding, at+"token_type_embeddings.weight", 2, dim)
	m.add(Embedding, at+"cls_token", 1, 1, dim)
	m.add(Embedding, at+"position_embeddings", 1, (size/patch)*(size/patch)+1, dim)
	m.add(Matrix, at+"patch_embeddings.projection.weight", dim, 3, patch, patch)
	m.add(Bias, at+"patch_embeddings.projection.bias", dim)
	for i := range layers {
		l := fmt.Sprintf("vilt.encoder.layer.%d.", i)
		for _, name := range []string{"attention.attention.query", "attention.attention.key", "attention.attention.value", "attention.output.dense"} {
			m.linear(l+name, dim, dim)
		}
		m.linear(l+"intermediate.dense", 4*dim, dim)
		m.linear(l+"output.dense", dim, 4*dim)
		m.norm(l+"layernorm_before", dim)
		m.norm(l+"layernorm_after", dim)
	}
	m.norm("vilt.layernorm", dim)
	m.linear("vilt.pooler.dense", dim, dim)
	return m.Model
}

// Li et al. 2021, arXiv:2107.07651: ViT-B/16 at 256 pixels, 6 layers of text and 6 across.
func albef() *Model {
	const dim, layers, size, patch, embed = 768, 12, 256, 16, 256
	b := bertConfig("bert", dim, layers, 12)
	b["fusion_layer"], b["encoder_width"] = 6, dim
	m := maker{&Model{Config: map[string]any{"image_res": size, "vision_width": dim, "num_heads": 12, "embed_dim": embed, "bert_config": b}}}
	const visual = "visual_encoder."
	m.add(Embedding, visual+"cls_token", 1, 1, dim)
	m.add(Embedding, visual+"pos_embed", 1, (size/patch)*(size/patch)+1, dim)
	m.add(Matrix, visual+"patch_embed.proj.weight", dim, 3, patch, patch)
	m.add(Bias, visual+"patch_embed.proj.bias", dim)
	for i := range 12 {
		l := fmt.Sprintf("%sblocks.%d.", visual, i)
		m.norm(l+"norm1", dim)
		m.linear(l+"attn.qkv", 3*dim, dim)
		m.linear(l+"attn.proj", dim, dim)
		m.norm(l+"norm2", dim)
		m.linear(l+"mlp.fc1", 4*dim, dim)
		m.linear(l+"mlp.fc2", dim, 4*dim)
	}
	m.norm(visual+"norm", dim)
	m.tables("text_encoder.bert.embeddings", dim, bertPositions)
	m.layers("text_encoder.bert.encoder.layer.%d", layers, dim)
	for i := 6; i < layers; i++ {
		at := fmt.Sprintf("text_encoder.bert.encoder.layer.%d.crossattention.", i)
		m.attention(at+"self", at+"output", dim, dim)
	}
	m.linear("vision_proj", embed, dim)
	m.linear("text_proj", embed, dim)
	m.linear("itm_head", 2, dim)
	m.add(One, "temp")
	return m.Model
}

// resNet adds a ResNet of width 64 in torchvision's names, its stages called by a format, and returns its channels.
func (m maker) resNet(at, stage string, blocks []int, bottleneck bool) int {
	conv := func(name, norm string, out, in, k int) {
		m.add(Matrix, name+".weight", out, in, k, k)
		m.batchNorm(norm, out)
	}
	conv(at+"conv1", at+"bn1", 64, 3, 7)
	in := 64
	for s, n := range blocks {
		width := 64 << s
		out := width
		if bottleneck {
			out *= 4
		}
		for i := range n {
			l := at + fmt.Sprintf(stage, s+1, i)
			if bottleneck {
				conv(l+"conv1", l+"bn1", width, in, 1)
				conv(l+"conv2", l+"bn2", width, width, 3)
				conv(l+"conv3", l+"bn3", out, width, 1)
			} else {
				conv(l+"conv1", l+"bn1", width, in, 3)
				conv(l+"conv2", l+"bn2", width, width, 3)
			}
			if in != out {
				conv(l+"downsample.0", l+"downsample.1", out, in, 1)
			}
			in = out
		}
	}
	return in
}

// Huang et al. 2020, arXiv:2004.00849, as zezeze97/pixelbert has it.
func pixelBERT() *Model {
	const dim, layers = 768, 12
	c := bertConfig("bert", dim, layers, 12)
	c["max_grid_row_position_embeddings"], c["max_grid_col_position_embeddings"] = 100, 100
	m := maker{&Model{Config: c}}
	channels := m.resNet("cnn.", "stage%d.%d.", []int{3, 4, 6, 3}, true)
	m.add(Matrix, "cnn.grid_encoder.0.weight", dim, channels, 3, 3)
	m.tables("transformer.bert.embeddings", dim, bertPositions)
	const visual = "transformer.bert.visual_embeddings."
	m.add(Embedding, visual+"row_position_embeddings.weight", 100, dim)
	m.add(Embedding, visual+"col_position_embeddings.weight", 100, dim)
	m.add(Embedding, visual+"token_type_embeddings.weight", 1, dim)
	m.norm(visual+"LayerNorm", dim)
	m.layers("transformer.bert.encoder.layer.%d", layers, dim)
	m.linear("transformer.bert.pooler.dense", dim, dim)
	m.linear("transformer.cls.seq_relationship", 2, dim)
	return m.Model
}

// Huang et al. 2021, arXiv:2104.03135: ResNet-18, three layers, as the release's configuration has it.
func soho() *Model {
	const dim, layers, words = 768, 3, 2048
	m := maker{&Model{Config: map[string]any{"language": bertConfig("bert", dim, layers, 12)}}}
	channels := m.resNet("backbone.", "layer%d.%d.", []int{2, 2, 2, 2}, false)
	m.add(Matrix, "neck.conv.conv.weight", dim, channels, 1, 1)
	m.batchNorm("neck.conv.bn", dim)
	m.add(Embedding, "neck.vq.embed", words, dim)
	m.linear("neck.pos_line", dim, dim)
	m.add(Matrix, "neck.gate_fc.conv.weight", 2, 2*dim, 1, 1)
	m.batchNorm("neck.gate_fc.bn", 2)
	m.norm("neck.ln", dim)
	m.tables("language.bert.embeddings", dim, bertPositions)
	m.layers("language.bert.encoder.layer.%d", layers, dim)
	m.add(Matrix, "head.match_class.weight", 2, dim)
	return m.Model
}

// YulongBonjour/SimVLM's defaults.
func simVLM() *Model {
	const dim, layers, hidden, words, length, size, patch = 512, 12, 1024, 10000, 60, 224, 16
	m := maker{&Model{Config: map[string]any{"d_model": dim, "input_resolution": size, "patch_size": patch, "num_text_tokens": words, "txt_seq_len": length,
		"prefix_txt_len": 20, "target_txt_len": length, "heads": 8, "enc_depth": layers, "dec_depth": layers, "d_ff": hidden, "activation": "relu",
		"pad_idx": 0, "prefix_length": 8}}}
	conv := func(at, name string, out, in, k int) {
		m.add(Matrix, at+name+".weight", out, in, k, k)
		m.batchNorm(at+name+".norm", out)
	}
	m.add(Matrix, "ResNet.0.weight", 64, 3, patch, patch)
	m.add(Bias, "ResNet.0.bias", 64)
	for i, b := range [][3]int{{64, 64, 256}, {256, 128, dim}} { // channels before, inside, behind
		at := fmt.Sprintf("ResNet.%d.", i+1)
		conv(at, "conv1", b[1], b[0], 1)
		conv(at, "conv2", b[1], b[1], 3)
		conv(at, "conv3", b[2], b[1], 1)
		conv(at, "shortcut", b[2], b[0], 1)
	}
	m.add(Embedding, "img_pos_embed.weights_0", 1, size/patch, 1, dim)
	m.add(Embedding, "img_pos_embed.weights_1", 1, 1, size/patch, dim)
	m.add(Embedding, "txt_embed.weight", words, dim)
	m.add(Embedding, "txt_pos_embed.weight", length, dim)
	m.add(Embedding, "bos_emb", 1, dim)
	for _, part := range []string{"encoder", "decoder"} {
		for i := range layers {
			at := fmt.Sprintf("%s.layers.%d.", part, i)
			attentions, norms := []string{"self_attn"}, 2
			if part == "decoder" {
				attentions, norms = append(attentions, "multihead_attn"), 3
			}
			for _, a := range attentions {
				m.add(Matrix, at+a+".in_proj_weight", 3*dim, dim)
				m.add(Bias, at+a+".in_proj_bias", 3*dim)
				m.linear(at+a+".out_proj", dim, dim)
			}
			m.linear(at+"linear1", hidden, dim)
			m.linear(at+"linear2", dim, hidden)
			for n := range norms {
				m.norm(fmt.Sprintf("%snorm%d", at, n+1), dim)
			}
		}
	}
	m.norm("to_logits.0", dim)
	m.linear("to_logits.1", words, dim)
	return m.Model
}
