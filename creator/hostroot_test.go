package creator

import (
	"strings"
	"testing"

	"ward/image"
)

// TestHostRootAddsNothing: with the host's programs in view a domain has the
// same environment, descriptors and groups as without: what is stated, and its
// control channel. What it sees of the host is read-only.
func TestHostRootAddsNothing(t *testing.T) {
	needHost(t)
	run := func(program string, args ...string) string {
		t.Helper()
		w := newWorld(t, 0, image.Domain{Name: "plain", Program: program, Args: args, Host: true, Env: []string{"A=b"}})
		out, status := w.result(0)
		if status.ExitStatus() != 0 {
			t.Errorf("%s: %q, status %v", program, out, status)
		}
		return out
	}
	if got := run("/usr/bin/env"); got != "A=b\nWARD_CONTROL=3" {
		t.Errorf("environment: %q", got)
	}
	// ls has one more of its own: the directory that it reads.
	if got := strings.Join(strings.Fields(run("/bin/ls", "/proc/self/fd")), " "); got != "0 1 2 3 4" {
		t.Errorf("descriptors: %q", got)
	}
	if got := run(hostile, "environment"); got != `done env=["A=b" "WARD_CONTROL=3"] groups=[] host=plain cwd=/ pid=1 sid=1` {
		t.Errorf("seen from inside: %q", got)
	}
	for _, line := range strings.Split(run("/bin/cat", "/proc/self/mounts"), "\n") {
		f := strings.Fields(line)
		if len(f) < 4 {
			t.Fatalf("mounts: %q", line)
		}
		options := "," + f[3] + ","
		if strings.Contains(options, ",rw,") && f[1] != "/tmp" && f[2] != "proc" {
			t.Errorf("a mount that may be written: %q", line)
		}
		if !strings.Contains(options, ",nosuid,") {
			t.Errorf("a mount with setuid programs: %q", line)
		}
	}
}
