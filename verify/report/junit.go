package report

import (
	"encoding/xml"
	"io"
)

var _ = registerFormat(".xml", writeJUnit)

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
}

// writeJUnit writes each bound as a test, which build servers show.
func writeJUnit(w io.Writer, r *Report) error {
	suite := junitSuite{Name: "mmconv verify " + r.Candidate.Path, Tests: len(r.Bounds), Failures: len(r.Violated())}
	for _, b := range r.Bounds {
		c := junitCase{Class: "mmconv.verify", Name: b.Name}
		if !b.OK {
			c.Failure = &junitFailure{Message: b.String()}
		}
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
