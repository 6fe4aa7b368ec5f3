package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/audit"
	"ward/holder/lifeline"
)

// stopsProcess stops a process, with all its threads, until goesOn is called or
// the test ends.
func (r *running) stopsProcess(pid int) (goesOn func()) {
	r.t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	pidfd := os.NewFile(uintptr(fd), "stopped")
	goesOn = sync.OnceFunc(func() {
		unix.PidfdSendSignal(int(pidfd.Fd()), unix.SIGCONT, nil, 0)
		pidfd.Close()
	})
	r.t.Cleanup(goesOn)
	if err := unix.PidfdSendSignal(fd, unix.SIGSTOP, nil, 0); err != nil {
		r.t.Fatal(err)
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		running := false
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, name := range threads {
			b, _ := os.ReadFile(name)
			_, state, _ := strings.Cut(string(b), ") ")
			running = running || !strings.HasPrefix(state, "T")
		}
		if !running && len(threads) > 0 {
			return goesOn
		}
		select {
		case <-tick.C:
		case <-limit.C:
			r.t.Fatalf("process %d does not stop", pid)
		}
	}
}

// TestMonitorStopped: with a monitor that does nothing, calls on open gates go on
// and are judged, for as long as it takes, and nothing new is granted: who asks
// for a gate gets none. The control: as soon as it goes on, gates are granted.
func TestMonitorStopped(t *testing.T) {
	r := up(t, pair)
	r.report(lifeline.Ready)
	r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
	goesOn := r.stopsProcess(r.processes()["monitor"])
	stopped := time.Now()
	refused := r.await(stopped, "a client that got no gate, which it says on the gate that it has", isCall(audit.Allow, "no gate"))
	r.await(refused.Time, "an allowed call", isCall(audit.Allow, "hello"))
	r.await(refused.Time, "a denied call", isCall(audit.Deny, "secret"))
	for _, rec := range r.records() {
		if rec.Event == audit.EventGate && rec.Time.After(stopped) {
			t.Errorf("granted by a monitor that was stopped: %+v", rec)
		}
	}
	goesOn()
	r.granted(time.Now())
	r.ends()
}
