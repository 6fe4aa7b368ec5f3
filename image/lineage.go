package image

import "ward/abi"

// Rights only shrink on the way from parent to child, and the right to make
// children is one: what a child may make, and whether that may outlive it, is
// its template's policy and its parent's and so on up the tree, as with messages.

// bases are the domains of the image by whose policies a domain is judged: of a
// child its template, its parent's template, and so on; the last is the one
// from which all of them come. Forebears that have ended count.
func (f *Family) bases(id abi.DomainID) []abi.DomainID {
	k := f.kin[id]
	if k == nil {
		return []abi.DomainID{id}
	}
	var all []abi.DomainID
	for _, b := range k.Line {
		all = append(all, b.Template)
	}
	return append(all, k.Lineage[len(k.Lineage)-1])
}

// Spawning returns the decision on children of a template for a domain or child.
func (f *Family) Spawning(parent, template abi.DomainID) Spawn {
	return f.img.SpawningOf(f.bases(parent), template)
}

// SpawningOf returns the decision on children of a template for a domain that
// is judged by the policies of bases, the nearest first. As with messages, what
// is named of a denial is the level nearest the root; of a permit, the lowest.
func (img *Image) SpawningOf(bases []abi.DomainID, template abi.DomainID) Spawn {
	if len(bases) == 0 {
		return Spawn{Template: template, Spawn: Verdict{Policy: abi.NoPolicy}, Adopt: Verdict{Policy: abi.NoPolicy}}
	}
	all := *img.Spawning(bases[len(bases)-1], template)
	for i := len(bases) - 2; i >= 0; i-- {
		s := img.Spawning(bases[i], template)
		all.Parent = s.Parent
		if all.Spawn.Allow {
			all.Spawn = s.Spawn
		}
		if all.Adopt.Allow {
			all.Adopt = s.Adopt
		}
	}
	return all
}

// Makers returns the domains that are started with the system and may make
// children of each template, by the policies, rings and roots; what `children`
// and quotas say is not looked at. Whatever is above a child of the template,
// one of them is at the root of it, as all above must be permitted to make what
// any of them makes; so a child that one of them makes itself may all that a
// child of the template ever may.
//
// Preconditions: img.Check() == nil.
func (img *Image) Makers() map[abi.DomainID][]abi.DomainID {
	makers := map[abi.DomainID][]abi.DomainID{}
	for i := range img.Spawns {
		s := &img.Spawns[i]
		d, t := &img.Domains[s.Parent], &img.Domains[s.Template]
		if s.Spawn.Allow && d.Start.Allow && !d.Template && !d.Names && t.Template && t.Start.Allow && t.Ring.Level >= d.Ring.Level && (d.Host || !t.Host) {
			makers[s.Template] = append(makers[s.Template], s.Parent)
		}
	}
	return makers
}
