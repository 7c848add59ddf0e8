package block

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// BERT is the encoder of BERT (Devlin et al., arXiv:1810.04805), RoBERTa (Liu et al., arXiv:1907.11692) and of what is made
// of them: with cross-attention in some layers it is the text side of ALBEF and BLIP, and with queries before the text the
// Q-Former of BLIP-2 (Li et al., arXiv:2301.12597). Stems are those of transformers' modeling_bert.py, LAVIS's Qformer.py
// among its copies; a caller whose layers are called otherwise changes Layer.
type BERT struct {
	Layer        Layer // a BERTLayer by its usual names
	Layers       int
	Vocabulary   int
	MaxPositions int
	TokenTypes   int  // 0: no table of them
	FromPad      bool // positions count the ids that are not Pad, from Pad + 1 on, as RoBERTa's do
	Pad          int
	NoNorm       bool // the embeddings have no norm

	// Cross reports whether layer i has cross-attention, described by CrossAttention; nil: none has.
	Cross          func(i int) bool
	CrossAttention Attention
	// QueryMLP is the queries' own feed-forward part; nil: they share the text's.
	QueryMLP  *MLP
	QueryFeed Branch
}

// NewBERT returns a BERT of the given sizes in its usual names.
func NewBERT(layers, dim, heads, hidden int) *BERT {
	return &BERT{Layer: BERTLayer.Sized(dim, heads, hidden), Layers: layers, TokenTypes: 2}
}

// CrossAttend gives layers cross-attention to tokens of width kv: those for which which holds.
func (t *BERT) CrossAttend(kv int, which func(i int) bool) {
	t.Cross, t.CrossAttention = which, *t.Layer.WithCross(BERTCross, kv).CrossAttention
}

// QueryFeedForward gives the queries an MLP of their own, in the usual names, of the text's width and activation.
func (t *BERT) QueryFeedForward() {
	own := t.Layer.MLP
	own.FC1, own.FC2 = Projection{Stem: "intermediate_query.dense"}, Projection{Stem: "output_query.dense"}
	t.QueryMLP, t.QueryFeed = &own, Branch{Norm: "output_query.LayerNorm"}
}

// BERTInputs are what embeddings are made of. Positions and Types are optional.
type BERTInputs struct {
	IDs       *graph.Node // [B, S]
	Words     *graph.Node // [B, S, dim], instead of those of IDs
	Types     *graph.Node // [B, S]; nil: type 0 for all
	Positions *graph.Node // [B, S], the places of the tokens; nil: counted
	Before    *graph.Node // [B, Q, dim], put before the others under the same norm: a Q-Former's queries
}

// Embed is the sum of word, type and position embeddings and their norm, [B, Q + S, dim]. at is the stem of the embeddings,
// usually "embeddings".
func (t *BERT) Embed(b *graph.Builder, at string, in BERTInputs) *graph.Node {
	d := t.Layer.Dim
	x := in.Words
	if x == nil && in.IDs != nil {
		x = b.Embedding(in.IDs, join(at, "word_embeddings"), t.Vocabulary, d)
	}
	if x != nil {
		if t.TokenTypes > 0 {
			table := join(at, "token_type_embeddings")
			if in.Types != nil {
				x = b.Add(x, b.Embedding(in.Types, table, t.TokenTypes, d))
			} else {
				x = b.Add(x, b.Slice(b.Parameter(graph.Table, table+".weight", t.TokenTypes, d), 0, 0, 1))
			}
		}
		x = b.Add(x, t.positions(b, join(at, "position_embeddings"), x, in))
	}
	switch {
	case in.Before != nil && x != nil:
		x = b.Concat(1, in.Before, x)
	case x == nil:
		x = in.Before
	}
	if t.NoNorm {
		return x
	}
	return t.Layer.Norm.Apply(b, x, join(at, "LayerNorm"), d)
}

func (t *BERT) positions(b *graph.Builder, table string, x *graph.Node, in BERTInputs) *graph.Node {
	places := in.Positions
	if places == nil && t.FromPad && in.IDs != nil {
		places = b.Op(graph.TokenPositions{Pad: t.Pad}, nil, in.IDs)
	}
	if places != nil {
		return b.Embedding(places, table, t.MaxPositions, t.Layer.Dim)
	}
	like, first := x, 0
	if in.IDs != nil {
		like = in.IDs
	}
	if t.FromPad { // without ids, every token counts
		first = t.Pad + 1
	}
	return b.Op(graph.TakeLike{Axis: 0, LikeAxis: 1, Offset: first}, nil, b.Parameter(graph.Position, table+".weight", t.MaxPositions, t.Layer.Dim), like)
}

// BERTPass is one way through the layers. All of it is optional.
type BERTPass struct {
	Self  With // of self-attention: the mask
	Cross With // of cross-attention, where the encoder's tokens are given as KV
	// Queries is how many of the first tokens are a Q-Former's: they alone have cross-attention and the MLP QueryMLP. Text says
	// that others follow them.
	Queries int
	Text    bool
	// From and To choose layers, To = 0 being all: ALBEF's text encoder is the first half of its layers.
	From, To int
}

// Encode runs embeddings [B, S, dim] through the layers; stem is the format of layer i's stem, usually "encoder.layer.%d".
func (t *BERT) Encode(b *graph.Builder, x *graph.Node, stem string, pass BERTPass) *Tower {
	out := newTower(x)
	to := t.Layers
	if pass.To > 0 {
		to = min(to, pass.To)
	}
	for i := range b.Layers(to) {
		if i < pass.From {
			continue
		}
		x = t.layer(b, x, i, fmt.Sprintf(stem, i), &pass)
		out.Hidden = append(out.Hidden, x)
	}
	out.Last = x
	return out
}

func (t *BERT) layer(b *graph.Builder, x *graph.Node, i int, at string, pass *BERTPass) *graph.Node {
	l := t.Layer
	if t.Cross != nil && t.Cross(i) && pass.Cross.KV != nil {
		l.CrossAttention = &t.CrossAttention
	}
	if pass.Queries == 0 {
		return l.Apply(b, x, at, pass.Self, pass.Cross)
	}
	x = l.Attend(b, x, at, pass.Self)
	queries, text := x, (*graph.Node)(nil)
	if pass.Text {
		queries, text = b.Slice(x, 1, 0, pass.Queries), b.Slice(x, 1, pass.Queries, 0)
	}
	if l.CrossAttention != nil {
		queries = l.AttendTo(b, queries, at, pass.Cross)
	}
	own := l
	if t.QueryMLP != nil {
		own.MLP, own.Feed = *t.QueryMLP, t.QueryFeed
	}
	queries = own.FeedForward(b, queries, at)
	if text == nil {
		return queries
	}
	return b.Concat(1, queries, l.FeedForward(b, text, at))
}

// Pool is the pooler: a tanh layer over the first token, [B, S, dim] to [B, dim]. at is usually "pooler".
func (t *BERT) Pool(b *graph.Builder, x *graph.Node, at string) *graph.Node {
	return b.Act(b.Linear(b.Token(x, 0), join(at, "dense"), t.Layer.Dim, t.Layer.Dim), kernels.ActTanh)
}

// MLMHead is the head that predicts masked words (transformers' BertLMPredictionHead).
type MLMHead struct {
	Dense, Norm string // stems of the transform: a linear layer, its activation, a norm
	Decoder     string // the matrix [vocabulary, dim], usually the word embeddings'
	Bias        string // [vocabulary]; "" for none
}

// BERTHead are the stems of transformers' BERT, whose decoder is the table of word embeddings behind a stem.
func BERTHead(words string) MLMHead {
	return MLMHead{Dense: "cls.predictions.transform.dense", Norm: "cls.predictions.transform.LayerNorm", Decoder: words, Bias: "cls.predictions.bias"}
}

// Predict gives logits [..., vocabulary] for x [..., dim]. The matrix counts as a table, as which it is stored once.
func (t *BERT) Predict(b *graph.Builder, x *graph.Node, h MLMHead) *graph.Node {
	d := t.Layer.Dim
	x = b.Act(b.Linear(x, h.Dense, d, d), t.Layer.MLP.Act)
	x = t.Layer.Norm.Apply(b, x, h.Norm, d)
	w := []*graph.Weight{b.Weight(graph.Table, h.Decoder, t.Vocabulary, d), nil}
	if h.Bias != "" {
		w[1] = b.Weight(graph.Bias, h.Bias, t.Vocabulary)
	}
	return b.Op(graph.Linear{}, w, x)
}

// HideKeys turns a mask [B, S] of 1 (seen) and 0 (hidden) into what is added to scores, so that no query attends to a hidden
// key: the least float32, as newer originals have it.
func HideKeys(b *graph.Builder, mask *graph.Node) *graph.Node {
	return b.Op(graph.KeyMask{Value: -math.MaxFloat32}, nil, mask)
}
