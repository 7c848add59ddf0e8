package text

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// unigram cuts a word into the pieces whose scores add up to the most (Kudo 2018), by Viterbi's algorithm over the ends of
// pieces: linear in the word for pieces of bounded length.
type unigram struct {
	vocab   *vocabulary
	pieces  *trie // values are ids
	scores  []float64
	unknown int
	// penalty is the score of an unknown character.
	penalty      float64
	byteFallback bool
	// single adds scores in float32, as the C++ library does.
	single bool
}

// unknownPenalty is how much an unknown character scores below the worst piece (sentencepiece, unigram_model.cc).
const unknownPenalty = 10

// reach is the best way to cut what comes before a place: the last piece, and where it starts.
type reach struct {
	score float64
	start int
	id    int
}

func (u *unigram) encode(dst []int, word string) ([]int, error) {
	best := make([]reach, len(word)+1)
	for i := range best {
		best[i].start = -1
	}
	round := func(x float64) float64 {
		if u.single {
			return float64(float32(x))
		}
		return x
	}
	offer := func(from, to, id int, score float64) {
		if score = round(score + best[from].score); best[to].start < 0 || score > best[to].score {
			best[to] = reach{score, from, id}
		}
	}
	for at := 0; at < len(word); {
		_, n := utf8.DecodeRuneInString(word[at:])
		whole := false
		u.pieces.prefixes(word[at:], func(id, length int) {
			offer(at, at+length, id, u.scores[id])
			whole = whole || length == n
		})
		if !whole {
			offer(at, at+n, u.unknown, u.penalty)
		}
		at += n
	}
	var path []reach // from the end; score is not needed any more, start and id are
	ends := []int{}
	for end := len(word); end > 0; end = best[end].start {
		path, ends = append(path, best[end]), append(ends, end)
	}
	slices.Reverse(path)
	slices.Reverse(ends)
	wasUnknown := false
	for i, p := range path {
		if p.id != u.unknown {
			dst, wasUnknown = append(dst, p.id), false
			continue
		}
		if u.byteFallback {
			if ids, ok := u.vocab.bytes(word[p.start:ends[i]]); ok {
				dst = append(dst, ids...)
				continue
			}
		}
		if u.unknown < 0 {
			return dst, fmt.Errorf("the vocabulary has no piece for %s, and none for what is unknown", short(word[p.start:ends[i]]))
		}
		if !wasUnknown {
			dst = append(dst, u.unknown)
		}
		wasUnknown = true
	}
	return dst, nil
}

// setPenalty scores unknown characters below every piece that can be found.
func (u *unigram) setPenalty(worst float64) {
	if math.IsInf(worst, 0) {
		worst = 0
	}
	u.penalty = worst - unknownPenalty
	if u.single {
		u.penalty = float64(float32(worst) - unknownPenalty)
	}
}
