package golden

import (
	"fmt"
	"io"

	"github.com/mmconv/mmconv/verify/report"
)

var parityHead = []string{"name", "shape", "max abs", "rel", "cosine", "tolerance", "verdict", ""}

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
		var rows [][]string
		passed, judged := 0, 0
		for _, row := range res.Rows {
			rows = append(rows, row.cells())
			if row.Verdict == Pass || row.Verdict == Fail {
				judged++
			}
			if row.Verdict == Pass {
				passed++
			}
		}
		if err := report.WriteRows(w, parityHead, rows); err != nil {
			return err
		}
		for _, n := range res.Notes {
			if _, err := fmt.Fprintf(w, "  %s\n", n); err != nil {
				return err
			}
		}
		if res.Converted != nil {
			if err := res.Converted.WriteTable(w); err != nil {
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
