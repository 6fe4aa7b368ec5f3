package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
	"ward/monitor/admin"
)

func open(seq uint32, iface string) abi.Control {
	return abi.Control{Op: abi.OpOpen, Seq: seq, Interface: iface}
}

func serve(seq uint32, iface string) abi.Control {
	return abi.Control{Op: abi.OpServe, Seq: seq, Interface: iface}
}

func TestOpen(t *testing.T) {
	s := startSystem(t, nil)
	c, srv := s.domain(client), s.domain(server)
	if got, _ := srv.ask(serve(1, "t.Echo")); got.Op != abi.OpOK {
		t.Fatalf("serve: %+v", got)
	}
	got, files := c.ask(open(2, "t.Echo"))
	if got.Op != abi.OpGate || len(files) != 1 || got.Peer.Name != "server" || got.Peer.UID != 70001 || got.Peer.PID != 1001 || got.Block != 1 {
		t.Fatalf("gate for the client: %+v", got)
	}
	if len(got.Methods) != 1 || got.Methods[0].Name != "Say" || len(got.Policies) == 0 || got.Policies[0] != "yes" {
		t.Errorf("what the client is told: %+v", got)
	}
	end, ends := srv.read()
	if end.Op != abi.OpGate || end.Seq != 0 || len(ends) != 1 || end.Peer.Domain != client || end.Peer.Name != "client" || end.Peer.Ring != 3 || end.Block != 101 {
		t.Fatalf("gate for the server: %+v", end)
	}
	// The two are ends of one gate.
	if err := unix.Send(int(files[0].Fd()), []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2)
	if n, err := unix.Read(int(ends[0].Fd()), b); err != nil || n != 1 {
		t.Errorf("the ends are not of one gate: %v", err)
	}
	e := s.audit.last(event.Gate)
	if !e.Allow || e.From != client || e.To != server || e.Policy != 0 {
		t.Errorf("record: %+v", e)
	}
	// The second gate of a route needs no second load.
	if got, _ := c.ask(open(3, "t.Echo")); got.Op != abi.OpGate || s.fabric.get(&s.fabric.loads) != 1 {
		t.Errorf("second gate: %+v, %d loads", got, s.fabric.get(&s.fabric.loads))
	}
}

// What the image does not allow is refused, with the reason, and recorded.
func TestRefusals(t *testing.T) {
	s := startSystem(t, nil)
	c, srv, other := s.domain(client), s.domain(server), s.domain(second)
	for name, test := range map[string]struct {
		who    *fakeDomain
		ask    abi.Control
		reason abi.Reason
		text   string
	}{
		"unknown interface":            {c, open(1, "t.None"), abi.ReasonUnknownInterface, ""},
		"forbidden":                    {c, open(2, "t.Secret"), abi.ReasonForbid, "no"},
		"no route":                     {srv, open(3, "t.Echo"), abi.ReasonDefault, ""},
		"no route to this server":      {c, abi.Control{Op: abi.OpOpen, Seq: 4, Interface: "t.Echo", Name: "second"}, abi.ReasonDefault, ""},
		"no such server":               {c, abi.Control{Op: abi.OpOpen, Seq: 5, Interface: "t.Echo", Name: "nobody"}, abi.ReasonDefault, ""},
		"serve what is not exported":   {c, serve(6, "t.Echo"), abi.ReasonUnknownInterface, ""},
		"serve what is forbidden":      {srv, serve(7, "t.Secret"), abi.ReasonForbid, "no"},
		"unserve what is not served":   {other, abi.Control{Op: abi.OpUnserve, Seq: 8, Interface: "t.Echo"}, abi.ReasonUnknownInterface, ""},
		"a name that confers no right": {other, abi.Control{Op: abi.OpOpen, Seq: 9, Interface: "t.Echo", Name: "server"}, abi.ReasonDefault, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, files := test.who.ask(test.ask)
			if got.Op != abi.OpRefused || got.Reason != test.reason || len(files) != 0 || test.text != "" && got.Text != test.text {
				t.Errorf("answer: %+v", got)
			}
		})
	}
	if s.fabric.get(&s.fabric.next) != 0 {
		t.Errorf("%d gates were made", s.fabric.get(&s.fabric.next))
	}
}

// A request waits for a server that has not served yet, and is refused at once
// when it has stopped to.
func TestWait(t *testing.T) {
	s := startSystem(t, nil)
	c, srv := s.domain(client), s.domain(server)
	c.send(open(1, "t.Echo"))
	srv.ask(serve(1, "t.Echo"))
	if got, _ := c.read(); got.Op != abi.OpGate || got.Seq != 1 {
		t.Fatalf("the waiting request: %+v", got)
	}
	srv.read() // the gate
	srv.ask(abi.Control{Op: abi.OpUnserve, Seq: 2, Interface: "t.Echo"})
	if got, _ := c.ask(open(2, "t.Echo")); got.Op != abi.OpRefused || got.Reason != abi.ReasonNotRunning {
		t.Errorf("after the end of the service: %+v", got)
	}
}

func TestPendingBounded(t *testing.T) {
	s := startSystem(t, nil)
	c := s.domain(client)
	for i := range uint32(maxPending) {
		c.send(open(i+1, "t.Echo"))
	}
	if got, _ := c.ask(open(99, "t.Echo")); got.Op != abi.OpRefused || got.Reason != abi.ReasonQuota {
		t.Errorf("one more than may wait: %+v", got)
	}
	s.m.mu.Lock()
	s.m.expire(time.Now().Add(time.Hour))
	s.m.mu.Unlock()
	for i := range uint32(maxPending) {
		if got, _ := c.read(); got.Seq != i+1 || got.Reason != abi.ReasonNotRunning {
			t.Errorf("after the wait: %+v", got)
		}
	}
}

// Quota: a domain's gates are bounded; closed ones do not count.
func TestQuota(t *testing.T) {
	live := map[uint64]bool{}
	s := startSystem(t, func(c *Config) {
		c.Image.Domains[client].Quota.Gates = 2
		c.Sockets = func() (map[uint64]bool, error) { return live, nil }
	})
	c, srv := s.domain(client), s.domain(server)
	srv.ask(serve(1, "t.Echo"))
	note := func() { // all that exist are alive
		s.m.mu.Lock()
		defer s.m.mu.Unlock()
		for g := range s.m.gates {
			live[g.inodes[0]], live[g.inodes[1]] = true, true
		}
	}
	for i := range uint32(2) {
		if got, _ := c.ask(open(i+1, "t.Echo")); got.Op != abi.OpGate {
			t.Fatalf("gate %d: %+v", i, got)
		}
		note()
	}
	if got, _ := c.ask(open(3, "t.Echo")); got.Op != abi.OpRefused || got.Reason != abi.ReasonQuota {
		t.Fatalf("the third of two gates: %+v", got)
	}
	s.m.mu.Lock()
	clear(live) // both ends of both are closed
	s.m.mu.Unlock()
	if got, _ := c.ask(open(4, "t.Echo")); got.Op != abi.OpGate {
		t.Errorf("after the others were closed: %+v", got)
	}
	if s.fabric.get(&s.fabric.closed) != 2 {
		t.Errorf("%d gates were freed, want 2", s.fabric.get(&s.fabric.closed))
	}
}

// A client is told of its gate whatever the names of methods and policies
// take: those of policies are left out if there is no room for both.
func TestLongOffer(t *testing.T) {
	s := startSystem(t, func(c *Config) {
		for i := range 1000 {
			c.Image.Interfaces[0].Methods = append(c.Image.Interfaces[0].Methods, image.Method{Name: fmt.Sprintf("Method%05d", i)})
		}
		for _, r := range []int{0, 2} {
			c.Image.Routes[r].Methods = append(slices.Clone(c.Image.Routes[r].Methods), make([]image.MethodPolicy, 1000)...)
		}
		permit := &c.Image.Routes[0].Methods[0].Request.Permit
		for i := range uint32(55) {
			c.Image.Policies = append(c.Image.Policies, image.Policy{ID: fmt.Sprintf("%0200d", i)})
			*permit = append(*permit, image.Rule{Policy: 2 + i, When: image.Expr{Op: image.True}})
		}
	})
	c, srv := s.domain(client), s.domain(server)
	srv.ask(serve(1, "t.Echo"))
	if got, _ := c.ask(open(2, "t.Echo")); got.Op != abi.OpGate || len(got.Methods) != 1001 || len(got.Policies) != 0 {
		t.Errorf("operation %d, %d methods, %d policies", got.Op, len(got.Methods), len(got.Policies))
	}
}

// A list of sockets that leaves one out by accident ends no gate.
func TestIncompleteListOfSockets(t *testing.T) {
	var lists []map[uint64]bool
	var s *system
	s = startSystem(t, func(c *Config) {
		c.Sockets = func() (map[uint64]bool, error) {
			if len(lists) == 0 { // a sweep of the monitor's own
				all := map[uint64]bool{}
				for g := range s.m.gates {
					all[g.inodes[0]], all[g.inodes[1]] = true, true
				}
				return all, nil
			}
			next := lists[0]
			lists = lists[1:]
			return next, nil
		}
	})
	c, srv := s.domain(client), s.domain(server)
	srv.ask(serve(1, "t.Echo"))
	if got, _ := c.ask(open(2, "t.Echo")); got.Op != abi.OpGate {
		t.Fatalf("gate: %+v", got)
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	all := map[uint64]bool{}
	for g := range s.m.gates {
		all[g.inodes[0]], all[g.inodes[1]] = true, true
	}
	lists = []map[uint64]bool{{}, all, {}, {}}
	if s.m.sweep(); len(s.m.gates) != 1 {
		t.Errorf("%d gates after a list that was incomplete once", len(s.m.gates))
	}
	if s.m.sweep(); len(s.m.gates) != 0 { // the control: they are gone
		t.Errorf("%d gates after both ends were closed", len(s.m.gates))
	}
}

// Hostile messages: the domain is killed, the others go on.
func TestHostile(t *testing.T) {
	hello, _ := (&abi.Control{Op: abi.OpHello}).AppendTo(nil)
	gate, _ := (&abi.Control{Op: abi.OpGate, Interface: "t.Echo"}).AppendTo(nil)
	good, _ := (&abi.Control{Op: abi.OpOpen, Interface: "t.Echo"}).AppendTo(nil)
	for name, b := range map[string][]byte{
		"not a message":      []byte("give me everything"),
		"cut off":            good[:len(good)-1],
		"trailing":           append(slices.Clone(good), 0),
		"too long":           make([]byte, abi.MaxControl),
		"the monitor's own":  hello,
		"a gate of its own":  gate,
		"unknown operation":  append([]byte{77, 0}, good[2:]...),
		"one byte":           {1},
		"length beyond data": append(good[:6:6], 0xff, 0xff),
	} {
		t.Run(name, func(t *testing.T) {
			s := startSystem(t, nil)
			c, srv := s.domain(client), s.domain(server)
			if err := c.conn.Send(b, wait); err != nil {
				t.Fatal(err)
			}
			if !c.closed() {
				t.Error("its channel is open")
			}
			if d := <-s.creator.killed; d != client {
				t.Errorf("killed: %d", d)
			}
			if got, _ := srv.ask(serve(1, "t.Echo")); got.Op != abi.OpOK {
				t.Errorf("the other domain: %+v", got)
			}
			if e := s.audit.last(event.Notice); e.Domain != client || !strings.Contains(e.Text, "killed") {
				t.Errorf("record: %+v", e)
			}
		})
	}
}

// Descriptors that a domain sends along are a hostile act, and do not arrive.
func TestDescriptors(t *testing.T) {
	s := startSystem(t, nil)
	c := s.domain(client)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	m := open(1, "t.Echo")
	b, _ := m.AppendTo(nil)
	if err := c.conn.Send(b, wait, null); err != nil {
		t.Fatal(err)
	}
	if d := <-s.creator.killed; d != client {
		t.Errorf("killed: %d", d)
	}
}

// A domain that asks and asks does not keep the others from being answered,
// and one that does not read its answers is killed in the end.
func TestFlood(t *testing.T) {
	s := startSystem(t, nil)
	c, srv := s.domain(client), s.domain(server)
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		m := open(1, "t.None")
		b, _ := m.AppendTo(nil)
		for c.conn.Send(b, wait) == nil {
		}
	}()
	srv.ask(serve(1, "t.Echo"))
	begin := time.Now()
	for i := range uint32(50) {
		if got, _ := srv.ask(abi.Control{Op: abi.OpUnserve, Seq: 10 + i, Interface: "t.Secret"}); got.Op != abi.OpRefused {
			t.Fatal(got)
		}
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("50 answers beside a flooder took %v", took)
	}
	if d := <-s.creator.killed; d != client {
		t.Errorf("killed: %d", d)
	}
	<-flooded
}

func TestBucket(t *testing.T) {
	b := newBucket(1000, 10)
	begin := time.Now()
	for range 60 {
		b.wait()
	}
	if took := time.Since(begin); took < 40*time.Millisecond {
		t.Errorf("60 tokens of 1000/s burst 10 took %v", took)
	}
}

// When a domain ends, what it served is gone, its ends of gates are closed,
// and its endpoint goes with the last gate.
func TestEnded(t *testing.T) {
	s := startSystem(t, func(c *Config) { c.Image.Domains[client].Once = true })
	c, srv := s.domain(client), s.domain(server)
	srv.ask(serve(1, "t.Echo"))
	if got, _ := c.ask(open(1, "t.Echo")); got.Op != abi.OpGate {
		t.Fatal(got)
	}
	before := s.fabric.get(&s.fabric.everyEnd)
	s.creator.Signal(context.Background(), server, syscall.SIGTERM)
	if got, _ := c.ask(open(2, "t.Echo")); got.Op != abi.OpRefused || got.Reason != abi.ReasonNotRunning {
		t.Errorf("a gate to a server that has ended: %+v", got)
	}
	s.m.mu.Lock()
	if s.fabric.get(&s.fabric.open) != 1 {
		t.Errorf("%d gates: what the server sent last must still be readable", s.fabric.get(&s.fabric.open))
	}
	s.m.mu.Unlock()
	s.creator.exits <- Exit{Domain: client, PID: 1000 + int(client), Status: 3 << 8}
	s.m.Stop()
	if status := <-s.status; status != 1 || s.err != nil {
		t.Errorf("status %d, %v; a `once` domain failed", status, s.err)
	}
	if s.fabric.get(&s.fabric.open) != 0 || s.fabric.get(&s.fabric.everyEnd) != 0 || before != 3 {
		t.Errorf("left: %d gates, %d endpoints", s.fabric.get(&s.fabric.open), s.fabric.get(&s.fabric.everyEnd))
	}
	if e := s.audit.last(event.RingGone); e.Count != 7 {
		t.Errorf("the last count: %+v", e)
	}
}

// While the system stops nothing new is granted.
func TestStopping(t *testing.T) {
	s := startSystem(t, nil)
	c, srv := s.domain(client), s.domain(server)
	srv.ask(serve(1, "t.Echo"))
	s.m.mu.Lock()
	s.m.stopping = true
	s.m.mu.Unlock()
	for op, want := range map[abi.ControlOp]abi.ControlOp{abi.OpOpen: abi.OpRefused, abi.OpServe: abi.OpRefused} {
		who := c
		if op == abi.OpServe {
			who = srv
		}
		if got, _ := who.ask(abi.Control{Op: op, Seq: 5, Interface: "t.Echo"}); got.Op != want || got.Reason != abi.ReasonNotRunning {
			t.Errorf("operation %d: %+v", op, got)
		}
	}
	if got, _ := srv.ask(abi.Control{Op: abi.OpUnserve, Seq: 6, Interface: "t.Echo"}); got.Op != abi.OpOK {
		t.Errorf("unserve: %+v", got)
	}
}

func TestStartFails(t *testing.T) {
	s := startSystem(t, func(c *Config) { c.Creator.(*fakeCreator).refuse = second })
	if status := <-s.status; status != 1 || s.err == nil || !strings.Contains(s.err.Error(), "domain second: no such program") {
		t.Errorf("status %d, %v", status, s.err)
	}
	if len(s.creator.ends) != 0 {
		t.Error("domains are left")
	}
}

func TestStartDenied(t *testing.T) {
	s := startSystem(t, func(c *Config) { c.Image.Domains[second].Start = image.Verdict{Policy: abi.NoPolicy} })
	if slices.Contains(s.creator.started, second) {
		t.Error("started against the policy")
	}
	if e := s.audit.last(event.Started); e.Domain == second && e.Allow {
		t.Errorf("record: %+v", e)
	}
}

func TestOrder(t *testing.T) {
	s := startSystem(t, func(c *Config) {
		c.NeedWait = time.Millisecond // nothing is served here
		c.Image.Domains[server].Needs = []string{"second"}
		c.Image.Domains[second].Needs = []string{"client"}
	})
	if want := []abi.DomainID{client, second, server}; !slices.Equal(s.creator.started, want) {
		t.Errorf("started in the order %v, want %v", s.creator.started, want)
	}
}

func TestGatesFail(t *testing.T) {
	s := startSystem(t, func(c *Config) { c.Fabric.(*fakeFabric).fail = errors.New("the verifier refuses") })
	c, srv := s.domain(client), s.domain(server)
	srv.ask(serve(1, "t.Echo"))
	if got, _ := c.ask(open(1, "t.Echo")); got.Op != abi.OpRefused {
		t.Errorf("a gate without a filter: %+v", got)
	}
	if e := s.audit.last(event.Notice); !strings.Contains(e.Text, "the verifier refuses") {
		t.Errorf("record: %+v", e)
	}
}

func TestConnectUser(t *testing.T) {
	s := startSystem(t, nil)
	for name, test := range map[string]struct {
		c      Credentials
		allow  bool
		policy uint32
	}{
		"named":            {Credentials{UID: 1000}, true, 0},
		"another":          {Credentials{UID: 1001}, false, abi.NoPolicy},
		"root":             {Credentials{UID: 0}, false, abi.NoPolicy},
		"forbidden group":  {Credentials{UID: 1000, GID: 2000}, false, 1},
		"as supplementary": {Credentials{UID: 1000, GID: 5, Groups: []uint32{7, 2000}}, false, 1},
	} {
		u := &user{atoms: s.m.users.atoms(&test.c)}
		if v := s.m.connect(2, &opening{user: u}); v.Allow != test.allow || v.Policy != test.policy {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestAdmin(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the monitor answers root only")
	}
	s := startSystem(t, nil)
	c, srv := s.domain(client), s.domain(server)
	srv.ask(serve(1, "t.Echo"))
	c.ask(open(1, "t.Echo"))
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	all, err := admin.PS(ctx, s.m.RunDir)
	if err != nil || len(all) != 3 || all[0].Name != "client" || all[0].State != admin.Running || all[0].UID != 70000 || all[0].MayCall != 1 || all[0].Gates != 1 {
		t.Fatalf("ps: %+v, %v", all, err)
	}
	d, err := admin.Describe(ctx, s.m.RunDir, "client")
	if err != nil || d.Descriptor == nil || len(d.Descriptor.Calls) != 1 || d.Descriptor.Calls[0].Method != "t.Echo/Say" || len(d.Descriptor.Held) != 1 {
		t.Errorf("the client's descriptor: %+v, %v", d.Descriptor, err)
	}
	if st, err := os.Stat(s.m.RunDir + "/" + admin.Socket); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v", err)
	}
	if err := admin.Down(ctx, s.m.RunDir); err != nil {
		t.Fatal(err)
	}
	if status := <-s.status; status != 0 {
		t.Errorf("status %d", status)
	}
	if _, err := admin.PS(ctx, s.m.RunDir); !errors.Is(err, admin.ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
}

func TestUnixSockets(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "end")
	defer unix.Close(fds[1])
	id, err := inode(f)
	if err != nil {
		t.Fatal(err)
	}
	all, err := UnixSockets()
	if err != nil {
		t.Fatal(err)
	}
	if !all[id] {
		t.Error("an open socket is not listed")
	}
	f.Close()
	if all, err = UnixSockets(); err != nil || all[id] {
		t.Errorf("a closed socket is listed (%v)", err)
	}
}
