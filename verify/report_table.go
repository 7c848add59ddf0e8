package verify

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

// shownValues is how many of the worst values the table on a terminal lists.
const shownValues = 12

// WriteTable prints the report for people: the outputs and the worst values.
func (r *Report) WriteTable(w io.Writer) error {
	for _, s := range r.sections(shownValues) {
		if err := s.write(w); err != nil {
			return err
		}
	}
	return nil
}

func (s section) write(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%s\n", s.title); err != nil {
		return err
	}
	if err := table(w, s.head, s.rows); err != nil {
		return err
	}
	for _, n := range s.notes {
		if _, err := fmt.Fprintf(w, "  %s\n", n); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

// WriteRows prints a table of any kind.
func WriteRows(w io.Writer, head []string, rows [][]string) error { return table(w, head, rows) }

// table prints rows under a head, the first column to the left and numbers to the right.
func table(w io.Writer, head []string, rows [][]string) error {
	head, rows = filled(head, rows)
	align := make([]tw.Align, len(head))
	for i := range align {
		align[i] = tw.AlignRight
		if i == 0 || !numeric(rows, i) {
			align[i] = tw.AlignLeft
		}
	}
	var b strings.Builder
	t := tablewriter.NewTable(&b,
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{
			Borders: tw.BorderNone,
			Settings: tw.Settings{
				Separators: tw.Separators{BetweenColumns: tw.Off, BetweenRows: tw.Off},
				Lines:      tw.Lines{ShowHeaderLine: tw.On},
			},
		})),
		tablewriter.WithHeaderAutoFormat(tw.Off),
		tablewriter.WithHeaderAlignmentConfig(tw.CellAlignment{PerColumn: align}),
		tablewriter.WithRowAlignmentConfig(tw.CellAlignment{PerColumn: align}),
		tablewriter.WithRowAutoWrap(tw.WrapNone),
	)
	t.Header(head)
	if err := t.Bulk(rows); err != nil {
		return err
	}
	if err := t.Render(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// filled leaves out the columns that hold nothing.
func filled(head []string, rows [][]string) ([]string, [][]string) {
	empty := func(col int) bool {
		return !slices.ContainsFunc(rows, func(r []string) bool { return r[col] != "" })
	}
	var keep []int
	for i := range head {
		if !empty(i) || len(rows) == 0 {
			keep = append(keep, i)
		}
	}
	pick := func(cells []string) []string {
		out := make([]string, len(keep))
		for i, k := range keep {
			out[i] = cells[k]
		}
		return out
	}
	out := make([][]string, len(rows))
	for i, r := range rows {
		out[i] = pick(r)
	}
	return pick(head), out
}

// numeric reports whether a column holds figures.
func numeric(rows [][]string, col int) bool {
	for _, r := range rows {
		if col < len(r) && r[col] != "" && r[col] != "-" && !strings.ContainsAny(r[col][:1], "0123456789+-.<>") {
			return false
		}
	}
	return true
}

// WriteParity prints the rows of golden cases.
func WriteParity(w io.Writer, results []*ParityResult) error {
	for _, res := range results {
		if _, err := fmt.Fprintf(w, "%s: %s\n", res.Case, res.System); err != nil {
			return err
		}
		if res.Error != "" {
			if _, err := fmt.Fprintf(w, "  cannot be run: %s\n\n", res.Error); err != nil {
				return err
			}
			continue
		}
		s := section{head: []string{"name", "shape", "max abs", "rel", "cosine", "tolerance", "verdict", ""}}
		passed, judged := 0, 0
		for _, row := range res.Rows {
			s.rows = append(s.rows, row.cells())
			if row.Verdict == Pass || row.Verdict == Fail {
				judged++
			}
			if row.Verdict == Pass {
				passed++
			}
		}
		if err := table(w, s.head, s.rows); err != nil {
			return err
		}
		for _, n := range res.Notes {
			if _, err := fmt.Fprintf(w, "  %s\n", n); err != nil {
				return err
			}
		}
		if res.Converted != nil {
			c := res.Converted.section(1)
			c.title = fmt.Sprintf("%d weights quantized, %d stayed float; %s", res.Converted.Quantized, len(res.Converted.Float), Bytes(res.Converted.Bytes))
			if err := c.write(w); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(w, "%s: %d of %d judged rows hold\n\n", res.Case, passed, judged); err != nil {
			return err
		}
	}
	return nil
}

func (row Row) cells() []string {
	cells := []string{row.Name, row.Shape.String(), "", "", "", "", string(row.Verdict), row.Note}
	if row.Verdict == NotRun || row.MaxAbs == 0 && row.Cosine == 0 {
		return cells
	}
	cells[2], cells[3], cells[4] = fmt.Sprintf("%.2g", row.MaxAbs), fmt.Sprintf("%.2g", row.Rel), fmt.Sprintf("%.6f", row.Cosine)
	cells[5] = fmt.Sprintf("%.2g + %.0g|x|", row.ATol, row.RTol)
	return cells
}
