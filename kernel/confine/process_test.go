package confine

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestApply: what a process gives up is gone on all of its threads. In a
// process of its own: it does not come back.
func TestApply(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: has capabilities to give up")
	}
	if _, err := LandlockABI(); err != nil {
		t.Skipf("needs Landlock: %v", err)
	}
	const env = "CONFINE_TEST_DIR"
	dir := os.Getenv(env)
	if dir == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestApply$", "-test.v")
		cmd.Env = append(os.Environ(), env+"="+t.TempDir(), "TMPDIR="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	inside, outside := filepath.Join(dir, "inside"), filepath.Join(filepath.Dir(dir), "outside")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(dir string) error { return os.WriteFile(filepath.Join(dir, "file"), nil, 0o644) }
	call := func() error { return unix.Sethostname([]byte("never")) } // refused before and after: by CAP_SYS_ADMIN or by the filter
	if err := errors.Join(os.Mkdir(outside, 0o755), write(outside), write(inside)); err != nil {
		t.Fatalf("control: %v", err)
	}
	p := Protection{Effective: Of(unix.CAP_KILL), Permitted: Of(unix.CAP_CHOWN), Landlock: true, Read: []string{"/proc", "/nonexistent"}, Write: []string{inside},
		Table: &Table{Refuse: []uintptr{unix.SYS_SETHOSTNAME, unix.SYS_GETPRIORITY}}}
	if err := p.Apply(); err != nil {
		t.Fatal(err)
	}
	results := make(chan error)
	for range 8 {
		go func() {
			var err error
			if e := write(inside); e != nil {
				err = errors.Join(err, e)
			}
			if e := write(outside); !errors.Is(e, os.ErrPermission) {
				err = errors.Join(err, errors.New("wrote outside"))
			}
			if _, e := unix.Getpriority(unix.PRIO_PROCESS, 0); e != unix.EPERM {
				err = errors.Join(err, errors.New("made a call that is refused"))
			}
			if e := call(); e != unix.EPERM {
				err = errors.Join(err, e)
			}
			if have, e := permitted(); e != nil || have != Of(unix.CAP_KILL, unix.CAP_CHOWN) {
				err = errors.Join(err, e, errors.New("capabilities "+have.String()))
			}
			results <- err
		}()
	}
	for range 8 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	own := func() error { return os.Chown(inside, 1, 1) }
	if err := own(); !errors.Is(err, os.ErrPermission) {
		t.Errorf("used a capability that is not effective: %v", err)
	}
	if err := Raise(own); err != nil {
		t.Errorf("raised: %v", err)
	}
	if err := own(); !errors.Is(err, os.ErrPermission) {
		t.Errorf("it was not taken back: %v", err)
	}
}

func TestCapabilities(t *testing.T) {
	for s, want := range map[Capabilities]string{0: "none", Of(unix.CAP_KILL, unix.CAP_CHOWN): "CHOWN KILL", Of(unix.CAP_CHECKPOINT_RESTORE, 63): "CHECKPOINT_RESTORE 63"} {
		if s.String() != want {
			t.Errorf("%#x is %q, want %q", uint64(s), s, want)
		}
	}
}

// TestRefuse: a deny-list allows the rest.
func TestRefuse(t *testing.T) {
	prog, err := Compile(&Table{Refuse: []uintptr{unix.SYS_REBOOT}})
	if err != nil || len(prog) == 0 {
		t.Fatal(err)
	}
	if _, err := Compile(&Table{Refuse: []uintptr{1}, Missing: []uintptr{1}}); err == nil {
		t.Error("a call in two lists compiles")
	}
}
