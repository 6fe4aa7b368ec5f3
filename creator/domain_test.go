package creator

import (
	"bytes"
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

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// testUIDs is above what systems of Ward use, and another for each process of
// tests: processes are counted by user.
var testUIDs = uint32(0x7f000000 + os.Getpid()%0x8000*0x100)

var hostile string // path of the attacking program

// guestHostile is where the guest of `make vm-test`, which has no Go, has it.
const guestHostile = "/tests/hostile"

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "ward-creator-test")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		panic(err)
	}
	hostile = filepath.Join(dir, "hostile")
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

// needHost skips a test that runs the host's dynamically linked programs.
func needHost(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("needs /bin/sh, which the guest of make vm-test does not have")
	}
}

// idmappedTmp says whether files on a tmpfs can be ID-mapped (Linux 6.3).
func idmappedTmp(t *testing.T) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 3
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes domains")
	}
}

// A world is a creator with its client, and the domains of an image.
type world struct {
	t      *testing.T
	client *Client
	served chan error
	img    *image.Image
	stop   bool
	cgroup string // name of its tree
}

// newWorld runs a creator for domains, which may start unless their Start is
// the default denial.
func newWorld(t *testing.T, without kernel.Defence, domains ...image.Domain) *world {
	t.Helper()
	return newWorldOf(t, Config{Without: without}, domains...)
}

// newLookingWorld is one whose creator looks that often who stands at a limit.
func newLookingWorld(t *testing.T, every time.Duration, domains ...image.Domain) *world {
	t.Helper()
	return newWorldOf(t, Config{Look: every}, domains...)
}

func newWorldOf(t *testing.T, cfg Config, domains ...image.Domain) *world {
	t.Helper()
	needRoot(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range domains {
		domains[i].Start.Allow = domains[i].Start.Policy != abi.NoPolicy
		for j := range domains[i].Files {
			domains[i].Files[j].Verdict.Allow = true
		}
	}
	w := &world{t: t, served: make(chan error, 1), cgroup: cgroupName(), img: &image.Image{Name: "test", Domains: domains}}
	cfg.UIDBase, cfg.Cgroup = testUIDs, w.cgroup
	go func() { w.served <- Serve(os.NewFile(uintptr(pair[1]), "creator"), w.img, cfg) }()
	w.client = NewClient(os.NewFile(uintptr(pair[0]), "monitor"))
	t.Cleanup(w.end)
	return w
}

var worlds atomic.Int32

func cgroupName() string { return fmt.Sprintf("ward-test-%d-%d", os.Getpid(), worlds.Add(1)) }

// end stops the creator, which must clean up without an error.
func (w *world) end() {
	if w.stop {
		return
	}
	w.stop = true
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := w.client.Stop(ctx); err != nil {
		w.t.Error(err)
	}
	if err := <-w.served; err != nil {
		w.t.Error(err)
	}
}

// A live domain, from outside.
type live struct {
	Started
	control *os.File // our end
	output  *os.File // its standard output and error
}

func (l *live) close() {
	l.control.Close()
	l.output.Close()
	if l.Pidfd != nil {
		l.Pidfd.Close()
	}
}

// start starts domain i.
func (w *world) start(i int) (*live, error) {
	w.t.Helper()
	r, out, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	return w.startOn(i, r, out)
}

// startOn starts domain i with out, which it closes, as its output.
func (w *world) startOn(i int, r, out *os.File) (*live, error) {
	w.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "control")
	l := &live{control: os.NewFile(uintptr(pair[0]), "control"), output: r}
	w.t.Cleanup(l.close)
	l.Started, err = w.client.Start(context.Background(), abi.DomainID(i), theirs, out)
	theirs.Close()
	out.Close()
	return l, err
}

// result runs domain i to its end.
func (w *world) result(i int) (output string, status syscall.WaitStatus) {
	w.t.Helper()
	l, err := w.start(i)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.finish(l)
}

func (w *world) finish(l *live) (string, syscall.WaitStatus) {
	w.t.Helper()
	var b bytes.Buffer
	if _, err := io.Copy(&b, l.output); err != nil {
		w.t.Fatal(err)
	}
	e, ok := <-w.client.Exits()
	if !ok {
		w.t.Fatal("the creator ended")
	}
	return strings.TrimSpace(b.String()), e.Status
}

// ready waits until an idle domain runs.
func (l *live) ready(t *testing.T) {
	t.Helper()
	b := make([]byte, 64)
	n, err := l.output.Read(b)
	if err != nil || !strings.HasPrefix(string(b[:n]), "ready") {
		t.Fatalf("the domain said %q, %v", b[:n], err)
	}
}
