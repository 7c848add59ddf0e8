package text

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// charsmap is SentencePiece's table of normalisation: a double array (darts-clone) that maps strings to places in a list of
// their replacements, each ended by a zero byte.
type charsmap struct {
	units       []uint32
	replacement []byte
}

var errCharsmap = errors.New("a broken precompiled_charsmap")

// newCharsmap reads the table; nil if it is empty.
func newCharsmap(raw []byte) (*charsmap, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	if len(raw) < 4 {
		return nil, errCharsmap
	}
	size := binary.LittleEndian.Uint32(raw)
	if raw = raw[4:]; size%4 != 0 || size == 0 || uint64(size) > uint64(len(raw)) {
		return nil, errCharsmap
	}
	c := &charsmap{units: make([]uint32, size/4), replacement: raw[size:]}
	for i := range c.units {
		c.units[i] = binary.LittleEndian.Uint32(raw[4*i:])
	}
	return c, nil
}

// prefixes calls found for each key that s starts with, the shortest first, until it returns false.
func (c *charsmap) prefixes(s string, found func(n int, replacement string) bool) {
	offset := func(u uint32) uint32 { return u >> 10 << (u & (1 << 9) >> 6) }
	node := offset(c.units[0])
	for i := range len(s) {
		node ^= uint32(s[i])
		if uint64(node) >= uint64(len(c.units)) {
			return
		}
		u := c.units[node]
		if u&(1<<31|0xff) != uint32(s[i]) {
			return
		}
		node ^= offset(u)
		if u>>8&1 == 0 {
			continue
		}
		if uint64(node) >= uint64(len(c.units)) {
			return
		}
		at := c.units[node] & (1<<31 - 1)
		if uint64(at) > uint64(len(c.replacement)) {
			return
		}
		end := bytes.IndexByte(c.replacement[at:], 0)
		if end < 0 {
			end = len(c.replacement) - int(at)
		}
		if r := c.replacement[at : int(at)+end]; utf8.Valid(r) && !found(i+1, string(r)) {
			return
		}
	}
}

// longest returns the replacement of the longest key that s starts with, its first character where there is none.
func (c *charsmap) longest(s string) (replacement string, n int) {
	if c != nil {
		c.prefixes(s, func(length int, r string) bool {
			replacement, n = r, length
			return true
		})
	}
	if n == 0 {
		_, n = utf8.DecodeRuneInString(s)
		replacement = s[:n]
	}
	return replacement, n
}

// graphemes normalises as the Precompiled normalizer of huggingface/tokenizers does: a short grapheme cluster is replaced as
// a whole by what its shortest key stands for, else each of its characters is.
func (c *charsmap) graphemes(s string) string {
	if c == nil {
		return s
	}
	shortest := func(part string) (string, bool) {
		out, ok := "", false
		c.prefixes(part, func(_ int, r string) bool {
			out, ok = r, true
			return false
		})
		return out, ok
	}
	var b strings.Builder
	b.Grow(len(s))
	state := -1
	var cluster string
	for len(s) > 0 {
		cluster, s, _, state = uniseg.FirstGraphemeClusterInString(s, state)
		if len(cluster) < 6 {
			if r, ok := shortest(cluster); ok {
				b.WriteString(r)
				continue
			}
		}
		for _, char := range cluster {
			if r, ok := shortest(string(char)); ok {
				b.WriteString(r)
			} else {
				b.WriteRune(char)
			}
		}
	}
	return b.String()
}
