package wer

import (
	"strings"
	"unicode/utf8"
)

// ErrorRate counts how texts differ from their references: word and character errors, which add up over clips before they
// are divided.
type ErrorRate struct {
	Words      int `json:"words"`       // of the references
	WordErrors int `json:"word_errors"` // substitutions, insertions and deletions
	Chars      int `json:"chars"`
	CharErrors int `json:"char_errors"`
	Texts      int `json:"texts"`
	Wrong      int `json:"texts_wrong"` // texts with a word error
}

// Add counts one text against its reference. Words are what stands between white space; characters are code points, with
// single spaces between words.
func (e *ErrorRate) Add(reference, hypothesis string) {
	ref, hyp := strings.Fields(reference), strings.Fields(hypothesis)
	errors := distance(ref, hyp)
	e.Words, e.WordErrors = e.Words+len(ref), e.WordErrors+errors
	r, h := strings.Join(ref, " "), strings.Join(hyp, " ")
	e.Chars, e.CharErrors = e.Chars+utf8.RuneCountInString(r), e.CharErrors+distance([]rune(r), []rune(h))
	e.Texts++
	if errors > 0 {
		e.Wrong++
	}
}

// WER is the word error rate: errors over the references' words. Without words it is 0 where there are no errors, else 1.
func (e ErrorRate) WER() float64 { return rate(e.WordErrors, e.Words) }

// CER is the character error rate.
func (e ErrorRate) CER() float64 { return rate(e.CharErrors, e.Chars) }

func rate(errors, of int) float64 {
	if of == 0 {
		return float64(min(errors, 1))
	}
	return float64(errors) / float64(of)
}

// distance is the least number of substitutions, insertions and deletions that turn a into b (Levenshtein 1966).
func distance[T comparable](a, b []T) int {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i, x := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j, y := range b {
			cost := 1
			if x == y {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
