package main

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
)

// jsonLines writes values as `--json` prints them: one a line, with &, < and >
// as they are, since no browser reads this, and control characters escaped.
func jsonLines(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

// sayDone is the answer, as `--json` has it, of a command that has none but that
// it is done.
func sayDone(cmd *cobra.Command, event, dir string) error {
	err := jsonLines(cmd.OutOrStdout()).Encode(map[string]string{"event": event, "system": nameOf(dir)})
	if err != nil {
		return failed("%w", err)
	}
	return nil
}

// outputLines writes what a domain wrote as an object for each line. A line that
// is longer than maxOutputLine is several: a domain may write without any end.
type outputLines struct {
	to     *json.Encoder
	domain string
	rest   []byte // of a line that has not ended
}

const maxOutputLine = 64 << 10 // bytes

func (o *outputLines) Write(b []byte) (int, error) {
	o.rest = append(o.rest, b...)
	for {
		n := bytes.IndexByte(o.rest, '\n')
		line, skip := n, 1
		if n < 0 || n > maxOutputLine {
			if len(o.rest) <= maxOutputLine {
				return len(b), nil
			}
			line, skip = maxOutputLine, 0
		}
		if err := o.put(o.rest[:line]); err != nil {
			return 0, err
		}
		o.rest = o.rest[line+skip:]
	}
}

// end writes a last line that no newline ends.
func (o *outputLines) end() error {
	if len(o.rest) == 0 {
		return nil
	}
	return o.put(o.rest)
}

func (o *outputLines) put(line []byte) error {
	return o.to.Encode(struct {
		Event  string `json:"event"`
		Domain string `json:"domain"`
		Line   string `json:"line"`
	}{"output", o.domain, string(line)})
}
