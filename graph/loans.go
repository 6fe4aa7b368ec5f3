package graph

import (
	"slices"

	"ward/abi"
	"ward/image"
)

// A Loan is an edge: what a domain may let another one, or a child of a
// template, call in its name, over one interface.
type Loan struct {
	From, To  string
	Interface string
	Methods   []Method // their Permits are those to lend
}

// A call is an entry point that a domain may call at somebody.
type call struct {
	from  abi.DomainID
	entry image.Entry
}

// loans adds the delegations that policies permit, of entry points that the
// lender may call. What a template may lend is left out where no child of it
// could, as nobody that may make one is permitted to lend it.
func (b *builder) loans() {
	makers := b.img.Makers()
	grants := map[image.Grant]bool{}
	for _, g := range b.img.Grants {
		if g.Verdict.Allow {
			g.Verdict = image.Verdict{}
			grants[g] = true
		}
	}
	for _, g := range b.img.Grants {
		from, to := &b.img.Domains[g.From], &b.img.Domains[g.To]
		if !g.Verdict.Allow || !b.drawn(from) || !b.drawn(to) || !b.calls[call{g.From, g.Entry}] {
			continue
		}
		may := func(above abi.DomainID) bool {
			return above == g.To || grants[image.Grant{From: above, To: g.To, Entry: g.Entry}]
		}
		if from.Template && !slices.ContainsFunc(makers[g.From], may) {
			continue
		}
		iface := &b.img.Interfaces[g.Entry.Interface]
		m := Method{Name: iface.Methods[g.Entry.Method].Name, Permits: []Policy{b.policy(g.Verdict.Policy)}}
		at := len(b.g.Loans) - 1 // the compiler sorts them
		if at < 0 || b.g.Loans[at].From != from.Name || b.g.Loans[at].To != to.Name || b.g.Loans[at].Interface != iface.Name {
			at++
			b.g.Loans = append(b.g.Loans, Loan{From: from.Name, To: to.Name, Interface: iface.Name})
		}
		b.g.Loans[at].Methods = append(b.g.Loans[at].Methods, m)
	}
}

// lines is the label of a loan: "lends" and the interface, then methods that
// the same policies permit to lend, together.
func (l *Loan) lines() []string {
	g := Gate{Interface: "lends " + l.Interface, Methods: l.Methods}
	return g.lines()
}
