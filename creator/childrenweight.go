package creator

import (
	"fmt"
	"os"

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
		p.Parent, p.Weight = dirName(c.nameOf(k.Parent), k.Parent), c.weightOf(k.Parent)
	}
	return p
}

// weightOf is what a domain weighs, with all that come from it; 0: it is a child
// that has ended.
func (c *creator) weightOf(id abi.DomainID) uint32 {
	d := c.family.Def(id)
	if d == nil {
		return 0
	}
	return c.img.LimitsOf(d).CPUWeight
}

// weigh sets the weights of a domain and of its family as they should be, when
// one of them has come or gone.
func (c *creator) weigh(id abi.DomainID) {
	if c.tree == nil {
		return
	}
	if err := c.tree.Weigh(dirName(c.nameOf(id), id), c.weightOf(id)); err != nil {
		fmt.Fprintf(os.Stderr, "wardd creator: %v\n", err)
	}
}

// weighAgain does it for all, after a creator that died half way.
func (c *creator) weighAgain() {
	for id := range c.running {
		c.weigh(id)
	}
	for _, k := range c.family.All() {
		for _, above := range k.Lineage {
			if c.running[above] == nil {
				c.weigh(above)
			}
		}
	}
}
