package explain

import (
	"fmt"
	"slices"
	"strings"

	"ward/abi"
	"ward/cases"
	"ward/image"
)

// Children and delegations. Who makes children of what, and who lends what to
// whom, was decided when the system was compiled. What a child may do is what
// its template's policies allow, its parents', and what it was given when it was
// made, of which a record does not tell.

// kinRecord explains a record of the events "spawned" and "lent".
func (s *System) kinRecord(r *Recorded) ([]Explanation, error) {
	from, to := s.domainNamed(made(r.From)), s.domainNamed(made(r.To))
	if from < 0 || to < 0 {
		return nil, fmt.Errorf("this system has no %q or no %q", made(r.From), made(r.To))
	}
	a := &answerer{System: s, road: new(cases.Road), e: Explanation{Event: "explained", Kind: "spawn", From: r.From, To: r.To, Record: r}}
	v, write := s.Image.Spawning(abi.DomainID(from), abi.DomainID(to)).Spawn, ""
	if r.Event == "lent" {
		a.e.Kind, a.e.Method = "grant", lentEntry(r.Detail)
		e, ok := s.entry(a.e.Method)
		if !ok {
			return nil, fmt.Errorf("this system has no method %q", a.e.Method)
		}
		v = s.Image.Granting(abi.DomainID(from), abi.DomainID(to), e)
		write = "context.entry == " + cedarString(a.e.Method)
	}
	if parts := ringsOf(r.From, r.To); len(parts) > 0 || write != "" {
		if write != "" {
			parts = append([]string{write}, parts...)
		}
		write = " when {\n  " + strings.Join(parts, " &&\n  ") + "\n}"
	}
	a.e.Verdict = r.Verdict
	switch {
	case r.Verdict == Allow:
		a.decidedBy([]image.Verdict{v})
	case v.Allow || r.Reason != abi.ReasonDefault.String() && r.Policy == "":
		// A limit, or rights that cannot be given.
		a.e.Check, a.e.Why = r.Reason, "the policies let "+made(r.From)+" do it: what was asked for in it was not possible"
		if r.Detail != "" && r.Event != "lent" {
			a.e.Why += " (" + r.Detail + ")"
		}
	case v.Policy != abi.NoPolicy:
		a.decidedBy([]image.Verdict{v})
		a.e.Changes = []Change{{Text: fmt.Sprintf("no permit is of use: narrow the forbid %q (%s)", a.e.Policies[0].ID, a.e.Policies[0].Source)}}
	default:
		a.decidedBy([]image.Verdict{v})
		verb := map[string]string{"spawn": "make children of", "grant": "lend to"}[a.e.Kind]
		a.e.Changes = []Change{{Write: fmt.Sprintf("@id(%s)\npermit (\n  principal == Domain::%s,\n  action == ward::Action::%s,\n  resource == Domain::%s\n)%s;",
			quoted(fmt.Sprintf("%s may %s %s", made(r.From), verb, made(r.To))), quoted(plain(r.From)), quoted(a.e.Kind), quoted(plain(r.To)), write)}}
	}
	return []Explanation{a.e}, nil
}

// made is what a child is made of: its name is that with a number.
func made(name string) string {
	name, _, _ = strings.Cut(name, "#")
	return name
}

// lentEntry is the entry point of a record of the event "lent".
func lentEntry(detail string) string {
	if _, after, ok := strings.Cut(detail, ": "); ok && strings.HasPrefix(detail, "delegation ") {
		detail = after
	}
	entry, _, _ := strings.Cut(detail, ", ")
	return entry
}

// lender is in whose name a message of a record was sent; "": in its sender's.
func lender(detail string) string {
	if after, ok := strings.CutPrefix(detail, "in the name of "); ok {
		name, _, _ := strings.Cut(after, ",")
		return name
	}
	return ""
}

func (s *System) domainNamed(name string) int {
	return slices.IndexFunc(s.Image.Domains, func(d image.Domain) bool { return d.Name == name && !d.Mailbox })
}

// entry finds a method by its name, pkg.Service/Method.
func (s *System) entry(name string) (image.Entry, bool) {
	for i := range s.Image.Interfaces {
		for m := range s.Image.Interfaces[i].Methods {
			if s.Image.Interfaces[i].Name+"/"+s.Image.Interfaces[i].Methods[m].Name == name {
				return image.Entry{Interface: uint32(i), Method: uint32(m)}, true
			}
		}
	}
	return image.Entry{}, false
}

// makers are those who may make a domain, or children that are made of it, and
// those who may make these: nearest first.
func (s *System) makers(of string) []string {
	all := []string{of}
	for at := 0; at < len(all); at++ {
		for i := range s.Image.Spawns {
			sp := &s.Image.Spawns[i]
			parent := s.Image.Domains[sp.Parent].Name
			if sp.Spawn.Allow && s.Image.Domains[sp.Template].Name == all[at] && !slices.Contains(all, parent) {
				all = append(all, parent)
			}
		}
	}
	return all[1:]
}

// ofKin reports whether a record is about a message of a child, or in the name
// of another domain.
func (r *Recorded) ofKin() bool {
	return strings.Contains(r.From+r.To, "#") || lender(r.Detail) != ""
}

// kinMessage explains a message of a child by the policies of its template, or
// of who may have made it, whichever decide as the record says; one that was
// sent by delegation by those of the lender.
func (s *System) kinMessage(r *Recorded) ([]Explanation, error) {
	name := &r.From
	if !strings.Contains(*name, "#") && strings.Contains(r.To, "#") || r.Event == "reply" {
		name = &r.To
	}
	child, by := *name, lender(r.Detail)
	who := append([]string{made(child)}, s.makers(made(child))...)
	if by != "" {
		who = []string{made(by)}
	}
	label := func(all []Explanation, note string) []Explanation {
		for i := range all {
			if all[i].Record = r; r.Event == "reply" {
				all[i].To = child
			} else {
				all[i].From = child
			}
			all[i].Notes = append(all[i].Notes, note)
		}
		return all
	}
	var first []Explanation
	for i, domain := range who {
		as := *r
		if as.Detail = ""; name == &r.From {
			as.From = domain
		} else {
			as.To = domain
		}
		all, err := s.Record(&as)
		if err != nil {
			return nil, err
		}
		r.Cut = as.Cut
		if first == nil {
			first = all
		}
		if len(all) != 1 || all[0].Verdict != Deny && all[0].Verdict != Allow || r.Changed(&all[0]) {
			continue
		}
		switch {
		case by != "":
			return label(all, "it was sent in the name of "+by+", whose policies decide"), nil
		case i > 0:
			return label(all, fmt.Sprintf("%s is made of %s, and what it may do %s has to be allowed, too, if it made it: that decides here", child, made(child), domain)), nil
		}
		return label(all, fmt.Sprintf("%s is made of %s: the policies of that decide, those of who made it, and what it was given when it was made", child, made(child))), nil
	}
	if len(first) == 1 && first[0].Verdict == Allow && r.Verdict == Deny {
		first[0].Verdict, first[0].Check, first[0].Policies, first[0].Saw = Deny, r.Reason, nil, nil
		first[0].Why = "no policy denies it: " + child + " was not given the right to it when it was made"
		if by != "" {
			first[0].Why = "no policy denies it: the delegation is for another method, or has ended"
		}
	}
	if by != "" {
		return label(first, "it was sent in the name of "+by+", by a delegation for one method and for a time"), nil
	}
	return label(first, child+" is made of "+made(child)+"; what its policies allow it may not have been given when it was made"), nil
}

// plain is what policies call a domain: one of children in another ring by the
// name of what they are made of.
func plain(name string) string {
	if strings.HasPrefix(name, "user:") {
		return name
	}
	of, _ := image.Ringed(made(name))
	return of
}

// ringsOf are the conditions that the principal and the resource are in the
// rings in which children of them were asked for.
func ringsOf(principal, resource string) (parts []string) {
	for i, who := range []string{principal, resource} {
		if _, ring := image.Ringed(made(who)); ring != "" && !strings.HasPrefix(who, "user:") {
			parts = append(parts, []string{"principal", "resource"}[i]+".ring.name == "+quoted(ring))
		}
	}
	return parts
}
