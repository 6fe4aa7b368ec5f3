package monitor

import (
	"slices"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
)

// A change of the policy and what domains have made of the policy before: their
// children, and what they have lent. What the new policy would not let them make
// ends with the change: neither a child nor a delegation outlives the right to it.

// overtaken is what ends.
type overtaken struct {
	lent     map[*delegation]image.Verdict // by the new policy
	names    map[*delegation]string        // of entry points, in the old one
	children []*domain
}

// overtakes finds out what ends.
//
// Preconditions: m.mu is held; m.Image is the image before.
func (m *Monitor) overtakes(after *image.Image) overtaken {
	o := overtaken{lent: map[*delegation]image.Verdict{}, names: map[*delegation]string{}}
	for _, l := range m.lent {
		v := granting(after, l.from, l.to, l.entry)
		if !v.Allow || !sameEntry(m.Image, after, l.entry) {
			v.Allow = false
			o.lent[l], o.names[l] = v, entryName(m.Image, l.entry)
		}
	}
	for _, k := range m.family.All() {
		d := m.children[k.ID]
		if d == nil {
			continue
		}
		var over []abi.DomainID // its parent, and so on
		for _, l := range d.kin.levels[1:] {
			over = append(over, l.policy)
		}
		s := after.SpawningOf(over, k.Template)
		before, template := &m.Image.Domains[k.Template], &after.Domains[k.Template]
		if !s.Spawn.Allow || k.Adopted && !s.Adopt.Allow || !template.Start.Allow || len(rebuilt(before, template)) > 0 ||
			slices.ContainsFunc(d.kin.rights, func(e image.Entry) bool { return !sameEntry(m.Image, after, e) }) {
			o.children = append(o.children, d)
		}
	}
	return o
}

// sameEntry reports whether the numbers of an entry point mean the same method.
func sameEntry(before, after *image.Image, e image.Entry) bool {
	if int(e.Interface) >= len(after.Interfaces) || int(e.Method) >= len(after.Interfaces[e.Interface].Methods) {
		return false
	}
	return entryName(before, e) == entryName(after, e)
}

// dies makes what is loaded for these delegations die with the change.
func (o *overtaken) dies(p *plan, loaded []loadedRoute, routes []Route) {
	for l, v := range o.lent {
		for at, r := range routes {
			if l.routes[loaded[at].route] != r {
				continue
			}
			f := fate{at: at, loadedRoute: loaded[at], dies: true, reason: abi.ReasonExpired, policy: abi.NoPolicy}
			if v.Policy != abi.NoPolicy {
				f.reason, f.policy = abi.ReasonForbid, v.Policy
			}
			if i := slices.IndexFunc(p.routes, func(x fate) bool { return x.at == at }); i >= 0 {
				p.routes[i] = f
			} else {
				p.routes = append(p.routes, f)
			}
		}
	}
}

// end ends it, when the new image is in force for the monitor. Filters follow:
// of delegations with the swap, of children they decide by the new policy until
// their ends.
//
// Preconditions: m.mu is held.
func (o *overtaken) end(m *Monitor) {
	for l := range o.lent {
		if m.lent[l.id] != l {
			continue
		}
		m.keepLent(l, "the policy does not allow it any more")
		m.ending = append(m.ending, l)
		delete(m.lent, l.id)
		l.stopTimer()
		m.tellLentEnded(l, o.names[l], "the policy does not allow it any more")
	}
	for _, d := range o.children {
		d.kin.rights, d.kin.overtaken = nil, true
		m.keepLife(d)
		if d.state == stateRunning {
			m.notice(d.id, "child %s is ended: the policy does not allow it any more, or makes it otherwise", d.def.Name)
			m.work.run(func() { m.kill(d) })
		}
	}
}

// tellLentEnded tells both domains, and the audit log, that a delegation has ended.
//
// Preconditions: m.mu is held.
func (m *Monitor) tellLentEnded(l *delegation, entry, why string) {
	for _, d := range []*domain{l.from, l.to} {
		if d.state == stateRunning {
			d.send(&abi.Control{Op: abi.OpLentEnded, Block: l.id, Text: why})
		}
	}
	if l.over {
		return // the monitor before had come to that
	}
	l.over = true
	l.told.add(lentEnded(l.from.id, l.to.id, l.id, entry, why))
	m.keepTold(&l.told, func() { m.keepLent(l, why) })
}

func lentEnded(from, to abi.DomainID, number uint32, entry, why string) event.Event {
	e := event.New(event.LentEnded)
	e.From, e.To, e.Count, e.Text = from, to, uint64(number), entry+": "+why
	return e
}
