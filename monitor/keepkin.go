package monitor

import (
	"ward/abi"
	"ward/image"
)

// What is kept of children and delegations, beside what is kept of a domain
// (keep.go). A child is kept before the creator is asked for it, and until its
// parent was told of its end and its last gate is closed; a delegation before
// anybody is told of it, and until both were told of its end.

const keptLent = "lent " // by number

// A kinRecord is what a child is beside a domain.
type kinRecord struct {
	Root      abi.DomainID
	Line      []image.Birth
	Adopted   bool
	Parent    uint32   // ring
	Chain     []uint32 // encodeLevels
	Until     uint64
	Asked     uint32
	Told      bool
	Overtaken bool
	Doomed    bool
}

// A lentRecord is a delegation.
type lentRecord struct {
	From, To uint32 // rings
	Entry    image.Entry
	Until    uint64
	Uses     uint32
	Asked    uint32
	Why      string         // it is ending
	Between  []abi.DomainID // From and To, of which nothing may be kept any more
	Over     bool
	Told     [][]byte `json:",omitempty"` // events (tell.go)
}

// kinOf is what is kept of a child; nil: d is of the image.
func (d *domain) kinOf() *kinRecord {
	k := d.kin
	if k == nil {
		return nil
	}
	return &kinRecord{Root: k.Lineage[len(k.Lineage)-1], Line: k.Line, Adopted: k.Adopted, Parent: k.parent.ringID, Chain: encodeLevels(k.levels, k.rights),
		Until: k.until, Asked: k.asked, Told: k.told, Overtaken: k.overtaken, Doomed: k.doomed}
}

// decodeLevels reads what encodeLevels made.
func decodeLevels(list []uint32) (levels []level, rights []image.Entry, ok bool) {
	if len(list) == 0 || list[0] == 0 || uint64(len(list)) < 1+2*uint64(list[0]) || len(list)%2 == 0 {
		return nil, nil, false
	}
	n := int(list[0])
	for i := range n {
		levels = append(levels, level{abi.DomainID(list[1+2*i]), abi.DomainID(list[2+2*i])})
	}
	for rest := list[1+2*n:]; len(rest) > 0; rest = rest[2:] {
		rights = append(rights, image.Entry{Interface: rest[0], Method: rest[1]})
	}
	return levels, rights, true
}

// keepLent keeps a delegation. why says that it is ending; "": it is not.
//
// Preconditions: m.mu is held.
func (m *Monitor) keepLent(l *delegation, why string) {
	l.why = why
	m.put(key(keptLent, l.id), lentRecord{From: l.from.ringID, To: l.to.ringID, Entry: l.entry, Until: l.until, Uses: l.uses, Asked: l.asked, Why: why,
		Between: []abi.DomainID{l.from.id, l.to.id}, Over: l.over, Told: l.told.kept()})
}

// forgetLent is the end of that.
func (m *Monitor) forgetLent(l *delegation) { m.drop(key(keptLent, l.id)) }

// keepChained keeps a loaded route of a child or of a delegation.
//
// Preconditions: m.mu is held.
func (m *Monitor) keepChained(o *opening, route uint32, r Route, server *domain, stale bool) {
	lent := uint32(0)
	if o.lent != nil {
		lent = o.lent.id
	}
	m.keepLoaded(r, routeRecord{Image: route, Client: o.client.ringID, Server: server.ringID, Lent: lent, Stale: stale})
}

// keepChains keeps what a change of the policy has done to routes of children
// and delegations, and to these.
//
// Preconditions: m.mu is held.
func (m *Monitor) keepChains() {
	for _, d := range m.children {
		m.keepLife(d)
	}
	for _, o := range m.borrowers() {
		for i, r := range o.chained() {
			m.keepChained(o, i, r, m.domains[m.Image.Routes[i].Server], false)
		}
	}
	for g := range m.gates {
		if !g.chained {
			continue
		}
		o := &opening{client: g.client, lent: m.lentOf(g)}
		if o.chained()[g.route] != g.loaded { // it dies with its last gate
			m.keepChained(&opening{client: g.client}, g.route, g.loaded, g.server, true)
		}
		m.keepGate(g)
	}
	for _, l := range m.ending {
		m.forgetLent(l)
	}
	m.ending = nil
}

// lentOf finds the delegation by which a gate was opened; nil: none, or it has ended.
func (m *Monitor) lentOf(g *gate) *delegation {
	for _, l := range m.lent {
		if l.routes[g.route] == g.loaded {
			return l
		}
	}
	return nil
}

// closeFiles closes what is left of a start that is taken back.
func (d *domain) closeFiles() {
	if d.control != nil {
		d.control.Close()
		d.control = nil
	}
	d.kept.close()
	if d.notify != nil {
		d.notify.Close()
		d.notify = nil
	}
}
