package kernel

import (
	"errors"
	"fmt"
	"path/filepath"
)

// A domain that could have no children when it was started has no family around
// it: its cgroup is where a family's would be, and nobody can be moved, because
// gates expect the ID of the cgroup that each domain was started in. If it may
// have children later, their family is beside it, and the two of them weigh what
// the domain weighs, half each, until it is started again (in its family then) or
// its last child has ended:
//
//	ward-NAME.PID/desk                      50
//	ward-NAME.PID/desk.family/child.3072    50, all children and theirs together
//
// Which weights there should be the directories say, and what the domain weighs
// the caller: so whoever takes over after a creator that died half way sets them
// anew.

// ErrIndivisible is what errors.Is finds when a domain weighs too little to share
// its weight with its children.
var ErrIndivisible = errors.New("cannot be halved")

// Weigh sets the weights of a domain that weighs this, and of its family, as they
// should be now. It does nothing for a domain that is in its family's cgroup.
func (t *CgroupTree) Weigh(domain string, weight uint32) error {
	top, v2 := t.weighing()
	if top == "" || weight == 0 {
		return nil
	}
	own, family := t.below(domain), t.familyOf(domain)
	if filepath.Dir(own) == family {
		return nil
	}
	alone, beside := isDir(filepath.Join(top, own)), isDir(filepath.Join(top, family))
	first, second := uint64(weight), uint64(weight)
	if alone && beside {
		if weight < 2 {
			return fmt.Errorf("cgroup: the CPU weight of %s, %d, %w between it and its children: start it again first", domain, weight, ErrIndivisible)
		}
		first = (first + 1) / 2
		second -= first
	}
	// What grows does so last: together they never weigh more than one of them.
	sets := []struct {
		is     bool
		rel    string
		weight uint64
	}{{alone, own, first}, {beside, family, second}}
	if readWeight(filepath.Join(top, own), v2) < first {
		sets[0], sets[1] = sets[1], sets[0]
	}
	for _, s := range sets {
		if !s.is || readWeight(filepath.Join(top, s.rel), v2) == s.weight {
			continue
		}
		if err := writeWeight(filepath.Join(top, s.rel), v2, s.weight); err != nil {
			return err
		}
		if err := t.count(s.rel, s.weight); err != nil {
			return err
		}
	}
	return nil
}
