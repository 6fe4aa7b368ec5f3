package creator

import (
	"ward/abi"
	"ward/kernel"
)

// place says where a domain's cgroup is to be: a child's with its parent's, so
// that a domain and all that come from it together weigh what it weighs, also
// those of them that outlive it.
func (c *creator) place(id abi.DomainID) kernel.CgroupPlace {
	d := c.family.Def(id)
	p := kernel.CgroupPlace{Name: dirName(d.Name, id), Family: d.Children.Number > 0 && d.Children.Depth > 0}
	if k := c.family.Kin(id); k != nil {
		p.Parent = dirName(c.nameOf(k.Parent), k.Parent)
	}
	return p
}
