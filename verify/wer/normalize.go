package wer

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"io"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/mmconv/mmconv/graph/pipeline/text"
	"github.com/rivo/uniseg"
	"golang.org/x/text/unicode/norm"
)

// EnglishNormalizer is the normaliser that Whisper's word error rates in English are measured with (Radford et al. 2022,
// appendix C; openai/whisper, normalizers/english.py): small letters, no fillers, contractions written out, numbers as
// digits, American spelling. The result may have spaces at its ends, as the original's has.
func EnglishNormalizer(s string) string {
	s = text.PythonLower(s)
	s = brackets.ReplaceAllString(s, "")
	s = parentheses.ReplaceAllString(s, "")
	for _, filler := range []string{"hmm", "mm", "mhm", "mmm", "uh", "um"} {
		s = replaceWord(s, filler, "", true, true)
	}
	s = spaceApostrophe.ReplaceAllString(s, "'")
	for _, c := range contractions {
		s = replaceWord(s, c.from, c.to, c.start, true)
	}
	s = digitComma.ReplaceAllString(s, "$1$2")
	s = sentencePoint.ReplaceAllString(s, " $1")
	s = removeSymbols(norm.NFKD.String(s), ".%$¢€£", true)
	s = normalizeNumbers(s)
	spelling := americanSpelling()
	words := strings.FieldsFunc(s, text.IsPythonSpace)
	for i, w := range words {
		if american, ok := spelling[w]; ok {
			words[i] = american
		}
	}
	s = strings.Join(words, " ")
	s = looseSymbol.ReplaceAllString(s, " $1")
	s = loosePercent.ReplaceAllString(s, "$1 ")
	return spaceRun.ReplaceAllString(s, " ")
}

// BasicNormalizer is Whisper's normaliser for languages other than English (openai/whisper, normalizers/basic.py): small
// letters, nothing in brackets, no symbols. removeDiacritics drops accents, too; splitLetters puts spaces between
// characters, for languages that have none between words.
func BasicNormalizer(s string, removeDiacritics, splitLetters bool) string {
	s = text.PythonLower(s)
	s = brackets.ReplaceAllString(s, "")
	s = parentheses.ReplaceAllString(s, "")
	if removeDiacritics {
		s = removeSymbols(norm.NFKD.String(s), "", true)
	} else {
		s = removeSymbols(norm.NFKC.String(s), "", false)
	}
	s = text.PythonLower(s)
	if splitLetters {
		var letters []string
		for g := uniseg.NewGraphemes(s); g.Next(); {
			letters = append(letters, g.Str())
		}
		s = strings.Join(letters, " ")
	}
	return spaceRun.ReplaceAllString(s, " ")
}

// pySpace is \s of Python's expressions.
const pySpace = `[\t-\r\x1c-\x1f\x{85}\p{Z}]`

var (
	brackets        = regexp.MustCompile(`[<\[][^>\]]*[>\]]`)
	parentheses     = regexp.MustCompile(`\([^)]+?\)`)
	spaceApostrophe = regexp.MustCompile(pySpace + `+'`)
	digitComma      = regexp.MustCompile(`(\p{Nd}),(\p{Nd})`)
	sentencePoint   = regexp.MustCompile(`\.([^0-9]|$)`)
	looseSymbol     = regexp.MustCompile(`[.$¢€£]([^0-9])`)
	loosePercent    = regexp.MustCompile(`([^0-9])%`)
	spaceRun        = regexp.MustCompile(pySpace + `+`)
)

// contraction is a text and what it stands for; start says that it is sought at the start of a word only. All end words.
type contraction struct {
	from, to string
	start    bool
}

// contractions in the order in which they are replaced.
var contractions = func() (all []contraction) {
	for _, c := range [][2]string{
		{"won't", "will not"}, {"can't", "can not"}, {"let's", "let us"}, {"ain't", "aint"}, {"y'all", "you all"},
		{"wanna", "want to"}, {"gotta", "got to"}, {"gonna", "going to"}, {"i'ma", "i am going to"}, {"imma", "i am going to"},
		{"woulda", "would have"}, {"coulda", "could have"}, {"shoulda", "should have"}, {"ma'am", "madam"},
		{"mr", "mister "}, {"mrs", "missus "}, {"st", "saint "}, {"dr", "doctor "}, {"prof", "professor "}, {"capt", "captain "},
		{"gov", "governor "}, {"ald", "alderman "}, {"gen", "general "}, {"sen", "senator "}, {"rep", "representative "},
		{"pres", "president "}, {"rev", "reverend "}, {"hon", "honorable "}, {"asst", "assistant "}, {"assoc", "associate "},
		{"lt", "lieutenant "}, {"col", "colonel "}, {"jr", "junior "}, {"sr", "senior "}, {"esq", "esquire "},
	} {
		all = append(all, contraction{c[0], c[1], true})
	}
	for _, c := range [][2]string{
		{"'d been", " had been"}, {"'s been", " has been"}, {"'d gone", " had gone"}, {"'s gone", " has gone"},
		{"'d done", " had done"}, {"'s got", " has got"},
		{"n't", " not"}, {"'re", " are"}, {"'s", " is"}, {"'d", " would"}, {"'ll", " will"}, {"'t", " not"}, {"'ve", " have"}, {"'m", " am"},
	} {
		all = append(all, contraction{c[0], c[1], false})
	}
	return all
}()

// isPythonWord is \w of Python's expressions.
func isPythonWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }

// boundary reports whether a word starts or ends at i.
func boundary(s string, i int) bool {
	before, n := utf8.DecodeLastRuneInString(s[:i])
	after, m := utf8.DecodeRuneInString(s[i:])
	return (n > 0 && isPythonWord(before)) != (m > 0 && isPythonWord(after))
}

// replaceWord replaces from where words start and end at its ends, as far as that is asked for.
func replaceWord(s, from, to string, start, end bool) string {
	if !strings.Contains(s, from) {
		return s
	}
	var b strings.Builder
	done := 0
	for at := 0; ; {
		i := strings.Index(s[at:], from)
		if i < 0 {
			break
		}
		i += at
		if start && !boundary(s, i) || end && !boundary(s, i+len(from)) {
			at = i + 1
			continue
		}
		b.WriteString(s[done:i])
		b.WriteString(to)
		done = i + len(from)
		at = done
	}
	b.WriteString(s[done:])
	return b.String()
}

// latinLetters have no decomposition that would part them from their strokes.
var latinLetters = map[rune]string{'œ': "oe", 'Œ': "OE", 'ø': "o", 'Ø': "O", 'æ': "ae", 'Æ': "AE", 'ß': "ss", 'ẞ': "SS",
	'đ': "d", 'Đ': "D", 'ð': "d", 'Ð': "D", 'þ': "th", 'Þ': "th", 'ł': "l", 'Ł': "L"}

// removeSymbols makes marks, symbols and punctuation spaces, but those in keep; with diacritics, marks without width go.
func removeSymbols(s, keep string, diacritics bool) string {
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range s {
		plain, hasPlain := latinLetters[r]
		switch {
		case strings.ContainsRune(keep, r):
			b.WriteRune(r)
		case diacritics && hasPlain:
			b.WriteString(plain)
		case diacritics && unicode.Is(unicode.Mn, r):
		case unicode.In(r, unicode.M, unicode.S, unicode.P):
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// spellingTable has 1,738 British and alternative spellings with the American ones, a pair a line: the data of
// openai/whisper's normalizers/english.json (MIT licence, Copyright (c) 2022 OpenAI), which follows the list at
// https://www.tysto.com/uk-us-spelling-list.html.
//
//go:embed english_spelling.txt.gz
var spellingTable []byte

var americanSpelling = sync.OnceValue(func() map[string]string {
	z, err := gzip.NewReader(bytes.NewReader(spellingTable))
	var raw []byte
	if err == nil {
		raw, err = io.ReadAll(z)
	}
	if err != nil {
		panic("the embedded spelling table is broken: " + err.Error())
	}
	table := map[string]string{}
	for line := range bytes.Lines(raw) {
		british, american, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		table[british] = american
	}
	return table
})
