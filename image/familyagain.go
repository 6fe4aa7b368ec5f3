package image

import (
	"fmt"

	"ward/abi"
)

// A Birth is what a child was made of. With those of its forebears, and what
// the image says of the first of them, it says what the child is: whoever takes
// over from a process that died describes its children anew by their births.
type Birth struct {
	ID, Template abi.DomainID
	Name         string
	Ask          ChildQuota
}

// Again describes a child of which line are the births, its own first, then its
// parent's, and so on; root, of the image, is the parent of the last one. Its
// forebears may have ended. It does not become one of the family: see Take.
//
// An error says that the image does not allow it (any more), or cannot describe
// it; then Kin.Def is the template's, with the child's name. No Kin: there
// are no such domains.
func (f *Family) Again(line []Birth, root abi.DomainID, adopted bool) (*Kin, error) {
	if len(line) == 0 || len(line) > MaxDepthOf || int(root) >= len(f.img.Domains) {
		return nil, fmt.Errorf("a child of domain %d, %d generations down: there is none", root, len(line))
	}
	for _, b := range line {
		if b.ID < FirstChild || int(b.ID-FirstChild) >= MaxChildren || int(b.Template) >= len(f.img.Domains) {
			return nil, fmt.Errorf("child %d of template %d: there is none", b.ID, b.Template)
		}
	}
	own := line[0]
	k := &Kin{ID: own.ID, Template: own.Template, Adopted: adopted, Line: line}
	var bases []abi.DomainID // of its parent
	for _, b := range line[1:] {
		k.Lineage, bases = append(k.Lineage, b.ID), append(bases, b.Template)
	}
	k.Lineage, bases = append(k.Lineage, root), append(bases, root)
	k.Parent = k.Lineage[0]
	plain := f.img.Domains[own.Template]
	plain.Name, plain.Template = own.Name, false
	k.Def = &plain
	s := f.img.SpawningOf(bases, own.Template)
	if !s.Spawn.Allow || adopted && !s.Adopt.Allow || !f.img.Domains[own.Template].Start.Allow {
		return k, ErrChild
	}
	def := &f.img.Domains[root]
	for i := len(line) - 1; i >= 0; i-- {
		var err error
		// What of a quota others have was looked at when it was made, and its part
		// of what nobody stated was asked for since.
		if def, err = f.img.Child(def, line[i].Template, line[i].Name, line[i].Ask, nil); err != nil {
			return k, err
		}
	}
	k.Def = def
	return k, nil
}

// Take makes a child that Again described one of the family. It counts, and has
// its part of quotas, as if it had been added.
func (f *Family) Take(k *Kin) error {
	if f.kin[k.ID] != nil {
		return fmt.Errorf("%d is not the number of a new child", k.ID)
	}
	f.kin[k.ID] = k
	return nil
}
