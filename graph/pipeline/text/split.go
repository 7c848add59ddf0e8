package text

import (
	"fmt"
	"strings"
)

// splitter cuts a text into words. first says that it starts the input.
type splitter func(text string, first bool) []string

// then cuts what s gives by next.
func (s splitter) then(next splitter) splitter {
	if s == nil {
		return next
	}
	return func(text string, first bool) []string {
		var words []string
		for i, w := range s(text, first) {
			words = append(words, next(w, first && i == 0)...)
		}
		return words
	}
}

// span is a stretch of a text that a pattern matches, or one between matches.
type span struct {
	from, to int
	match    bool
}

// spans covers text with the matches of each and what lies between them.
func spans(text string, each func(string, func(from, to int))) []span {
	var out []span
	end := 0
	each(text, func(from, to int) {
		if from > end {
			out = append(out, span{end, from, false})
		}
		out = append(out, span{from, to, true})
		end = to
	})
	if end < len(text) {
		out = append(out, span{end, len(text), false})
	}
	return out
}

// Behaviours of a split: what becomes of the matches (huggingface/tokenizers, SplitDelimiterBehavior).
const (
	splitRemoved      = "Removed"
	splitIsolated     = "Isolated"
	splitWithPrevious = "MergedWithPrevious"
	splitWithNext     = "MergedWithNext"
	splitContiguous   = "Contiguous"
)

// splitAt cuts at the matches of each, or at what lies between them if invert is set.
func splitAt(each func(string, func(from, to int)), behaviour string, invert bool) (splitter, error) {
	switch behaviour {
	case splitRemoved, splitIsolated, splitWithPrevious, splitWithNext, splitContiguous:
	default:
		return nil, fmt.Errorf("split behaviour %q: expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous", behaviour)
	}
	return func(text string, _ bool) []string {
		all := spans(text, each)
		if invert {
			for i := range all {
				all[i].match = !all[i].match
			}
		}
		var words []string
		for _, s := range joinSpans(all, behaviour) {
			if !s.match || behaviour != splitRemoved {
				words = append(words, text[s.from:s.to])
			}
		}
		return words
	}, nil
}

// joinSpans merges neighbours as the behaviour says.
func joinSpans(all []span, behaviour string) []span {
	var out []span
	for i, s := range all {
		join := false
		if i > 0 {
			before := all[i-1]
			switch behaviour {
			case splitWithPrevious:
				join = s.match && !before.match
			case splitWithNext:
				join = before.match && !s.match
			case splitContiguous:
				join = s.match == before.match
			}
		}
		if join {
			out[len(out)-1].to = s.to
			out[len(out)-1].match = s.match
		} else {
			out = append(out, s)
		}
	}
	return out
}

// eachRune matches every character that is in a set.
func eachRune(in func(rune) bool) func(string, func(from, to int)) {
	return func(text string, found func(from, to int)) {
		for i, r := range text {
			if in(r) {
				found(i, i+len(string(r)))
			}
		}
	}
}

// eachString matches a literal.
func eachString(literal string) func(string, func(from, to int)) {
	return func(text string, found func(from, to int)) {
		for at := 0; literal != ""; {
			i := strings.Index(text[at:], literal)
			if i < 0 {
				return
			}
			found(at+i, at+i+len(literal))
			at += i + len(literal)
		}
	}
}

// metaspace writes spaces as a mark, puts one in front of a text, and cuts before every mark.
func metaspace(mark, scheme string, split bool) splitter {
	return func(text string, first bool) []string {
		text = strings.ReplaceAll(text, " ", mark)
		if !strings.HasPrefix(text, mark) && (scheme == "always" || scheme == "first" && first) {
			text = mark + text
		}
		if !split {
			return []string{text}
		}
		var words []string
		for _, s := range joinSpans(spans(text, eachString(mark)), splitWithNext) {
			words = append(words, text[s.from:s.to])
		}
		return words
	}
}
