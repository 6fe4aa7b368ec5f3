package thread

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ward/kernel/confine"
)

// needLandlock skips a test where the kernel has less than it needs.
func needLandlock(t *testing.T, abi int) {
	t.Helper()
	if have, err := confine.LandlockABI(); err != nil || have < abi {
		t.Skipf("needs Landlock ABI %d: the kernel has %d (%v)", abi, have, err)
	}
}

// tree is a directory with a file that is granted and one that is not.
func tree(t *testing.T) (dir, granted, secret string) {
	t.Helper()
	dir = t.TempDir()
	for _, d := range []string{"in", "out"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	granted, secret = filepath.Join(dir, "in/granted"), filepath.Join(dir, "secret")
	for _, f := range []string{granted, secret} {
		if err := os.WriteFile(f, []byte("text"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, granted, secret
}

func runs(t *testing.T, r Rules, f func() error) error {
	t.Helper()
	return Run(t.Context(), r, func(context.Context) error { return f() })
}

// TestBesideUnderLoad: threads under rules and goroutines without any open the
// same two files at the same time, many times.
func TestBesideUnderLoad(t *testing.T) {
	needLandlock(t, 1)
	dir, granted, secret := tree(t)
	rules := Rules{Read: []string{filepath.Join(dir, "in")}}
	stop := make(chan struct{})
	var beside sync.WaitGroup
	for range 4 {
		beside.Go(func() {
			for {
				for _, f := range []string{granted, secret} {
					if _, err := os.ReadFile(f); err != nil {
						t.Errorf("beside: %v", err)
					}
				}
				_ = make([]byte, 1<<16) // keeps the collector and its signals busy
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	var threads sync.WaitGroup
	for range 8 {
		threads.Go(func() {
			for range 20 {
				err := Run(t.Context(), rules, func(context.Context) error {
					for range 10 {
						if _, err := os.ReadFile(granted); err != nil {
							return fmt.Errorf("granted: %w", err)
						}
						if b, err := os.ReadFile(secret); !errors.Is(err, fs.ErrPermission) {
							return fmt.Errorf("secret: %q, %w", b, err)
						}
						_ = make([]byte, 1<<16)
						runtime.Gosched()
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	threads.Wait()
	close(stop)
	beside.Wait()
}

// TestRules: each rule grants what it says, and what no rule grants is
// refused. The control is that the same succeeds outside.
func TestRules(t *testing.T) {
	needLandlock(t, 2)
	dir, granted, secret := tree(t)
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	read := func(name string) func() error {
		return func() error { _, err := os.ReadFile(name); return err }
	}
	write := func(name string) func() error {
		return func() error { return os.WriteFile(name, []byte("text"), 0o644) }
	}
	fresh := func() {
		for _, f := range []string{granted, secret, out + "/new"} {
			if err := os.WriteFile(f, []byte("text"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		what  string
		rules Rules
		do    func() error
		allow bool
	}{
		{"nothing but memory", Rules{}, func() error { return errIf(len(make([]byte, 1<<20)) == 0) }, true},
		{"read without a rule", Rules{}, read(granted), false},
		{"read a directory's file", Rules{Read: []string{in}}, read(granted), true},
		{"read a file by name", Rules{Read: []string{granted}}, read(granted), true},
		{"read by ..", Rules{Read: []string{in}}, read(in + "/../secret"), false},
		{"read by a symbolic link", Rules{Read: []string{in}}, read(symlink(t, secret, filepath.Join(in, "link"))), false},
		{"list", Rules{Read: []string{in}}, func() error { _, err := os.ReadDir(in); return err }, true},
		{"list another", Rules{Read: []string{in}}, func() error { _, err := os.ReadDir(out); return err }, false},
		{"write what may be read", Rules{Read: []string{in}}, write(granted), false},
		{"empty what may be read", Rules{Read: []string{in}}, func() error {
			fd, err := unix.Open(granted, unix.O_RDONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}, false},
		{"truncate what may be read", Rules{Read: []string{in}}, func() error { return os.Truncate(granted, 4) }, false},
		{"create", Rules{Write: []string{out}}, write(out + "/created"), true},
		{"create elsewhere", Rules{Write: []string{out}}, write(dir + "/created"), false},
		{"read what may be written", Rules{Write: []string{out}}, read(filepath.Join(out, "new")), false},
		{"rename", Rules{Write: []string{out}}, func() error { return os.Rename(out+"/new", out+"/newer") }, true},
		{"remove", Rules{Write: []string{out}}, func() error { return os.Remove(out + "/new") }, true},
		{"remove elsewhere", Rules{Write: []string{out}}, func() error { return os.Remove(secret) }, false},
		{"change a mode", Rules{Write: []string{out}, Read: []string{dir}}, func() error { return os.Chmod(granted, 0o644) }, false},
		{"change a mode with Metadata", Rules{Calls: Metadata}, func() error { return os.Chmod(granted, 0o644) }, true},
		{"change the working directory", Rules{Read: []string{"/"}}, func() error { return unix.Chdir(".") }, false},
		{"own memory by /proc", Rules{Read: []string{"/"}}, func() error {
			f, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
			if err == nil {
				f.Close()
			}
			return err
		}, false},
		{"a socket", Rules{}, socket(unix.AF_UNIX, unix.SOCK_STREAM), false},
		{"a socket with Sockets", Rules{Calls: Sockets, Without: TCPPorts | AbstractSockets}, socket(unix.AF_UNIX, unix.SOCK_STREAM), true},
		{"a Unix socket with a port", Rules{Connect: []uint16{1}, Without: TCPPorts}, socket(unix.AF_UNIX, unix.SOCK_STREAM), false},
		{"a UDP socket with a port", Rules{Connect: []uint16{1}, Without: TCPPorts}, socket(unix.AF_INET, unix.SOCK_DGRAM), false},
		{"a signal", Rules{}, func() error { return unix.Kill(os.Getpid(), 0) }, false},
		{"a thread's signal", Rules{}, func() error { return unix.Tgkill(os.Getpid(), unix.Gettid(), 0) }, true},
	} {
		fresh()
		if err := c.do(); err != nil {
			t.Errorf("%s: the control fails: %v", c.what, err)
		}
		fresh()
		err := runs(t, c.rules, c.do)
		if c.allow && err != nil || !c.allow && !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func errIf(bad bool) error {
	if bad {
		return errors.New("it is so")
	}
	return nil
}

func symlink(t *testing.T, to, name string) string {
	t.Helper()
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
	return name
}

func socket(family, kind int) func() error {
	return func() error {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
}

// TestConnect: one port may be connected to, the next one may not.
func TestConnect(t *testing.T) {
	needLandlock(t, 4)
	var ports [2]uint16
	for i := range ports {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports[i] = uint16(l.Addr().(*net.TCPAddr).Port)
	}
	connect := func(port uint16) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Connect(fd, &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}})
	}
	for _, p := range ports { // the control
		if err := connect(p); err != nil {
			t.Fatal(err)
		}
	}
	err := runs(t, Rules{Connect: ports[:1]}, func() error {
		if err := connect(ports[0]); err != nil {
			return fmt.Errorf("granted: %w", err)
		}
		if err := connect(ports[1]); !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("not granted: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestProcesses: what the function starts has its rights, not the program's.
func TestProcesses(t *testing.T) {
	needLandlock(t, 2)
	_, granted, secret := tree(t)
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Skip("needs cat, which the guest of make vm-test does not have")
	}
	rules := Rules{Read: []string{granted, "/lib", "/usr/lib", "/etc/ld.so.cache", "/dev/null"}, Write: []string{"/dev/null"}, Execute: []string{cat, "/lib", "/usr/lib"}, Calls: Processes, Without: Signals}
	if _, err := os.Stat("/lib64"); err == nil {
		rules.Read, rules.Execute = append(rules.Read, "/lib64"), append(rules.Execute, "/lib64")
	}
	err = runs(t, rules, func() error {
		if out, err := exec.Command(cat, granted).Output(); err != nil || string(out) != "text" {
			return fmt.Errorf("granted: %q, %w", out, err)
		}
		if out, err := exec.Command(cat, secret).Output(); err == nil {
			return fmt.Errorf("secret: %q", out)
		}
		if err := exec.Command("/bin/true").Run(); !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("executed what is not granted: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := runs(t, Rules{Read: []string{"/"}}, func() error { return exec.Command(cat, granted).Run() }); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("executed without Processes: %v", err)
	}
}

// TestEnds: how the function ends is what Run says, and its thread is gone.
func TestEnds(t *testing.T) {
	needLandlock(t, 1)
	plain := errors.New("plain")
	tid := 0
	note := func() { tid = unix.Gettid() }
	for name, c := range map[string]struct {
		f     func(context.Context) error
		right func(error) bool
	}{
		"nil":         {func(context.Context) error { note(); return nil }, func(err error) bool { return err == nil }},
		"error":       {func(context.Context) error { note(); return plain }, func(err error) bool { return err == plain }},
		"panic":       {func(context.Context) error { note(); panic("why") }, func(err error) bool { p, ok := err.(*PanicError); return ok && p.Value == "why" && len(p.Stack) > 0 }},
		"error panic": {func(context.Context) error { note(); panic(plain) }, func(err error) bool { return errors.Is(err, plain) && err != plain }},
		"nil map":     {func(context.Context) error { note(); var m map[int]int; m[0]++; return nil }, func(err error) bool { var r runtime.Error; return errors.As(err, &r) }},
		"goexit":      {func(context.Context) error { note(); runtime.Goexit(); return nil }, func(err error) bool { return err != nil && strings.Contains(err.Error(), "Goexit") }},
	} {
		if err := Run(t.Context(), Rules{}, c.f); !c.right(err) {
			t.Errorf("%s: %v", name, err)
		}
		if tid == os.Getpid() {
			t.Errorf("%s: ran on the main thread", name)
		}
		for unix.Tgkill(os.Getpid(), tid, 0) != unix.ESRCH {
			runtime.Gosched() // until the thread has ended; for ever if it does not
		}
		if n := length(&narrowed); n != 0 {
			t.Errorf("%s: %d threads are still noted", name, n)
		}
	}
}

func length(m *sync.Map) (n int) {
	m.Range(func(any, any) bool { n++; return true })
	return n
}

// TestNothingElseChanges: no other thread has a filter or no_new_privs
// afterwards, and new ones have none.
func TestNothingElseChanges(t *testing.T) {
	needLandlock(t, 1)
	status := func() string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", unix.Gettid()))
		if err != nil {
			t.Error(err)
		}
		var out []string
		for l := range strings.Lines(string(b)) {
			if strings.HasPrefix(l, "NoNewPrivs:") || strings.HasPrefix(l, "Seccomp:") {
				out = append(out, strings.TrimSpace(l))
			}
		}
		return strings.Join(out, " ")
	}
	before := status()
	inside := ""
	if err := runs(t, Rules{Read: []string{"/proc"}}, func() error { inside = status(); return nil }); err != nil {
		t.Fatal(err)
	}
	if inside != "NoNewPrivs:\t1 Seccomp:\t2" {
		t.Errorf("inside: %s", inside)
	}
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			runtime.LockOSThread() // a thread each
			defer runtime.UnlockOSThread()
			if s := status(); s != before {
				t.Errorf("beside: %s, before %s", s, before)
			}
		})
	}
	wait.Wait()
}

// TestLimitsOfIt shows what the documentation says: a goroutine that the
// function starts, and a descriptor that was open, are not narrowed.
func TestLimitsOfIt(t *testing.T) {
	needLandlock(t, 1)
	_, _, secret := tree(t)
	open, err := os.Open(secret)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	err = runs(t, Rules{}, func() error {
		if _, err := open.Read(make([]byte, 4)); err != nil {
			return fmt.Errorf("a descriptor that was open: %w", err)
		}
		elsewhere := make(chan error)
		go func() { _, err := os.ReadFile(secret); elsewhere <- err }()
		if err := <-elsewhere; err != nil {
			return fmt.Errorf("a goroutine: %w", err)
		}
		return nil
	})
	if err != nil {
		t.Errorf("the documentation says otherwise: %v", err)
	}
}

func TestNested(t *testing.T) {
	needLandlock(t, 1)
	err := runs(t, Rules{}, func() error {
		return Run(context.Background(), Rules{Read: []string{"/"}}, func(context.Context) error { return nil })
	})
	if err != ErrNested {
		t.Errorf("Run inside Run: %v", err)
	}
}

func TestContext(t *testing.T) {
	needLandlock(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	err := Run(ctx, Rules{}, func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	if err != context.Canceled {
		t.Errorf("canceled inside: %v", err)
	}
	err = Run(ctx, Rules{}, func(context.Context) error { t.Error("started"); return nil })
	if err != context.Canceled {
		t.Errorf("canceled before: %v", err)
	}
}

// TestMissing: what an old kernel cannot check is an error, unless it is named.
func TestMissing(t *testing.T) {
	for _, c := range []struct {
		rules Rules
		abi   int
		want  Right
	}{
		{Rules{Read: []string{"/"}, Write: []string{"/"}, Calls: Metadata}, 2, 0},
		{Rules{Connect: []uint16{443}}, 2, TCPPorts},
		{Rules{Connect: []uint16{443}}, 4, 0},
		{Rules{Bind: []uint16{0}, Without: TCPPorts}, 2, 0},
		{Rules{Calls: Sockets}, 2, TCPPorts},
		{Rules{Calls: Sockets}, 5, AbstractSockets},
		{Rules{Calls: Sockets}, 6, 0},
		{Rules{Calls: Processes}, 5, Signals},
		{Rules{Calls: Processes, Without: Signals}, 2, 0},
	} {
		err := c.rules.check(c.abi)
		var missing *MissingError
		if errors.As(err, &missing) != (c.want != 0) || missing != nil && (missing.Right != c.want || !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), missing.Linux)) {
			t.Errorf("%+v on ABI %d: %v", c.rules, c.abi, err)
		}
	}
	none := &MissingError{Linux: "5.13", cause: syscall.ENOSYS}
	if !errors.Is(none, errors.ErrUnsupported) || !strings.Contains(none.Error(), "Landlock") {
		t.Error(none)
	}
}

// TestOldKernel: with what Linux 6.1 checks, the same holds for files.
func TestOldKernel(t *testing.T) {
	needLandlock(t, 2)
	dir, granted, secret := tree(t)
	err := run(t.Context(), Rules{Read: []string{filepath.Join(dir, "in")}}, 2, func(context.Context) error {
		if _, err := os.ReadFile(granted); err != nil {
			return err
		}
		for what, err := range map[string]error{
			"open":     func() error { _, err := os.ReadFile(secret); return err }(),
			"truncate": os.Truncate(granted, 0),
			"empty":    func() error { _, err := unix.Open(granted, unix.O_RDONLY|unix.O_TRUNC, 0); return err }(),
		} {
			if !errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("%s: %v", what, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestBadRules(t *testing.T) {
	needLandlock(t, 1)
	for _, r := range []Rules{
		{Read: []string{"/nonexistent"}}, {Write: []string{""}}, {Connect: []uint16{0}}, {Execute: []string{"/bin/true"}}, {Calls: 1 << 30}, {Without: 1 << 30},
	} {
		if err := runs(t, r, func() error { t.Errorf("%+v: started", r); return nil }); err == nil {
			t.Errorf("%+v: no error", r)
		}
	}
}

// TestUnprivileged runs the tests as a user without rights.
func TestUnprivileged(t *testing.T) {
	needLandlock(t, 2)
	if os.Getuid() != 0 {
		t.Skip("needs root: it becomes another user; the other tests have run without privilege")
	}
	dir, err := os.MkdirTemp("", "ward-thread")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	copied := filepath.Join(dir, "test")
	b, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = errors.Join(os.WriteFile(copied, b, 0o755), os.Chmod(dir, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(copied, "-test.run", "^Test(Rules|Connect|Ends|NothingElseChanges|Processes)$", "-test.v")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "TMPDIR=/tmp")
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "--- SKIP: TestRules") {
		t.Errorf("%v\n%s", err, out)
	}
}
