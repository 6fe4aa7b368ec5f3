package main

import (
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ward/audit"
	"ward/holder/lifeline"
)

// outside runs the probe as a user outside Ward and returns what it prints.
func (r *running) outside(uid uint32, args ...string) string {
	r.t.Helper()
	cmd := exec.Command(filepath.Join(r.bin, "probe"), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, _ := cmd.CombinedOutput()
	return strings.TrimSpace(string(out))
}

const nobody = 65534

// TestOutside: users outside Ward are known by the kernel, judged when they
// connect, judged again for each request, and bounded.
func TestOutside(t *testing.T) {
	r := up(t, pair)
	r.report(lifeline.Ready)
	socket := filepath.Join(r.dir, "echo.sock")
	if got := r.outside(nobody, "dial", socket, "hello"); got != "said hello" {
		t.Errorf("nobody says hello: %q", got)
	}
	if got := r.outside(nobody, "dial", socket, "secret"); !strings.Contains(got, "denied") && !strings.Contains(got, "default deny") {
		t.Errorf("nobody says secret: %q", got)
	}
	if got := r.outside(12345, "dial", socket, "hello"); !strings.Contains(got, "default deny") {
		t.Errorf("a stranger connects: %q", got)
	}
	rec := r.await(r.since, "the stranger's refusal", func(rec *audit.Record) bool {
		return rec.Event == audit.EventGate && rec.From == "user:12345"
	})
	if rec.Verdict != audit.Deny || *rec.UID != 12345 || rec.To != "server" {
		t.Errorf("record of the stranger: %+v", rec)
	}
	rec = r.await(r.since, "the call of nobody", func(rec *audit.Record) bool {
		return rec.Event == audit.EventCall && rec.From == "user:nobody" && rec.Verdict == audit.Allow
	})
	if rec.Policy != "nobody may greet" || rec.Params["text"] != "hello" {
		t.Errorf("record of nobody's call: %+v", rec)
	}
}

// TestOutsideBounds: one user cannot use up the gates of others, and what it
// held is free again when it ends.
func TestOutsideBounds(t *testing.T) {
	r := up(t, pair)
	r.report(lifeline.Ready)
	socket := filepath.Join(r.dir, "echo.sock")
	cmd := exec.Command(filepath.Join(r.bin, "probe"), "hold", socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
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
	line := make([]byte, 200)
	n, _ := io.ReadAtLeast(out, line, 10)
	if !strings.HasPrefix(string(line[:n]), "held 16 ") {
		t.Errorf("a user held: %q", line[:n])
	}
	in.Close()
	io.Copy(io.Discard, out)
	cmd.Wait()
	deadline := time.Now().Add(patience)
	for r.outside(nobody, "dial", socket, "hello") != "said hello" {
		if time.Now().After(deadline) {
			t.Fatal("what the user held is not freed")
		}
	}
}
