package monitor

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
	"ward/monitor/admin"
)

// In each phase no more may begin than in the one before, and drain returns when
// all that has begun is done.
func TestWork(t *testing.T) {
	w := newWork()
	w.limit = wait
	may := func(begin, asked bool) {
		t.Helper()
		if got := w.begin(); got != begin {
			t.Errorf("begins: %v", got)
		} else if got {
			w.done()
		}
		if got := w.asked(); got != asked {
			t.Errorf("a request begins: %v", got)
		} else if got {
			w.done()
		}
	}
	may(true, true)
	if w.drains() {
		t.Error("it drains")
	}
	w.begin()
	goOn, order := make(chan struct{}), make(chan string, 3)
	w.run(func() {
		<-goOn
		w.run(func() { order <- "follows" }) // what follows from it is waited for, too
		order <- "done"
	})
	go func() {
		left := w.drain()
		order <- fmt.Sprint("drained, left: ", left)
	}()
	<-w.ctx.Done()
	may(true, false)
	w.done()
	may(true, false)
	close(goOn)
	next := func() string {
		select {
		case s := <-order:
			return s
		case <-time.After(wait):
			t.Fatal("not all is done")
			return ""
		}
	}
	got := []string{next(), next()}
	if slices.Sort(got); !slices.Equal(got, []string{"done", "follows"}) {
		t.Error(got)
	}
	if got := next(); got != "drained, left: 0" {
		t.Error(got)
	}
	may(false, false)
	w.run(func() { t.Error("it begins after the end") })
	if !w.drains() {
		t.Error("it does not drain")
	}
}

// What does not end is not waited for without end, and counted.
func TestWorkLeft(t *testing.T) {
	w := newWork()
	w.limit = time.Nanosecond
	w.begin()
	w.begin()
	if left := w.drain(); left != 2 {
		t.Errorf("left: %d", left)
	}
	if w.begin() || w.asked() {
		t.Error("it begins after the end")
	}
	w.done()
	w.done()
}

// stoppingFabric lets what it does wait until the monitor waits for it at the end, or for
// longer, once it is told so.
type stoppingFabric struct {
	*heldFabric
	commits bool // of a swap; else its preparation
	wait    func()
}

// waits makes swaps wait from now on.
func (f *stoppingFabric) waits(commits bool, wait func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commits, f.wait = commits, wait
}

// here waits if this is the place.
func (f *stoppingFabric) here(commits bool) {
	f.mu.Lock()
	wait := f.wait
	if f.commits != commits {
		wait = nil
	}
	f.mu.Unlock()
	if wait != nil {
		wait()
	}
}

func (f *stoppingFabric) Prepare(img *image.Image, changes []Change) (Swap, error) {
	f.here(false)
	s, err := f.heldFabric.Prepare(img, changes)
	return &stoppingSwap{s, f}, err
}

type stoppingSwap struct {
	Swap
	f *stoppingFabric
}

func (s *stoppingSwap) Commit() (time.Duration, error) {
	s.f.here(true)
	return s.Swap.Commit()
}

// A stopping is a system in which client and second have a gate each to server, and
// client has lent second as much as it may, of which some is used.
type stopping struct {
	*system
	fabric        *stoppingFabric
	c, other, srv *fakeDomain
	lent          []uint32
}

func startStopping(t *testing.T) *stopping {
	t.Helper()
	x := &stopping{fabric: &stoppingFabric{}}
	x.system, x.fabric.heldFabric, x.c, x.other, x.srv = makingSystem(t, func(cfg *Config) {
		cfg.Image.Grants = []image.Grant{grantOf(client, second, image.Verdict{Allow: true, Policy: 0})}
	})
	x.m.mu.Lock()
	x.m.Fabric = x.fabric
	x.m.mu.Unlock()
	for n := range uint32(maxLent) {
		ask := lend("second", time.Hour, 0)
		ask.Seq = 100 + n
		got, _ := x.c.ask(ask)
		if got.Op != abi.OpLent {
			t.Fatalf("number %d is not lent: %+v", n, got)
		}
		x.lent = append(x.lent, got.Block)
		if told, _ := x.other.read(); told.Op != abi.OpLent || told.Block != got.Block {
			t.Fatalf("number %d: %+v", n, told)
		}
	}
	for i, n := range x.lent[:3] {
		if got, _ := x.other.ask(abi.Control{Op: abi.OpBorrow, Seq: uint32(200 + i), Block: n, Name: "server"}); got.Op != abi.OpGate {
			t.Fatalf("no gate by delegation %d: %+v", n, got)
		}
		x.srv.read()
	}
	return x
}

// count is how many events of a kind there are, and which is the last event of all.
func (a *fakeAudit) count(k event.Kind) (n int, last event.Kind) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.events {
		if e.Kind == k {
			n++
		}
		last = e.Kind
	}
	return n, last
}

// stopped waits until Run has returned, and checks that it was told last.
func (x *stopping) stopped() {
	x.t.Helper()
	select {
	case <-x.status:
	case <-time.After(wait):
		x.t.Fatal("Run does not return")
	}
	if n, last := x.audit.count(event.Stopped); n != 1 || last != event.Stopped {
		x.t.Errorf("the end of the system is told %d times, and last is told %v", n, last)
	}
	// Each delegation, by whichever way it ended.
	ended := map[uint64]int{}
	x.audit.mu.Lock()
	defer x.audit.mu.Unlock()
	for _, e := range x.audit.events {
		if e.Kind == event.LentEnded {
			ended[e.Count]++
		}
	}
	for _, n := range x.lent {
		if ended[uint64(n)] != 1 {
			x.t.Errorf("the end of delegation %d is told %d times", n, ended[uint64(n)])
		}
	}
}

// TestNothingAfterRun: whatever is under way when the last domain has ended, Run returns
// when that is done and recorded, and "stopped" is told last.
func TestNothingAfterRun(t *testing.T) {
	for name, test := range map[string]struct {
		commits bool
		begin   func(x *stopping, f *heldFabric) (goesOn chan error) // nil: it begins with the end of a domain
		kind    event.Kind                                           // of what is recorded then
		want    int
	}{
		"the ends of delegations": {kind: event.LentEnded, want: maxLent},
		"… that are revoked":      {kind: event.LentEnded, want: maxLent, commits: true},
		"a delegation that is taken back": {kind: event.LentEnded, want: maxLent, begin: func(x *stopping, _ *heldFabric) chan error {
			x.c.send(abi.Control{Op: abi.OpTakeBack, Seq: 300, Block: x.lent[0]})
			return nil
		}},
		// Else the endpoints of its two domains are not closed, and their last records do not count.
		"a route that is loaded": {kind: event.RingGone, want: 3, begin: func(x *stopping, f *heldFabric) chan error {
			h := f.hold(&f.route)
			x.other.send(abi.Control{Op: abi.OpBorrow, Seq: 300, Block: x.lent[9], Name: "server"})
			<-h.begun
			return h.let
		}},
		"a gate that is made": {kind: event.RingGone, want: 3, begin: func(x *stopping, f *heldFabric) chan error {
			h := f.hold(&f.gate)
			x.other.send(open(300, "t.Echo"))
			<-h.begun
			return h.let
		}},
		"a change of the policy": {kind: event.Reloaded, want: 1, commits: true, begin: func(x *stopping, _ *heldFabric) chan error {
			c := &admin.Change{Image: sealed(x.t, changed(x.t, func(i *image.Image) {
				withSecond(i)
				i.Grants = x.img.Grants
				i.Routes[0].Methods = slices.Clone(i.Routes[0].Methods)
				i.Routes[0].Methods[0].Request.Forbid = []image.Rule{{Policy: 1, When: image.Expr{Op: image.True}}}
			}))}
			answered := make(chan struct{})
			x.t.Cleanup(func() { <-answered })
			go func() {
				defer close(answered)
				x.ask(c)
			}()
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			x := startStopping(t)
			begun := make(chan struct{}, 2*maxLent)
			x.fabric.waits(test.commits, func() {
				begun <- struct{}{}
				<-x.m.work.ctx.Done()
			})
			var goesOn chan error
			if test.begin != nil {
				if goesOn = test.begin(x, x.fabric.heldFabric); goesOn == nil {
					<-begun
				}
			}
			x.m.Stop()
			select {
			case <-x.m.work.ctx.Done():
			case <-x.status:
				t.Fatal("Run returns before what is under way has ended")
			}
			if goesOn != nil {
				goesOn <- nil
			}
			x.stopped()
			if n, _ := x.audit.count(test.kind); n != test.want {
				t.Errorf("%d events %v, want %d", n, test.kind, test.want)
			}
		})
	}
}

// What does not end is told of, and the system stops.
func TestStopsBeforeTheEnd(t *testing.T) {
	x := startStopping(t)
	x.m.work.limit = time.Nanosecond
	begun, never := make(chan struct{}, 2*maxLent), make(chan struct{})
	x.fabric.waits(false, func() { begun <- struct{}{}; <-never })
	x.c.send(abi.Control{Op: abi.OpTakeBack, Seq: 300, Block: x.lent[0]})
	<-begun
	x.m.Stop()
	<-x.status
	if e := x.audit.last(event.Notice); e.Text == "" {
		t.Error("nothing is told of it")
	}
	if _, last := x.audit.count(event.Stopped); last != event.Stopped {
		t.Errorf("last is told %v", last)
	}
	x.lent = nil
}

// TestAfterRun: whoever asks or tells something after Run has returned is not heard.
func TestAfterRun(t *testing.T) {
	x := startStopping(t)
	x.m.Stop()
	x.stopped()
	if _, err := x.m.setState(0, 0, 0, true, x.m.Hash, 0); err != errStopping {
		t.Errorf("a state is set: %v", err)
	}
	if _, err := x.m.change(t.Context(), &request{}); err != errStopping {
		t.Errorf("the policy is changed: %v", err)
	}
	if all := x.m.readStates(); all != nil {
		t.Errorf("states are read: %+v", all)
	}
	x.m.look()
	x.m.AuditRenewed()
	x.m.Orphan(1000, 0)
	x.m.mu.Lock()
	x.m.takeBackAll(x.m.domains[client])
	x.m.mu.Unlock()
	// That nothing was told the system checks at its end (startSystem).
}

// TestBesideRun: what is done beside Run is counted. A goroutine that is not begun by
// work.run waits for messages, and is counted from each on; it stands here.
func TestBesideRun(t *testing.T) {
	waits := []string{"m.listen", "m.watchCreator", "m.hearNotify", "m.awaitLeave", "l.serve", "q.send", "q.hear"}
	// Of those that answer root and users, what is done is counted (answerRequest).
	within := map[string]int{"adminserver.go": 1, "operators.go": 1, "work.go": 1}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("needs the repository: reads the package's source")
	}
	found := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				found++
				if _, literal := n.Call.Fun.(*ast.FuncLit); literal && within[name] > 0 {
					within[name]--
				} else if what := types.ExprString(n.Call.Fun); !slices.Contains(waits, what) {
					t.Errorf("%v: %q may outlive Run: begin it by work.run", set.Position(n.Pos()), "go "+what)
				}
			case *ast.SelectorExpr:
				if types.ExprString(n) == "time.AfterFunc" && name != "work.go" {
					t.Errorf("%v: what it does may come after Run: use work.after", set.Position(n.Pos()))
				}
			}
			return true
		})
	}
	if found < len(waits) {
		t.Errorf("%d goroutines are begun: the test does not find them", found)
	}
}
