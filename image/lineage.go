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
