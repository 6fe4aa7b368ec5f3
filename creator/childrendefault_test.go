package creator

import (
	"os"
	"testing"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// TestAttackDefaultsByChildren: a domain of which no quota is stated makes children
// of which none is stated either, and each of them, and of theirs, makes as many
// processes as it gets. All together have no more than the domain alone, which
// has as much less as they have. The control: as many domains that are nobody's
// children get that many each.
func TestAttackDefaultsByChildren(t *testing.T) {
	for _, c := range []string{"pids", "memory"} {
		needController(t, c)
	}
	yes, fork := image.Verdict{Allow: true}, []string{"forkstay", "600"}
	w := newWorld(t, 0,
		image.Domain{Name: "parent", Program: hostile, Args: []string{"idle"}, Children: image.Children{Number: 2, Depth: 2, Tree: 9}},
		image.Domain{Name: "child", Program: hostile, Args: []string{"idle"}, Template: true, Children: image.Children{Number: 2, Depth: 1, Tree: 9}},
		image.Domain{Name: "forker", Program: hostile, Args: fork, Host: true, Template: true},
		image.Domain{Name: "one", Program: hostile, Args: fork, Host: true},
		image.Domain{Name: "two", Program: hostile, Args: fork, Host: true},
	)
	w.img.Domains[0].Host, w.img.Domains[1].Host = true, true
	w.img.Policies = []image.Policy{{ID: "all may"}}
	w.img.Spawns = []image.Spawn{{Parent: 0, Template: 1, Spawn: yes, Adopt: yes}, {Parent: 0, Template: 2, Spawn: yes, Adopt: yes}, {Parent: 1, Template: 2, Spawn: yes, Adopt: yes}}
	full := func(ids ...abi.DomainID) { // each wants more processes than it gets
		t.Helper()
		missing := map[abi.DomainID]bool{}
		for _, id := range ids {
			missing[id] = true
		}
		for len(missing) > 0 {
			h, ok := <-w.client.Hits()
			if !ok {
				t.Fatal("the creator has ended")
			}
			if h.Limit == LimitProcesses {
				delete(missing, h.Domain)
			}
		}
	}
	made := func(l *live, err error) *live { // one that says nothing
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	used := func(of ...*live) (n uint64) {
		t.Helper()
		for _, l := range of {
			u, err := kernel.UseOf(l.PID)
			if err != nil || u.Processes == nil {
				t.Fatalf("processes are not counted: %v", err)
			}
			n += *u.Processes
		}
		return n
	}
	limits := func(of ...*live) (sum kernel.CgroupLimits) {
		t.Helper()
		for _, l := range of {
			x := inForce(t, l)
			sum.Processes += x.Processes
			sum.Memory += x.Memory
		}
		if lost := image.DefaultMemory - sum.Memory; lost < uint64(len(of)*os.Getpagesize()) {
			sum.Memory = image.DefaultMemory // the kernel counts whole pages
		}
		return sum
	}
	alone := kernel.CgroupLimits{Processes: image.DefaultProcesses, Memory: image.DefaultMemory}
	one, two := made(w.start(3)), made(w.start(4))
	full(3, 4)
	if n := used(one, two); n != 2*image.DefaultProcesses {
		t.Fatalf("control: two domains have %d processes", n)
	}
	w.kills(3, 4)
	parent := w.mustStart(0)
	if got := limits(parent); got != alone {
		t.Fatalf("alone it has %+v", got)
	}
	child := w.mustSpawn(Order{Child: c0, Parent: 0, Template: 1})
	forker := made(w.spawn(Order{Child: c0 + 1, Parent: 0, Template: 2, Adopted: true}))
	below := made(w.spawn(Order{Child: c0 + 2, Parent: c0, Template: 2, Adopted: true}))
	full(c0+1, c0+2)
	if n := used(parent, child, forker, below); n > image.DefaultProcesses {
		t.Errorf("it and what comes from it have %d processes", n)
	}
	if got := limits(parent, child, forker, below); got != alone {
		t.Errorf("it and what comes from it may have %+v, and it alone %+v", got, alone)
	}
	for what, l := range map[string]*live{"the parent": parent, "a child with a child": child, "a child": forker, "a child's child": below} {
		if got := inForce(t, l); got.Processes < 16 || got.Memory < 32<<20 {
			t.Errorf("%s has %+v", what, got)
		}
	}
	// What outlives it is still a part of its own.
	w.kills(c0)
	if got := limits(parent, forker, below); got != alone {
		t.Errorf("when a child has ended and its own has not: %+v", got)
	}
	w.kills(0)
	parent = w.mustStart(0)
	if got := limits(parent, forker, below); got != alone {
		t.Errorf("started again: %+v", got)
	}
	w.kills(c0+1, c0+2)
	if got := limits(parent); got != alone {
		t.Errorf("when all have ended it has %+v", got)
	}
}
