package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// TimeChat: A Time-sensitive Multimodal Large Language Model for Long Video Understanding (Ren et al., arXiv:2312.02051), and
// Video-LLaMA (Zhang et al., arXiv:2306.02858) without timestamps and windows. Source: RenShuhuai-Andy/TimeChat
// timechat/models/timechat.py, encode_videoQformer_visual; DAMO-NLP-SG/Video-LLaMA video_llama/models/video_llama.py.

var _ = Register(&System{
	Name: "timechat", Title: "TimeChat", Row: 5,
	Namings: []Naming{
		{Name: "original", Looked: "tensors video_Qformer.bert.*, video_query_tokens and llama_proj.*", Recognise: func(im *Import) bool {
			return im.HasTensor("llama_proj.weight") && im.HasTensor("video_query_tokens") && im.HasAny("video_Qformer.bert.*")
		}},
	},
	Build: buildTimeChat,
})

// timeChatConfig are TimeChat's own options: over how many frames a window of the video Q-Former reaches, and how far apart the
// windows are. A window of 0 frames is the whole video.
type timeChatConfig struct {
	Window int `json:"window_size"`
	Stride int `json:"stride"`
}

func buildTimeChat(im *Import) (*graph.Model, error) {
	timed := im.HasTensor(qformerStem + "embeddings.word_embeddings.weight")
	c := timeChatConfig{}
	if timed && len(im.config) == 0 {
		c = timeChatConfig{Window: 32, Stride: 32}
		im.Note("no config.json: the video is read in windows of 32 frames, as TimeChat's release does")
	}
	var frames *graph.Node
	m, err := im.lavis(&c, func(b *graph.Builder, image *pipeline.Image, channels int, size [2]int) *graph.Node {
		// Images are the frames of one video.
		alone := b.Rearrange(im.pixels(b, image, channels, size), "t c h w -> 1 c t h w")
		frames = b.InputOr("frames", alone, -1, channels, -3, size[0], size[1])
		return b.Rearrange(frames, "b c t h w -> (b t) c h w")
	})
	if err != nil {
		return nil, err
	}
	if c.Window < 0 || c.Window > 0 && c.Stride < 1 {
		return nil, fmt.Errorf("config: window_size is %d and stride %d; expected a stride of at least 1", c.Window, c.Stride)
	}
	b := m.b
	m.nameEncoder()
	image, count, err := m.queries()
	if err != nil {
		return nil, err
	}
	pipe := &pipeline.Pipeline{Image: m.image}
	var text *qformerText
	if m.TextInput != nil {
		timed = *m.TextInput
	}
	if timed {
		text = textInputs(b, "timestamp_ids", "timestamp_mask")
		if pipe.Text, err = im.qformerText("", &m.QFormer); err != nil {
			return nil, err
		}
		pipe.Text.Input, pipe.Text.MaskInput = "timestamp_ids", "timestamp_mask"
	}
	// The words of the timestamps count as tokens of the frame.
	x := b.Name(image.apply(b, "query_tokens", count, qformerSees{Tokens: m.encoded, Text: text}).Last, "frame_qformer")

	d := image.HiddenSize
	if frames != nil {
		x = b.Op(graph.SplitLike{}, nil, x, b.Rearrange(frames, "b c t h w -> b t c h w"))
	} else {
		x = b.Rearrange(x, "t q d -> 1 t q d")
	}
	const table = "video_frame_position_embedding.weight"
	positions := b.Op(graph.TakeLike{Axis: 0, LikeAxis: 1}, nil, b.Parameter(graph.Position, table, m.p.dim(table, 0), d), x)
	x = b.Add(x, b.Rearrange(positions, "t d -> 1 t 1 d"))

	const stem = "video_Qformer.bert."
	v := qformerOf(m.p, stem)
	v.Heads, v.HiddenAct, v.Eps = m.QFormer.Heads, m.QFormer.HiddenAct, m.QFormer.Eps
	video, err := newQFormer(b, stem, v)
	if err != nil {
		return nil, err
	}
	join := func(x *graph.Node) *graph.Node { return x }
	var tower *block.Tower
	queries := m.p.dim("video_query_tokens", 1)
	if c.Window == 0 {
		tower = video.apply(b, "video_query_tokens", queries, qformerSees{Tokens: b.Rearrange(x, "b t q d -> b (t q) d")})
	} else {
		windows := b.Op(graph.SlidingWindows{Size: c.Window, Stride: c.Stride}, nil, x)
		// The last windows may be shorter: what lies behind the end is not seen.
		seen := b.Op(graph.SlidingWindows{Size: c.Window, Stride: c.Stride}, nil, b.Op(graph.FillLike{Value: 1}, nil, b.Rearrange(b.Slice(x, 3, 0, 1), "b t q 1 -> b t q")))
		tower = video.apply(b, "video_query_tokens", queries, qformerSees{Tokens: b.Rearrange(windows, "b w t q d -> (b w) (t q) d"), Mask: b.Rearrange(seen, "b w t q -> (b w) (t q)")})
		join = func(x *graph.Node) *graph.Node {
			return b.Rearrange(b.Op(graph.SplitLike{}, nil, x, windows), "b w q d -> b (w q) d")
		}
	}
	for i, h := range tower.Hidden[1:] {
		h = b.Namef(join(h), "video_qformer.layer%d", i)
		if i == len(tower.Hidden)-2 {
			x = h
		}
	}
	b.Output(b.Linear(x, "llama_proj", d, m.p.dim("llama_proj.weight", 0)), graph.Projector, "visual_tokens")
	im.ignoreLavis()
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: pipe}, err
}
