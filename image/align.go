package image

import (
	"fmt"
	"slices"

	"ward/abi"
)

// Align returns fresh, a new compilation of the system of running, with the
// numbers of running: a domain, interface, policy, route, user or group that
// both have keeps its index, what is new comes after, and what is gone keeps
// its place as a remnant with which nothing is allowed. So numbers that are in
// use, in filters that run, on verdict pages, in records that nobody has read
// yet, mean the same in both images, and user IDs of domains do not move.
//
// A remnant of a domain has its name and may not start, and its time of grace, because
// it may run still; of an interface, no method; of a route, no rule. The result of aligning an image with itself is
// that image. Neither argument is changed, but the result shares memory with fresh.
//
// It is an error if a state that both have lies elsewhere or has other values:
// the words of the running system could not be kept. So is a new state in the
// place of one that is gone, and an object that would become another.
//
// Preconditions: both pass Check.
func Align(running, fresh *Image) (*Image, error) {
	if running.Name != fresh.Name {
		return nil, fmt.Errorf("this is the system %q, and %q is running", fresh.Name, running.Name)
	}
	a := aligner{old: running, new: fresh, out: new(Image)}
	*a.out = *fresh
	a.domains()
	a.interfaces()
	a.policies()
	a.out.Users, a.users = merge(running.Users, fresh.Users)
	a.out.Groups, a.groups = merge(running.Groups, fresh.Groups)
	a.cells()
	a.renumber()
	a.children()
	a.objects()
	a.remnants()
	if err := a.out.sameObjects(running); err != nil {
		return nil, err
	}
	if err := a.out.Check(); err != nil {
		return nil, fmt.Errorf("the new policy does not fit beside the running one, start the system again: %w", err)
	}
	return a.out, a.states()
}

// An aligner maps the indexes of one image to those of the result.
type aligner struct {
	old, new, out *Image

	domain, iface, policy, users, groups []uint32 // by index in new
}

// merge returns all of before, then what only after has, and where each of after is.
func merge(before, after []string) (all []string, at []uint32) {
	all = slices.Clone(before)
	for _, s := range after {
		i := slices.Index(all, s)
		if i < 0 {
			i = len(all)
			all = append(all, s)
		}
		at = append(at, uint32(i))
	}
	return all, at
}

func (a *aligner) domains() {
	var before, after []string
	for i := range a.old.Domains {
		before = append(before, a.old.Domains[i].Name)
	}
	for i := range a.new.Domains {
		after = append(after, a.new.Domains[i].Name)
	}
	var all []string
	all, a.domain = merge(before, after)
	a.out.Domains = make([]Domain, len(all))
	for i := range a.old.Domains {
		d := &a.old.Domains[i]
		a.out.Domains[i] = Domain{Name: d.Name, Program: d.Program, Ring: d.Ring, Grace: d.Grace, Start: Verdict{Policy: abi.NoPolicy}}
	}
	for i := range a.new.Domains {
		a.out.Domains[a.domain[i]] = a.new.Domains[i]
	}
}

func (a *aligner) interfaces() {
	var before, after []string
	for i := range a.old.Interfaces {
		before = append(before, a.old.Interfaces[i].Name)
	}
	for i := range a.new.Interfaces {
		after = append(after, a.new.Interfaces[i].Name)
	}
	var all []string
	all, a.iface = merge(before, after)
	a.out.Interfaces = make([]Interface, len(all))
	for i, name := range all {
		a.out.Interfaces[i].Name = name
	}
	for i := range a.new.Interfaces {
		a.out.Interfaces[a.iface[i]] = a.new.Interfaces[i]
	}
}

// policies keeps the policies with the same ID and effect in place. Where they
// stand in the sources may have changed.
func (a *aligner) policies() {
	type key struct {
		id     string
		forbid bool
	}
	at := map[key]uint32{}
	a.out.Policies = slices.Clone(a.old.Policies)
	for i, p := range a.old.Policies {
		at[key{p.ID, p.Forbid}] = uint32(i)
	}
	for _, p := range a.new.Policies {
		i, ok := at[key{p.ID, p.Forbid}]
		if !ok {
			i = uint32(len(a.out.Policies))
			at[key{p.ID, p.Forbid}] = i
			a.out.Policies = append(a.out.Policies, p)
		}
		a.out.Policies[i] = p
		a.policy = append(a.policy, i)
	}
}

func (a *aligner) cells() {
	a.out.Cells = slices.Clone(a.new.Cells)
	for i := range a.out.Cells {
		if c := &a.out.Cells[i]; c.Domain != abi.NoDomain {
			c.Domain = a.domainOf(c.Domain)
		}
	}
	a.out.Words = max(a.old.Words, a.new.Words)
	a.out.Reload = a.decision(a.new.Reload)
	a.out.States = slices.Clone(a.new.States)
	for i := range a.out.States {
		s := &a.out.States[i]
		s.Set = slices.Clone(s.Set)
		for v := range s.Set {
			s.Set[v] = a.decision(s.Set[v])
		}
	}
}

// states reports a state whose cell does not stand where the running one does,
// and a new one that stands where another of the running image does: a message
// that is judged by the old policy after the new state got its first value, and
// before the filters are swapped, would give it another one.
func (a *aligner) states() error {
	type instance struct {
		name   string
		domain abi.DomainID
	}
	cells := map[instance]*Cell{}
	for i := range a.old.Cells {
		c := &a.old.Cells[i]
		cells[instance{a.old.States[c.State].Name, c.Domain}] = c
	}
	for i := range a.out.Cells {
		c := &a.out.Cells[i]
		s := &a.out.States[c.State]
		was := cells[instance{s.Name, c.Domain}]
		if was == nil {
			if other := a.occupied(c); other != "" {
				return fmt.Errorf("state %s would take the place in memory of state %s, which filters may change until the new policy is in force: take the old one away first, and add the new one in another reload", s.Name, other)
			}
			continue
		}
		before := a.old.States[was.State].Values
		if len(s.Values) < len(before) || !slices.Equal(s.Values[:len(before)], before) {
			return fmt.Errorf("state %s: its values may only get more while the system runs, at the end of the list: they were %q and are %q; start the system again to change them", s.Name, before, s.Values)
		}
		if c.Word != was.Word || c.Shift != was.Shift || c.Bits != was.Bits {
			return fmt.Errorf("state %s cannot keep its place in memory, and so not its value, beside what is new: start the system again", s.Name)
		}
	}
	return nil
}

// occupied returns the name of a state of the running image that has bits of c.
func (a *aligner) occupied(c *Cell) string {
	for i := range a.old.Cells {
		if o := &a.old.Cells[i]; o.Word == c.Word && o.Mask()&c.Mask() != 0 {
			return a.old.States[o.State].Name
		}
	}
	return ""
}

func (a *aligner) domainOf(d abi.DomainID) abi.DomainID {
	if d == abi.NoDomain {
		return d
	}
	return abi.DomainID(a.domain[d])
}

func (a *aligner) verdict(v Verdict) Verdict {
	if v.Policy != abi.NoPolicy {
		v.Policy = a.policy[v.Policy]
	}
	return v
}

// renumber writes the new numbers into domains and routes.
func (a *aligner) renumber() {
	for _, i := range a.domain {
		d := &a.out.Domains[i]
		d.Start = a.verdict(d.Start)
		d.Files, d.Exports = slices.Clone(d.Files), slices.Clone(d.Exports)
		for i := range d.Files {
			d.Files[i].Verdict = a.verdict(d.Files[i].Verdict)
		}
		for i := range d.Exports {
			e := &d.Exports[i]
			e.Interface, e.Publish = a.iface[e.Interface], a.verdict(e.Publish)
		}
	}
	at := map[routeKey]int{}
	a.out.Routes = make([]Route, len(a.old.Routes))
	for i := range a.old.Routes {
		r := &a.old.Routes[i]
		at[keyOf(r)] = i
		methods := len(a.out.Interfaces[r.Interface].Methods)
		a.out.Routes[i] = Route{Client: r.Client, Server: r.Server, Interface: r.Interface, Connect: Verdict{Policy: abi.NoPolicy},
			Lookup: Verdict{Policy: abi.NoPolicy}, Methods: make([]MethodPolicy, methods)}
	}
	for i := range a.new.Routes {
		r := a.new.Routes[i]
		r.Client, r.Server, r.Interface = a.domainOf(r.Client), a.domainOf(r.Server), a.iface[r.Interface]
		r.Connect, r.Lookup, r.ConnectUser = a.verdict(r.Connect), a.verdict(r.Lookup), a.decision(r.ConnectUser)
		r.Methods = slices.Clone(r.Methods)
		for m := range r.Methods {
			p := &r.Methods[m]
			p.Request, p.Reply = a.decision(p.Request), a.decision(p.Reply)
		}
		if j, ok := at[keyOf(&r)]; ok {
			a.out.Routes[j] = r
		} else {
			a.out.Routes = append(a.out.Routes, r)
		}
	}
}

type routeKey struct {
	client, server abi.DomainID
	iface          uint32
}

func keyOf(r *Route) routeKey { return routeKey{r.Client, r.Server, r.Interface} }

func (a *aligner) decision(d Decision) Decision {
	return Decision{Forbid: a.rules(d.Forbid), Permit: a.rules(d.Permit), Silent: d.Silent}
}

// rules renumbers rules. They stay in the order in which they are tried.
func (a *aligner) rules(rules []Rule) []Rule {
	rules = slices.Clone(rules)
	for i := range rules {
		rules[i].Policy = a.policy[rules[i].Policy]
		a.atoms(&rules[i].When)
	}
	return rules
}

// atoms renumbers users and groups in a condition, in a copy of it.
func (a *aligner) atoms(e *Expr) {
	switch e.Op {
	case User:
		e.Atom = a.users[e.Atom]
	case Group:
		e.Atom = a.groups[e.Atom]
	}
	e.Args = slices.Clone(e.Args)
	for i := range e.Args {
		a.atoms(&e.Args[i])
	}
}

// remnants lets the servers of routes that are gone export their interfaces
// still, without the right to publish them: a route of what nobody exports is
// none.
func (a *aligner) remnants() {
	for i := range a.out.Routes {
		r := &a.out.Routes[i]
		d := &a.out.Domains[r.Server]
		if !slices.ContainsFunc(d.Exports, func(e Export) bool { return e.Interface == r.Interface }) {
			d.Exports = append(d.Exports, Export{Interface: r.Interface, Publish: Verdict{Policy: abi.NoPolicy}})
		}
	}
}

// Aligned reports whether img has the numbers of running: the names of all its
// domains, interfaces, policies, users, groups and objects, and its routes, in their places.
func (img *Image) Aligned(running *Image) bool {
	if img.Name != running.Name || len(img.Domains) < len(running.Domains) || len(img.Interfaces) < len(running.Interfaces) ||
		len(img.Policies) < len(running.Policies) || len(img.Routes) < len(running.Routes) || img.Words < running.Words ||
		len(img.Objects) < len(running.Objects) ||
		len(img.Users) < len(running.Users) || !slices.Equal(img.Users[:len(running.Users)], running.Users) ||
		len(img.Groups) < len(running.Groups) || !slices.Equal(img.Groups[:len(running.Groups)], running.Groups) {
		return false
	}
	for i := range running.Domains {
		if img.Domains[i].Name != running.Domains[i].Name {
			return false
		}
	}
	for i := range running.Interfaces {
		if img.Interfaces[i].Name != running.Interfaces[i].Name {
			return false
		}
	}
	for i, p := range running.Policies {
		if img.Policies[i].ID != p.ID || img.Policies[i].Forbid != p.Forbid {
			return false
		}
	}
	for i := range running.Routes {
		if keyOf(&img.Routes[i]) != keyOf(&running.Routes[i]) {
			return false
		}
	}
	for i := range running.Objects {
		if img.Objects[i].Name != running.Objects[i].Name {
			return false
		}
	}
	a := aligner{old: running, out: img}
	return a.states() == nil && img.sameObjects(running) == nil
}
