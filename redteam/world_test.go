package redteam

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/creator"
	"ward/image"
	"ward/kernel"
)

// The defences that can be left out.
const (
	seccomp    = kernel.WithSeccomp
	landlock   = kernel.WithLandlock
	namespaces = kernel.WithNamespaces
	ownRoot    = kernel.WithRoot
	identity   = kernel.WithIdentity
	noNewPrivs = kernel.WithNoNewPrivs
	limits     = kernel.WithLimits

	// all leaves a program that is merely started, as the domain's user.
	all = seccomp | landlock | namespaces | ownRoot | identity | noNewPrivs | limits
	// files is what stands before files that were not granted. Landlock needs the root.
	files = landlock | ownRoot
)

var defenceNames = []struct {
	d    kernel.Defence
	name string
}{{seccomp, "seccomp"}, {landlock, "Landlock"}, {namespaces, "namespaces"}, {ownRoot, "root of its own"}, {identity, "identity"}, {noNewPrivs, "no_new_privs"}, {limits, "limits"}}

func names(d kernel.Defence) string {
	if d&all == all {
		return "any defence, as the domain's user"
	}
	var list []string
	for _, n := range defenceNames {
		if d&n.d != 0 {
			list = append(list, n.name)
		}
	}
	return strings.Join(list, ", ")
}

// Where the tests find and keep things. Not below /tmp: what Landlock grants
// on /tmp holds for whatever is mounted below it.
var (
	base    string // a directory of root's
	hostile string // the attacking program
	worlds  atomic.Uint32
)

// guestHostile is where the guest of `make vm-test`, which has no Go, has it.
const guestHostile = "/tests/programs/redteam/hostile"

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run() // everything is skipped
	}
	// The creator needs its lowest descriptors in use, as those of wardd are.
	for range 8 {
		if _, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 0); err != nil {
			panic(err)
		}
	}
	var err error
	if err = os.MkdirAll("/var/tmp", 0o1777); err != nil {
		panic(err)
	}
	if base, err = os.MkdirTemp("/var/tmp", "ward-redteam"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(base)
	if err := os.Chmod(base, 0o755); err != nil {
		panic(err)
	}
	hostile = filepath.Join(base, "hostile")
	if _, err := exec.LookPath("go"); err != nil {
		hostile = guestHostile
		return m.Run()
	}
	cmd := exec.Command("go", "build", "-o", hostile, "./testdata/hostile")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(string(out))
	}
	return m.Run()
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes domains")
	}
}

// userID is one that nobody else has: an attack that exhausts what its user
// may have must not disturb the one beside it. Systems of Ward use lower ones.
func userID() uint32 {
	return 0x7fe00000 + uint32(os.Getpid())%1024<<10 + worlds.Add(1)%1024
}

// A world is a creator with its client.
type world struct {
	client *creator.Client
	served chan error
}

// newWorld runs a creator, as wardd does, for one domain.
func newWorld(t *testing.T, uid uint32, without kernel.Defence, d image.Domain) *world {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	d.Start.Allow = true
	for i := range d.Files {
		d.Files[i].Verdict.Allow = true
	}
	w := &world{served: make(chan error, 1)}
	img := &image.Image{Name: "redteam", Domains: []image.Domain{d}}
	cfg := creator.Config{UIDBase: uid, Cgroup: fmt.Sprintf("ward-redteam-%d-%d", os.Getpid(), worlds.Add(1)), Without: without}
	go func() { w.served <- creator.Serve(os.NewFile(uintptr(pair[1]), "creator"), img, cfg) }()
	w.client = creator.NewClient(os.NewFile(uintptr(pair[0]), "monitor"))
	return w
}

// end stops the creator, which must clean up without an error.
func (w *world) end(t *testing.T) {
	t.Helper()
	if err := w.client.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-w.served; err != nil {
		t.Error(err)
	}
}

// patience bounds the wait for a program that says nothing: the test then
// fails instead of waiting for ever.
const patience = 2 * time.Minute

// run starts the domain with out as its output, calls running when its program
// is executed, and returns what came out at r, and how it ended.
func (w *world) run(t *testing.T, r, out *os.File, running func()) (string, syscall.WaitStatus) {
	t.Helper()
	control, theirs := pair(t)
	defer control.Close()
	defer r.Close()
	started, err := w.client.Start(context.Background(), 0, theirs, out)
	theirs.Close()
	out.Close()
	if err != nil {
		return "refused: " + err.Error(), 0
	}
	for _, f := range []*os.File{started.Ring, started.Notify} {
		if f != nil {
			f.Close()
		}
	}
	defer started.Pidfd.Close()
	running()
	r.SetReadDeadline(time.Now().Add(patience)) // an error: a terminal has none
	b, err := io.ReadAll(r)                     // EIO when the terminal's last user is gone
	if os.IsTimeout(err) {
		w.client.Signal(context.Background(), 0, syscall.SIGKILL)
		t.Errorf("it says nothing more after %q", b)
	}
	e, ok := <-w.client.Exits()
	if !ok {
		t.Fatal("the creator ended")
	}
	return strings.TrimSpace(string(b)), e.Status
}

func pair(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(p[0]), "control"), os.NewFile(uintptr(p[1]), "control")
}

// plainly runs the hostile program outside any domain. As root it is in
// namespaces that are thrown away.
func plainly(t *testing.T, uid uint32, set func(*exec.Cmd), args ...string) string {
	t.Helper()
	control, theirs := pair(t)
	defer control.Close()
	defer theirs.Close()
	cmd := exec.Command(hostile, args...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if uid == 0 {
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET
		cmd.SysProcAttr.Unshareflags = unix.CLONE_NEWNS // with private mounts
	} else {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid, NoSetGroups: false}
	}
	if set != nil {
		set(cmd)
	}
	b, err := cmd.CombinedOutput()
	if err != nil && len(b) == 0 {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}
