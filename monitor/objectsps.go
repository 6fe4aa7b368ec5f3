package monitor

import (
	"ward/image"
	"ward/monitor/admin"
)

// objectsOf says which objects a domain may make and open, and what memory it
// has. Of what was taken from the policy since it is only what it has.
//
// Preconditions: m.mu is held.
func (m *Monitor) objectsOf(d *domain) []admin.Object {
	type held struct {
		references int
		instances  map[uint32]uint64 // bytes
	}
	has := map[uint32]*held{}
	for _, r := range m.book.References(d.owner()) {
		i := m.book.Instance(r.Instance)
		h := has[i.Object]
		if h == nil {
			h = &held{instances: map[uint32]uint64{}}
			has[i.Object] = h
		}
		h.references++
		h.instances[i.ID] = i.Size
	}
	var list []admin.Object
	for i := range m.Image.Objects {
		o := &m.Image.Objects[i]
		a := admin.Object{Name: o.Name, Kind: "memory"}
		switch {
		case o.Kind == image.ObjectMailbox:
			a.Kind = "mailbox"
		case o.Kind == image.ObjectSecret:
			a.Kind = "secret memory"
		case o.Shared:
			a.Kind = "shared memory"
		}
		right := func(access string, v image.Verdict) {
			if v.Allow {
				a.Rights = append(a.Rights, admin.Right{Access: access, Policy: m.policyID(v.Policy)})
			}
		}
		if d.kin == nil && int(d.id) < len(o.Create) { // children have no objects
			right("create", o.Create[d.id])
			right("read", o.Read[d.id])
			if o.Read[d.id].Allow {
				right("write", o.Write[d.id])
			}
		}
		if h := has[uint32(i)]; h != nil {
			a.Held = h.references
			for _, size := range h.instances {
				a.Bytes += size
			}
		}
		if len(a.Rights) > 0 || a.Held > 0 {
			list = append(list, a)
		}
	}
	return list
}
