package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph/models"
	"github.com/mmconv/mmconv/verify/report"
)

// TestSystemsTable holds the table of systems to 80 columns and to the 21 rows of the survey.
func TestSystemsTable(t *testing.T) {
	var infos []systemInfo
	seen := map[int]bool{}
	for _, s := range models.Systems() {
		info := systemInfo{Name: s.Name, Title: s.Title, Row: s.Row}
		for _, n := range s.Namings {
			info.Namings = append(info.Namings, namingInfo{Name: n.Name})
		}
		infos, seen[s.Row] = append(infos, info), true
	}
	for row := 1; row <= 21; row++ {
		if !seen[row] {
			t.Errorf("no system has row %d of the survey", row)
		}
	}
	var b bytes.Buffer
	if err := report.WriteRows(&b, strings.Fields("row system title namings"), systemRows(infos)); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
