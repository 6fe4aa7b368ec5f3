package creator

import (
	"context"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
)

// familyWorld has a broker (0), a template for children that idle (1), one
// that would be more trusted (2), and a domain that is none (3).
func familyWorld(t *testing.T) *world {
	idle := []string{"idle"}
	user := image.Ring{Level: 3, Name: "user"}
	w := newWorld(t, 0,
		image.Domain{Name: "broker", Program: hostile, Args: idle, Ring: user, Quota: image.Quota{Processes: 1000}, Children: image.Children{Number: 3, Depth: 2, Tree: 4}},
		image.Domain{Name: "worker", Program: hostile, Args: idle, Ring: user, Quota: image.Quota{Processes: 200}, Template: true, Children: image.Children{Number: 2, Depth: 2, Tree: 4}},
		image.Domain{Name: "trusted", Program: hostile, Args: idle, Ring: image.Ring{Level: 1, Name: "service"}, Template: true},
		image.Domain{Name: "other", Program: hostile, Args: idle, Ring: user},
	)
	yes := image.Verdict{Allow: true}
	no := image.Verdict{Policy: abi.NoPolicy}
	w.img.Spawns = []image.Spawn{{Parent: 0, Template: 1, Spawn: yes, Adopt: no}, {Parent: 1, Template: 1, Spawn: yes, Adopt: yes},
		{Parent: 0, Template: 2, Spawn: yes, Adopt: no}, {Parent: 0, Template: 3, Spawn: yes, Adopt: no}}
	return w
}

// outliving is familyWorld in which the broker lets what its children make outlive it.
func outliving(t *testing.T) *world {
	w := familyWorld(t)
	w.img.Spawns[0].Adopt = image.Verdict{Allow: true}
	return w
}

// spawn asks for a child.
func (w *world) spawn(o Order) (*live, error) {
	w.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	r, out, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "control")
	l := &live{control: os.NewFile(uintptr(pair[0]), "control"), output: r}
	w.t.Cleanup(l.close)
	if o.Name == "" {
		o.Name = "child#" + strconv.Itoa(int(o.Child))
	}
	l.Started, err = w.client.Spawn(context.Background(), o, theirs, out)
	theirs.Close()
	out.Close()
	return l, err
}

func (w *world) mustSpawn(o Order) *live {
	w.t.Helper()
	l, err := w.spawn(o)
	if err != nil {
		w.t.Fatal(err)
	}
	l.ready(w.t)
	return l
}

// awaitExits waits until these domains have ended, in any order.
func (w *world) awaitExits(ids ...abi.DomainID) {
	w.t.Helper()
	left := map[abi.DomainID]bool{}
	for _, id := range ids {
		left[id] = true
	}
	for len(left) > 0 {
		e, ok := <-w.client.Exits()
		if !ok {
			w.t.Fatal("the creator ended")
		}
		if !left[e.Domain] {
			w.t.Fatalf("domain %d has ended, which should not", e.Domain)
		}
		delete(left, e.Domain)
	}
}

const c0 = image.FirstChild

// A monitor that is taken over, and so asks for anything, gets no child that
// the image does not allow. The control: what it allows is made.
func TestSpawnIsBounded(t *testing.T) {
	w := familyWorld(t)
	if _, err := w.spawn(Order{Child: c0, Parent: 0, Template: 1}); err == nil || !strings.Contains(err.Error(), "parent does not run") {
		t.Errorf("child of a parent that does not run: %v", err)
	}
	if _, err := w.start(1); err == nil || !strings.Contains(err.Error(), "template") {
		t.Errorf("a template is started: %v", err)
	}
	for _, i := range []int{0, 3} {
		l, err := w.start(i)
		if err != nil {
			t.Fatal(err)
		}
		l.ready(t)
	}
	small := image.ChildQuota{Processes: 100}
	first := w.mustSpawn(Order{Child: c0, Parent: 0, Template: 1, Quota: small})
	if first.UID != testUIDs+uint32(c0) {
		t.Errorf("the child has user ID %d", first.UID)
	}
	now, err := bootTime()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		o    Order
		want string
	}{
		{"a number that is not a child's", Order{Child: 3, Parent: 0, Template: 1, Quota: small}, "not the number"},
		{"a number in use", Order{Child: c0, Parent: 0, Template: 1, Quota: small}, "not the number"},
		{"no template", Order{Child: c0 + 1, Parent: 0, Template: 3, Quota: small}, "not a template"},
		{"a template that is not there", Order{Child: c0 + 1, Parent: 0, Template: 77, Quota: small}, "no such"},
		{"a child as template", Order{Child: c0 + 1, Parent: 0, Template: c0, Quota: small}, "no such"},
		{"more trusted than its parent", Order{Child: c0 + 1, Parent: 0, Template: 2, Quota: small}, "more trusted"},
		{"of another domain", Order{Child: c0 + 1, Parent: 3, Template: 1, Quota: small}, image.ErrChild.Error()},
		{"adopted", Order{Child: c0 + 1, Parent: 0, Template: 1, Quota: small, Adopted: true}, image.ErrChild.Error()},
		{"adopted, by a child that lets it, of a parent that does not", Order{Child: c0 + 1, Parent: c0, Template: 1, Quota: image.ChildQuota{Processes: 1}, Adopted: true}, image.ErrChild.Error()},
		{"more than the template's quota", Order{Child: c0 + 1, Parent: 0, Template: 1, Quota: image.ChildQuota{Processes: 201}}, "template has 200"},
		{"its time is over", Order{Child: c0 + 1, Parent: 0, Template: 1, Quota: small, Until: now}, "over"},
	} {
		if _, err := w.spawn(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
	// Numbers, depth and tree.
	w.mustSpawn(Order{Child: c0 + 1, Parent: 0, Template: 1, Quota: small})
	w.mustSpawn(Order{Child: c0 + 2, Parent: c0, Template: 1, Quota: image.ChildQuota{Processes: 40}})
	if _, err := w.spawn(Order{Child: c0 + 3, Parent: c0 + 2, Template: 1, Quota: image.ChildQuota{Processes: 1}}); err == nil || !strings.Contains(err.Error(), "depth") {
		t.Errorf("a third generation: %v", err)
	}
	w.mustSpawn(Order{Child: c0 + 3, Parent: c0, Template: 1, Quota: image.ChildQuota{Processes: 40}})
	if _, err := w.spawn(Order{Child: c0 + 4, Parent: 0, Template: 1, Quota: small}); err == nil || !strings.Contains(err.Error(), "tree") {
		t.Errorf("a fifth descendant: %v", err)
	}
}

// Whoever ends takes its tree along, but for who may outlive it. The control:
// as long as the parent lives, so do they.
func TestTreeEndsTogether(t *testing.T) {
	w := outliving(t)
	broker, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	broker.ready(t)
	child := w.mustSpawn(Order{Child: c0, Parent: 0, Template: 1})
	grandchild := w.mustSpawn(Order{Child: c0 + 1, Parent: c0, Template: 1, Quota: image.ChildQuota{Processes: 50}})
	adopted := w.mustSpawn(Order{Child: c0 + 2, Parent: c0, Template: 1, Adopted: true, Quota: image.ChildQuota{Processes: 50}})
	for _, l := range []*live{child, grandchild, adopted} {
		if err := unix.PidfdSendSignal(int(l.Pidfd.Fd()), 0, nil, 0); err != nil {
			t.Fatalf("a child does not live: %v", err)
		}
	}
	if err := w.client.Signal(context.Background(), c0, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.awaitExits(c0, c0+1)
	if err := unix.PidfdSendSignal(int(adopted.Pidfd.Fd()), 0, nil, 0); err != nil {
		t.Errorf("who may outlive its parent did not: %v", err)
	}
	again := w.mustSpawn(Order{Child: c0 + 3, Parent: 0, Template: 1})
	if err := w.client.Signal(context.Background(), 0, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.awaitExits(0, c0+3)
	for _, l := range []*live{again} {
		if err := unix.PidfdSendSignal(int(l.Pidfd.Fd()), 0, nil, 0); err != unix.ESRCH {
			t.Errorf("a child outlives its parent: %v", err)
		}
	}
}

// A child whose time is over ends, without anybody asking.
func TestLifetime(t *testing.T) {
	w := familyWorld(t)
	broker, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	broker.ready(t)
	now, err := bootTime()
	if err != nil {
		t.Fatal(err)
	}
	stays := w.mustSpawn(Order{Child: c0, Parent: 0, Template: 1, Until: now + 3600e9})
	if _, err := w.spawn(Order{Child: c0 + 1, Parent: 0, Template: 1, Until: now + 300e6}); err != nil && !strings.Contains(err.Error(), "over") {
		t.Fatal(err)
	} else if err == nil {
		w.awaitExits(c0 + 1)
	}
	if err := unix.PidfdSendSignal(int(stays.Pidfd.Fd()), 0, nil, 0); err != nil {
		t.Errorf("a child whose time is not over has ended: %v", err)
	}
}

// An order that is no order is a breach of the protocol.
func TestOrderDecode(t *testing.T) {
	o := Order{Child: c0, Parent: 1, Template: 2, Name: "worker#1", Adopted: true, Until: 7, Quota: image.ChildQuota{Processes: 1, Files: 2, Gates: 3, CPUWeight: 4, Memory: 5}}
	m := message{domain: uint32(o.Child), arg: uint32(o.Template), pid: uint32(o.Parent), text: o.encode()}
	got, err := decodeOrder(&m)
	if err != nil || *got != o {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"", m.text[:orderSize-1], "\x02" + m.text[1:], m.text + strings.Repeat("x", maxChildName)} {
		m.text = text
		if _, err := decodeOrder(&m); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
