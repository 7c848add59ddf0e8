package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/verify/metric"
)

// section is a part of a report as rows of text, which the table, Markdown and HTML writers lay out.
type section struct {
	title  string
	head   []string
	rows   [][]string
	notes  []string
	better []bool // rows that failed are marked
}

// sections returns the report's parts; at most worst values are listed (all, if 0).
func (r *Report) sections(worst int) []section {
	out := []section{r.summary()}
	if len(r.Tasks) > 0 {
		s := section{title: "Tasks", head: []string{"task", "before", "after", "drop", "agreement", "samples"}}
		for _, t := range r.Tasks {
			agreement := "-"
			if t.Agreement >= 0 {
				agreement = fmt.Sprintf("%.2f %%", t.Agreement)
			}
			s.rows = append(s.rows, []string{t.Name, fmt.Sprintf("%.2f %%", t.Before), fmt.Sprintf("%.2f %%", t.After),
				fmt.Sprintf("%+.2f", t.Drop), agreement, fmt.Sprint(t.Samples)})
		}
		out = append(out, s)
	}
	if len(r.Nodes) > 0 {
		out = append(out, r.nodeSection(worst))
	}
	s := section{title: "Embeddings, relative L2 error by token", head: []string{"output", "tokens", "mean", "99th percentile", "worst"}}
	for _, n := range r.Nodes {
		if e := n.Tokens; e != nil {
			s.rows = append(s.rows, []string{n.Name, fmt.Sprint(e.Count), fmt.Sprintf("%.3g", e.Mean), fmt.Sprintf("%.3g", e.P99), fmt.Sprintf("%.3g", e.Worst)})
		}
	}
	if s.rows != nil {
		out = append(out, s)
	}
	if r.Converted != nil {
		out = append(out, r.Converted.section(worst))
	}
	if len(r.Bounds) > 0 {
		s := section{title: "Bounds", head: []string{"bound", "limit", "value", "holds"}}
		for _, b := range r.Bounds {
			sign, holds := ">= ", "yes"
			if b.Upper {
				sign = "<= "
			}
			if !b.OK {
				holds = "NO"
			}
			s.rows = append(s.rows, []string{b.Name, sign + fmt.Sprintf("%.6g", b.Limit), fmt.Sprintf("%.6g", b.Value), holds})
			s.better = append(s.better, b.OK)
		}
		out = append(out, s)
	}
	return out
}

func (r *Report) summary() section {
	s := section{title: "Model", head: []string{"", "before", "after", "ratio"}}
	s.rows = append(s.rows,
		[]string{"path", elide(r.Reference.Path), elide(r.Candidate.Path), ""},
		[]string{"size", Bytes(r.Bytes.Before), Bytes(r.Bytes.After), ratio(float64(r.Bytes.Before), float64(r.Bytes.After))})
	if r.Latency.Of != nil {
		s.rows = append(s.rows, []string{"latency", fmt.Sprintf("%.2f ms", r.Latency.Before), fmt.Sprintf("%.2f ms", r.Latency.After),
			ratio(r.Latency.Before, r.Latency.After)})
		s.notes = append(s.notes, fmt.Sprintf("latency: one sample to %s, median, %d threads; before: the source with its graph fused", strings.Join(r.Latency.Of, ", "), r.Latency.Threads))
	}
	s.notes = append(s.notes, fmt.Sprintf("%s; %d samples, %d texts", r.Reference.System, r.Samples, r.Texts))
	if len(r.Skipped) > 0 {
		s.notes = append(s.notes, fmt.Sprintf("%d samples could not be read and were skipped; the first: %s", len(r.Skipped), r.Skipped[0]))
	}
	s.notes = append(s.notes, r.Notes...)
	return s
}

func ratio(before, after float64) string {
	if after <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.2fx", before/after)
}

// nodeSection lists the outputs and the worst values.
func (r *Report) nodeSection(worst int) section {
	s := section{title: "Values, the worst first", head: []string{"value"}}
	for _, m := range metric.All() {
		s.head = append(s.head, m.Title)
	}
	s.head = append(s.head, "NaN/Inf/sat.")
	shown := 0
	for _, n := range r.Nodes {
		if worst > 0 && shown >= worst && !n.Output {
			continue
		}
		name := n.Name
		if n.Output {
			name += " *"
		}
		row := []string{name}
		for _, m := range metric.All() {
			row = append(row, figure(m.Name, n.Metric(m.Name)))
		}
		s.rows = append(s.rows, append(row, fmt.Sprintf("%d/%d/%d", n.NaN, n.Inf, n.Saturated)))
		shown++
	}
	note := "* an output"
	if left := len(r.Nodes) - shown; left > 0 {
		note += fmt.Sprintf("; %d better values are not shown", left)
	}
	s.notes = append(s.notes, note)
	return s
}

func figure(metric string, v float64) string {
	switch metric {
	case "cosine":
		return fmt.Sprintf("%.6f", v)
	case "sqnr_db":
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// section lists the schemes, and the weights that stayed float by reason.
func (c *Converted) section(worst int) section {
	s := section{title: "Weights", head: []string{"weights", "scheme or reason"}}
	for _, scheme := range slices.Sorted(maps.Keys(c.Schemes)) {
		s.rows = append(s.rows, []string{fmt.Sprint(c.Schemes[scheme]), scheme})
	}
	byReason := map[string][]string{}
	for _, f := range c.Float {
		byReason[f.Reason] = append(byReason[f.Reason], f.Name)
	}
	reasons := slices.Sorted(maps.Keys(byReason))
	slices.SortStableFunc(reasons, func(a, b string) int { return cmp.Compare(len(byReason[b]), len(byReason[a])) })
	for _, reason := range reasons {
		names := byReason[reason]
		most := len(names)
		if worst > 0 {
			most = min(most, 1)
		}
		list := strings.Join(names[:most], ", ")
		if worst > 0 {
			list = elide(list)
		}
		if len(names) > most {
			list += ", …"
		}
		s.rows = append(s.rows, []string{fmt.Sprint(len(names)), fmt.Sprintf("float: %s (%s)", reason, list)})
	}
	return s
}

// longest is how much of a name a line on a terminal shows.
const longest = 48

// elide cuts the middle out of a long name.
func elide(s string) string {
	r := []rune(s)
	if len(r) <= longest {
		return s
	}
	return string(r[:longest/2]) + "…" + string(r[len(r)-longest/2:])
}
