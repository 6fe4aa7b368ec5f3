package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"ward/monitor/admin"
)

const holdsEnv = "WARD_TEST_HOLDS"

// TestDownLaterHolder is no test: a process that holds a lock as a holder does, says
// so, and runs until its input ends.
func TestDownLaterHolder(t *testing.T) {
	path := os.Getenv(holdsEnv)
	if path == "" {
		return
	}
	lockShut(t, path)
	os.Stdout.WriteString("locked\n")
	os.Stdin.Read(make([]byte, 1))
}

// holds starts a process that holds the lock of a run directory.
func holds(t *testing.T, dir string) (end func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestDownLaterHolder$")
	cmd.Env, cmd.Stderr = append(os.Environ(), holdsEnv+"="+filepath.Join(dir, lockFile)), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return func() { in.Close() }
}

// TestDownLater: `ward down` of a system whose first process lives and that has no
// monitor to ask waits until there is one, which it asks, or until that process has
// ended; only then the system does not run. Where there is no such process, it is told
// at once.
func TestDownLater(t *testing.T) {
	inRunRoot(t)
	dir := lockedDir(t, "starts", false)
	ask := func() <-chan error {
		err := admin.Down(t.Context(), dir)
		if !errors.Is(err, admin.ErrNotRunning) {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- downLater(t.Context(), dir, err) }()
		return done
	}
	if err := <-ask(); !errors.Is(err, admin.ErrNotRunning) {
		t.Errorf("of a system that has ended: %v", err)
	}
	end := holds(t, dir)
	done := ask()
	path := filepath.Join(dir, admin.Socket)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	monitor, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	monitor.SetDeadline(time.Now().Add(time.Minute)) // if nobody asks
	conn, err := monitor.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var request [1]byte
	if _, err := conn.Read(request[:]); err != nil || request[0] != byte(admin.OpDown) {
		t.Errorf("it is asked for %d, %v", request[0], err)
	}
	if err := json.NewEncoder(conn).Encode(admin.End); err != nil {
		t.Error(err)
	}
	conn.Close()
	if err := <-done; err != nil {
		t.Errorf("of a system that starts: %v", err)
	}
	monitor.Close()

	first, err := openHolder(dir)
	if err != nil || first == nil {
		t.Fatalf("the first process is not found: %v", err)
	}
	defer first.Close()
	stopped := make(chan error, 1)
	go func() { stopped <- first.downLater(t.Context(), dir, admin.ErrNotRunning) }()
	end()
	if err := <-stopped; err != nil {
		t.Errorf("of a system that ends while it is waited for: %v", err)
	}
	if err := <-ask(); !errors.Is(err, admin.ErrNotRunning) {
		t.Errorf("of a system that has ended since: %v", err)
	}
	if pid, err := holderOf(dir); pid != 0 || err != nil {
		t.Errorf("it is told that nothing runs while process %d has the lock (%v)", pid, err)
	}
}

// TestClearWithoutLock: in a directory of the root of all that has no lock nothing is
// cleared, and none is made, so that whoever removes it comes to an end. The control: one
// with a lock is cleared.
func TestClearWithoutLock(t *testing.T) {
	inRunRoot(t)
	without, with := lockedDir(t, "without", false), lockedDir(t, "with", false)
	if err := os.Remove(filepath.Join(without, lockFile)); err != nil {
		t.Fatal(err)
	}
	clearEnded("mine")
	clearEndedDir(without)
	if _, err := os.Lstat(filepath.Join(without, lockFile)); err == nil || !isThere(without) {
		t.Errorf("a lock was made (%v), or something cleared without one", err)
	}
	if isThere(with) {
		t.Error("the control: it was not cleared")
	}
}
