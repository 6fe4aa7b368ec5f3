package monitor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
)

// Children and delegations of the monitor before this one: who is whose, what
// each may do, and what of it is used up are as they were. What that one had not
// told yet is told.

// kinless makes a child of what was kept of it. What it is beside a domain of
// the image is known when all lives are (kindred).
func (r *restoring) kinless(l *lifeRecord, ring uint32) (*domain, error) {
	levels, rights, ok := decodeLevels(l.Kin.Chain)
	if !ok {
		return nil, errors.New("malformed")
	}
	k, err := r.m.family.Again(l.Kin.Line, l.Kin.Root, l.Kin.Adopted)
	if k == nil {
		return nil, err
	}
	d := &domain{id: k.ID, def: k.Def, serving: map[uint32]bool{}, served: map[uint32]bool{}, life: life{ringID: ring, ready: make(chan struct{})}}
	d.kin = &kin{Kin: k, levels: levels, rights: rights, until: l.Kin.Until, asked: l.Kin.Asked, told: l.Kin.Told, overtaken: l.Kin.Overtaken || err != nil, doomed: l.Kin.Doomed, routes: map[uint32]Route{}}
	if err != nil { // the policy was changed, and the monitor before had not come to end it
		d.kin.rights = nil
	}
	r.parents[d] = l.Kin.Parent
	return d, nil
}

// kindred makes the family of the children that there are.
func (r *restoring) kindred() error {
	m := r.m
	var all []*domain
	for _, d := range r.lives {
		if d.kin != nil {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b *domain) int { return cmp.Compare(a.ringID, b.ringID) })
	for _, d := range all {
		if d.kin.parent = r.lives[r.parents[d]]; d.kin.parent == nil || d.kin.parent.id != d.kin.Parent {
			d.kin.parent = r.departed(d)
		}
		m.kinBack = append(m.kinBack, d)
		if d.state != stateRunning {
			continue
		}
		if err := m.family.Take(d.kin.Kin); err != nil {
			return fmt.Errorf("child %s: %w", d.def.Name, err)
		}
		m.children[d.id] = d
	}
	return nil
}

// departed stands for a parent that has ended, of which nothing is kept.
func (r *restoring) departed(d *domain) *domain {
	k := d.kin.Kin
	p := newDomain(r.m.Image, k.Lineage[len(k.Lineage)-1])
	p.state, p.ringID = stateEnded, 0
	if len(k.Line) > 1 {
		p.kin = &kin{Kin: &image.Kin{ID: k.Parent, Template: k.Line[1].Template}, routes: map[uint32]Route{}}
	}
	p.id = k.Parent
	return p
}

func (r *restoring) lent(name string, k *Kept) error {
	var rec lentRecord
	if err := json.Unmarshal(k.Value, &rec); err != nil {
		return err
	}
	id, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		return err
	}
	m := r.m
	l := &delegation{id: uint32(id), from: r.lives[rec.From], to: r.lives[rec.To], entry: rec.Entry, until: rec.Until, uses: rec.Uses, asked: rec.Asked, why: rec.Why, over: rec.Over, routes: map[uint32]Route{}}
	m.lastLent = max(m.lastLent, l.id)
	m.tellLater(rec.Told)
	if l.from == nil || l.to == nil || int(l.entry.Interface) >= len(m.Image.Interfaces) || int(l.entry.Method) >= len(m.Image.Interfaces[l.entry.Interface].Methods) {
		m.whenTold = append(m.whenTold, func() { m.lentIsOver(keptLent+name, l.id, &rec) })
		return nil
	}
	if l.why == "" && (l.from.state != stateRunning || l.to.state != stateRunning) {
		l.why = endedOfTwo
	}
	m.lent[l.id] = l
	return nil
}

// lentIsOver is for a delegation of which one of the two has ended; its gates are not taken over.
//
// Preconditions: m.mu is held.
func (m *Monitor) lentIsOver(name string, number uint32, rec *lentRecord) {
	if !rec.Over && len(rec.Between) == 2 && int(rec.Entry.Interface) < len(m.Image.Interfaces) && int(rec.Entry.Method) < len(m.Image.Interfaces[rec.Entry.Interface].Methods) {
		rec.Over = true
		t := telling{lentEnded(rec.Between[0], rec.Between[1], number, entryName(m.Image, rec.Entry), cmp.Or(rec.Why, endedOfTwo))}
		m.keepTold(&t, func() {
			rec.Told = t.kept()
			m.put(name, rec)
		})
	}
	m.drop(name)
}

// endedOfTwo is why a delegation ends with one of its domains, if it is not known which.
const endedOfTwo = "one of the two has ended"

// resumeKin goes on with children and delegations. Who asked for one and was
// not told before the monitor before this one died is told now, and is not
// heard again on it.
//
// Preconditions: m.mu is held; nobody was told to ask again yet.
func (m *Monitor) resumeKin(ctx context.Context) {
	for _, d := range m.kinBack {
		switch parent := d.kin.parent; d.state {
		case stateWaiting, stateStarting:
			// What there is of it is ended; its parent asks again.
			if u, ok := m.Creator.(Undoer); ok {
				u.Undo(ctx, d.id) // an error: the creator has died, and the next one clears up
			}
			d.closeFiles()
			d.state = stateEnded
			m.dropLife(d)
		case stateRunning:
			if parent.state == stateRunning {
				parent.requests.again(d.kin.asked)
				parent.send(&abi.Control{Op: abi.OpChild, Seq: d.kin.asked, Block: uint32(d.id), Name: d.def.Name}) // as in answer, if it waits
			}
			if d.endpoint != nil {
				d.send(&abi.Control{Op: abi.OpHello, Name: d.def.Name, System: m.Image.Name}, d.endpoint.Page())
			}
			if d.notify != nil {
				if f, err := pollableFile(d.notify); err == nil {
					d.notify = f
					go m.hearNotify(d, f)
				}
			}
		case stateEnded:
			m.tellParent(d)
		}
	}
	for _, l := range m.lent {
		if l.from.state == stateRunning {
			l.from.requests.again(l.asked)
			l.from.send(&abi.Control{Op: abi.OpLent, Seq: l.asked, Block: l.id})
		}
		if l.why != "" {
			id, why := l.id, l.why
			m.work.run(func() { m.endLent(id, why) })
			continue
		}
		l.to.send(&abi.Control{Op: abi.OpLent, Block: l.id, Name: l.from.def.Name, Text: entryName(m.Image, l.entry)}) // one that knows it does not mind
		m.setTimer(l)
	}
	m.lentBefore = m.lastLent
}

// resumeChildren listens to the children again, when all that is older than
// their requests is in order.
//
// Preconditions: m.mu is held.
func (m *Monitor) resumeChildren() {
	for _, d := range m.kinBack {
		switch {
		case d.state == stateEnded:
			m.retire(d)
			if d.endpoint == nil {
				m.dropLife(d)
			}
		case d.exit != nil:
			m.ended(d)
		default:
			m.renew(d)
			if d.kin.overtaken || d.kin.doomed || d.hostile || d.kin.parent.state != stateRunning && !d.kin.Adopted {
				m.work.run(func() { m.kill(d) })
			}
			go m.listen(d)
		}
	}
	m.kinBack = nil
}

// setTimer ends a delegation when its time is over.
func (m *Monitor) setTimer(l *delegation) {
	left := time.Duration(0)
	if now := event.Now(); l.until > now {
		left = time.Duration(l.until - now)
	}
	l.timer = m.work.after(left, func() { m.endLent(l.id, "its time is over") })
}

// stopTimer ends that.
func (l *delegation) stopTimer() {
	if l.timer != nil { // else it ends already
		l.timer.Stop()
	}
}
