package report

import (
	"fmt"
	"html/template"
	"io"
	"math"
)

var _ = registerFormat(".html", writeHTML)

// page is self-contained: no scripts, no fonts, nothing from the network.
var page = template.Must(template.New("report").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>mmconv verification: {{.Candidate}}</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse}th,td{padding:.2rem .8rem .2rem 0;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
tr.bad td{background:#fde8e8}.ok{color:#176b2c}.bad{color:#a11}
svg text{font:11px system-ui,sans-serif}
</style></head><body>
<h1>Verification of {{.Candidate}}</h1>
<p class="{{if .OK}}ok{{else}}bad{{end}}">{{.Verdict}}</p>
{{range .Sections}}<h2>{{.Title}}</h2>
<div class="scroll"><table><tr>{{range .Head}}<th>{{.}}</th>{{end}}</tr>
{{range .Rows}}<tr{{if .Bad}} class="bad"{{end}}>{{range .Cells}}<td>{{.}}</td>{{end}}</tr>
{{end}}</table></div>
{{range .Notes}}<p>{{.}}</p>
{{end}}{{end}}
{{if .Bars}}<h2>SQNR by value, in the order of the graph's worst</h2>
<svg width="100%" viewBox="0 0 900 {{.Height}}" role="img" aria-label="SQNR in dB of each compared value">
{{range .Bars}}<text x="0" y="{{.TextY}}">{{.Name}}</text><rect x="330" y="{{.Y}}" width="{{.Width}}" height="11" fill="#4a7ab5"></rect><text x="{{.ValueX}}" y="{{.TextY}}">{{.Value}} dB</text>
{{end}}</svg>{{end}}
</body></html>
`))

type htmlRow struct {
	Cells []string
	Bad   bool
}

type htmlSection struct {
	Title string
	Head  []string
	Rows  []htmlRow
	Notes []string
}

type htmlBar struct {
	Name, Value             string
	Y, TextY, Width, ValueX float64
}

// chartValues bounds the bars of the chart; fullScale is the SQNR of a full bar, in dB.
const (
	chartValues = 60
	fullScale   = 80
)

func writeHTML(w io.Writer, r *Report) error {
	data := struct {
		Candidate, Verdict string
		OK                 bool
		Sections           []htmlSection
		Bars               []htmlBar
		Height             int
	}{Candidate: r.Candidate.Path, Verdict: verdictLine(r), OK: r.OK}
	for _, s := range r.sections(0) {
		h := htmlSection{Title: s.title, Head: s.head, Notes: s.notes}
		for i, cells := range s.rows {
			h.Rows = append(h.Rows, htmlRow{Cells: cells, Bad: i < len(s.better) && !s.better[i]})
		}
		data.Sections = append(data.Sections, h)
	}
	for i, n := range r.Nodes[:min(chartValues, len(r.Nodes))] {
		width := 450 * math.Max(0, math.Min(1, n.SQNR/fullScale))
		y := float64(16 * i)
		data.Bars = append(data.Bars, htmlBar{Name: n.Name, Value: fmt.Sprintf("%.1f", n.SQNR), Y: y + 3, TextY: y + 12, Width: width, ValueX: 336 + width})
	}
	data.Height = 16*len(data.Bars) + 8
	return page.Execute(w, data)
}
