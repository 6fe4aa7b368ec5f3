package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/audit"
	"ward/holder/lifeline"
)

// lastPID is where root chooses the next process ID of its PID namespace
// (CONFIG_CHECKPOINT_RESTORE).
const lastPID = "/proc/sys/kernel/ns_last_pid"

// apartEnv says that this process is the first of a PID namespace, and the number
// of the one that started it.
const apartEnv = "WARDD_TEST_APART"

// apart runs a test in a PID namespace of its own, with its own /proc: the
// numbers of processes that it chooses are nobody else's. It reports whether
// this is there.
func apart(t *testing.T) bool {
	t.Helper()
	needsRoot(t)
	if os.Getenv(apartEnv) != "" {
		if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), apartEnv+"="+strconv.Itoa(os.Getpid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if bytes.Contains(out, []byte("--- SKIP: "+t.Name())) {
		t.Skip("needs CONFIG_CHECKPOINT_RESTORE, to choose the next PID")
	}
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// TestAttackOutsideReusedPID: a stranger connects to the socket of an export and
// dies before the monitor looks, and its PID belongs to a user by then whom the
// policy permits. It gets nothing of what that user may have. The controls: by
// its number it would be that user, and that user, connecting itself, is served.
func TestAttackOutsideReusedPID(t *testing.T) {
	if !apart(t) {
		return
	}
	if _, err := os.Stat(lastPID); err != nil {
		t.Skip("needs CONFIG_CHECKPOINT_RESTORE, to choose the next PID")
	}
	r := up(t, pair)
	r.report(lifeline.Ready)
	socket := filepath.Join(r.dir, "echo.sock")
	r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
	const stranger = 23456
	goesOn := r.stopsProcess(r.processes()["monitor"])
	before := time.Now()
	reused := false
	for try := 0; try < 40 && !reused; try++ { // threads and clients of the system may take the number
		dead := r.hostile(stranger, "connect", socket)
		pid := dead.cmd.Process.Pid
		if got := dead.end(); got != "done" {
			t.Fatal(got)
		}
		if err := os.WriteFile(lastPID, []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Fatal(err)
		}
		other := r.hostile(nobody, "idle")
		if reused = other.cmd.Process.Pid == pid; !reused {
			other.end()
			continue
		}
		other.ready()
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil || !strings.Contains(string(status), fmt.Sprintf("Uid:\t%d\t", nobody)) {
			t.Fatalf("control: by its number the dead stranger is not the permitted user: %v", err)
		}
	}
	if !reused {
		t.Fatal("the number was not used again")
	}
	goesOn()
	if got := r.outside(nobody, "dial", socket, "hello"); got != "said hello" {
		t.Errorf("control: the permitted user itself: %q", got)
	}
	r.stops()
	served := 0
	for _, rec := range r.records() {
		if rec.Event != audit.EventGate || !strings.HasPrefix(rec.From, "user:") || rec.Time.Before(before) {
			continue
		}
		if rec.From == "user:nobody" && rec.Verdict == audit.Allow {
			served++
		} else if rec.Verdict == audit.Allow {
			t.Errorf("the dead stranger was served: %+v", rec)
		}
	}
	if served != 1 {
		t.Errorf("the permitted user was served %d times; it has connected once", served)
	}
}
