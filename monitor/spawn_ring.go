package monitor

import (
	"fmt"

	"ward/abi"
	"ward/image"
)

// inRing is what a child of a template is made of that is asked for in a ring:
// the template, or what the image has of it in that ring, where it was decided
// what such a child may do. No other ring can be had: not a more trusted one, nor
// one that system.yaml does not list. Whether the parent may have the child, and
// that it is no more trusted than the parent, is for the family to decide.
func (m *Monitor) inRing(template abi.DomainID, ring string) (abi.DomainID, bool) {
	d := &m.Image.Domains[template]
	if ring == "" || ring == d.Ring.Name {
		return template, true
	}
	name, _ := image.Ringed(d.Name)
	if of := m.byName[name]; of != nil && m.Image.Domains[of.id].Ring.Name == ring {
		return of.id, true
	}
	if of := m.byName[image.InRing(name, ring)]; of != nil && m.Image.Domains[of.id].Ring.Name == ring {
		return of.id, true
	}
	return template, false
}

// maxRing is how much of the name of a ring that there is not is told, in bytes.
const maxRing = 64

// refuseRing refuses a child in a ring in which there are none. Who may make no
// children of the template is answered as if there were no such template.
func (m *Monitor) refuseRing(d *domain, seq uint32, template abi.DomainID, ring string) {
	t := &m.Image.Domains[template]
	switch v := m.family.Spawning(d.id, template).Spawn; {
	case !v.Allow && v.Policy != abi.NoPolicy:
		m.refuseSpawn(d, seq, template, abi.ReasonForbid, v.Policy, m.policyID(v.Policy))
	case !v.Allow:
		m.refuseSpawn(d, seq, template, abi.ReasonDefault, abi.NoPolicy, noSpawn(d, t.Name, image.ErrChild))
	default:
		m.refuseSpawn(d, seq, template, abi.ReasonDefault, abi.NoPolicy, fmt.Sprintf(
			"children of %s are in its ring, %s, or in one that system.yaml lists for it (`lower_rings`), and not in %q", t.Name, t.Ring.Name, ring[:min(len(ring), maxRing)]))
	}
}
