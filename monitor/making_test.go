package monitor

import (
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
	"ward/image"
	"ward/monitor/admin"
)

// heldFabric holds the next gate, or the next route, that is made.
type heldFabric struct {
	Fabric
	mu          sync.Mutex
	gate, route *held
	ends        map[Route][2]Endpoint
	gone        []string // that a gate in the making needs
}

// A held is one that says when it has begun, and goes on when it is let, or fails.
type held struct {
	begun chan struct{}
	let   chan error
}

func (h *held) wait() error {
	if h == nil {
		return nil
	}
	close(h.begun)
	return <-h.let
}

func (f *heldFabric) take(what **held) *held {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := *what
	*what = nil
	return h
}

func (f *heldFabric) hold(what **held) *held {
	f.mu.Lock()
	defer f.mu.Unlock()
	*what = &held{make(chan struct{}), make(chan error, 1)}
	return *what
}

func (f *heldFabric) Open(r Route) (Gate, error) {
	if err := f.take(&f.gate).wait(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !r.(*fakeRoute).open {
		f.gone = append(f.gone, "its route")
	}
	for i, e := range f.ends[r] {
		if _, err := e.(*fakeEndpoint).file.Stat(); err != nil {
			f.gone = append(f.gone, []string{"the client's endpoint", "the server's endpoint"}[i])
		}
	}
	return f.Fabric.Open(r)
}

func (f *heldFabric) Load(img *image.Image, route uint32, atoms Atoms, c, s Endpoint) (Route, error) {
	if err := f.take(&f.route).wait(); err != nil {
		return nil, err
	}
	r, err := f.Fabric.Load(img, route, atoms, c, s)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ends[r] = [2]Endpoint{c, s}
	return r, err
}

// withSecond lets second ask server, too, which is started again when it ends.
func withSecond(i *image.Image) {
	i.Routes = append(i.Routes, image.Route{Client: second, Server: server, Connect: image.Verdict{Allow: true}, Lookup: image.Verdict{Allow: true}, Methods: i.Routes[0].Methods})
	i.Domains[server].Restart = image.RestartAlways
}

// makingSystem is one in which client and second have a gate each to server.
func makingSystem(t *testing.T, change func(*Config)) (s *system, f *heldFabric, c, other, srv *fakeDomain) {
	t.Helper()
	f = &heldFabric{ends: map[Route][2]Endpoint{}}
	s = changingWith(t, func(cfg *Config) {
		withSecond(cfg.Image)
		if change != nil {
			change(cfg)
		}
		f.Fabric, cfg.Fabric, cfg.RestartDelay = cfg.Fabric, f, time.Millisecond
		cfg.Sealed, cfg.Hash = sealed(t, cfg.Image), image.Hash(image.Encode(cfg.Image))
	})
	c, srv, other = s.domain(client), s.domain(server), s.domain(second)
	srv.ok(serve(1, "t.Echo"))
	for _, d := range []*fakeDomain{c, other} {
		if got, _ := d.ask(open(1, "t.Echo")); got.Op != abi.OpGate {
			t.Fatalf("the first gate: %+v", got)
		}
		srv.read()
	}
	return s, f, c, other, srv
}

// settles waits until nothing is made any more, and checks that all is counted as
// it is.
func (s *system) settles() {
	s.t.Helper()
	s.until("what is made", func() bool {
		return len(s.m.making) == 0 && s.m.makers == 0 && len(s.m.loads) == 0 && len(s.m.turns.asked) == 0
	})
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	ends := map[*domain]int{}
	for g := range s.m.gates {
		for end, d := range []*domain{g.client, g.server} {
			if d != nil && g.live[end] {
				ends[d]++
			}
		}
	}
	for _, d := range s.m.domains {
		waits := 0
		for _, o := range s.m.pending {
			if o.client == d {
				waits++
			}
		}
		if d.loads != 0 || d.pending != waits || d.ends != ends[d] {
			s.t.Errorf("%s: %d loads; counted as waiting %d, want %d; ends %d, want %d", d.def.Name, d.loads, d.pending, waits, d.ends, ends[d])
		}
	}
	if n := s.fabric.get(&s.fabric.open); n != len(s.m.gates) {
		s.t.Errorf("%d gates are open, and %d are known", n, len(s.m.gates))
	}
	if len(s.m.turns.has) != 0 || len(s.m.turns.lines[0])+len(s.m.turns.lines[1]) != 0 {
		s.t.Errorf("turns %+v", s.m.turns)
	}
}

// While a gate is made for one domain, the monitor does all else: it makes gates for others,
// hears them, and answers who asks from outside.
func TestMakingHoldsUpNobody(t *testing.T) {
	s, f, c, other, srv := makingSystem(t, nil)
	h := f.hold(&f.gate)
	c.send(open(2, "t.Echo"))
	<-h.begun
	if got, _ := other.ask(open(2, "t.Echo")); got.Op != abi.OpGate {
		t.Errorf("another's gate: %+v", got)
	}
	srv.read()
	if got, _ := other.ask(open(3, "t.Secret")); got.Op != abi.OpRefused {
		t.Errorf("another's refusal: %+v", got)
	}
	srv.ok(serve(2, "t.Echo"))
	if all, err := admin.PS(t.Context(), s.m.RunDir); err != nil || len(all) != 3 {
		t.Errorf("%d domains, %v", len(all), err)
	}
	h.let <- nil
	if got, _ := c.read(); got.Op != abi.OpGate || got.Seq != 2 {
		t.Errorf("the gate: %+v", got)
	}
	s.settles()
}

// Nor does a route that is loaded for one domain hold up others.
func TestLoadHoldsUpNobody(t *testing.T) {
	s, f, c, other, srv := makingSystem(t, func(cfg *Config) {
		cfg.Image.Routes[1].Connect = image.Verdict{Allow: true}
		cfg.Image.Domains[server].Exports[1].Publish = image.Verdict{Allow: true}
	})
	srv.ok(serve(2, "t.Secret"))
	h := f.hold(&f.route)
	c.send(open(2, "t.Secret"))
	<-h.begun
	for seq := range uint32(3) {
		if got, _ := other.ask(open(2+seq, "t.Echo")); got.Op != abi.OpGate {
			t.Errorf("another's gate: %+v", got)
		}
		srv.read()
	}
	if got, _ := c.ask(open(3, "t.Echo")); got.Op != abi.OpGate {
		t.Errorf("the same domain's gate by another route: %+v", got)
	}
	srv.read()
	h.let <- nil
	if got, _ := c.read(); got.Op != abi.OpGate || got.Seq != 2 {
		t.Errorf("the gate: %+v", got)
	}
	s.settles()
}

// What happens while a gate is made holds for it: it is given if all is as it was, or if all
// is well with another one; what was made in vain is closed, and nothing is left of it.
func TestWhileMade(t *testing.T) {
	for _, test := range []struct {
		what   string
		happen func(s *system, c, other, srv *fakeDomain)
		fails  error
		want   abi.Reason // ReasonNone: a gate; ReasonClosed: nobody is answered
		text   string
		vain   int // gates that were made and are closed
	}{
		{what: "control: nothing", happen: func(*system, *fakeDomain, *fakeDomain, *fakeDomain) {}},
		{what: "it cannot be made", happen: func(*system, *fakeDomain, *fakeDomain, *fakeDomain) {}, fails: errors.New("no"), want: abi.ReasonQuota},
		{what: "a change forbids it", want: abi.ReasonForbid, text: "no", vain: 1, happen: func(s *system, _, _, _ *fakeDomain) {
			s.changes(func(i *image.Image) { i.Routes[0].Connect = image.Verdict{Policy: 1} })
		}},
		{what: "a change forbids it, and it cannot be made", fails: errors.New("no"), want: abi.ReasonForbid, text: "no", happen: func(s *system, _, _, _ *fakeDomain) {
			s.changes(func(i *image.Image) { i.Routes[0].Connect = image.Verdict{Policy: 1} })
		}},
		{what: "a change goes on to allow it", vain: 1, happen: func(s *system, _, _, _ *fakeDomain) {
			s.changes(func(i *image.Image) {
				i.Routes[0].Methods[0].Request.Forbid = []image.Rule{{Policy: 1, When: image.Expr{Op: image.True}}}
			})
		}},
		{what: "a change that is not made", happen: func(s *system, _, _, _ *fakeDomain) {
			if _, err := s.ask(&admin.Change{DryRun: true, Image: sealed(s.t, s.like(func(i *image.Image) { i.Routes[0].Connect = image.Verdict{Policy: 1} }))}); err != nil {
				s.t.Error(err)
			}
		}},
		{what: "the server does not serve any more", want: abi.ReasonNotRunning, vain: 1, happen: func(_ *system, _, _, srv *fakeDomain) {
			srv.ok(abi.Control{Op: abi.OpUnserve, Seq: 9, Interface: "t.Echo"})
		}},
		{what: "the server is started again", vain: 1, happen: func(s *system, _, _, _ *fakeDomain) {
			s.ends(server, exit0)
			s.starts(server, 2)
			s.domain(server).ok(serve(1, "t.Echo"))
		}},
		{what: "the server is started again, and serves later", vain: 1, happen: func(s *system, _, _, _ *fakeDomain) {
			s.ends(server, exit0)
			s.starts(server, 2)
		}},
		{what: "the client has ended", want: abi.ReasonClosed, vain: 1, happen: func(s *system, _, _, _ *fakeDomain) {
			s.ends(client, exit0)
			s.untilEnded(client)
		}},
		{what: "both have ended, and nobody has the gate that they had", want: abi.ReasonClosed, vain: 2, happen: func(s *system, _, _, _ *fakeDomain) {
			s.ends(client, exit0)
			s.untilEnded(client)
			s.ends(server, exit0)
			s.starts(server, 2)
		}},
	} {
		t.Run(test.what, func(t *testing.T) {
			s, f, c, other, srv := makingSystem(t, nil)
			h := f.hold(&f.gate)
			c.send(open(2, "t.Echo"))
			<-h.begun
			test.happen(s, c, other, srv)
			h.let <- test.fails
			if test.want == abi.ReasonClosed {
				s.settles()
				s.m.mu.Lock()
				defer s.m.mu.Unlock()
				if n := s.fabric.get(&s.fabric.closed); n != test.vain {
					t.Errorf("%d gates were closed, want %d", n, test.vain)
				}
				if left := s.m.domains[client].endpoint != nil; left != (test.vain == 1) {
					t.Errorf("its endpoint is left: %v", left)
				}
				return
			}
			if test.what == "the server is started again, and serves later" {
				s.until("the request waits", func() bool { return len(s.m.pending) == 1 })
				s.domain(server).ok(serve(1, "t.Echo"))
			}
			got, files := c.answer(2)
			switch {
			case test.want == abi.ReasonNone && (got.Op != abi.OpGate || len(files) != 1):
				t.Errorf("no gate: %+v", got)
			case test.want != abi.ReasonNone && (got.Op != abi.OpRefused || got.Reason != test.want || test.text != "" && got.Text != test.text):
				t.Errorf("answer: %+v", got)
			}
			s.settles()
			if n := s.fabric.get(&s.fabric.closed); n != test.vain {
				t.Errorf("%d gates were closed, want %d", n, test.vain)
			}
			s.inForce()
		})
	}
}

// A gate in the making keeps what it is made of: its route, and both endpoints. They
// go when it is found that it was made in vain.
func TestMakingKeeps(t *testing.T) {
	for what, end := range map[string][]abi.DomainID{"the client ends": {client}, "the server ends": {server}, "both end": {server, client}} {
		t.Run(what, func(t *testing.T) {
			s, f, c, _, _ := makingSystem(t, func(cfg *Config) {
				cfg.Image.Routes[1].Connect = image.Verdict{Allow: true}
				cfg.Image.Domains[server].Exports[1].Publish = image.Verdict{Allow: true}
				cfg.Sockets = func() (map[uint64]bool, error) { return map[uint64]bool{}, nil } // nobody has an end of a gate
			})
			s.domainAgain(server).ok(serve(2, "t.Secret"))
			h := f.hold(&f.gate)
			c.send(open(2, "t.Secret"))
			<-h.begun
			for _, id := range end {
				s.ends(id, exit0)
				if id == client {
					s.untilEnded(id)
				} else {
					s.starts(id, 2)
				}
			}
			s.m.mu.Lock()
			s.m.sweep()
			s.m.mu.Unlock()
			h.let <- nil
			s.until("what is made", func() bool { return len(s.m.making) == 0 && s.m.makers == 0 })
			f.mu.Lock()
			if len(f.gone) > 0 {
				t.Errorf("gone while the gate was made: %q", f.gone)
			}
			f.mu.Unlock()
			s.until("what it was made of has gone", func() bool {
				s.m.sweep()
				if len(s.m.stale) > 0 {
					return false
				}
				want := 0
				for _, d := range s.m.domains {
					if d.endpoint != nil {
						want++
					}
				}
				return s.fabric.get(&s.fabric.everyEnd) == want && (len(end) == 1 && end[0] == server || s.m.domains[client].endpoint == nil)
			})
		})
	}
}

// domainAgain is the domain's side of a channel that was greeted already.
func (s *system) domainAgain(id abi.DomainID) *fakeDomain {
	s.creator.mu.Lock()
	defer s.creator.mu.Unlock()
	return &fakeDomain{s.t, s.creator.ends[id]}
}

// What is being made counts as what there is.
func TestMakingCounts(t *testing.T) {
	s, f, c, other, _ := makingSystem(t, func(cfg *Config) { cfg.Image.Domains[server].Quota.Gates = 3 })
	h := f.hold(&f.gate)
	c.send(open(2, "t.Echo"))
	<-h.begun
	if got, _ := other.ask(open(2, "t.Echo")); got.Op != abi.OpRefused || got.Reason != abi.ReasonQuota {
		t.Errorf("a fourth gate of three: %+v", got)
	}
	s.m.mu.Lock()
	d, srv := s.m.domains[client], s.m.domains[server]
	if d.ends != 2 {
		t.Errorf("the client has %d ends", d.ends)
	}
	srv.limit = 100
	for _, share := range []int{2, 3} {
		srv.share = share
		if why := s.m.exceeds(&opening{client: d}, srv); (why == "") != (share == 3) {
			t.Errorf("with one gate, one in the making and a share of %d: %q", share, why)
		}
	}
	s.m.mu.Unlock()
	h.let <- nil
	if got, _ := c.read(); got.Op != abi.OpGate {
		t.Errorf("the gate: %+v", got)
	}
	s.settles()
}

// like is an image as that of makingSystem, with a change.
func (s *system) like(change func(*image.Image)) *image.Image {
	return changed(s.t, func(i *image.Image) {
		withSecond(i)
		change(i)
	})
}

func (s *system) changes(change func(*image.Image)) {
	s.t.Helper()
	if _, err := s.ask(&admin.Change{Image: sealed(s.t, s.like(change))}); err != nil {
		s.t.Error(err)
	}
}

// inForce checks that every route has the policy of the image that is in force, or lets
// nothing pass.
func (s *system) inForce() {
	s.t.Helper()
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	look := func(what string, number uint32, r Route) {
		if f, ok := r.(*fakeRoute); ok && !f.dead && f.img != s.m.Image && !sameRoute(f.img, s.m.Image, number) {
			s.t.Errorf("%s is judged by a policy that is no longer in force", what)
		}
	}
	for g := range s.m.gates {
		if g.server.state != stateEnded && (g.client == nil || g.client.state != stateEnded) { // nobody sends there any more
			look("a gate", g.route, g.loaded)
		}
	}
	for i, r := range s.m.loaded {
		look("a route", i, r)
	}
	for u := range s.m.outside.users {
		if u.route != nil {
			look("a user's route", 2, u.route)
		}
	}
}

// answer reads until the answer to a request.
func (d *fakeDomain) answer(seq uint32) (abi.Control, []*os.File) {
	d.t.Helper()
	for {
		if got, files := d.read(); got.Seq == seq {
			return got, files
		}
	}
}

// A route that was loaded when a change looks at what is loaded, and that the monitor
// had not noted yet, is loaded again: it would go on with the policy before.
func TestLoadedBeforeChange(t *testing.T) {
	s, fabric, publisher, held := hastening(t)
	publisher.read()
	<-fabric.loaded // and waits for the process
	s.m.mu.Lock()
	img := testImage()
	withNames(img)
	s.m.Sealed, s.m.Hash = sealed(t, img), image.Hash(image.Encode(img))
	s.m.mu.Unlock()
	after := testImage()
	withNames(after)
	after.Routes[namesRoute].Methods = []image.MethodPolicy{{Request: image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.True}}}, Forbid: []image.Rule{{Policy: 1, When: image.Expr{Op: image.True}}}}}}
	planned := make(chan struct{})
	s.m.mu.Lock()
	s.m.Fabric = &busyFabric{Fabric: s.m.Fabric, before: func() { // it is planned, and not in force
		close(planned)
		held <- nil
		s.until("the process runs", func() bool { return s.m.domains[nameServer].early.begun == nil })
	}}
	s.m.mu.Unlock()
	if _, err := s.ask(&admin.Change{Image: sealed(t, after)}); err != nil {
		t.Fatal(err)
	}
	<-planned
	s.until("the route", func() bool { return s.m.loaded[namesRoute] != nil })
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if r := s.m.loaded[namesRoute].(*boundRoute).Route.(*fakeRoute); r.img != s.m.Image {
		t.Error("the route has the policy before")
	}
}

// A delegation that ends while a gate is made by it gives none.
func TestLentWhileMade(t *testing.T) {
	s, f, from, to, _ := makingSystem(t, func(cfg *Config) {
		cfg.Image.Grants = []image.Grant{{From: client, To: second, Entry: image.Entry{}, Verdict: image.Verdict{Allow: true, Policy: 0}}}
	})
	lent, _ := from.ask(lend("second", time.Hour, 0))
	if lent.Op != abi.OpLent {
		t.Fatalf("no delegation: %+v", lent)
	}
	to.read()
	h := f.hold(&f.gate)
	to.send(abi.Control{Op: abi.OpBorrow, Seq: 5, Block: lent.Block})
	<-h.begun
	if got, _ := from.answerTo(abi.Control{Op: abi.OpTakeBack, Seq: 6, Block: lent.Block}); got.Op != abi.OpOK {
		t.Fatalf("it is not taken back: %+v", got)
	}
	h.let <- nil
	if got, _ := to.answer(5); got.Op != abi.OpRefused || got.Reason != abi.ReasonExpired {
		t.Errorf("a gate by a delegation that has ended: %+v", got)
	}
	s.settles()
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if len(s.m.stale) != 0 || len(s.m.servers) != 0 {
		t.Errorf("%d routes are left", len(s.m.stale)+len(s.m.servers))
	}
}

// answerTo asks, and reads until the answer.
func (d *fakeDomain) answerTo(c abi.Control) (abi.Control, []*os.File) {
	d.t.Helper()
	d.send(c)
	return d.answer(c.Seq)
}

// Gates are asked for while the policy changes to and fro, and while servers and
// clients end and are started again: none is left that a policy judges which is no
// longer in force, and nothing is left of those that were made in vain.
func TestMakingRace(t *testing.T) {
	const rounds = 40
	s, _, _, _, _ := makingSystem(t, func(cfg *Config) {
		cfg.Image.Domains[client].Restart, cfg.Image.Domains[second].Restart = image.RestartAlways, image.RestartAlways
		cfg.Sockets = nil
	})
	var stop sync.WaitGroup
	done := make(chan struct{})
	alive := func(id abi.DomainID) *link.Conn {
		s.creator.mu.Lock()
		defer s.creator.mu.Unlock()
		return s.creator.ends[id]
	}
	// What a domain does, process after process: it asks on, and reads what comes.
	goes := func(id abi.DomainID, first abi.Control, ask *abi.Control) {
		var known *link.Conn
		for {
			select {
			case <-done:
				return
			default:
			}
			conn := alive(id)
			if conn == nil {
				<-time.After(time.Millisecond)
				continue
			}
			buf := make([]byte, abi.MaxControl)
			if conn != known {
				known = conn
				if b, err := first.AppendTo(nil); err != nil || conn.Send(b, wait) != nil {
					continue
				}
			}
			if ask != nil {
				ask.Seq++
				if b, err := ask.AppendTo(nil); err != nil || conn.Send(b, wait) != nil {
					continue
				}
			}
			conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) // nothing may come: then it asks again
			if _, files, err := conn.Recv(buf, 4); err == nil {
				link.CloseAll(files)
			}
		}
	}
	echo := open(10, "t.Echo")
	echo2 := open(10, "t.Echo")
	stop.Go(func() { goes(client, echo, &echo) })
	stop.Go(func() { goes(second, echo2, &echo2) })
	stop.Go(func() { goes(server, serve(1, "t.Echo"), nil) })
	for round := range rounds {
		before := s.fabric.get(&s.fabric.next)
		s.changes(func(i *image.Image) {
			i.Domains[client].Restart, i.Domains[second].Restart = image.RestartAlways, image.RestartAlways
			if round%2 == 0 {
				i.Routes[0].Connect = image.Verdict{Policy: 1}
				i.Routes[3].Methods = []image.MethodPolicy{{Request: image.Decision{Permit: i.Routes[0].Methods[0].Request.Permit, Forbid: []image.Rule{{Policy: 1, When: image.Expr{Op: image.True}}}}}}
			}
		})
		s.inForce()
		if round%3 == 0 {
			id := []abi.DomainID{server, client, second}[round/3%3]
			if alive(id) != nil {
				s.ends(id, exit3)
			}
		}
		s.until("another gate", func() bool { return s.fabric.get(&s.fabric.next) > before })
	}
	close(done)
	stop.Wait()
	s.settles()
	s.inForce()
	if e := s.audit.last(event.Gate); e.Kind != event.Gate {
		t.Error("no gate was recorded")
	}
}
