package image

import "ward/abi"

// Given is what of a domain's quota its children have. Of an adopted child
// whose parent has ended, the nearest ancestor that lives has given it.
func (f *Family) Given(id abi.DomainID) (q Quota) {
	for _, k := range f.charged(id) {
		q.Take(&k.Def.Quota)
	}
	return q
}

// Take adds what a child has of its parent's quota.
func (q *Quota) Take(child *Quota) {
	q.Processes += child.Processes
	q.Gates += child.Gates
	q.Messages += child.Messages
	q.CPU += child.CPU
	q.Memory += child.Memory
}

// Without is what of a quota is left when some of it has been given away. Without
// a limit there is none.
func (q Quota) Without(given *Quota) Quota {
	for _, x := range []struct{ of, part *uint32 }{{&q.Processes, &given.Processes}, {&q.Gates, &given.Gates},
		{&q.Messages, &given.Messages}, {&q.CPU, &given.CPU}} {
		*x.of -= min(*x.of, *x.part)
	}
	q.Memory -= min(q.Memory, given.Memory)
	return q
}

// Counted is how many children count against a domain's number, and how many
// descendants against its tree.
func (f *Family) Counted(id abi.DomainID) (children, descendants int) {
	return len(f.charged(id)), len(f.Descendants(id))
}
