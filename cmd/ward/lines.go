package main

import (
	"encoding/json"
	"io"
)

// jsonLines writes values as `--json` prints them: one a line, with &, < and >
// as they are, since no browser reads this, and control characters escaped.
func jsonLines(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}
