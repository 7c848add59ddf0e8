package main

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mmconv/mmconv/graph/models"
	"github.com/mmconv/mmconv/verify/report"
)

var _ = register(newSystems)

type systemInfo struct {
	Name       string       `json:"name"`
	Title      string       `json:"title"`
	Row        int          `json:"row"`
	Namings    []namingInfo `json:"namings"`
	ModelTypes []string     `json:"model_types,omitempty"`
}

type namingInfo struct {
	Name   string `json:"name"`
	Looked string `json:"recognised_by,omitempty"`
}

func newSystems(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "systems",
		Short:   "List the systems by their rows in the survey, with the namings of their checkpoints (--json: how these are recognised)",
		Example: "  mmconv systems\n  mmconv systems --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			infos := []systemInfo{}
			for _, s := range models.Systems() {
				info := systemInfo{Name: s.Name, Title: s.Title, Row: s.Row, ModelTypes: s.ModelTypes}
				for _, n := range s.Namings {
					info.Namings = append(info.Namings, namingInfo{n.Name, n.Looked})
				}
				infos = append(infos, info)
			}
			slices.SortStableFunc(infos, func(a, b systemInfo) int { return cmp.Compare(a.place(), b.place()) })
			return a.print(infos, func() error {
				return report.WriteRows(a.out, strings.Fields("row system title namings"), systemRows(infos))
			})
		},
	}
}

// place orders systems by their rows in the survey, those without one last.
func (s *systemInfo) place() int {
	if s.Row == 0 {
		return math.MaxInt
	}
	return s.Row
}

// systemRows makes a table of at most 80 columns: titles and lists of namings that are too long for that go on in the next line.
func systemRows(infos []systemInfo) [][]string {
	const title, namings = 28, 22
	var rows [][]string
	for _, s := range infos {
		var names []string
		for _, n := range s.Namings {
			names = append(names, n.Name)
		}
		left, right := wrap(s.Title, " ", title), wrap(strings.Join(names, ", "), " ", namings)
		for i := range max(len(left), len(right)) {
			row := make([]string, 4)
			if i == 0 {
				row[1] = s.Name
				if row[0] = "-"; s.Row > 0 {
					row[0] = strconv.Itoa(s.Row)
				}
			}
			if i < len(left) {
				row[2] = left[i]
			}
			if i < len(right) {
				row[3] = right[i]
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// wrap breaks a text behind separators into lines of at most width characters, where its words are that short.
func wrap(text, separator string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Split(text, separator) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += separator
		}
		line += word
	}
	return append(lines, line)
}
