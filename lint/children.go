package lint

import (
	"fmt"
	"slices"
	"strings"

	"ward/abi"
	"ward/diag"
	"ward/image"
	"ward/policy"
)

// ParentMayNot is of a template that is let make, let outlive it, or lend what
// nobody above a child of it may: rights only shrink down the tree.
const ParentMayNot = "parent-may-not"

// A made is a right of a template by a policy.
type made struct {
	template abi.DomainID
	policy   uint32
	verb     string // what its children are let do
}

// A loan is what may be lent.
type loan struct {
	from, to abi.DomainID
	entry    image.Entry
}

// children finds permits for templates that never take effect: none of the
// domains at the root of which a child of the template may be is permitted the same.
func (f *finder) children() {
	k := kin{img: f.Image, makers: inAllRings(f.Image), spawns: map[[2]abi.DomainID]*image.Spawn{}, loans: map[loan]bool{}, objects: map[made][]string{}}
	spawns := anyRing(f.Image)
	for i := range spawns {
		k.spawns[[2]abi.DomainID{spawns[i].Parent, spawns[i].Template}] = &spawns[i]
	}
	for i := range f.Image.Grants {
		g := &f.Image.Grants[i]
		k.loans[loan{g.From, g.To, g.Entry}] = g.Verdict.Allow
	}
	for i := range spawns {
		k.spawn(&spawns[i])
	}
	for i := range f.Image.Grants {
		k.lend(&f.Image.Grants[i])
	}
	for _, m := range k.order {
		id, name := f.Image.Policies[m.policy].ID, f.Image.Domains[m.template].Name
		what := fmt.Sprintf("permit %q lets children of %s %s %s", id, name, m.verb, few(k.objects[m]))
		var above []string
		for _, d := range k.makers[m.template] {
			above = append(above, f.Image.Domains[d].Name)
		}
		written := slices.IndexFunc(f.Policies, func(p policy.Outline) bool { return p.ID == id })
		switch {
		case len(above) > 0:
			f.out.Warnf(f.posOf(written, name), fmt.Sprintf("permit it to %s, too, or remove it: what a child may, all above it must", strings.Join(above, " or ")),
				"%s, which nobody who may make them may: %s", what, few(above))
		case written < 0 || !f.Policies[written].Principal:
			continue // it is not about this template
		default:
			f.out.Warnf(f.posOf(written, name), fmt.Sprintf("permit a domain to make children of %s (ward::Action::\"spawn\"), or remove it", name),
				"%s, but nobody may make children of %s", what, name)
		}
		f.out.Tag(ParentMayNot, name)
	}
}

// inAllRings are who may make children of each template in any ring: what its
// children may in another ring is said of the template.
func inAllRings(img *image.Image) map[abi.DomainID][]abi.DomainID {
	makers := img.Makers()
	for i := range img.Domains {
		at := plain(img, abi.DomainID(i))
		for _, d := range makers[abi.DomainID(i)] {
			if !slices.Contains(makers[at], d) {
				makers[at] = append(makers[at], d)
			}
		}
	}
	return makers
}

// anyRing are the decisions on who makes what, whatever its ring: it may if it
// may in one.
func anyRing(img *image.Image) (all []image.Spawn) {
	at := map[[2]abi.DomainID]int{}
	for _, s := range img.Spawns {
		s.Template = plain(img, s.Template)
		key := [2]abi.DomainID{s.Parent, s.Template}
		i, twice := at[key]
		if !twice {
			i = len(all)
			at[key], all = i, append(all, s)
		}
		if !all[i].Spawn.Allow {
			all[i].Spawn = s.Spawn
		}
		if !all[i].Adopt.Allow {
			all[i].Adopt = s.Adopt
		}
	}
	return all
}

// plain is the domain that another one is in a ring of.
func plain(img *image.Image, d abi.DomainID) abi.DomainID {
	if of, ring := image.Ringed(img.Domains[d].Name); ring != "" {
		d = abi.DomainID(slices.IndexFunc(img.Domains, func(d image.Domain) bool { return d.Name == of }))
	}
	return d
}

// posOf is where a policy stands; of one that people did not write (-1), the template's place.
func (f *finder) posOf(written int, template string) (pos diag.Pos) {
	if written >= 0 {
		return f.Policies[written].Pos
	}
	for _, d := range f.System.System.Domains {
		if d.Name.Value == template {
			pos = d.Name.Pos
		}
	}
	return pos
}

// kin collects the rights of templates that have no effect.
type kin struct {
	img     *image.Image
	makers  map[abi.DomainID][]abi.DomainID
	spawns  map[[2]abi.DomainID]*image.Spawn // by parent and template
	loans   map[loan]bool
	order   []made
	objects map[made][]string // to what
}

func (k *kin) spawn(s *image.Spawn) {
	if !s.Spawn.Allow {
		return
	}
	name := k.img.Domains[s.Template].Name
	above := func(d abi.DomainID) image.Spawn {
		if x := k.spawns[[2]abi.DomainID{d, s.Template}]; x != nil {
			return *x
		}
		return image.Spawn{}
	}
	if k.missing(made{s.Parent, s.Spawn.Policy, "make children of"}, name, func(d abi.DomainID) bool { return above(d).Spawn.Allow }) || !s.Adopt.Allow {
		return
	}
	k.missing(made{s.Parent, s.Adopt.Policy, "be outlived by children of"}, name, func(d abi.DomainID) bool { return above(d).Spawn.Allow && above(d).Adopt.Allow })
}

// lend: that a child lends to the one above it, that one need not be permitted.
func (k *kin) lend(g *image.Grant) {
	if !g.Verdict.Allow {
		return
	}
	i := &k.img.Interfaces[g.Entry.Interface]
	k.missing(made{g.From, g.Verdict.Policy, "lend"}, i.Name+"/"+i.Methods[g.Entry.Method].Name+" to "+k.img.Domains[g.To].Name,
		func(d abi.DomainID) bool { return d == g.To || k.loans[loan{d, g.To, g.Entry}] })
}

// missing notes a right of a template that none of its makers has, and reports whether it is one.
func (k *kin) missing(m made, object string, has func(abi.DomainID) bool) bool {
	if _, ring := image.Ringed(k.img.Domains[m.template].Name); ring != "" || !k.img.Domains[m.template].Template || slices.ContainsFunc(k.makers[m.template], has) {
		return false
	}
	if k.objects[m] == nil {
		k.order = append(k.order, m)
	}
	k.objects[m] = append(k.objects[m], object)
	return true
}

// few writes the first of a list.
func few(list []string) string {
	const most = 3
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}
