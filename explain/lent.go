package explain

import (
	"fmt"
	"strings"
)

// lent says who may lend the sender of a request the method, if it may not call it itself.
func (a *answerer) lent() {
	if a.e.Verdict == Allow || a.q.Reply || a.whole {
		return
	}
	service, name, _ := strings.Cut(a.q.Method, "/")
	for i := range a.Image.Grants {
		g := &a.Image.Grants[i]
		f := &a.Image.Interfaces[g.Entry.Interface]
		if g.Verdict.Allow && f.Name == service && f.Methods[g.Entry.Method].Name == name && a.Image.Domains[g.To].Name == a.e.From {
			p := &a.Image.Policies[g.Verdict.Policy]
			a.e.Notes = append(a.e.Notes, fmt.Sprintf("%s may lend it, by %q (%s): then what %s may send decides", a.domain(g.From), p.ID, p.Source, a.domain(g.From)))
		}
	}
}
