package image

import (
	"errors"
	"fmt"
	"slices"

	"ward/abi"
)

// A Family is the children of a running system: who is whose, what each is,
// and whether there may be another. The monitor and the creator each keep one,
// by their own copies of the image; neither believes the other's.
//
// It is pure, and not safe for use by several goroutines.
type Family struct {
	img *Image
	kin map[abi.DomainID]*Kin
}

// Kin is one child that lives.
type Kin struct {
	ID       abi.DomainID
	Template abi.DomainID // of the image
	Parent   abi.DomainID
	Lineage  []abi.DomainID // its parent, its parent's parent, and so on; the last is of the image
	Adopted  bool           // it may outlive its parent
	Def      *Domain
	Line     []Birth // its own, its parent's, and so on (familyagain.go)
}

// ErrChild is what errors.Is finds in a refusal by a policy.
var ErrChild = errors.New("no policy allows it")

// NewFamily returns a family without children.
func NewFamily(img *Image) *Family { return &Family{img: img, kin: map[abi.DomainID]*Kin{}} }

// Renew gives the family another image with the same numbers, for what comes.
func (f *Family) Renew(img *Image) { f.img = img }

// Kin returns a child, or nil.
func (f *Family) Kin(id abi.DomainID) *Kin { return f.kin[id] }

// Def returns the description of a child or of a domain of the image.
func (f *Family) Def(id abi.DomainID) *Domain {
	if k := f.kin[id]; k != nil {
		return k.Def
	}
	if int(id) < len(f.img.Domains) {
		return &f.img.Domains[id]
	}
	return nil
}

// Base is the domain of the image by whose policies id is judged: of a child its template.
func (f *Family) Base(id abi.DomainID) abi.DomainID {
	if k := f.kin[id]; k != nil {
		return k.Template
	}
	return id
}

// Children are the living children of a domain, in order of their numbers.
func (f *Family) Children(id abi.DomainID) []*Kin {
	return f.list(func(k *Kin) bool { return k.Parent == id })
}

// Descendants are its living children, theirs, and so on.
func (f *Family) Descendants(id abi.DomainID) []*Kin {
	return f.list(func(k *Kin) bool { return slices.Contains(k.Lineage, id) })
}

// Doomed are the children that end with a domain.
func (f *Family) Doomed(id abi.DomainID) []*Kin {
	return f.list(func(k *Kin) bool { return k.Parent == id && !k.Adopted })
}

// charged are the children that count against a domain's number and quota: its
// own, and those that were adopted of descendants of it that have ended. What
// they have is still a part of what it had given.
func (f *Family) charged(id abi.DomainID) []*Kin {
	return f.list(func(k *Kin) bool {
		i := slices.IndexFunc(k.Lineage, func(a abi.DomainID) bool { return a < FirstChild || f.kin[a] != nil })
		return i >= 0 && k.Lineage[i] == id
	})
}

// All are all that live.
func (f *Family) All() []*Kin { return f.list(func(*Kin) bool { return true }) }

func (f *Family) list(is func(*Kin) bool) []*Kin {
	var list []*Kin
	for _, k := range f.kin {
		if is(k) {
			list = append(list, k)
		}
	}
	slices.SortFunc(list, func(a, b *Kin) int { return int(a.ID) - int(b.ID) })
	return list
}

// Free returns a number that no child has and that is in nobody's lineage,
// after the last one given out.
func (f *Family) Free(last abi.DomainID) (abi.DomainID, error) {
	used := map[abi.DomainID]bool{}
	for _, k := range f.kin {
		used[k.ID] = true
		for _, id := range k.Lineage {
			used[id] = true
		}
	}
	for i := range MaxChildren {
		id := FirstChild + (max(last, FirstChild-1)-FirstChild+1+abi.DomainID(i))%abi.DomainID(MaxChildren)
		if !used[id] {
			return id, nil
		}
	}
	return 0, fmt.Errorf("the system has %d children, which is the limit", MaxChildren)
}

// Add adds a child, or says why there may not be one. An error that is
// ErrChild is of a policy, with the verdict that says which.
func (f *Family) Add(id, parent, template abi.DomainID, name string, ask ChildQuota, adopted bool) (*Kin, Verdict, error) {
	p := f.Def(parent)
	if p == nil || int(template) >= len(f.img.Domains) {
		return nil, Verdict{Policy: abi.NoPolicy}, errors.New("there is no such parent or template")
	}
	if id < FirstChild || int(id-FirstChild) >= MaxChildren || f.kin[id] != nil {
		return nil, Verdict{Policy: abi.NoPolicy}, fmt.Errorf("%d is not the number of a new child", id)
	}
	t := &f.img.Domains[template]
	s := f.Spawning(parent, template)
	switch {
	case !s.Spawn.Allow:
		return nil, s.Spawn, ErrChild
	case adopted && !s.Adopt.Allow:
		return nil, s.Adopt, fmt.Errorf("to outlive its parent (ward::Action::\"adopt\"): %w", ErrChild)
	case !t.Start.Allow:
		return nil, t.Start, ErrChild
	}
	lineage, line := []abi.DomainID{parent}, []Birth{{id, template, name, ask}}
	if k := f.kin[parent]; k != nil {
		lineage, line = append(lineage, k.Lineage...), append(line, k.Line...)
	}
	if err := f.room(p, parent, lineage); err != nil {
		return nil, s.Spawn, err
	}
	def, err := f.img.Child(p, template, name, ask, &Room{Taken: f.Given(parent), Children: p.Children.Number - uint32(len(f.charged(parent)))})
	if err != nil {
		return nil, s.Spawn, err
	}
	line[0].Ask = def.Quota.asked(ask, &t.Quota)
	k := &Kin{ID: id, Template: template, Parent: parent, Lineage: lineage, Adopted: adopted, Def: def, Line: line}
	f.kin[id] = k
	return k, s.Spawn, nil
}

// room reports a limit on numbers that a new child of parent would exceed.
func (f *Family) room(p *Domain, parent abi.DomainID, lineage []abi.DomainID) error {
	switch n := len(f.charged(parent)); {
	case p.Children.Number == 0:
		return fmt.Errorf("%s may have no children: system.yaml states no number (`children`)", p.Name)
	case p.Children.Depth == 0:
		return fmt.Errorf("%s is in the last generation that may be (`children: depth`)", p.Name)
	case n >= int(p.Children.Number):
		return fmt.Errorf("%s has %d children, which is the limit (`children: number`)", p.Name, n)
	}
	for _, id := range lineage {
		a := f.Def(id)
		if a == nil { // it has ended, and its child was adopted
			continue
		}
		if n := len(f.Descendants(id)); n >= int(a.Children.Tree) {
			return fmt.Errorf("%s has %d descendants, which is the limit (`children: tree`)", a.Name, n)
		}
	}
	return nil
}

// Remove forgets a child that has ended.
func (f *Family) Remove(id abi.DomainID) { delete(f.kin, id) }
