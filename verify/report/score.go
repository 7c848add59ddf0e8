package report

import "fmt"

// TaskScore is a score of both models, in percent.
type TaskScore struct {
	Name   string  `json:"name"`
	Before float64 `json:"before"`
	After  float64 `json:"after"`
	Drop   float64 `json:"drop"` // Before - After (After - Before of an error rate), in percentage points
	// Agreement is the percentage of samples on which both models say the same, -1 where that is no question.
	Agreement float64 `json:"agreement"`
	Samples   int     `json:"samples"`
	Labelled  bool    `json:"labelled"` // against labels; else against the model before
	LowBetter bool    `json:"lower_is_better,omitempty"`
	Primary   bool    `json:"primary,omitempty"` // the one that --max-drop holds for
}

// Bound is a limit that a report was held against.
type Bound struct {
	Name  string  `json:"name"`
	Limit float64 `json:"limit"`
	Value float64 `json:"value"`
	Upper bool    `json:"upper"` // the value must not be above the limit; else not below
	OK    bool    `json:"ok"`
}

// NewBound holds a value against a limit.
func NewBound(name string, limit, value float64, upper bool) Bound {
	ok := value >= limit
	if upper {
		ok = value <= limit
	}
	return Bound{Name: name, Limit: limit, Value: value, Upper: upper, OK: ok}
}

func (b Bound) String() string {
	word := "below"
	if b.Upper {
		word = "above"
	}
	return fmt.Sprintf("%s is %.6g, %s the bound %.6g", b.Name, b.Value, word, b.Limit)
}
