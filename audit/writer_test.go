package audit

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// A line is one that people can grep: &, < and > as they are; what could act
// on a terminal or end the line is escaped.
func TestLineIsReadable(t *testing.T) {
	var out strings.Builder
	w := lineWriter{out: &out, now: time.Now}
	const id = "a & b <c>\n\x1b[31m\u2028"
	w.add(Record{Event: EventGate, Policy: id})
	w.flush()
	line := out.String()
	if !strings.Contains(line, `"policy":"a & b <c>\n\u001b[31m\u2028"`) || strings.Count(line, "\n") != 1 {
		t.Errorf("line %q", line)
	}
	var r Record
	if err := json.Unmarshal([]byte(line), &r); err != nil || r.Policy != id {
		t.Errorf("read back %q: %v", r.Policy, err)
	}
}
