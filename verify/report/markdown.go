package report

import (
	"fmt"
	"io"
	"strings"
)

var _ = registerFormat(".md", writeMarkdown)

var markdownCell = strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "*", `\*`)

func writeMarkdown(w io.Writer, r *Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Verification: %s\n\n", verdictLine(r))
	for _, s := range r.sections(0) {
		fmt.Fprintf(&b, "## %s\n\n", s.title)
		row := func(cells []string) {
			for _, c := range cells {
				fmt.Fprintf(&b, "| %s ", markdownCell.Replace(c))
			}
			b.WriteString("|\n")
		}
		row(s.head)
		b.WriteString(strings.Repeat("|---", len(s.head)) + "|\n")
		for _, cells := range s.rows {
			row(cells)
		}
		b.WriteByte('\n')
		for _, n := range s.notes {
			fmt.Fprintf(&b, "- %s\n", markdownCell.Replace(n))
		}
		if len(s.notes) > 0 {
			b.WriteByte('\n')
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func verdictLine(r *Report) string {
	switch bad := r.Violated(); {
	case len(r.Bounds) == 0:
		return "no bounds were given"
	case len(bad) == 0:
		return fmt.Sprintf("all %d bounds hold", len(r.Bounds))
	default:
		return fmt.Sprintf("%d of %d bounds do not hold", len(bad), len(r.Bounds))
	}
}
