package creator

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// lives reports whether the process of a pidfd runs.
func lives(l *live) bool { return unix.PidfdSendSignal(int(l.Pidfd.Fd()), 0, nil, 0) == nil }

// ends waits for the end of a process.
func ends(t *testing.T, l *live) {
	t.Helper()
	if err := awaitEnd(l.Pidfd); err != nil {
		t.Fatal(err)
	}
}

// births are the birth of a child with its forebears'.
func births(name string, quota image.ChildQuota, forebears ...image.Birth) []image.Birth {
	id := c0 + abi.DomainID(len(forebears))
	return append([]image.Birth{{ID: id, Template: 1, Name: name, Ask: quota}}, forebears...)
}

// A creator takes the children of the one before it over: they count, end with
// their parents and when their time is over, and can be killed. What the image
// does not allow is ended.
func TestAdoptChildren(t *testing.T) {
	before, w := outliving(t), outliving(t)
	small, ctx := image.ChildQuota{Processes: 50}, context.Background()
	broker, err := before.start(0)
	if err != nil {
		t.Fatal(err)
	}
	broker.ready(t)
	child := before.mustSpawn(Order{Child: c0, Parent: 0, Template: 1, Quota: image.ChildQuota{Processes: 150}})
	grandchild := before.mustSpawn(Order{Child: c0 + 1, Parent: c0, Template: 1, Quota: small})
	survivor := before.mustSpawn(Order{Child: c0 + 2, Parent: c0, Template: 1, Quota: small, Adopted: true})
	one := births("one", image.ChildQuota{Processes: 150})
	two, three := births("two", small, one...), births("three", small, one...)
	three[0].ID = c0 + 2
	// The directories of the one before are those of this one, as in a system.
	for _, id := range []abi.DomainID{c0, c0 + 1, c0 + 2} {
		w.takesDir(dirName("", id))
	}
	w.takesDir("broker")
	adopt := func(k Kinship, l *live) error { return w.client.AdoptChild(ctx, k, l.PID, l.Pidfd) }
	if err := w.client.Adopt(ctx, 0, broker.PID, broker.Pidfd); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		k Kinship
		l *live
	}{{Kinship{Line: one}, child}, {Kinship{Line: two}, grandchild}, {Kinship{Line: three, Adopted: true}, survivor}} {
		if err := adopt(c.k, c.l); err != nil {
			t.Fatal(err)
		}
		if !lives(c.l) {
			t.Errorf("child %d ended when it was taken over", c.k.Line[0].ID)
		}
	}
	if err := adopt(Kinship{Line: one}, child); err == nil || !strings.Contains(err.Error(), "running") {
		t.Errorf("adopted twice: %v", err)
	}
	if _, err := w.spawn(Order{Child: c0 + 5, Parent: c0, Template: 1, Quota: image.ChildQuota{Processes: 60}}); err == nil || !strings.Contains(err.Error(), "limit") && !strings.Contains(err.Error(), "left") {
		t.Errorf("what the children have is given again: %v", err)
	}
	if err := w.client.Signal(ctx, c0, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ends(t, child)
	ends(t, grandchild)
	if !lives(survivor) {
		t.Error("who may outlive its parent did not")
	}

	// Its parent has ended before it is taken over.
	third := outliving(t)
	third.takesDir(dirName("", c0+2))
	if err := third.client.AdoptChild(ctx, Kinship{Line: three, Adopted: true}, survivor.PID, survivor.Pidfd); err != nil || !lives(survivor) {
		t.Errorf("who may outlive its parent: %v", err)
	}
	lone := before.mustSpawn(Order{Child: c0 + 7, Parent: 0, Template: 1, Quota: small})
	alone := births("lone", small)
	alone[0].ID = c0 + 7
	third.takesDir(dirName("", c0+7))
	if err := third.client.AdoptChild(ctx, Kinship{Line: alone}, lone.PID, lone.Pidfd); err != nil {
		t.Fatal(err)
	}
	ends(t, lone)

	// The image does not allow it.
	bad := before.mustSpawn(Order{Child: c0 + 8, Parent: 0, Template: 1, Quota: small})
	forged := births("bad", small)
	forged[0].ID, forged[0].Template = c0+8, 2
	if err := w.client.AdoptChild(ctx, Kinship{Line: forged}, bad.PID, bad.Pidfd); err != nil {
		t.Fatal(err)
	}
	ends(t, bad)
	// The time of one is over.
	now, err := bootTime()
	if err != nil {
		t.Fatal(err)
	}
	late := before.mustSpawn(Order{Child: c0 + 9, Parent: 0, Template: 1, Quota: small})
	overdue := births("late", small)
	overdue[0].ID = c0 + 9
	w.takesDir(dirName("", c0+9))
	if err := w.client.AdoptChild(ctx, Kinship{Line: overdue, Until: now}, late.PID, late.Pidfd); err != nil {
		t.Fatal(err)
	}
	ends(t, late)
	if !lives(broker) {
		t.Error("the broker has ended")
	}
	// One has ended, and the creator before this one has cleared up and died before it told.
	if err := w.client.AdoptChild(ctx, Kinship{Line: overdue}, late.PID, late.Pidfd); err != nil {
		t.Errorf("one that has ended: %v", err)
	}
}

// takesDir makes a directory for a domain's cgroup, which another creator of this
// test has elsewhere: in a system there is one tree for all, one after the other.
func (w *world) takesDir(name string) {
	w.t.Helper()
	if err := w.client.Undo(context.Background(), 3); err != nil { // it serves, so its tree is there
		w.t.Fatal(err)
	}
	tree, err := kernel.OpenCgroupTree(w.cgroup)
	if errors.Is(err, kernel.ErrNoCgroup2) {
		return
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := tree.New(kernel.CgroupPlace{Name: name}, kernel.CgroupLimits{}, kernel.CgroupLimits{}); err != nil {
		w.t.Fatal(err)
	}
}

// What is no kinship is a breach of the protocol.
func TestKinshipDecode(t *testing.T) {
	k := Kinship{Root: 3, Adopted: true, Until: 9, Line: []image.Birth{{ID: c0, Template: 1, Name: "worker#1", Ask: image.ChildQuota{Processes: 1, Files: 2, Gates: 3, CPUWeight: 4, Memory: 5}}, {ID: c0 + 1, Template: 2}}}
	m := message{domain: uint32(c0), arg: 3, text: k.encode()}
	got, err := decodeKinship(&m)
	if err != nil || !reflect.DeepEqual(got, k) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"", m.text[:15], m.text[:16+2*birthSize-1], "\x02" + m.text[1:], m.text[:4] + "\x00" + m.text[5:], m.text[:4] + "\x63" + m.text[5:], m.text + strings.Repeat("x", maxChildName)} {
		bad := m
		bad.text = text
		if _, err := decodeKinship(&bad); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
	m.domain++
	if _, err := decodeKinship(&m); err == nil {
		t.Error("of another child")
	}
}
