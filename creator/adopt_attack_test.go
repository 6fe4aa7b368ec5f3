package creator

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
)

// A monitor that is taken over names a process of the host to a creator, which
// would signal it with its own rights. The control: a process of the domain's
// user is taken, and that of a child of an earlier creator, which ends for its
// parent does not run.
func TestAttackAdopt(t *testing.T) {
	w, before := familyWorld(t), familyWorld(t)
	// A process of the host, which waits until its input ends.
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	host := exec.Command(hostile, "idle")
	host.ExtraFiles = []*os.File{in}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	defer host.Wait()
	defer out.Close()
	fd, err := unix.PidfdOpen(host.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	stranger := os.NewFile(uintptr(fd), "stranger")
	defer stranger.Close()
	ctx := context.Background()
	adopt := func(id abi.DomainID, pid int, pidfd *os.File) error {
		return w.client.AdoptChild(ctx, Kinship{Line: []image.Birth{{ID: id, Template: 1, Name: "child"}}}, pid, pidfd)
	}
	if err := w.client.Adopt(ctx, 3, host.Process.Pid, stranger); err == nil || !strings.Contains(err.Error(), errStranger.Error()) {
		t.Errorf("a process of the host as a domain: %v", err)
	}
	if err := adopt(c0, host.Process.Pid, stranger); err == nil || !strings.Contains(err.Error(), errStranger.Error()) {
		t.Errorf("a process of the host as a child: %v", err)
	}
	if null, err := os.Open(os.DevNull); err != nil {
		t.Fatal(err)
	} else {
		if err := adopt(c0, 1, null); err == nil || !strings.Contains(err.Error(), "not a process") {
			t.Errorf("what is no process at all: %v", err)
		}
		null.Close()
	}
	if err := unix.PidfdSendSignal(fd, 0, nil, 0); err != nil {
		t.Errorf("the process of the host has ended: %v", err)
	}
	broker, err := before.start(0)
	if err != nil {
		t.Fatal(err)
	}
	broker.ready(t)
	child := before.mustSpawn(Order{Child: c0, Parent: 0, Template: 1})
	if err := adopt(c0+1, child.PID, child.Pidfd); err == nil || !strings.Contains(err.Error(), errStranger.Error()) {
		t.Errorf("a child under another's number: %v", err)
	}
	w.takesDir(dirName("", c0))
	if err := adopt(c0, child.PID, child.Pidfd); err != nil {
		t.Errorf("a child: %v", err)
	}
	before.awaitExits(c0)
}
