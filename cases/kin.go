package cases

import (
	"fmt"
	"slices"
	"strings"

	"ward/abi"
	"ward/image"
)

// Children and delegations: who makes children of what, whether they may
// outlive it, and who lends which entry point to whom. All of it was decided
// when the system was compiled; a child is asked about as the template that it
// is made of.

// kin reports whether a step is about children or a delegation.
func (s *step) kin() bool { return s.verb == "spawn" || s.verb == "adopt" || s.verb == "grant" }

// readKin reads what such a step is about.
func (r *reader) readKin(s *step, f fields) bool {
	v := f[s.verb]
	if s.verb == "grant" {
		var ok bool
		if s.target, ok = r.method(v); !ok {
			return false
		}
		s.object = r.methodName(s.target)
		to, given := f["to"]
		return !given || r.borrower(s, to)
	}
	t, ok := r.subject(v, false)
	switch {
	case !ok:
		return false
	case t.isUser():
		r.out.Errorf(v.pos, "write the name of a template", "%s: children are made of templates, and of the domain itself", v.what)
		return false
	case !r.img.Domains[t.domain].Template && t.domain != s.from.domain:
		r.out.Errorf(v.pos, "write `template: true` in its entry of system.yaml, or name another", "%s: %s is no template", v.what, r.subjectName(t))
		return false
	}
	s.to, s.object = []subject{t}, r.subjectName(t)
	return true
}

// borrower reads to whom an entry point is lent.
func (r *reader) borrower(s *step, v value) bool {
	to, ok := r.subject(v, false)
	switch {
	case !ok:
		return false
	case to.isUser() || !r.borrows(to.domain, s.from.domain):
		r.out.Errorf(v.pos, "name another domain, or the template of the children", "%s: nothing is lent to %s", v.what, r.subjectName(to))
		return false
	}
	s.to = []subject{to}
	return true
}

// borrows reports whether a domain can be lent anything by another: mailboxes
// call nothing, the name server is Ward's own.
func (w *world) borrows(to, from abi.DomainID) bool {
	d := &w.img.Domains[to]
	return to != from && !d.Mailbox && !d.Names
}

// judgeKin judges a step about children or a delegation.
func (s *step) judgeKin(w *world, r *Result) {
	all := s.to
	if s.verb == "grant" && all == nil {
		for i := range w.img.Domains {
			if d := abi.DomainID(i); w.borrows(d, s.from.domain) {
				all = append(all, subject{domain: d})
			}
		}
	}
	failed := 0
	for _, to := range all {
		v, about, why := image.Verdict{Policy: abi.NoPolicy}, s.verb+" "+s.object+" from "+w.subjectName(s.from), ""
		switch spawn := w.img.Spawning(s.from.domain, to.domain); s.verb {
		case "spawn":
			v = spawn.Spawn
		case "adopt":
			v = spawn.Adopt
		default:
			about += " to " + w.subjectName(to)
			v = w.img.Granting(s.from.domain, to.domain, image.Entry{Interface: s.target.iface, Method: s.target.ordinal})
			if !w.callsItself(s.from.domain, s.target) {
				why = fmt.Sprintf(": %s may not call it itself", w.subjectName(s.from))
			}
		}
		w.saw(v)
		if !s.want.is(v) {
			failed++
			r.fail("%s: want %s, got %s%s", about, w.expected(s.want), w.verdict(v), why)
		}
	}
	if failed > 0 && failed < len(all) {
		r.Failures[len(r.Failures)-1] += "\n\twrite `to` to ask about one of several"
	}
}

// callsItself reports whether some permit lets a domain call a method.
func (w *world) callsItself(d abi.DomainID, m method) bool {
	return slices.ContainsFunc(w.img.Routes, func(r image.Route) bool {
		return r.Client == d && r.Interface == m.iface && len(r.Methods[m.ordinal].Request.Permit) > 0
	})
}

// borrowers are the domains and templates to which a domain may lend a method.
func (w *world) borrowers(from abi.DomainID, m method) []abi.DomainID {
	var all []abi.DomainID
	for i := range w.img.Grants {
		g := &w.img.Grants[i]
		if g.Verdict.Allow && g.From == from && g.Entry == (image.Entry{Interface: m.iface, Method: m.ordinal}) {
			all = append(all, g.To)
		}
	}
	return all
}

// lent are the ways over entry points that other domains may lend to one, and
// back from those that it may lend to: who borrows one sends what the lender
// may send, and gets the answer.
func (p *pathRule) lent(w *world, from abi.DomainID) []hop {
	var res []hop
	for i := range w.img.Grants {
		g := &w.img.Grants[i]
		if !g.Verdict.Allow {
			continue
		}
		target, over := method{g.Entry.Interface, g.Entry.Method}, ", lent by "+w.img.Domains[g.From].Name
		for j := range w.img.Routes {
			r := &w.img.Routes[j]
			if r.Client != g.From || r.Interface != g.Entry.Interface || w.img.Domains[r.Server].Mailbox || r.Server == g.To {
				continue
			}
			client, server := subject{domain: r.Client}, subject{domain: r.Server}
			if p.over["calls"] && g.To == from && w.passesOne(client, server, target, false) {
				res = append(res, hop{server, w.methodName(target) + over})
			}
			if p.over["replies"] && r.Server == from && w.passesOne(client, server, target, true) {
				res = append(res, hop{subject{domain: g.To}, "reply to " + w.methodName(target) + over})
			}
		}
	}
	return res
}

// kinDraft makes a draft of a record of the events "spawned" and "lent", or
// says why there is none. Of a child it is about the template.
func kinDraft(img *image.Image, h *Happened, verdict, why string) (*draft, string) {
	from, to := madeOf(img, h.From), madeOf(img, h.To)
	switch {
	case from == "" || to == "":
		return nil, "a record about children that does not know the ends"
	case verdict == "":
		return nil, why
	}
	word := map[bool]string{true: "", false: " not"}[h.Verdict == "allow"]
	head := "  from: " + quote(from) + "\n"
	if h.Event == "spawned" {
		return &draft{title: from + " may" + word + " make children of " + to, message: head + "  spawn: " + quote(to) + "\n", verdict: verdict}, ""
	}
	entry := h.Detail // [delegation N: ]ENTRY[, limits]
	if _, after, ok := strings.Cut(entry, ": "); ok && strings.HasPrefix(entry, "delegation ") {
		entry = after
	}
	entry, _, _ = strings.Cut(entry, ", ")
	return &draft{title: from + " may" + word + " lend " + entry + " to " + to,
		message: head + "  grant: " + quote(entry) + "\n  to: " + quote(to) + "\n", verdict: verdict}, ""
}

// madeOf is the domain or template whose name a record has: a child's has a
// number after it. "": there is none.
func madeOf(img *image.Image, name string) string {
	name, _, _ = strings.Cut(name, "#")
	if !slices.ContainsFunc(img.Domains, func(d image.Domain) bool { return d.Name == name }) {
		return ""
	}
	return name
}
