package text

import (
	"container/heap"
	"fmt"
	"strings"
	"unicode/utf8"
)

// pair is two neighbouring tokens.
type pair struct{ left, right int }

// merge is what a pair becomes, and its place in the order of merges.
type merge struct{ rank, id int }

// bpe is byte-pair encoding (Sennrich et al. 2016): a word's symbols are merged, pair by pair, in the order of a table. It
// takes O(n log n) for a word of n symbols, so that text without a space in it is no trap.
type bpe struct {
	vocab  *vocabulary
	merges map[pair]merge
	// join is used instead of merges where tokens themselves say what may be merged.
	join func(left, right int) (merge, bool)
	// symbols maps a word to what its first symbols are made of; nil leaves it as it is. Byte-level models write each byte
	// as a letter here.
	symbols func(word string) string
	// prefix stands before every symbol but a word's first (WordPiece-like "##"), suffix after a word's last ("</w>").
	prefix, suffix string
	// unknown is the id of symbols that the vocabulary lacks; -1 makes them an error unless drop is set.
	unknown      int
	drop         bool
	fuse         bool // unknown symbols next to each other are one
	byteFallback bool // a symbol that the vocabulary lacks is its bytes, as <0xNN>
	whole        bool // a word that is a token is not merged (ignore_merges)
	// unsplit are texts that are symbols as a whole; nil if there are none.
	unsplit *trie
	// sweep merges every occurrence of a pair before the next pair is chosen, as the tokenizers written in Python do;
	// otherwise new pairs compete at once. They differ only for tables in which a pair comes before its parts.
	sweep bool
}

// addMerges reads "left right" lines in the order of their ranks.
func (b *bpe) addMerges(lines []string, file string) error {
	for i, line := range lines {
		left, right, ok := strings.Cut(line, " ")
		if !ok || left == "" || right == "" || strings.Contains(right, " ") {
			return fmt.Errorf("%s: merge %d is %q: expected two tokens with a space between them", file, i+1, line)
		}
		if err := b.addMerge(left, right, i, file); err != nil {
			return err
		}
	}
	return nil
}

func (b *bpe) addMerge(left, right string, rank int, file string) error {
	joined := left + strings.TrimPrefix(right, b.prefix)
	var p pair
	var m merge
	for _, want := range []struct {
		token string
		id    *int
	}{{left, &p.left}, {right, &p.right}, {joined, &m.id}} {
		id, ok := b.vocab.ids[want.token]
		if !ok {
			return fmt.Errorf("%s: merge %d (%q with %q) needs the token %q, which the vocabulary lacks", file, rank+1, left, right, want.token)
		}
		*want.id = id
	}
	m.rank = rank
	b.merges[p] = m
	return nil
}

// symbol is a token in a word that is being merged; prev and next link the symbols that are left.
type symbol struct {
	id         int
	prev, next int
	length     int // of its text; 0 once it is merged away
}

// candidate is a pair that could be merged: the symbols at left and right, and the merge as it was when it was found.
type candidate struct {
	merge
	left, right int
	pair        pair
}

type candidates []candidate

func (c candidates) Len() int      { return len(c) }
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c candidates) Less(i, j int) bool {
	return c[i].rank < c[j].rank || c[i].rank == c[j].rank && c[i].left < c[j].left
}
func (c *candidates) Push(x any) { *c = append(*c, x.(candidate)) }
func (c *candidates) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// noToken marks a symbol that the vocabulary lacks.
const noToken = -1

func (b *bpe) encode(dst []int, word string) ([]int, error) {
	if b.symbols != nil {
		word = b.symbols(word)
	}
	if b.whole {
		if id, ok := b.vocab.ids[word]; ok {
			return append(dst, id), nil
		}
	}
	list, err := b.split(word)
	if err != nil {
		return dst, err
	}
	b.mergeAll(list)
	unknown := false
	for i := 0; i >= 0 && i < len(list); i = list[i].next {
		s := list[i]
		if s.id != noToken {
			dst, unknown = append(dst, s.id), false
			continue
		}
		if b.drop || b.fuse && unknown {
			continue
		}
		dst, unknown = append(dst, b.unknown), true
	}
	return dst, nil
}

// split makes a word's first symbols.
func (b *bpe) split(word string) ([]symbol, error) {
	list := make([]symbol, 0, len(word))
	push := func(id, length int) {
		i := len(list)
		list = append(list, symbol{id: id, prev: i - 1, next: i + 1, length: length})
	}
	for i := 0; i < len(word); {
		if b.unsplit != nil {
			if id, n := b.unsplit.longest(word[i:]); n > 0 {
				push(id, n)
				i += n
				continue
			}
		}
		_, n := utf8.DecodeRuneInString(word[i:])
		token := word[i : i+n]
		if b.prefix != "" && i > 0 {
			token = b.prefix + token
		}
		if i+n == len(word) {
			token += b.suffix
		}
		id, ok := b.vocab.ids[token]
		if !ok && b.byteFallback {
			if ids, whole := b.vocab.bytes(word[i : i+n]); whole {
				for _, id := range ids {
					push(id, 1)
				}
				i += n
				continue
			}
		}
		if !ok {
			if b.unknown < 0 && !b.drop {
				return nil, fmt.Errorf("the vocabulary has no token for %q, and none for what is unknown", token)
			}
			id = noToken
		}
		push(id, n)
		i += n
	}
	if len(list) > 0 {
		list[len(list)-1].next = -1
	}
	return list, nil
}

// bytes returns the byte tokens of a symbol; whole is false if one is missing.
func (v *vocabulary) bytes(s string) (ids []int, whole bool) {
	for i := range len(s) {
		id, ok := v.ids[fmt.Sprintf("<0x%02X>", s[i])]
		if !ok {
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, true
}

func (b *bpe) mergeAll(list []symbol) {
	var queue, later candidates
	propose := func(to *candidates, left int) {
		if left < 0 || list[left].next < 0 {
			return
		}
		right := list[left].next
		p := pair{list[left].id, list[right].id}
		if p.left == noToken || p.right == noToken {
			return
		}
		m, ok := b.merges[p]
		if b.join != nil {
			m, ok = b.join(p.left, p.right)
		}
		if ok {
			*to = append(*to, candidate{m, left, right, p})
		}
	}
	for i := range list {
		propose(&queue, i)
	}
	heap.Init(&queue)
	rank := -1
	for len(queue) > 0 || len(later) > 0 {
		if len(later) > 0 && (!b.sweep || len(queue) == 0 || queue[0].rank != rank) {
			for _, c := range later {
				heap.Push(&queue, c)
			}
			later = later[:0]
		}
		c := heap.Pop(&queue).(candidate)
		l, r := &list[c.left], &list[c.right]
		if l.length == 0 || r.length == 0 || l.next != c.right || l.id != c.pair.left || r.id != c.pair.right {
			continue
		}
		rank = c.rank
		l.id, l.length, l.next = c.id, l.length+r.length, r.next
		r.length = 0
		if l.next >= 0 {
			list[l.next].prev = c.left
		}
		propose(&later, l.prev)
		propose(&later, c.left)
	}
}
