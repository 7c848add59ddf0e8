package report

import (
	"encoding/json"
	"io"
)

var _ = registerFormat(".json", func(w io.Writer, r *Report) error { return WriteJSON(w, r) })

// WriteJSON writes any result for machines.
func WriteJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
