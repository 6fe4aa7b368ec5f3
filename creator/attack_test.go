package creator

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ward/image"
	"ward/kernel"
)

// all is every defence: a program that is merely started, as the domain's user.
const all = kernel.WithSeccomp | kernel.WithLandlock | kernel.WithNamespaces | kernel.WithRoot | kernel.WithIdentity | kernel.WithNoNewPrivs | kernel.WithLimits

// An attack is tried with all defences, where it must be refused, with
// `control` left out, where it must take effect, and once more with each of
// `layers` left out, where something else must still refuse it.
type attack struct {
	name    string
	args    []string
	control kernel.Defence
	layers  []kernel.Defence
	killed  bool // the refusal is the end of the process by SIGSYS
	domain  func(*image.Domain)
}

const (
	seccomp = kernel.WithSeccomp
	files   = kernel.WithSeccomp | kernel.WithLandlock | kernel.WithRoot
)

func hostRoot(d *image.Domain) { d.Host = true }

var attacks = []attack{
	// Its own socket, used for more than messages.
	{name: "bind", control: seccomp},
	{name: "connect", control: seccomp},
	{name: "listen", control: seccomp},
	{name: "accept", control: seccomp},
	{name: "sendmsg", control: seccomp},
	{name: "smuggle", control: seccomp},
	{name: "sendmmsg", control: seccomp},
	{name: "sendto", control: seccomp},
	{name: "sendbuffer", control: seccomp},
	{name: "detachfilter", control: seccomp},
	{name: "setown", control: seccomp},
	{name: "socket", control: seccomp},
	// Calls that no domain needs.
	{name: "iouring", control: seccomp},
	{name: "userfaultfd", control: seccomp},
	{name: "addkey", control: seccomp},
	{name: "keyctl", control: seccomp},
	{name: "personality", control: seccomp},
	{name: "memfd", control: seccomp},
	{name: "setns", control: seccomp},
	{name: "handle", control: seccomp},
	{name: "splice", control: seccomp},
	{name: "getfdself", control: seccomp},
	{name: "chroot", control: seccomp},
	{name: "call32", control: seccomp, killed: true},
	{name: "callx32", control: seccomp, killed: true},
	// New namespaces, in which it would be root.
	{name: "userns", control: seccomp},
	{name: "mount", control: seccomp | kernel.WithLandlock, layers: []kernel.Defence{seccomp}},
	// Files.
	{name: "read", args: []string{"/etc/passwd"}, control: files, layers: []kernel.Defence{seccomp, kernel.WithLandlock, seccomp | kernel.WithLandlock}},
	{name: "chmodself", control: files, layers: []kernel.Defence{seccomp | kernel.WithLandlock}},
	{name: "writeself", control: files, layers: []kernel.Defence{seccomp | kernel.WithLandlock}},
	// The same with the host's programs in view, and their wider allow-list.
	{name: "socket", control: seccomp, domain: hostRoot},
	{name: "smuggle", control: seccomp, domain: hostRoot},
	{name: "sendbuffer", control: seccomp, domain: hostRoot},
	{name: "userns", control: seccomp, domain: hostRoot},
	{name: "mount", control: seccomp | kernel.WithLandlock, layers: []kernel.Defence{seccomp}, domain: hostRoot},
	{name: "iouring", control: seccomp, domain: hostRoot},
	{name: "addkey", control: seccomp, domain: hostRoot},
	{name: "call32", control: seccomp, killed: true, domain: hostRoot},
	{name: "read", args: []string{"/etc/passwd"}, control: files, layers: []kernel.Defence{seccomp | kernel.WithLandlock}, domain: hostRoot},
	{name: "read", args: []string{"/proc/sys/kernel/hostname"}, control: files, layers: []kernel.Defence{seccomp | kernel.WithLandlock}, domain: hostRoot},
}

// try runs one attack and returns what the attacker printed.
func (a attack) try(t *testing.T, without kernel.Defence) (string, syscall.WaitStatus) {
	t.Helper()
	// A program of its own, which its user may write as far as the host is concerned.
	dir := ownDir(t, int(testUIDs))
	program := filepath.Join(dir, "program")
	copyFile(t, hostile, program, 0o777)
	if err := os.Chown(program, int(testUIDs), int(testUIDs)); err != nil {
		t.Fatal(err)
	}
	d := image.Domain{Name: "attacker", Program: program, Args: append([]string{a.name}, a.args...)}
	if a.domain != nil {
		a.domain(&d)
	}
	return newWorld(t, without, d).result(0)
}

func ownDir(t *testing.T, uid int) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(dir, uid, uid); err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, mode); err != nil {
		t.Fatal(err)
	}
}

func (a attack) check(t *testing.T, without kernel.Defence) {
	t.Helper()
	out, status := a.try(t, without)
	if strings.HasPrefix(out, "done") {
		t.Errorf("without %b: the attack took effect: %s", without, out)
	} else if a.killed && without == 0 && (!status.Signaled() || status.Signal() != unix.SIGSYS) {
		t.Errorf("without %b: ended with %v, %q; expected the end by SIGSYS", without, status, out)
	} else if !a.killed && !strings.HasPrefix(out, "refused") {
		t.Errorf("without %b: neither done nor refused: %q (status %v)", without, out, status)
	}
}

func TestAttacks(t *testing.T) {
	needRoot(t)
	for _, a := range attacks {
		name := a.name
		if a.domain != nil {
			name += " with the host's root"
		}
		t.Run(name, func(t *testing.T) {
			if out, _ := a.try(t, a.control); !strings.HasPrefix(out, "done") {
				t.Fatalf("control: the attack does not work without the defence: %q", out)
			}
			t.Run("defended", func(t *testing.T) { a.check(t, 0) })
			for i, l := range a.layers {
				t.Run("layer "+strconv.Itoa(i), func(t *testing.T) { a.check(t, l) })
			}
		})
	}
}

// TestAttackSibling: reaching into another domain. The control runs the same
// attack plainly, as the victim's user, beside it.
func TestAttackSibling(t *testing.T) {
	for _, name := range []string{"ptrace", "vmread", "procmem", "pidfdgetfd", "signal"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 0, image.Domain{Name: "victim", Program: hostile, Args: []string{"idle"}})
			victim, err := w.start(0)
			if err != nil {
				t.Fatal(err)
			}
			victim.ready(t)
			pid := strconv.Itoa(victim.PID)
			for _, host := range []bool{false, true} {
				// The same user ID even: the first domain of its own creator.
				d := image.Domain{Name: "attacker", Program: hostile, Args: []string{name, pid}, Host: host}
				if out, _ := newWorld(t, 0, d).result(0); !strings.HasPrefix(out, "refused") {
					t.Errorf("host root %v: %q", host, out)
				}
			}
			cmd := exec.Command(hostile, name, pid)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: victim.UID, Gid: victim.UID}}
			if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "done") {
				t.Errorf("control: the attack does not work outside: %q, %v", out, err)
			}
		})
	}
}

// TestAttackSiblingWithoutSeccomp: the namespaces alone hide other processes.
func TestAttackSiblingWithoutSeccomp(t *testing.T) {
	for _, name := range []string{"ptrace", "vmread", "procmem", "pidfdgetfd", "signal", "signalall"} {
		t.Run(name, func(t *testing.T) {
			d := image.Domain{Name: "attacker", Program: hostile, Args: []string{name, strconv.Itoa(os.Getpid())}, Host: true}
			if out, _ := newWorld(t, seccomp, d).result(0); !strings.HasPrefix(out, "refused") {
				t.Errorf("%q", out)
			}
		})
	}
}

func TestAttackSockets(t *testing.T) {
	abstract, err := net.Listen("unix", fmt.Sprintf("@ward-test-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	defer abstract.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	for _, a := range []attack{
		{name: "abstract", args: []string{abstract.Addr().String()}, control: seccomp | kernel.WithLandlock | kernel.WithNamespaces, layers: []kernel.Defence{seccomp, seccomp | kernel.WithLandlock}},
		{name: "tcp", args: []string{tcp.Addr().String()}, control: seccomp | kernel.WithLandlock | kernel.WithNamespaces, layers: []kernel.Defence{seccomp, seccomp | kernel.WithLandlock}},
	} {
		t.Run(a.name, func(t *testing.T) {
			if out, _ := a.try(t, a.control); !strings.HasPrefix(out, "done") {
				t.Fatalf("control: %q", out)
			}
			a.check(t, 0)
			for i, l := range a.layers {
				t.Run("layer "+strconv.Itoa(i), func(t *testing.T) { a.check(t, l) })
			}
		})
	}
}

// TestAttackTerminal: typing into the terminal that is its output, with the
// command in both forms: a filter that compares all 64 bits would miss one.
func TestAttackTerminal(t *testing.T) {
	needRoot(t)
	for _, name := range []string{"tiocsti", "tiocsti64", "tioclinux"} {
		t.Run(name, func(t *testing.T) {
			on := func(t *testing.T, without kernel.Defence) string {
				master, slave := openTerminal(t)
				w := newWorld(t, without, image.Domain{Name: "attacker", Program: hostile, Args: []string{name}})
				l, err := w.startOn(0, master, slave)
				if err != nil {
					t.Fatal(err)
				}
				b, _ := io.ReadAll(l.output) // EIO when the terminal's last user is gone
				return string(b)
			}
			t.Run("control", func(t *testing.T) {
				if out := on(t, seccomp); !strings.Contains(out, "done") {
					t.Fatalf("control: %q", out)
				}
			})
			t.Run("defended", func(t *testing.T) {
				if out := on(t, 0); !strings.HasPrefix(out, "refused") {
					t.Errorf("%q", out)
				}
			})
		})
	}
}

func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// TestAttackSetuid: a setuid root program, and one with file capabilities.
func TestAttackSetuid(t *testing.T) {
	needRoot(t)
	dir := ownDir(t, 0)
	setuid, capable := filepath.Join(dir, "setuid"), filepath.Join(dir, "capable")
	copyFile(t, hostile, setuid, 0o755|os.ModeSetuid)
	copyFile(t, hostile, capable, 0o755)
	// struct vfs_cap_data, revision 2, effective: CAP_CHOWN.
	if err := unix.Setxattr(capable, "security.capability", []byte{1, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0); err != nil {
		t.Fatal(err)
	}
	mine := fmt.Sprintf("euid=%d caps=0", testUIDs)
	for _, program := range []string{setuid, capable} {
		t.Run(filepath.Base(program), func(t *testing.T) {
			run := func(t *testing.T, without kernel.Defence) string {
				out, _ := newWorld(t, without, image.Domain{Name: "attacker", Program: hostile, Args: []string{"exec", program, "geteuid"}, Host: true,
					Files: []image.File{{Path: program, Access: image.Read | image.Execute}}}).result(0)
				return out
			}
			if out := run(t, all); !strings.HasPrefix(out, "done") || strings.Contains(out, mine) {
				t.Fatalf("control: %q", out)
			}
			for _, without := range []kernel.Defence{0, seccomp, all &^ kernel.WithNoNewPrivs} {
				if out := run(t, without); !strings.Contains(out, mine) {
					t.Errorf("without %b: %q", without, out)
				}
			}
		})
	}
}

// TestAttackSetuidFile: with files ID-mapped to root, a domain makes a setuid
// root program for its friends on the host.
func TestAttackSetuidFile(t *testing.T) {
	needRoot(t)
	if !idmappedTmp(t) {
		t.Skip("needs Linux 6.3 for ID-mapped mounts of a tmpfs")
	}
	for _, name := range []string{"setuidfile", "setuidcreate"} {
		t.Run(name, func(t *testing.T) {
			try := func(without kernel.Defence, host bool) (out string, mode os.FileMode) {
				dir := ownDir(t, 0)
				out, _ = newWorld(t, without, image.Domain{Name: "attacker", Program: hostile, Args: []string{name, dir}, Host: host,
					Files: []image.File{{Path: dir, Access: image.Read | image.Write, AsRoot: true}}}).result(0)
				if info, err := os.Stat(filepath.Join(dir, "setuid")); err == nil {
					mode = info.Mode()
				}
				return out, mode
			}
			if out, mode := try(seccomp, false); mode&os.ModeSetuid == 0 {
				t.Fatalf("control: %q, %v", out, mode)
			}
			for _, host := range []bool{false, true} {
				if out, mode := try(0, host); mode&os.ModeSetuid != 0 || !strings.HasPrefix(out, "refused") {
					t.Errorf("host root %v: %q, %v", host, out, mode)
				}
			}
		})
	}
}

// TestAttackExhaust: each bound holds, and without it the attack goes as far
// as it was told to.
func TestAttackExhaust(t *testing.T) {
	needRoot(t)
	tmp := ownDir(t, int(testUIDs))
	for _, c := range []struct {
		name    string
		args    []string
		plain   []string // arguments of the control
		bound   int
		control kernel.Defence
	}{
		{"forkbomb", []string{"150"}, []string{"150"}, 40, kernel.WithLimits},
		{"open", []string{"500"}, []string{"500"}, 64, kernel.WithLimits},
		{"fill", []string{"/tmp", "16777216"}, []string{tmp, "16777216"}, 1<<20 + 256<<10, all},
		{"inodes", []string{"/tmp", "2000"}, []string{tmp, "2000"}, 1<<20/4096 + 512, all},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := func(t *testing.T, without kernel.Defence, args []string) int {
				d := image.Domain{Name: "attacker", Program: hostile, Args: append([]string{c.name}, args...), Host: true, Tmp: 1 << 20}
				d.Quota = image.Quota{Processes: 4096} // the control's, which its cgroup keeps
				if without == 0 {
					d.Quota = image.Quota{Processes: 40, Files: 64}
				}
				out, _ := newWorld(t, without, d).result(0)
				out, _, _ = strings.Cut(out, "\n") // children that come too late complain
				n, err := strconv.Atoi(strings.TrimPrefix(out, "done "))
				if err != nil {
					t.Fatalf("%q", out)
				}
				return n
			}
			want, _ := strconv.Atoi(c.args[len(c.args)-1])
			if n := run(t, c.control, c.plain); n < want {
				t.Fatalf("control: %d of %d", n, want)
			}
			if n := run(t, 0, c.args); n > c.bound {
				t.Errorf("%d, bound is %d", n, c.bound)
			}
		})
	}
}
