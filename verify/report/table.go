package report

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
