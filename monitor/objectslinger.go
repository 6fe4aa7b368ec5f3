package monitor

import (
	"errors"
	"fmt"
	"slices"

	"ward/audit/event"
	"ward/objects"
)

// An instance that nobody has a reference to lingers while somebody has it open or
// mapped, which no reference says: else a domain that keeps mappings and drops
// references would have memory made for it without end, whatever the count of the
// object is, and keep pages charged to who gave them to it. It counts, and the
// monitor and the holder keep its descriptor, until the kernel says that nobody
// has it.

// lookMost is how many lingering instances a request makes the monitor look at,
// of each kind: each costs some 3 µs. Others wait for the next request or sweep.
const lookMost = 32

// endInstance ends an instance that nobody refers to any more, now or once nobody
// has it open. 0: there is none.
//
// Preconditions: m.mu is held; the book says that it is unused.
func (m *Monitor) endInstance(id uint32) {
	if id == 0 || m.book.Instance(id) == nil {
		return
	}
	if m.book.Instance(id).Secret { // its maker has ended, or has not got it
		m.closeInstance(id)
		return
	}
	if m.inUse(id) {
		m.book.lingering = append(m.book.lingering, id)
		return
	}
	m.closeInstance(id)
}

func (m *Monitor) closeInstance(id uint32) {
	m.book.Abandon(id)
	if f := m.book.memory[id]; f != nil {
		f.Close()
		delete(m.book.memory, id)
	}
	m.drop(key(keptInstance, id))
}

// inUse reports whether somebody has an instance open. What cannot be known counts
// as yes: the bound holds, and it is said once why.
func (m *Monitor) inUse(id uint32) bool {
	f := m.book.memory[id]
	if f == nil {
		return false
	}
	used, err := m.Memories.InUse(f)
	if err != nil && !m.book.blind {
		m.book.blind = true
		m.notice(event.None, "memory that is closed goes on counting, because it cannot be known whether somebody has it mapped: %v", err)
	}
	return used || err != nil
}

// mayMake is Store.CanMake after another look at what lingers.
func (m *Monitor) mayMake(d *domain, object, count uint32) error {
	if err := m.mayRefer(d); err != nil {
		return err
	}
	err := m.book.CanMake(d.owner(), object, count)
	if err == nil {
		return err
	}
	if m.lookAtUnused(lookMost, func(i *objects.Instance) bool { return i.Object == object }) {
		if err = m.book.CanMake(d.owner(), object, count); err == nil {
			return nil
		}
	}
	if m.lookAtUnused(lookMost, func(i *objects.Instance) bool { return i.Object != object }) { // there may be too many of all
		err = m.book.CanMake(d.owner(), object, count)
	}
	return m.tellLingering(err, object)
}

// tellLingering adds to a refusal how many instances of the object nobody sees
// among what domains have.
func (m *Monitor) tellLingering(err error, object uint32) error {
	var r *objects.Refusal
	n := 0
	for _, id := range m.book.lingering {
		if m.book.Instance(id).Object == object {
			n++
		}
	}
	if n == 0 || !errors.As(err, &r) {
		return err
	}
	return &objects.Refusal{Reason: r.Reason, Text: fmt.Sprintf("%s (%d of %s are kept open or mapped without a reference)", r.Text, n, m.Image.Objects[object].Name)}
}

// lookAtUnused looks at lingering instances, at most so many, those that were not looked
// at for longest first, until one has ended, and reports whether one has.
//
// Preconditions: m.mu is held.
func (m *Monitor) lookAtUnused(most int, which func(*objects.Instance) bool) bool {
	list := m.book.lingering
	for k := 0; k < len(list) && most > 0; k++ {
		id := list[k]
		if !which(m.book.Instance(id)) {
			continue
		}
		most--
		list = slices.Delete(list, k, k+1)
		if !m.inUse(id) {
			m.book.lingering = list
			m.closeInstance(id)
			return true
		}
		list = append(list, id)
		k--
	}
	m.book.lingering = list
	return false
}

// endUnopened ends the instances that nobody has open any more. It gives m.mu up
// now and then.
//
// Preconditions: m.mu is held.
func (m *Monitor) endUnopened() {
	for left := len(m.book.lingering); left > 0; {
		n := min(left, lookMost, len(m.book.lingering))
		if n == 0 {
			return
		}
		some := slices.Clone(m.book.lingering[:n])
		m.book.lingering = slices.Delete(m.book.lingering, 0, n)
		for _, id := range some {
			m.endInstance(id)
		}
		left -= n
		m.mu.Unlock()
		m.mu.Lock()
	}
}
