package text

import (
	"strings"
	"unicode/utf8"
)

// byteLetters writes each byte as a printable letter, so that vocabularies can be text files (openai/gpt-2, encoder.py):
// bytes that are visible in Latin-1 stand for themselves, the others follow from U+0100 on.
var byteLetters, letterBytes = func() (letters [256]rune, bytes map[rune]byte) {
	bytes = make(map[rune]byte, 256)
	next := rune(0x100)
	for b := range 256 {
		r := rune(b)
		if visible := b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae; !visible {
			r, next = next, next+1
		}
		letters[b], bytes[r] = r, byte(b)
	}
	return letters, bytes
}()

// toLetters writes the bytes of s as letters.
func toLetters(s string) string {
	var b strings.Builder
	b.Grow(2 * len(s))
	for i := range len(s) {
		b.WriteRune(byteLetters[s[i]])
	}
	return b.String()
}

// fromLetters returns the bytes that letters stand for. What is no such letter is taken as it is.
func fromLetters(letters string) []byte {
	out := make([]byte, 0, len(letters))
	for _, r := range letters {
		if b, ok := letterBytes[r]; ok {
			out = append(out, b)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

// decodeBytes decodes UTF-8 as Python's bytes.decode(errors="replace") does: every maximal part of a character that ends
// too early, and every byte that starts none, becomes one U+FFFD (Unicode 15, section 3.9, table 3-8).
func decodeBytes(raw []byte) string {
	if utf8.Valid(raw) {
		return string(raw)
	}
	var b strings.Builder
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		if r == utf8.RuneError && n == 1 {
			n = broken(raw)
		}
		b.WriteRune(r)
		raw = raw[n:]
	}
	return b.String()
}

// broken returns the length of the ill-formed start of raw: as much of it as a character could start with.
func broken(raw []byte) int {
	var need int
	low, high := byte(0x80), byte(0xbf)
	switch c := raw[0]; {
	case c >= 0xc2 && c <= 0xdf:
		need = 1
	case c >= 0xe0 && c <= 0xef:
		need = 2
		if c == 0xe0 {
			low = 0xa0
		} else if c == 0xed {
			high = 0x9f
		}
	case c >= 0xf0 && c <= 0xf4:
		need = 3
		if c == 0xf0 {
			low = 0x90
		} else if c == 0xf4 {
			high = 0x8f
		}
	}
	n := 1
	for ; n <= need && n < len(raw) && raw[n] >= low && raw[n] <= high; n++ {
		low, high = 0x80, 0xbf
	}
	return n
}
