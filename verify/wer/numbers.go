package wer

import (
	"math/big"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/mmconv/mmconv/graph/pipeline/text"
)

// suffixed is a number word with an ending: "thirds", "fiftieth".
type suffixed struct {
	value  *big.Int
	suffix string
}

// The English number words (openai/whisper, normalizers/english.py), its own spelling of the ninth included.
var (
	zeroWords          = map[string]bool{"o": true, "oh": true, "zero": true}
	oneWords           = map[string]int64{}
	oneSuffixed        = map[string]suffixed{}
	tenWords           = map[string]int64{}
	tenSuffixed        = map[string]suffixed{}
	multiplierWords    = map[string]*big.Int{}
	multiplierSuffixed = map[string]suffixed{}
	signWords          = map[string]string{"minus": "-", "negative": "-", "plus": "+", "positive": "+"}
	currencyWords      = map[string]string{"pound": "£", "pounds": "£", "euro": "€", "euros": "€", "dollar": "$", "dollars": "$", "cent": "¢", "cents": "¢"}
	specialWords       = map[string]bool{"and": true, "double": true, "triple": true, "point": true}
)

// numberPrefixes are the signs that may stand before digits.
const numberPrefixes = "-+£€$¢"

func init() {
	for i, name := range strings.Fields(`one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
		sixteen seventeen eighteen nineteen`) {
		n := int64(i + 1)
		oneWords[name] = n
		plural := name + "s"
		if name == "six" {
			plural = "sixes"
		}
		oneSuffixed[plural] = suffixed{big.NewInt(n), "s"}
		if n > 3 && n != 5 && n != 12 {
			ending := "th"
			if strings.HasSuffix(name, "t") {
				ending = "h"
			}
			oneSuffixed[name+ending] = suffixed{big.NewInt(n), "th"}
		}
	}
	for name, s := range map[string]suffixed{"zeroth": {big.NewInt(0), "th"}, "first": {big.NewInt(1), "st"}, "second": {big.NewInt(2), "nd"},
		"third": {big.NewInt(3), "rd"}, "fifth": {big.NewInt(5), "th"}, "twelfth": {big.NewInt(12), "th"}} {
		oneSuffixed[name] = s
	}
	for i, name := range strings.Fields("twenty thirty forty fifty sixty seventy eighty ninety") {
		n := int64(10 * (i + 2))
		tenWords[name] = n
		tenSuffixed[strings.ReplaceAll(name, "y", "ies")] = suffixed{big.NewInt(n), "s"}
		tenSuffixed[strings.ReplaceAll(name, "y", "ieth")] = suffixed{big.NewInt(n), "th"}
	}
	power := big.NewInt(100)
	for i, name := range strings.Fields(`hundred thousand million billion trillion quadrillion quintillion sextillion septillion
		octillion nonillion decillion`) {
		if i > 0 {
			power = new(big.Int).Exp(big.NewInt(1000), big.NewInt(int64(i)), nil)
		}
		multiplierWords[name] = power
		multiplierSuffixed[name+"s"] = suffixed{power, "s"}
		multiplierSuffixed[name+"th"] = suffixed{power, "th"}
	}
}

// isNumberWord reports whether a word takes part in numbers.
func isNumberWord(w string) bool {
	if zeroWords[w] || specialWords[w] || w == "per" || w == "percent" {
		return true
	}
	return has(oneWords, w) || has(oneSuffixed, w) || has(tenWords, w) || has(tenSuffixed, w) || has(multiplierWords, w) ||
		has(multiplierSuffixed, w) || has(signWords, w) || has(currencyWords, w)
}

func has[V any](m map[string]V, key string) bool {
	_, ok := m[key]
	return ok
}

var (
	andAHalf      = regexp.MustCompile(`and` + pySpace + `+a` + pySpace + `+half`)
	letterDigit   = regexp.MustCompile(`([a-z])([0-9])`)
	digitLetter   = regexp.MustCompile(`([0-9])([a-z])`)
	digitSuffix   = regexp.MustCompile(`([0-9])` + pySpace + `+(st|nd|rd|th|s)`)
	plainNumber   = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)
	decimalNumber = regexp.MustCompile(`^([0-9]+(\.[0-9]*)?|\.[0-9]+)$`)
	dollarsCents  = regexp.MustCompile(`([€£$])([0-9]+) (?:and )?¢([0-9]{1,2})`)
	centsAlone    = regexp.MustCompile(`[€£$]0.([0-9]{1,2})`)
	loneOne       = regexp.MustCompile(`1s?`)
)

// normalizeNumbers writes spelled-out numbers as digits: "two point five million" is 2500000, "nineteen fifties" 1950s,
// "three euros and sixty five cents" €3.65.
func normalizeNumbers(s string) string {
	s = numbersBefore(s)
	n := &numbers{}
	n.process(strings.FieldsFunc(s, text.IsPythonSpace))
	return numbersAfter(strings.Join(n.out, " "))
}

// replaceBounded replaces matches at which a word ends (and starts, if start is set).
func replaceBounded(s string, re *regexp.Regexp, start bool, with func(groups []string) string) string {
	var b strings.Builder
	done := 0
	for at := 0; at <= len(s); {
		m := re.FindStringSubmatchIndex(s[at:])
		if m == nil {
			break
		}
		from, to := at+m[0], at+m[1]
		if !boundary(s, to) || start && !boundary(s, from) {
			_, n := utf8.DecodeRuneInString(s[from:])
			at = from + n
			continue
		}
		groups := make([]string, len(m)/2)
		for i := range groups {
			if m[2*i] >= 0 {
				groups[i] = s[at+m[2*i] : at+m[2*i+1]]
			}
		}
		b.WriteString(s[done:from])
		b.WriteString(with(groups))
		done, at = to, to
	}
	b.WriteString(s[done:])
	return b.String()
}

func numbersBefore(s string) string {
	const mark = "\x00"
	var parts []string
	segments := strings.Split(replaceBounded(strings.ReplaceAll(s, mark, " "), andAHalf, true, func([]string) string { return mark }), mark)
	for i, segment := range segments {
		words := strings.FieldsFunc(segment, text.IsPythonSpace)
		if len(words) == 0 {
			continue
		}
		parts = append(parts, segment)
		if i == len(segments)-1 {
			break
		}
		last := words[len(words)-1]
		if zeroWords[last] || has(oneWords, last) || has(tenWords, last) || has(multiplierWords, last) {
			parts = append(parts, "point five")
		} else {
			parts = append(parts, "and a half")
		}
	}
	s = strings.Join(parts, " ")
	s = letterDigit.ReplaceAllString(s, "$1 $2")
	s = digitLetter.ReplaceAllString(s, "$1 $2")
	return replaceBounded(s, digitSuffix, false, func(g []string) string { return g[1] + g[2] })
}

func numbersAfter(s string) string {
	s = replaceBounded(s, dollarsCents, false, func(g []string) string {
		cents := g[3]
		if len(cents) == 1 {
			cents = "0" + cents
		}
		return g[1] + g[2] + "." + cents
	})
	s = replaceBounded(s, centsAlone, false, func(g []string) string {
		if cents := strings.TrimLeft(g[1], "0"); cents != "" {
			return "¢" + cents
		}
		return "¢0"
	})
	return replaceBounded(s, loneOne, true, func(g []string) string { return "one" + g[0][1:] })
}

// numbers goes over words and gathers numbers. The number so far is an integer, or digits that are strung together, or
// neither.
type numbers struct {
	out    []string
	prefix string
	number *big.Int
	digits string
	isText bool // digits holds the number
}

func (n *numbers) pending() bool { return n.isText || n.number != nil }

// text is the number as digits.
func (n *numbers) text() string {
	if n.isText {
		return n.digits
	}
	return n.number.String()
}

// textOr is the number as digits, "" where there is none or it is zero.
func (n *numbers) textOr() string {
	if !n.pending() || !n.isText && n.number.Sign() == 0 {
		return ""
	}
	return n.text()
}

func (n *numbers) setText(s string)    { n.digits, n.isText, n.number = s, true, nil }
func (n *numbers) setInt(v *big.Int)   { n.digits, n.isText, n.number = "", false, v }
func (n *numbers) clear()              { n.setInt(nil) }
func (n *numbers) mod(m int64) int64   { return new(big.Int).Mod(n.number, big.NewInt(m)).Int64() }
func (n *numbers) plus(v int64) string { return new(big.Int).Add(n.number, big.NewInt(v)).String() }

// emit puts out a word with the sign before it.
func (n *numbers) emit(word string) {
	n.out = append(n.out, n.prefix+word)
	n.prefix = ""
	n.clear()
}

// flush puts out the number so far.
func (n *numbers) flush() {
	if n.pending() {
		n.emit(n.text())
	}
}

func (n *numbers) process(words []string) {
	skip := false
	for i, current := range words {
		if skip {
			skip = false
			continue
		}
		prev, next := "", ""
		if i > 0 {
			prev = words[i-1]
		}
		if i+1 < len(words) {
			next = words[i+1]
		}
		skip = n.word(prev, current, next)
	}
	n.flush()
}

// word takes in one word; skip says that the next one is used up, too.
func (n *numbers) word(prev, current, next string) (skip bool) {
	bare, sign := current, ""
	if r, size := utf8.DecodeRuneInString(current); strings.ContainsRune(numberPrefixes, r) {
		bare, sign = current[size:], current[:size]
	}
	one, isOne := oneWords[current]
	ten, isTen := tenWords[current]
	switch {
	case plainNumber.MatchString(bare):
		n.figures(current, bare, sign)
	case !isNumberWord(current):
		n.flush()
		n.emit(current)
	case zeroWords[current]:
		n.setText(n.textOr() + "0")
	case isOne:
		if text, whole := n.withOne(one, prev); whole {
			v, _ := new(big.Int).SetString(text, 10)
			n.setInt(v)
		} else {
			n.setText(text)
		}
	case has(oneSuffixed, current):
		s := oneSuffixed[current]
		text, _ := n.withOne(s.value.Int64(), prev)
		n.emit(text + s.suffix)
	case isTen:
		if text, whole := n.withTen(ten); whole {
			v, _ := new(big.Int).SetString(text, 10)
			n.setInt(v)
		} else {
			n.setText(text)
		}
	case has(tenSuffixed, current):
		s := tenSuffixed[current]
		text, _ := n.withTen(s.value.Int64())
		n.emit(text + s.suffix)
	case has(multiplierWords, current):
		n.multiply(multiplierWords[current])
	case has(multiplierSuffixed, current):
		s := multiplierSuffixed[current]
		n.multiplySuffixed(s.value, s.suffix)
	case has(signWords, current):
		n.flush()
		if isNumberWord(next) || plainNumber.MatchString(next) {
			n.prefix = signWords[current]
		} else {
			n.emit(current)
		}
	case has(currencyWords, current):
		if n.pending() {
			n.prefix = currencyWords[current]
			n.flush()
		} else {
			n.emit(current)
		}
	case current == "percent" && n.pending():
		n.emit(n.text() + "%")
	case current == "per" && n.pending() && next == "cent":
		n.emit(n.text() + "%")
		return true
	case current == "percent" || current == "per":
		n.flush()
		n.emit(current)
	default:
		return n.special(prev, current, next)
	}
	return false
}

// figures takes in a number in digits.
func (n *numbers) figures(current, bare, sign string) {
	if n.pending() {
		if n.isText && strings.HasSuffix(n.digits, ".") {
			// decimals, or the parts of an address
			n.digits += current
			return
		}
		n.flush()
	}
	if sign != "" {
		n.prefix = sign
	}
	if f, ok := fraction(bare); ok && f.IsInt() {
		n.setInt(new(big.Int).Set(f.Num()))
	} else {
		n.setText(bare)
	}
}

// withOne is the number with 1 to 19 added to it or strung to it; whole says that it is an integer still.
func (n *numbers) withOne(one int64, prev string) (text string, whole bool) {
	digits := big.NewInt(one).String()
	room := int64(10)
	if one >= 10 {
		room = 100
	}
	switch {
	case !n.pending():
		return digits, true
	case n.isText || has(oneWords, prev):
		text = n.text()
		if has(tenWords, prev) && one < 10 && strings.HasSuffix(text, "0") {
			text = text[:len(text)-1]
		}
		return text + digits, false
	case n.mod(room) == 0:
		return n.plus(one), true
	}
	return n.text() + digits, false
}

// withTen is withOne for 20, 30, … 90.
func (n *numbers) withTen(ten int64) (text string, whole bool) {
	digits := big.NewInt(ten).String()
	switch {
	case !n.pending():
		return digits, true
	case !n.isText && n.mod(100) == 0:
		return n.plus(ten), true
	}
	return n.text() + digits, false
}

// fraction reads digits with a point.
func fraction(s string) (*big.Rat, bool) {
	if !decimalNumber.MatchString(s) {
		return nil, false
	}
	return new(big.Rat).SetString(strings.TrimSuffix(s, "."))
}

// times is the number times m, where it is text and the product is whole.
func (n *numbers) times(m *big.Int) (*big.Int, bool) {
	f, ok := fraction(n.text())
	if !ok {
		return nil, false
	}
	f.Mul(f, new(big.Rat).SetInt(m))
	return f.Num(), f.IsInt()
}

// scaled multiplies what stands below the thousands.
func (n *numbers) scaled(m *big.Int) *big.Int {
	residual := new(big.Int).Mod(n.number, big.NewInt(1000))
	before := new(big.Int).Sub(n.number, residual)
	return before.Add(before, residual.Mul(residual, m))
}

func (n *numbers) multiply(m *big.Int) {
	switch {
	case !n.pending():
		n.setInt(m)
	case n.isText || n.number.Sign() == 0:
		if product, ok := n.times(m); ok {
			n.setInt(product)
			return
		}
		n.flush()
		n.setInt(m)
	default:
		n.setInt(n.scaled(m))
	}
}

func (n *numbers) multiplySuffixed(m *big.Int, suffix string) {
	switch {
	case !n.pending():
		n.emit(m.String() + suffix)
	case n.isText:
		if product, ok := n.times(m); ok {
			n.emit(product.String() + suffix)
			return
		}
		n.flush()
		n.emit(m.String() + suffix)
	default:
		n.emit(n.scaled(m).String() + suffix)
	}
}

// special takes in "and", "double", "triple" and "point".
func (n *numbers) special(prev, current, next string) (skip bool) {
	if !isNumberWord(next) && !plainNumber.MatchString(next) {
		n.flush()
		n.emit(current)
		return false
	}
	switch current {
	case "and":
		if !has(multiplierWords, prev) {
			n.flush()
			n.emit(current)
		}
	case "double", "triple":
		one, isOne := oneWords[next]
		if !isOne && !zeroWords[next] {
			n.flush()
			n.emit(current)
			return false
		}
		repeats := 2
		if current == "triple" {
			repeats = 3
		}
		n.setText(n.textOr() + strings.Repeat(big.NewInt(one).String(), repeats))
		return true
	case "point":
		if has(oneWords, next) || has(tenWords, next) || zeroWords[next] || plainNumber.MatchString(next) {
			n.setText(n.textOr() + ".")
		}
	}
	return false
}
