package monitor

import (
	"fmt"
	"slices"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
)

// Delegation: a domain lets one of its children, or another domain, call one
// entry point in its name, for a time, and so many times. The filter of such a
// gate is the lender's policy for that entry point and no other; it counts the
// uses and knows the end of the time, and records each use. The server sees the
// lender, as with a call of its own.

// A delegation is one that has not ended.
type delegation struct {
	id       uint32
	from, to *domain
	entry    image.Entry
	until    uint64 // CLOCK_BOOTTIME ns
	uses     uint32 // 0: no limit
	routes   map[uint32]Route
	timer    *time.Timer
	asked    uint32 // Seq of the request for it
	why      string // it is ending; "": it is not
	over     bool   // it is recorded that it has ended
	told     telling
}

// Bounds of delegations.
const (
	maxLent     = 64 // that one domain has given and that have not ended
	maxLifetime = uint64(24 * time.Hour)
	maxUses     = 1000 // filter.MaxUses
)

// answerLend makes a delegation.
func (m *Monitor) answerLend(d *domain, c *abi.Control) {
	ask, err := abi.ParseLend(c.Text)
	if err != nil {
		m.hostile(d, "sent a malformed request for a delegation")
		return
	}
	to := m.byName[ask.To]
	for _, child := range m.children {
		if child.def.Name == ask.To && child.kin.parent == d {
			to = child
		}
	}
	refuse := func(to abi.DomainID, r abi.Reason, policy uint32, text string) {
		e := event.New(event.Lent)
		e.From, e.To, e.Reason, e.Policy, e.Text = d.id, to, r, policy, ask.Entry
		m.Audit.Event(e)
		m.refuse(d, c.Seq, r, policy, text)
	}
	at := abi.DomainID(event.None)
	if to != nil && (to == d || to.def.Template) {
		to = nil
	}
	if to != nil {
		at = to.id
	}
	e, ok := m.entryOf(ask.Entry)
	switch {
	case !ok:
		refuse(at, abi.ReasonUnknownInterface, abi.NoPolicy, fmt.Sprintf("%q is no entry point of this system", ask.Entry))
		return
	case m.onlyMailboxes(e.Interface):
		refuse(at, abi.ReasonUnknownInterface, abi.NoPolicy, ask.Entry+" is of a mailbox: what is posted is posted in one's own name, and cannot be lent")
		return
	case ask.Lifetime == 0 || ask.Lifetime > maxLifetime || ask.Uses > maxUses:
		refuse(at, abi.ReasonQuota, abi.NoPolicy, fmt.Sprintf("a delegation lasts at most %v, and must end, and is for at most %d uses", time.Duration(maxLifetime), maxUses))
		return
	case !m.has(d, e):
		refuse(at, abi.ReasonDefault, abi.NoPolicy, fmt.Sprintf("%s has no right to call %s itself", d.def.Name, ask.Entry))
		return
	}
	// The policy comes first: who may not lend to a domain does not learn whether
	// there is one of that name, or whether it runs.
	v := image.Verdict{Policy: abi.NoPolicy}
	if to != nil {
		v = granting(m.Image, d, to, e)
	}
	switch {
	case !v.Allow && v.Policy != abi.NoPolicy:
		refuse(at, abi.ReasonForbid, v.Policy, m.policyID(v.Policy))
		return
	case !v.Allow:
		refuse(at, abi.ReasonDefault, abi.NoPolicy, fmt.Sprintf("no policy lets %s lend %s to %s", d.def.Name, ask.Entry, ask.To))
		return
	case to.state != stateRunning:
		refuse(at, abi.ReasonNotRunning, abi.NoPolicy, to.def.Name+" does not run")
		return
	}
	if n := m.lentBy(d); n >= maxLent {
		refuse(to.id, abi.ReasonQuota, abi.NoPolicy, fmt.Sprintf("%d delegations of this domain have not ended, which is the limit", n))
		return
	}
	if n := m.lentByFamily(d); n >= kinTimes*maxLent {
		refuse(to.id, abi.ReasonQuota, abi.NoPolicy, fmt.Sprintf("%d delegations of this domain's family have not ended, which is the limit", n))
		return
	}
	m.lastLent++
	l := &delegation{id: m.lastLent, from: d, to: to, entry: e, until: event.Now() + ask.Lifetime, uses: ask.Uses, asked: c.Seq, routes: map[uint32]Route{}}
	m.keepSystem() // its number is not given again
	m.lent[l.id] = l
	m.setTimer(l)
	ev := event.New(event.Lent)
	ev.From, ev.To, ev.Allow, ev.Policy, ev.Count = d.id, to.id, true, v.Policy, uint64(l.id)
	ev.Text = ask.Entry + ", for " + time.Duration(ask.Lifetime).String()
	if l.uses > 0 {
		ev.Text += fmt.Sprintf(", %d times", l.uses)
	}
	l.told.add(ev)
	m.keepTold(&l.told, func() { m.keepLent(l, "") })
	m.keepLent(l, "")
	to.send(&abi.Control{Op: abi.OpLent, Block: l.id, Name: d.def.Name, Text: ask.Entry}) // who does not read its channel does not learn it
	m.answer(d, &abi.Control{Op: abi.OpLent, Seq: c.Seq, Block: l.id})
}

// granting is the decision on whether a domain may lend an entry point to
// another: its own policy, and of a child those over it, too. That a child lends
// to one of its forebears, those need not let themselves do. As with messages, what
// is named of a denial is the level nearest the root.
func granting(img *image.Image, from, to *domain, e image.Entry) (v image.Verdict) {
	levels := from.levelsOf()
	for i := len(levels) - 1; i >= 0; i-- {
		if i > 0 && levels[i].sender == to.id {
			continue
		}
		if v = img.Granting(levels[i].policy, to.base(), e); !v.Allow {
			return v
		}
	}
	return v
}

// lentBy counts the delegations of a domain that have not ended.
func (m *Monitor) lentBy(d *domain) (n int) {
	for _, l := range m.lent {
		if l.from == d {
			n++
		}
	}
	return n
}

// answerTakeBack ends a delegation. When it is answered no message passes by it any more.
func (m *Monitor) answerTakeBack(d *domain, c *abi.Control) {
	l := m.lent[c.Block]
	if l == nil && d.requests.renewed && c.Block <= m.lentBefore {
		m.answer(d, &abi.Control{Op: abi.OpOK, Seq: c.Seq}) // asked again: the monitor before has done it
		return
	}
	if l == nil || l.from != d {
		m.refuse(d, c.Seq, abi.ReasonNotRunning, abi.NoPolicy, "there is no such delegation (any more)")
		return
	}
	id, seq := l.id, c.Seq
	m.work.run(func() {
		m.endLent(id, "it was taken back")
		m.mu.Lock()
		defer m.mu.Unlock()
		if d.state == stateRunning {
			m.answer(d, &abi.Control{Op: abi.OpOK, Seq: seq})
		}
	})
}

// lasts reports whether a delegation has not ended, and does not.
func (m *Monitor) lasts(l *delegation) bool { return m.lent[l.id] == l && l.why == "" }

// answerBorrow opens a gate by a delegation.
func (m *Monitor) answerBorrow(d *domain, c *abi.Control) {
	l := m.lent[c.Block]
	if l == nil || l.to != d || !m.lasts(l) {
		m.refuse(d, c.Seq, abi.ReasonExpired, abi.NoPolicy, "there is no such delegation to this domain (any more)")
		return
	}
	m.request(&opening{client: d, seq: c.Seq, iface: l.entry.Interface, server: c.Name, lent: l, until: time.Now().Add(openWait)})
}

// takeBackAll ends the delegations of and to a domain that has ended.
//
// Preconditions: m.mu is held.
func (m *Monitor) takeBackAll(d *domain) {
	for id, l := range m.lent {
		if l.from == d || l.to == d {
			m.work.run(func() { m.endLent(id, d.def.Name+" has ended") })
		}
	}
}

// endAllLent ends the delegations that are left when the system stops, between
// domains that could not be ended: the others end with these.
func (m *Monitor) endAllLent() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, l := range m.lent {
		if l.why == "" && l.from.state != stateEnded && l.to.state != stateEnded {
			m.work.run(func() { m.endLent(id, "the system stops") })
		}
	}
}

// endLent ends a delegation: first in the kernel, for every gate at once, then
// for those who are told.
func (m *Monitor) endLent(id uint32, why string) {
	m.loader.lock(m.lendersTurn(id)) // nothing of it is being loaded
	defer m.loader.unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lent[id]
	if l == nil {
		return
	}
	m.keepLent(l, why) // what is told and dies here must not come again
	delete(m.lent, id)
	l.stopTimer()
	var changes []Change
	for i, r := range l.routes {
		changes = append(changes, Change{Route: r, Number: i, Dies: true})
	}
	img := m.Image
	if len(changes) > 0 {
		m.mu.Unlock()
		swap, err := m.Fabric.Prepare(img, changes)
		if err == nil {
			_, err = swap.Commit()
		}
		m.mu.Lock()
		if err != nil {
			m.notice(l.from.id, "delegation %d: its gates could not be revoked: %v", l.id, err)
		}
		f := &fate{reason: abi.ReasonExpired, policy: abi.NoPolicy, dies: true}
		for _, r := range l.routes {
			for g := range m.gates {
				if g.loaded == r {
					m.tellEnds(g, f, m.Image)
					m.endOffersAt(g)
				}
			}
			m.stale = append(m.stale, r)
		}
		m.closeStale()
	}
	m.tellLentEnded(l, entryName(m.Image, l.entry), why)
	m.forgetLent(l)
}

// chainOf is what a gate by the delegation is held to.
func (m *Monitor) chainOf(img *image.Image, l *delegation, route uint32) (image.Chain, bool) {
	c, _ := m.chain(img, l.from, l.from.levelsOf(), route)
	if len(c.Levels) != len(l.from.levelsOf()) || l.from.kin != nil && !slices.Contains(l.from.kin.rights, l.entry) {
		return c, false
	}
	c.Client, c.Methods, c.Uses, c.Key, c.Audit = l.to.id, []uint32{l.entry.Method}, l.uses, l.id, true
	if c.Until == 0 || l.until < c.Until {
		c.Until = l.until
	}
	return c, true
}
