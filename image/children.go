package image

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"ward/abi"
)

// Children are domains that are made while the system runs. They are not in
// the image: what they are made of is, and who may make them.

// Inherit says which rights of a domain its children get without asking.
type Inherit uint8

const (
	InheritNone Inherit = iota
	InheritListed
	InheritAll
)

// Children is what a domain's children are held to, beside the policies.
type Children struct {
	Inherit Inherit
	Passes  []Entry // InheritListed: what; sorted, unique
	Number  uint32  // that the domain may have at the same time; 0: none
	Depth   uint32  // generations below the domain; 0: none
	Tree    uint32  // of all generations, at the same time; 0: none
}

// An Entry is an entry point: a method of an interface.
type Entry struct{ Interface, Method uint32 }

// CompareEntries orders entry points.
func CompareEntries(a, b Entry) int {
	if a.Interface != b.Interface {
		return int(a.Interface) - int(b.Interface)
	}
	return int(a.Method) - int(b.Method)
}

// A Spawn is the decision on whether a domain may make children of a template,
// or of itself; and whether they may live on when it ends. What is not in the
// image is denied by default.
type Spawn struct {
	Parent, Template abi.DomainID
	Spawn, Adopt     Verdict
}

// A Grant is the decision on whether a domain may let another one, or the
// children of a template, call an entry point in its name.
type Grant struct {
	From, To abi.DomainID
	Entry    Entry
	Verdict  Verdict
}

// Limits of children. Their numbers are at the end of those that a system has
// (MaxDomains), so that they stay theirs when the image changes.
const (
	FirstChild  abi.DomainID = 3072
	MaxChildren              = MaxDomains - int(FirstChild)
	MaxDepthOf               = 6 // generations
	MaxGrants                = 1 << 16
)

// Spawning returns the decision on a pair.
func (img *Image) Spawning(parent, template abi.DomainID) *Spawn {
	for i := range img.Spawns {
		if s := &img.Spawns[i]; s.Parent == parent && s.Template == template {
			return s
		}
	}
	return &Spawn{Parent: parent, Template: template, Spawn: Verdict{Policy: abi.NoPolicy}, Adopt: Verdict{Policy: abi.NoPolicy}}
}

// Granting returns the decision on a delegation.
func (img *Image) Granting(from, to abi.DomainID, e Entry) Verdict {
	for i := range img.Grants {
		if g := &img.Grants[i]; g.From == from && g.To == to && g.Entry == e {
			return g.Verdict
		}
	}
	return Verdict{Policy: abi.NoPolicy}
}

// ErrTrust is what errors.Is finds in the refusal of a child that would be more trusted than its parent.
var ErrTrust = errors.New("trust only shrinks")

// Child is what a child of parent is, made of a template, or why it cannot be:
// no right and no quota of it is more than the template's or the parent's, and
// it is no more trusted. parent is as it was made: a child's is what this
// returned. room is what it has for the child; nil: the child is there already.
//
// The rights to call are not among it: those are decided by message.
func (img *Image) Child(parent *Domain, template abi.DomainID, name string, ask ChildQuota, room *Room) (*Domain, error) {
	t := &img.Domains[template]
	switch {
	case t.Ring.Level < parent.Ring.Level:
		return nil, fmt.Errorf("%w: a child of %s would be more trusted (ring %s) than its parent (ring %s)", ErrTrust, t.Name, t.Ring.Name, parent.Ring.Name)
	case !t.Template && t.Name != parent.Name:
		return nil, fmt.Errorf("%s is not a template", t.Name)
	case t.Names:
		return nil, fmt.Errorf("%s is the name server", t.Name)
	case t.Host && !parent.Host:
		return nil, fmt.Errorf("children of %s see the host's libraries (root: host), and the parent does not", t.Name)
	}
	d := *t
	d.Name, d.Template = name, false
	d.Exports, d.Listen, d.Needs, d.Restart, d.Once, d.Notify = nil, nil, nil, RestartNever, false, false
	d.Files, d.Connect = nil, nil
	for _, f := range t.Files {
		if f.Verdict.Allow && slices.ContainsFunc(parent.Files, func(p File) bool { return covers(&p, &f) }) {
			d.Files = append(d.Files, f)
		}
	}
	for _, a := range t.Connect {
		if slices.Contains(parent.Connect, a) {
			d.Connect = append(d.Connect, a)
		}
	}
	d.Children.Depth = min(d.Children.Depth, max(parent.Children.Depth, 1)-1)
	d.Children.Tree = min(d.Children.Tree, parent.Children.Tree)
	var err error
	if d.Quota, err = img.quotaOf(parent, &d, ask, room); err != nil {
		return nil, err
	}
	tmp := parent.Tmp
	if tmp == 0 {
		tmp = DefaultTmp
	}
	d.Tmp = atMost(d.Tmp, tmp, DefaultTmp)
	return &d, nil
}

// covers reports whether who may use p may use all of f.
func covers(p, f *File) bool {
	if !p.Verdict.Allow || f.Access&^p.Access != 0 || f.AsRoot && !p.AsRoot {
		return false
	}
	return f.Path == p.Path || strings.HasPrefix(f.Path, strings.TrimSuffix(p.Path, "/")+"/")
}

// children is the section of the same name.
func (c *codec) children(i *Image) {
	for at := range i.Domains {
		d := &i.Domains[at]
		c.bool(&d.Template)
		small(c, &d.Children.Inherit)
		list(c, &d.Children.Passes, (*codec).entry)
		c.u32(&d.Children.Number)
		c.u32(&d.Children.Depth)
		c.u32(&d.Children.Tree)
	}
	list(c, &i.Spawns, func(c *codec, s *Spawn) {
		c.u32((*uint32)(&s.Parent))
		c.u32((*uint32)(&s.Template))
		c.verdict(&s.Spawn)
		c.verdict(&s.Adopt)
	})
	list(c, &i.Grants, func(c *codec, g *Grant) {
		c.u32((*uint32)(&g.From))
		c.u32((*uint32)(&g.To))
		c.entry(&g.Entry)
		c.verdict(&g.Verdict)
	})
}

func (c *codec) entry(e *Entry) { c.u32(&e.Interface); c.u32(&e.Method) }

// children checks what the image says of them.
func (c *checker) children() error {
	entry := func(e Entry) error {
		if int(e.Interface) >= len(c.img.Interfaces) || int(e.Method) >= len(c.img.Interfaces[e.Interface].Methods) {
			return fmt.Errorf("entry point %d of interface %d: there is none", e.Method, e.Interface)
		}
		return nil
	}
	for i := range c.img.Domains {
		d := &c.img.Domains[i]
		f := &d.Children
		if f.Inherit > InheritAll || f.Inherit != InheritListed && len(f.Passes) > 0 || f.Depth > MaxDepthOf || int64(f.Number) > int64(MaxChildren) || int64(f.Tree) > int64(MaxChildren) {
			return fmt.Errorf("domain %s: its children: at most %d, and %d generations", d.Name, MaxChildren, MaxDepthOf)
		}
		for j, e := range f.Passes {
			if err := entry(e); err != nil {
				return fmt.Errorf("domain %s: what its children inherit: %w", d.Name, err)
			}
			if j > 0 && CompareEntries(f.Passes[j-1], e) >= 0 {
				return fmt.Errorf("domain %s: what its children inherit is not sorted, or there twice", d.Name)
			}
		}
		if d.Template && (len(d.Exports) > 0 || len(d.Listen) > 0 || d.Once || d.Names) {
			return fmt.Errorf("domain %s: a template exports nothing, listens to nothing and is not `once`", d.Name)
		}
	}
	if err := c.rings(); err != nil {
		return err
	}
	if (len(c.img.Spawns) > 0) && len(c.img.Domains) > int(FirstChild) {
		return fmt.Errorf("%d domains: a system with children has at most %d", len(c.img.Domains), FirstChild)
	}
	seen := map[[2]abi.DomainID]bool{}
	for _, s := range c.img.Spawns {
		if int(s.Parent) >= len(c.img.Domains) || int(s.Template) >= len(c.img.Domains) || seen[[2]abi.DomainID{s.Parent, s.Template}] {
			return fmt.Errorf("children of template %d for domain %d: there is no such domain, or they are decided on twice", s.Template, s.Parent)
		}
		seen[[2]abi.DomainID{s.Parent, s.Template}] = true
		if err := c.verdict(s.Spawn); err != nil {
			return err
		}
		if err := c.verdict(s.Adopt); err != nil {
			return err
		}
	}
	if len(c.img.Grants) > MaxGrants {
		return fmt.Errorf("%d delegations: the limit is %d", len(c.img.Grants), MaxGrants)
	}
	for _, g := range c.img.Grants {
		if int(g.From) >= len(c.img.Domains) || int(g.To) >= len(c.img.Domains) {
			return fmt.Errorf("a delegation from domain %d to %d: there are %d", g.From, g.To, len(c.img.Domains))
		}
		if err := entry(g.Entry); err != nil {
			return err
		}
		if err := c.verdict(g.Verdict); err != nil {
			return err
		}
	}
	return nil
}

// children renumbers what the image says of them.
func (a *aligner) children() {
	entry := func(e Entry) Entry { return Entry{a.iface[e.Interface], e.Method} }
	for _, i := range a.domain {
		d := &a.out.Domains[i]
		d.Children.Passes = slices.Clone(d.Children.Passes)
		for j := range d.Children.Passes {
			d.Children.Passes[j] = entry(d.Children.Passes[j])
		}
		slices.SortFunc(d.Children.Passes, CompareEntries)
	}
	a.out.Spawns, a.out.Grants = slices.Clone(a.new.Spawns), slices.Clone(a.new.Grants)
	for i := range a.out.Spawns {
		s := &a.out.Spawns[i]
		s.Parent, s.Template, s.Spawn, s.Adopt = a.domainOf(s.Parent), a.domainOf(s.Template), a.verdict(s.Spawn), a.verdict(s.Adopt)
	}
	for i := range a.out.Grants {
		g := &a.out.Grants[i]
		g.From, g.To, g.Entry, g.Verdict = a.domainOf(g.From), a.domainOf(g.To), entry(g.Entry), a.verdict(g.Verdict)
	}
}
