package kernel

import (
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hostCopy copies a program of the host to where only root can write.
func hostCopy(t *testing.T, from, to string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

func varTmp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "ward-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestAttackSwap: a program is replaced after it was hashed and before it is
// executed, in place and by another file. What was hashed runs. The controls
// hash the file, too, and execute its path.
func TestAttackSwap(t *testing.T) {
	needHost(t)
	dir := varTmp(t)
	program := filepath.Join(dir, "program")
	for name, swap := range map[string]func(){
		"in place":     func() { hostCopy(t, "/bin/pwd", program) },
		"another file": func() { hostCopy(t, "/bin/pwd", program+".new"); os.Rename(program+".new", program) },
	} {
		t.Run(name, func(t *testing.T) {
			s := &Sandbox{Name: "test", Program: program, Args: []string{"good"}, Host: true, UID: testUID, GID: testUID, Files: []*os.File{nil, nil, nil}}
			start := func(copied bool) string {
				sum := hostCopy(t, "/bin/echo", program)
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				one := *s
				one.Files = []*os.File{nil, w, w}
				if copied {
					if one.image, err = sealedCopy(program, sum[:]); err != nil {
						t.Fatal(err)
					}
					defer one.image.Close()
				} else if got, err := hashTrusted(program); err != nil || string(got) != string(sum[:]) {
					t.Fatalf("%x, %v", got, err)
				}
				swap()
				p, err := one.launch()
				w.Close()
				if err != nil {
					t.Fatal(err)
				}
				defer p.Pidfd.Close()
				out, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				var status unix.WaitStatus
				if _, err := unix.Wait4(p.PID, &status, 0, nil); err != nil {
					t.Fatal(err)
				}
				return strings.TrimSpace(string(out))
			}
			if out := start(true); out != "good" {
				t.Errorf("what was swapped in ran: %q", out)
			}
			if out := start(false); strings.HasPrefix(out, "good") || out == "" {
				t.Errorf("the control ran what was hashed: %q", out)
			}
		})
	}
}

// TestPins: a program starts only with the libraries that were pinned, and
// nothing that is not an ELF file starts as what was hashed.
func TestPins(t *testing.T) {
	needHost(t)
	dir := varTmp(t)
	program, library, script := filepath.Join(dir, "program"), filepath.Join(dir, "library"), filepath.Join(dir, "script")
	sum, pinned := hostCopy(t, "/bin/echo", program), hostCopy(t, "/bin/echo", library)
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho good\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	scriptSum := sha256.Sum256([]byte("#!/bin/sh\necho good\n"))
	good := Sandbox{Name: "test", Program: program, Digest: sum[:], Pins: []Pin{{library, pinned[:]}}, Args: []string{"good"}, Host: true, UID: testUID, GID: testUID}
	if out, _ := run(t, &good); out != "good" {
		t.Errorf("%q", out)
	}
	for name, c := range map[string]struct {
		change func(*Sandbox)
		want   error
	}{
		"another program":  {func(s *Sandbox) { s.Digest = pinnedOther(sum) }, ErrDigest},
		"another library":  {func(s *Sandbox) { s.Pins = []Pin{{library, pinnedOther(pinned)}} }, ErrPin},
		"no library":       {func(s *Sandbox) { s.Pins = []Pin{{library + ".gone", pinned[:]}} }, os.ErrNotExist},
		"a script":         {func(s *Sandbox) { s.Program, s.Digest = script, scriptSum[:] }, ErrNotELF},
		"LD_LIBRARY_PATH":  {func(s *Sandbox) { s.Env = []string{"LD_LIBRARY_PATH=" + dir} }, nil},
		"pins, no program": {func(s *Sandbox) { s.Digest = nil }, nil},
	} {
		s := good
		c.change(&s)
		if _, err := s.Start(); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The control: the same script and environment without pins.
	s := Sandbox{Name: "test", Program: script, Host: true, UID: testUID, GID: testUID, Env: []string{"LD_LIBRARY_PATH=" + dir}}
	if out, _ := run(t, &s); out != "good" {
		t.Errorf("the control: %q", out)
	}
}

func pinnedOther(sum [32]byte) []byte { sum[0]++; return sum[:] }
