package main

import (
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
		Short:   "List what is supported: systems, the namings of their checkpoints, how these are recognised",
		Example: "  mmconv systems\n  mmconv systems --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			infos := []systemInfo{}
			var rows [][]string
			for _, s := range models.Systems() {
				info := systemInfo{Name: s.Name, Title: s.Title, Row: s.Row, ModelTypes: s.ModelTypes}
				for i, n := range s.Namings {
					info.Namings = append(info.Namings, namingInfo{n.Name, n.Looked})
					row := []string{"", "", n.Name, n.Looked}
					if i == 0 {
						row[0], row[1] = s.Name, s.Title
					}
					rows = append(rows, row)
				}
				infos = append(infos, info)
			}
			return a.print(infos, func() error {
				return report.WriteRows(a.out, strings.Fields("system title naming recognised-by"), rows)
			})
		},
	}
}
