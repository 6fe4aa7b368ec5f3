package creator

import (
	"errors"
	"fmt"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// What a child has of a quota its parent has not: as long as the child lives,
// the limits of the parent's own processes are lower by that. So a domain and
// all that come from it have what the domain alone would have, however many
// generations there are, be that stated or the default.

// ErrQuota is what errors.Is finds in a refusal of a child for which its parent
// uses too much itself.
var ErrQuota = errors.New("beyond the quota of its parent")

// failedByQuota in arg of opFailed says so.
const failedByQuota = 1

// narrow sets the limits of a domain to what its children leave of its quota.
func (c *creator) narrow(id abi.DomainID) error {
	r := c.running[id]
	if r == nil || r.cgroup == nil {
		return nil
	}
	q, given := c.img.LimitsOf(c.family.Def(id)), c.family.Given(id)
	left := q.Without(&given)
	switch { // 0 would be no limit
	case left.Processes == 0 && q.Processes > 0:
		return fmt.Errorf("none of its %d processes, some of which are %w", q.Processes, kernel.ErrInUse)
	case left.Memory == 0 && q.Memory > 0:
		return fmt.Errorf("nothing of its %d bytes of memory, some of which are %w", q.Memory, kernel.ErrInUse)
	case left.CPU == 0 && q.CPU > 0:
		return fmt.Errorf("none of its CPU time, which is %w", kernel.ErrInUse)
	}
	return r.cgroup.Change(kernel.CgroupLimits{Processes: left.Processes, Memory: left.Memory, CPU: left.CPU})
}

// narrowAgain does it for one that has just started, or was taken over, if there
// may be anything to give away: the limits of others are what they should be.
func (c *creator) narrowAgain(id abi.DomainID) {
	if c.family.Given(id) != (image.Quota{}) || c.family.Def(id).Children.Number > 0 {
		c.narrow(id) // an error: it has more already
	}
}

// takeRoom takes the quota of a new child from its parent, or answers why that
// cannot be.
func (c *creator) takeRoom(m message, id abi.DomainID) (bool, error) {
	k := c.family.Kin(id)
	err := c.narrow(k.Parent)
	if err == nil {
		return true, nil
	}
	c.forget(id)
	if !errors.Is(err, kernel.ErrInUse) {
		return false, c.fail(m, "spawn %s: %v", k.Def.Name, err)
	}
	return false, send(c.fd, message{op: opFailed, seq: m.seq, domain: m.domain, arg: failedByQuota,
		text: fmt.Sprintf("%s would have too little left: %v; ask for less, or give it a larger quota", c.family.Def(k.Parent).Name, err)})
}

// forget forgets a child, and gives back to its forebears what it had.
func (c *creator) forget(id abi.DomainID) {
	k := c.family.Kin(id)
	c.family.Remove(id)
	if k == nil {
		return
	}
	for _, above := range k.Lineage {
		c.narrow(above) // an error: it has less than it might; a limit that is raised gives none
		c.weigh(above)
	}
}
