package creator

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// inForce are the limits that the kernel holds a domain to.
func inForce(t *testing.T, l *live) kernel.CgroupLimits {
	t.Helper()
	u, err := kernel.UseOf(l.PID)
	if err != nil {
		t.Fatal(err)
	}
	u.Limits.CPUWeight = 0
	return u.Limits
}

// TestAttackQuotaByChildren: a domain uses its whole quota, and has children that
// use it once more, or gives away what it uses itself. The kernel's limits are
// lower by what its children have, in each generation, and as before when they
// have ended. The control: without children it has all.
func TestAttackQuotaByChildren(t *testing.T) {
	for _, c := range []string{"pids", "memory", "cpu"} {
		needController(t, c)
	}
	const mib = 1 << 20
	idle, yes, no := []string{"idle"}, image.Verdict{Allow: true}, image.Verdict{Policy: abi.NoPolicy}
	w := newWorld(t, 0,
		image.Domain{Name: "broker", Program: hostile, Args: idle, Quota: image.Quota{Processes: 100, Memory: 128 * mib, CPU: 80}, Children: image.Children{Number: 3, Depth: 2, Tree: 4}},
		image.Domain{Name: "worker", Program: hostile, Args: idle, Quota: image.Quota{Processes: 90, Memory: 96 * mib, CPU: 60}, Template: true, Children: image.Children{Number: 2, Depth: 1, Tree: 2}},
		image.Domain{Name: "helper", Program: hostile, Args: idle, Quota: image.Quota{CPU: 10}, Template: true})
	w.img.Spawns = []image.Spawn{{Parent: 0, Template: 1, Spawn: yes, Adopt: no}, {Parent: 0, Template: 2, Spawn: yes, Adopt: yes}, {Parent: 1, Template: 2, Spawn: yes, Adopt: yes}}
	broker, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	broker.ready(t)
	want := func(when string, l *live, processes uint32, memory uint64, cpu uint32) {
		t.Helper()
		if got := inForce(t, l); got != (kernel.CgroupLimits{Processes: processes, Memory: memory, CPU: cpu}) {
			t.Errorf("%s: %+v, want %d processes, %d MiB, %d %%", when, got, processes, memory/mib, cpu)
		}
	}
	want("control", broker, 100, 128*mib, 80)
	child := w.mustSpawn(Order{Child: c0, Parent: 0, Template: 1, Quota: image.ChildQuota{Processes: 70, Memory: 64 * mib}})
	want("the parent of one", broker, 30, 64*mib, 20)
	want("the child", child, 70, 64*mib, 60)
	for what, ask := range map[string]image.ChildQuota{
		"more than is left":        {Processes: 31, Memory: mib},
		"all that is left":         {Processes: 30, Memory: mib},
		"what the parent uses too": {Processes: 29, Memory: mib},
		"memory that it uses":      {Processes: 1, Memory: 64*mib - 1},
	} {
		_, err := w.spawn(Order{Child: c0 + 1, Parent: 0, Template: 2, Quota: ask})
		if err == nil || (what != "more than is left") != errors.Is(err, ErrQuota) {
			t.Errorf("%s: %v", what, err)
		}
		want("refused: "+what, broker, 30, 64*mib, 20)
	}
	grandchild := w.mustSpawn(Order{Child: c0 + 1, Parent: c0, Template: 2, Quota: image.ChildQuota{Processes: 20, Memory: 16 * mib}, Adopted: true})
	want("the parent of one that has one", broker, 30, 64*mib, 20)
	want("the child that has one", child, 50, 48*mib, 50)
	want("the grandchild", grandchild, 20, 16*mib, 10)
	// What the adopted one has is still the first one's.
	if err := w.client.Signal(context.Background(), c0, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.awaitExits(c0)
	want("the child has ended, and its child has not", broker, 80, 112*mib, 70)
	if err := w.client.Signal(context.Background(), c0+1, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.awaitExits(c0 + 1)
	want("both have ended", broker, 100, 128*mib, 80)
}

// A creator that takes over makes the limits of a domain what its children leave,
// also if one has ended meanwhile; and one that is started again has no more.
func TestQuotaOfChildrenIsTakenOver(t *testing.T) {
	needController(t, "pids")
	w := outliving(t)
	w.img.Domains[0].Quota.Processes = 300
	broker, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	broker.ready(t)
	survivor := w.mustSpawn(Order{Child: c0, Parent: 0, Template: 1, Quota: image.ChildQuota{Processes: 100}, Adopted: true})
	if got := inForce(t, broker).Processes; got != 200 {
		t.Errorf("the parent has %d processes, want 200", got)
	}
	if err := w.client.Signal(context.Background(), 0, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.awaitExits(0)
	again, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	again.ready(t)
	if got := inForce(t, again).Processes; got != 200 || !lives(survivor) {
		t.Errorf("the parent, started again, has %d processes, want 200; its child lives: %v", got, lives(survivor))
	}
}
