package monitor

import (
	"cmp"
	"slices"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
	"ward/monitor/admin"
)

// What `ward ps` shows of children and delegations.

// everyID is the numbers of all domains and children.
func (m *Monitor) everyID() (ids []abi.DomainID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.everyone() {
		ids = append(ids, d.id)
	}
	return ids
}

// childhood is what a child is beside a domain; nil: d is of the image.
//
// Preconditions: m.mu is held.
func (m *Monitor) childhood(d *domain) *admin.Child {
	if d.kin == nil {
		return nil
	}
	c := &admin.Child{Parent: d.kin.parent.def.Name, Template: m.Image.Domains[d.kin.Template].Name, Adopted: d.kin.Adopted,
		Left: left(d.kin.until), Rights: []string{}}
	for p := d.kin.parent; ; p = p.kin.parent {
		c.Lineage = append(c.Lineage, p.def.Name)
		if p.kin == nil {
			break
		}
	}
	for _, e := range d.kin.rights {
		if !m.isLookup(e) {
			c.Rights = append(c.Rights, entryName(m.Image, e))
		}
	}
	return c
}

// left is the time until a point of CLOCK_BOOTTIME, ns; 0: there is no such
// point. What is over has one left.
func left(until uint64) int64 {
	if until == 0 {
		return 0
	}
	return int64(max(until, event.Now()+1) - event.Now())
}

var inheritNames = map[image.Inherit]string{image.InheritNone: "none", image.InheritListed: "listed", image.InheritAll: "all"}

// offspring is what a domain has of the children that it may have; nil: none.
//
// Preconditions: m.mu is held.
func (m *Monitor) offspring(d *domain) *admin.Offspring {
	may := &d.def.Children
	if may.Number == 0 {
		return nil
	}
	children, descendants := m.family.Counted(d.id)
	q := m.given(d)
	return &admin.Offspring{Children: children, MaxChildren: may.Number, Descendants: descendants, MaxDescendants: may.Tree, Depth: may.Depth,
		Inherit: inheritNames[may.Inherit],
		Given:   admin.Quota{Processes: q.Processes, Memory: q.Memory, CPU: q.CPU, Gates: q.Gates, Messages: q.Messages}}
}

// loansOf are the delegations of and to a domain, by their numbers.
//
// Preconditions: m.mu is held.
func (m *Monitor) loansOf(d *domain) (loans []admin.Loan) {
	for _, l := range m.lent {
		if l.from == d || l.to == d {
			loans = append(loans, admin.Loan{ID: l.id, From: l.from.def.Name, To: l.to.def.Name, Entry: entryName(m.Image, l.entry), Left: left(l.until), Uses: l.uses})
		}
	}
	slices.SortFunc(loans, func(a, b admin.Loan) int { return cmp.Compare(a.ID, b.ID) })
	return loans
}

// childCalls are the entry points that a child may call on its template's
// route: what it was given, and every policy over it permits.
//
// Preconditions: m.mu is held.
func (m *Monitor) childCalls(d *domain, route uint32) (calls []admin.Call) {
	chain, ok := m.chain(m.Image, d, d.kin.levels, route)
	if !ok {
		return nil
	}
	f := &m.Image.Interfaces[m.Image.Routes[route].Interface]
	over := make([]map[string]admin.Call, len(chain.Levels))
	for i, l := range chain.Levels {
		over[i] = map[string]admin.Call{}
		if r := &m.Image.Routes[l.Route]; r.Connect.Allow {
			for _, c := range m.calls(r) {
				over[i][c.Method] = c
			}
		}
	}
	for _, method := range chain.Methods {
		name := f.Name + "/" + f.Methods[method].Name
		call, all := over[0][name]
		for i, l := range chain.Levels[1:] {
			c, permits := over[i+1][name]
			all = all && permits
			call.Under = append(call.Under, admin.Level{Of: m.nameOf(l.Sender, d.kin.levels[i+1].policy), Policies: c.Policies, Forbids: c.Forbids})
		}
		if all {
			calls = append(calls, call)
		}
	}
	return calls
}

// nameOf is the name of a domain or child; of one that has gone, that of what it was made of.
func (m *Monitor) nameOf(id, base abi.DomainID) string {
	if d := m.find(id); d != nil {
		return d.def.Name
	}
	return m.Image.Domains[base].Name
}
