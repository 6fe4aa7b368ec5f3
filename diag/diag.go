package diag

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Pos is a place in a file. Line and Column count from 1; Column counts
// characters (code points). 0 means unknown.
type Pos struct {
	File   string
	Line   int
	Column int
}

func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// A Severity orders findings.
type Severity uint8

const (
	Error Severity = iota
	Warning
	Note
)

func (s Severity) String() string { return [...]string{"error", "warning", "note"}[s] }

// A Finding is one thing that is wrong, or worth knowing.
type Finding struct {
	Severity Severity
	Pos      Pos
	Message  string // what is wrong
	Fix      string // what to do; may be empty
	// Lint is the kind of a finding that can be silenced, and Subject what it is
	// about: the ID of a policy, the name of a domain, a method or a field.
	Lint    string `json:",omitempty"`
	Subject string `json:",omitempty"`
}

func (f Finding) Error() string {
	s := fmt.Sprintf("%s: %s: %s", f.Pos, f.Severity, f.Message)
	if f.Fix != "" {
		s += "\n\t" + f.Fix
	}
	return s
}

// A List collects findings. The zero value is empty and ready.
type List []Finding

// Errorf adds an error. The fix may be empty.
func (l *List) Errorf(p Pos, fix string, format string, args ...any) {
	*l = append(*l, Finding{Severity: Error, Pos: p, Message: fmt.Sprintf(format, args...), Fix: fix})
}

// Warnf adds a warning.
func (l *List) Warnf(p Pos, fix string, format string, args ...any) {
	*l = append(*l, Finding{Severity: Warning, Pos: p, Message: fmt.Sprintf(format, args...), Fix: fix})
}

// Notef adds a note.
func (l *List) Notef(p Pos, fix string, format string, args ...any) {
	*l = append(*l, Finding{Severity: Note, Pos: p, Message: fmt.Sprintf(format, args...), Fix: fix})
}

// Tag makes the last finding one that can be silenced.
func (l List) Tag(lint, subject string) {
	l[len(l)-1].Lint, l[len(l)-1].Subject = lint, subject
}

// Failed reports whether l has an error.
func (l List) Failed() bool {
	return slices.ContainsFunc(l, func(f Finding) bool { return f.Severity == Error })
}

// Sort orders l by place, then severity, and drops exact repeats.
func (l *List) Sort() {
	slices.SortStableFunc(*l, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line),
			cmp.Compare(a.Pos.Column, b.Pos.Column), cmp.Compare(a.Severity, b.Severity))
	})
	*l = slices.Compact(*l)
}

func (l List) Error() string {
	var b strings.Builder
	for i, f := range l {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(f.Error())
	}
	return b.String()
}
