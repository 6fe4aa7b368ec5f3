package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ward/abi"
	"ward/diag"
	"ward/image"
)

// What a domain was refused because system.yaml does not grant it: an address, a
// publication, a gate to an interface that the system does not have. There is no
// message to ask the policies about; what would grant it is a line of system.yaml.

// ungranted reports whether a record is of that kind.
func (s *System) ungranted(r *Recorded) bool {
	switch r.Event {
	case "socket", "published":
		return r.Verdict == Deny
	case "gate":
		return r.Verdict == Deny && r.Reason == abi.ReasonUnknownInterface.String() || !slices.ContainsFunc(s.Image.Interfaces, func(i image.Interface) bool { return i.Name == r.Interface })
	}
	return false
}

func (s *System) ungrantedRecord(r *Recorded) Explanation {
	e := Explanation{Event: "explained", Kind: cmp.Or(r.Kind, r.Event), From: r.From, To: r.To, Object: cmp.Or(r.Address, r.Interface), Verdict: Deny, Check: r.Reason, Record: r}
	if r.Reason == abi.ReasonDefault.String() {
		e.Check = "default"
	}
	if p := s.policyOf(r.Policy); p != nil {
		e.Check, e.Policies = "", []Policy{*p}
		if p.Effect == "forbid" {
			e.Changes = []Change{{Text: fmt.Sprintf("no grant is of use: narrow the forbid %q (%s)", p.ID, p.Source)}}
		}
		return e
	}
	d := s.declared(r.From)
	switch {
	case r.Event == "gate":
		e.Why = "no domain of this system offers an interface of this name"
		if near := diag.Suggest(r.Interface, s.interfaces()); near != "" {
			e.Why += "; " + near
		}
	case d == nil:
	case r.Event == "published":
		e.Why = "a domain may publish what it exports, and nothing else"
		e.grant(d, fmt.Sprintf("exports: [%s]", r.Interface))
	case r.Kind == abi.SocketListen.String():
		e.Why = "it listened on a socket that it had not bound, so that the kernel chose the port: nobody gets through to it"
	case r.Kind == abi.SocketBind.String():
		e.Why = "it may bind " + either(ownAddresses(d))
		e.grant(d, fmt.Sprintf("listen: { NAME: { address: %q, bind: domain } }", r.Address))
	default:
		e.Why = "it may connect and send to " + either(d.Connect)
		e.grant(d, fmt.Sprintf("connect: [%q]", r.Address))
	}
	return e
}

// grant says what to write for a domain in system.yaml.
func (e *Explanation) grant(d *image.Domain, line string) {
	name, _ := image.Ringed(d.Name)
	e.Changes = []Change{{Text: fmt.Sprintf("write `%s` for %s in system.yaml, beside what is there (`ward check` says if a forbid takes it away)", line, name)}}
}

// declared is the domain of system.yaml that a running one is, or was made of.
func (s *System) declared(name string) *image.Domain {
	of, _, _ := strings.Cut(name, "#")
	i := slices.IndexFunc(s.Image.Domains, func(d image.Domain) bool { return d.Name == of })
	if i < 0 {
		return nil
	}
	return &s.Image.Domains[i]
}

// policyOf is the policy with an ID; nil if there is none.
func (s *System) policyOf(id string) *Policy {
	i := slices.IndexFunc(s.Image.Policies, func(p image.Policy) bool { return p.ID == id })
	if id == "" || i < 0 {
		return nil
	}
	p := s.policy(uint32(i))
	return &p
}

func (s *System) interfaces() (names []string) {
	for _, i := range s.Image.Interfaces {
		names = append(names, i.Name)
	}
	return names
}

// ownAddresses lists what a domain may bind itself.
func ownAddresses(d *image.Domain) (all []string) {
	for _, l := range d.Listen {
		if l.Self {
			all = append(all, l.Address)
		}
	}
	return all
}

func either(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ") + ", and nothing else"
}
