package creator

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// often is how often a test looks.
const often = 5 * time.Millisecond

// says reads what a domain says until it has said want.
func (l *live) says(t *testing.T, want string) {
	t.Helper()
	var got []byte
	b := make([]byte, 256)
	for !strings.Contains(string(got), want) {
		n, err := l.output.Read(b)
		if err != nil {
			t.Fatalf("it said %q, %v; want %q", got, err, want)
		}
		got = append(got, b[:n]...)
	}
}

// tell sends a packet to a domain.
func (l *live) tell(t *testing.T) {
	t.Helper()
	if _, err := unix.Write(int(l.control.Fd()), []byte{1}); err != nil {
		t.Fatal(err)
	}
}

// stands waits until it is told that so many stand at a limit of a domain.
// Whatever else is told, but that nobody stands somewhere, is wrong.
func (w *world) stands(id abi.DomainID, limit Limit, n uint64) {
	w.t.Helper()
	patience := time.NewTimer(2 * time.Minute) // the guest of make vm-test is slow
	defer patience.Stop()
	for {
		select {
		case h := <-w.client.Hits():
			switch {
			case h == (Hit{Domain: id, Limit: limit, Count: n, Number: h.Number}):
				return
			case h.Count != 0:
				w.t.Errorf("told: %+v", h)
			}
		case <-patience.C:
			w.t.Fatalf("it is not told that %d stand at limit %d of domain %d", n, limit, id)
		}
	}
}

// Who stands at a limit of which the kernel tells nobody is told of: once as long
// as it stands there, and again when it comes back. The program itself gets a clear
// error. One that stays below is not told of, and a neighbour gets as much as ever.
func TestStanding(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		what, why string
		quota     image.Quota
		tmp       uint64
		limit     Limit
		modest    int  // far below the limit
		stays     bool // told once only: nothing takes it back
	}{
		{"files", "EMFILE", image.Quota{Files: 64}, 0, LimitFiles, 20, false},
		{"tmp", "ENOSPC", image.Quota{}, 256 << 10, LimitTmp, 20, false},
		{"tmpfiles", "ENOSPC", image.Quota{}, 256 << 10, LimitTmpFiles, 20, false},
		{"filesize", "EFBIG", image.Quota{FileSize: 64 << 10}, 1 << 20, LimitFileSize, 10, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			domain := func(name string, args ...string) image.Domain {
				return image.Domain{Name: name, Program: hostile, Args: append([]string{"stand", c.what}, args...), Quota: c.quota, Tmp: c.tmp}
			}
			w := newLookingWorld(t, often, domain("modest", fmt.Sprint(c.modest)), domain("full"), domain("neighbour"))
			begin := func(i int, want string) *live {
				t.Helper()
				l, err := w.start(i)
				if err != nil {
					t.Fatal(err)
				}
				l.says(t, want)
				return l
			}
			begin(0, fmt.Sprintf("ready %d none", c.modest))
			full := begin(1, c.why+"\n")
			w.stands(1, c.limit, 1)
			begin(2, c.why+"\n")
			w.stands(2, c.limit, 1)
			full.tell(t)
			full.says(t, "ready 0\n")
			if c.stays {
				return
			}
			w.stands(1, c.limit, 0)
			full.tell(t)
			full.says(t, c.why+"\n")
			w.stands(1, c.limit, 1)
		})
	}
}

// What a domain left in its /tmp when it ended is looked at once more: who fills it
// and fails for that is told of, however seldom one looks. The control: one that
// does not fill it.
func TestStandingAtTheEnd(t *testing.T) {
	w := newLookingWorld(t, time.Hour, image.Domain{Name: "modest", Program: hostile, Args: []string{"stand", "tmp", "20"}, Tmp: 256 << 10},
		image.Domain{Name: "full", Program: hostile, Args: []string{"stand", "tmp"}, Tmp: 256 << 10})
	for i := range w.img.Domains {
		l, err := w.start(i)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Shutdown(int(l.control.Fd()), unix.SHUT_RDWR); err != nil {
			t.Fatal(err)
		}
		w.finish(l)
	}
	w.stands(1, LimitTmp, 1)
	w.stands(1, LimitTmp, 0)
}

// A creator that takes a domain over looks at it too, and says how many stand at its
// limits even if the one before has said so: who keeps count knows what is new.
func TestStandingTakenOver(t *testing.T) {
	for _, c := range []struct {
		what  string
		limit Limit
	}{{"files", LimitFiles}, {"tmp", LimitTmp}, {"tmpfiles", LimitTmpFiles}, {"filesize", LimitFileSize}} {
		t.Run(c.what, func(t *testing.T) {
			d := image.Domain{Name: "full", Program: hostile, Args: []string{"stand", c.what}, Quota: image.Quota{Files: 64, FileSize: 64 << 10}, Tmp: 256 << 10}
			if c.what != "filesize" {
				d.Quota.FileSize = 0
			}
			before, w := newLookingWorld(t, often, d), newLookingWorld(t, often, d)
			l, err := before.start(0)
			if err != nil {
				t.Fatal(err)
			}
			l.says(t, "ready")
			before.stands(0, c.limit, 1)
			w.takesDir("full")
			w.takesProcess("full", l.PID)
			if err := w.client.Adopt(context.Background(), 0, l.PID, l.Pidfd); err != nil {
				t.Fatal(err)
			}
			w.stands(0, c.limit, 1)
			if c.what == "filesize" {
				return
			}
			l.tell(t)
			w.stands(0, c.limit, 0)
		})
	}
}

// Of a domain that stands nowhere any more a creator that takes it over says so, of
// each limit: it may have left while nobody looked.
func TestStandingLeftMeanwhile(t *testing.T) {
	d := image.Domain{Name: "idle", Program: hostile, Args: []string{"idle"}}
	before, w := newWorld(t, 0, d), newLookingWorld(t, often, d)
	l, err := before.start(0)
	if err != nil {
		t.Fatal(err)
	}
	l.ready(t)
	w.takesDir("idle")
	if err := w.client.Adopt(context.Background(), 0, l.PID, l.Pidfd); err != nil {
		t.Fatal(err)
	}
	for _, limit := range standings {
		w.stands(0, limit, 0)
	}
}

// Those that are near a limit have their turn though far ones wait for theirs, and the
// other way round.
func TestLookTurns(t *testing.T) {
	now := time.Now()
	ls := looks{}
	add := func(near int, due time.Duration) {
		heap.Push(&ls.queues[near], &look{near: near, due: now.Add(due)})
	}
	if ls.next(now) != nil {
		t.Error("there is nobody")
	}
	add(0, time.Hour)
	if l := ls.next(now); l == nil || !l.due.After(now) {
		t.Errorf("the only one, later: %+v", l)
	}
	for i := range 3 {
		add(0, time.Duration(-10-i)*time.Second)
		add(1, time.Duration(-3-i)*time.Second)
	}
	var turns []time.Duration
	for l := ls.next(now); !l.due.After(now); l = ls.next(now) {
		heap.Pop(&ls.queues[l.near])
		ls.last = l.near
		turns = append(turns, now.Sub(l.due)/time.Second)
	}
	if want := []time.Duration{5, 12, 4, 11, 3, 10}; !slices.Equal(turns, want) {
		t.Errorf("%v, want %v", turns, want)
	}
}

// One that goes back and forth at its limit is told of once: it has left the limit
// only when it is well below. More are told of once a second.
func TestStandingIsAnEpisode(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	c := &creator{fd: pair[0]}
	l := &look{running: &running{domain: 7}}
	begin := time.Now()
	for i, s := range []struct {
		after time.Duration
		n     uint64
		used  uint64 // of 1,600
		told  bool
	}{
		{0, 0, 10, false}, {0, 1, 1600, true}, {0, 0, 1599, false}, {0, 1, 1600, false}, {0, 0, 1500, false},
		{2 * time.Second, 2, 1600, true}, {2900 * time.Millisecond, 3, 1600, false}, {3 * time.Second, 3, 1600, true},
		{3 * time.Second, 0, 1499, true}, {3 * time.Second, 0, 10, false}, {3 * time.Second, 1, 1600, false}, {4 * time.Second, 1, 1600, true},
	} {
		if err := c.stand(l, 2, s.n, below(s.used, 1600), begin.Add(s.after)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, headSize)
		switch _, err := unix.Read(pair[1], b); {
		case err == unix.EAGAIN && !s.told:
		case err != nil:
			t.Errorf("%d: it is not told: %v", i, err)
		case !s.told:
			t.Errorf("%d: it is told", i)
		default:
			if m, err := decode(b); err != nil || m.op != opHit || m.domain != 7 || Limit(m.arg) != LimitTmp || m.cgroup != s.n {
				t.Errorf("%d: %+v, %v", i, m, err)
			}
		}
	}
}

// takesProcess puts a process into a directory that takesDir has made: in a system
// they are those of the creator before.
func (w *world) takesProcess(name string, pid int) {
	w.t.Helper()
	tree, err := kernel.OpenCgroupTree(w.cgroup)
	if errors.Is(err, kernel.ErrNoCgroup2) {
		return
	}
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := tree.Open(name)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Born()
	if err := os.WriteFile(filepath.Join(c.Path, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		w.t.Fatal(err)
	}
}

// A domain with many processes and threads is looked at in pieces: requests do not
// wait for the whole. The control: with time enough it is done in one go.
func TestLookInPieces(t *testing.T) {
	c := &creator{}
	r := &running{process: &kernel.Process{PID: os.Getpid()}}
	whole, pieces := &look{running: r, files: 1}, &look{running: r, files: 1}
	if !c.lookAt(whole, time.Now().Add(time.Hour)) || whole.full != 1 || whole.most < 3 {
		t.Errorf("control: %+v", whole)
	}
	n := 1
	for ; !c.lookAt(pieces, time.Time{}); n++ {
	}
	if threads, err := kernel.Threads(os.Getpid()); err != nil || n < len(threads) {
		t.Errorf("%d pieces for %d threads, %v", n, len(threads), err)
	}
	if pieces.full != 1 || pieces.most < 3 {
		t.Errorf("in pieces: %+v", pieces)
	}
}

// One who has made itself not dumpable lets nobody look at its root: after another
// creator took it over nobody looks at its /tmp, and the rest as before.
func TestStandingHidden(t *testing.T) {
	needRoot(t)
	if _, err := kernel.OpenTmp(os.Getpid(), testUIDs, testUIDs); err == nil || !strings.Contains(err.Error(), kernel.ErrHidden.Error()) {
		t.Errorf("the root of another user's process: %v", err)
	}
}
