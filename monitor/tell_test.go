package monitor

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
	"ward/image"
	"ward/monitor/admin"
)

// A span is how long a monitor lives, in messages to the holder and to the audit
// writer: of what it does after its last one nobody hears.
type span struct {
	mu   sync.Mutex
	left int // messages; below 0: as many as it likes
	dead bool
}

func (s *span) set(messages int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = messages
}

// lasts counts a message, and reports whether the monitor still lives.
func (s *span) lasts() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead = s.dead || s.left == 0; s.dead {
		return false
	}
	s.left--
	return true
}

// mortalAudit hears a monitor as long as it lives.
type mortalAudit struct {
	*fakeAudit
	span *span
}

func (a mortalAudit) Event(e event.Event, files ...*os.File) {
	if a.span.lasts() {
		a.fakeAudit.Event(e, files...)
		return
	}
	link.CloseAll(files)
}

// written are the events of which the audit writer makes records: what it has it
// leaves out (audit.writer.take).
func (a *fakeAudit) written() (all []event.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := uint64(0)
	for _, e := range a.events {
		if told := e.Recorded(); told != 0 {
			if told <= last {
				continue
			}
			last = told
		}
		all = append(all, e)
	}
	return all
}

// An heir is the monitor after one that died, with all that the audit writer has of both.
type heir struct {
	*system
	changes bool // it has a change of the policy to make again
	died    *system
	intends int // 1: to set a state
}

// count is how many records there are of a kind that are so.
func (h *heir) count(k event.Kind, is func(*event.Event) bool) (n int) {
	for _, e := range h.audit.written() {
		if e.Kind == k && (is == nil || is(&e)) {
			n++
		}
	}
	return n
}

func (h *heir) wants(what string, got, want int) {
	h.t.Helper()
	if got != want {
		h.t.Errorf("%s: %d records, want %d", what, got, want)
	}
}

func about(d abi.DomainID) func(*event.Event) bool {
	return func(e *event.Event) bool { return e.Domain == d }
}

// inherit makes the monitor that comes after that of s, which has died, and waits
// until it has taken over.
func (s *system) inherit(k *aKeeper, cfg Config) *heir {
	s.t.Helper()
	return s.inheritOf(k, cfg, func(*Config) {})
}

// inheritOf makes it with something changed.
func (s *system) inheritOf(k *aKeeper, cfg Config, change func(*Config)) *heir {
	s.t.Helper()
	s.fabric.mu.Lock()
	s.fabric.lives = nil
	s.fabric.mu.Unlock()
	creator := &fakeCreator{exits: make(chan Exit, 16), hits: make(chan Hit, 16), ends: map[abi.DomainID]*link.Conn{}, killed: make(chan abi.DomainID, 16), refuse: event.None}
	for id := range cfg.Image.Domains {
		conn, theirs, err := link.Pair("domain")
		if err != nil {
			s.t.Fatal(err)
		}
		theirs.Close()
		creator.ends[abi.DomainID(id)] = conn
	}
	cfg.Creator, cfg.Audit, cfg.RunDir = creator, s.audit, s.t.TempDir()
	cfg.Holder = &aKeeper{fakeHolder: fakeHolder{make(chan struct{})}}
	intends := 0
	k.mu.Lock()
	for _, e := range k.kept {
		e.Files = slices.Clone(e.Files)
		for i, f := range e.Files {
			again, err := dup(f)
			if err != nil {
				s.t.Fatal(err)
			}
			e.Files[i] = again
		}
		switch e.Name { // as wardd does
		case keptImage:
			img, encoded, err := readSealed(e.Files[0])
			if err != nil {
				s.t.Fatal(err)
			}
			cfg.Image, cfg.Sealed, cfg.Hash, cfg.ImageChanged = img, e.Files[0], image.Hash(encoded), true
		case keptNext:
			cfg.Next = e.Files[0]
		case keptSetting:
			intends = 1
			fallthrough
		default:
			cfg.Kept = append(cfg.Kept, e)
		}
	}
	k.mu.Unlock()
	if cfg.Sealed == nil {
		cfg.Sealed, cfg.Hash = sealed(s.t, cfg.Image), image.Hash(image.Encode(cfg.Image))
	}
	change(&cfg)
	m, err := New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(context.Background())
	}()
	s.t.Cleanup(func() { m.Stop(); <-done })
	over := []chan struct{}{m.up}
	if m.Next != nil {
		over = append(over, m.redone)
	}
	for _, c := range over {
		select {
		case <-c:
		case <-done:
			select {
			case <-c: // and then it stopped
			default:
				s.t.Fatal("it does not take over")
			}
		case <-time.After(wait):
			s.t.Fatal("it does not come to the end of taking over")
		}
	}
	return &heir{&system{t: s.t, m: m, img: cfg.Image, fabric: s.fabric, creator: creator, audit: s.audit}, m.Next != nil, s, intends}
}

// A doing is what a monitor does while it dies.
type doing struct {
	change func(*Config)
	begins bool                     // it dies while the system starts
	before func(*system) any        // what is there before
	do     func(s *system, had any) // and waits until it is done, also if the monitor has died
	after  func(*heir)
}

// atEveryMessage lets a monitor die before each of its messages to the holder and to the
// audit writer, and another one take over, until one comes to the end.
func (d *doing) atEveryMessage(t *testing.T) {
	for n, died := 0, true; died; n++ {
		died = false // also if it is not run (-failfast)
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			span, keeper := &span{left: -1}, &aKeeper{}
			keeper.dies = func(string) bool { return !span.lasts() }
			if d.begins {
				span.left = n
			}
			var cfg Config
			s := startSystem(t, func(c *Config) {
				c.Fabric.(*fakeFabric).lives = span.lasts
				c.Fabric = &aFabric{c.Fabric.(*fakeFabric), map[uint32]Gate{}}
				if d.change != nil {
					d.change(c)
				}
				c.Sealed, c.Hash = sealed(t, c.Image), image.Hash(image.Encode(c.Image))
				if again, err := dup(c.Sealed); err == nil { // the monitor closes its own
					c.Sealed = again
				}
				keeper.fakeHolder = c.Holder.(fakeHolder)
				c.Holder, c.Audit = keeper, mortalAudit{c.Audit.(*fakeAudit), span}
				if creator, ok := c.Creator.(*fakeCreator); ok {
					c.Creator = &hearingCreator{fakeCreator: creator, span: span}
				}
				cfg = *c
			})
			cfg.Sealed = nil
			if !d.begins {
				s.until("all is started", func() bool { return s.m.started })
				had := d.before(s)
				span.set(n)
				d.do(s, had)
			}
			span.mu.Lock()
			died = span.dead
			span.dead = true
			span.mu.Unlock()
			d.after(s.inherit(keeper, cfg))
		})
	}
}

// TestRecordedOnce: whatever a monitor does, and before whichever of its messages it
// dies: once the next one has taken over, there is one record of it.
func TestRecordedOnce(t *testing.T) {
	nothing := func(*system) any { return nil }
	ended := func(h *heir, d abi.DomainID) {
		h.until("the end", func() bool { return h.m.domains[d].state == stateEnded })
	}
	runs := func(h *heir, d abi.DomainID) bool {
		h.m.mu.Lock()
		defer h.m.mu.Unlock()
		return h.m.domains[d].state == stateRunning
	}
	says := func(text string) func(*event.Event) bool {
		return func(e *event.Event) bool { return strings.Contains(e.Text, text) }
	}
	lends := func(c *Config) {
		c.Image.Grants = append(c.Image.Grants, image.Grant{From: client, To: second, Entry: image.Entry{}, Verdict: image.Verdict{Allow: true, Policy: 0}})
	}
	delegations := func(h *heir) (last int) {
		h.until("all that ends has ended", func() bool {
			last = 0
			for _, l := range h.m.lent {
				if l.why != "" {
					return false
				}
				last++
			}
			return true
		})
		return last
	}
	hit := func(number uint64) Hit {
		return Hit{Domain: client, Limit: LimitProcesses, Count: 3, Number: number}
	}
	lend := abi.LendRequest{To: "second", Entry: "t.Echo/Say", Lifetime: uint64(time.Hour)}
	for name, d := range map[string]doing{
		"start": {
			change: func(c *Config) { c.Image.Domains[second].Start = image.Verdict{Policy: 1} },
			begins: true,
			after: func(h *heir) {
				h.wants("compiled", h.count(event.Compiled, nil), 1)
				for _, d := range []abi.DomainID{client, server, second} {
					h.wants("started", h.count(event.Started, about(d)), 1)
				}
			},
		},
		"end": {
			before: nothing,
			do: func(s *system, _ any) {
				s.ends(client, exit3)
				s.until("the end", func() bool { return s.m.domains[client].state == stateEnded })
			},
			after: func(h *heir) {
				if runs(h, client) {
					h.ends(client, exit3)
				}
				ended(h, client)
				h.wants("ended", h.count(event.Ended, about(client)), 1)
			},
		},
		"restart": {
			change: func(c *Config) {
				c.Image.Domains[server].Restart, c.RestartDelay = image.RestartAlways, time.Millisecond
			},
			before: nothing,
			do: func(s *system, _ any) {
				s.ends(server, exit3)
				s.starts(server, 2)
				s.until("the next", func() bool { return s.m.domains[server].state == stateRunning })
			},
			after: func(h *heir) {
				h.m.mu.Lock()
				d := h.m.domains[server]
				first := d.state == stateRunning && d.restarts == 0
				h.m.mu.Unlock()
				if first {
					h.ends(server, exit3)
				}
				h.until("the next", func() bool { d := h.m.domains[server]; return d.state == stateRunning && d.restarts > 0 })
				h.wants("ended", h.count(event.Ended, about(server)), 1)
				h.wants("started", h.count(event.Started, about(server)), 2)
				h.wants("is started again", h.count(event.Notice, says("it is started again")), 1)
			},
		},
		"hostile": {
			before: nothing,
			do: func(s *system, _ any) {
				s.m.mu.Lock()
				s.m.hostile(s.m.domains[second], "is a test")
				s.m.mu.Unlock()
				s.until("the end", func() bool { return s.m.domains[second].state == stateEnded })
			},
			after: func(h *heir) {
				h.m.mu.Lock()
				known := h.m.domains[second].hostile
				h.m.mu.Unlock()
				if !known && runs(h, second) {
					h.ends(second, exit3)
				}
				ended(h, second)
				want := 0
				if known {
					want = 1
				}
				h.wants("killed", h.count(event.Notice, says("killed: it is a test")), want)
				h.wants("ended", h.count(event.Ended, about(second)), 1)
			},
		},
		"quota": {
			before: nothing,
			do: func(s *system, _ any) {
				s.creator.hits <- Hit{Domain: client, Limit: LimitFiles, Count: 1}
				s.until("the hit", func() bool { return s.m.domains[client].standing[LimitFiles] == 1 })
			},
			after: func(h *heir) {
				h.creator.hits <- Hit{Domain: client, Limit: LimitFiles, Count: 1} // a creator that comes back says so again
				h.until("the hit", func() bool { return h.m.domains[client].standing[LimitFiles] == 1 })
				h.wants("quota", h.count(event.Quota, nil), 1)
			},
		},
		"quota that is told once more": {
			before: nothing,
			do:     func(s *system, _ any) { s.tells(hit(5)) },
			after: func(h *heir) {
				h.tellsAgain(hit(5))
				h.wants("quota", h.count(event.Quota, nil), 1)
				if got := h.m.domains[client].hits.Processes; got != 3 {
					h.t.Errorf("%d were refused, want 3", got)
				}
			},
		},
		"an end that is told once more": {
			before: nothing,
			do: func(s *system, _ any) {
				s.tells(hit(5))
				s.tells(Exit{Domain: client, PID: 1000 + int(client), Status: exit3, Number: 6})
			},
			after: func(h *heir) {
				h.tellsAgain(hit(5))
				h.tellsAgain(Exit{Domain: client, PID: 1000 + int(client), Status: exit3, Number: 6})
				ended(h, client)
				h.wants("quota", h.count(event.Quota, nil), 1)
				h.wants("ended", h.count(event.Ended, func(e *event.Event) bool { return e.Domain == client && e.Status == 3 }), 1)
			},
		},
		"state": {
			change: func(c *Config) { withState(c.Image) },
			before: nothing,
			do:     func(s *system, _ any) { s.sets(door, event.None, 1) },
			after: func(h *heir) {
				now, _ := h.fabric.State(0)
				h.wants("set", h.count(event.StateSet, func(e *event.Event) bool { return e.Count == now && e.Text == "door=open" }), int(now&1))
				h.wants("not set", h.count(event.Notice, says("door=open, which user 0 asked for, was not set")), int(now&1^1)*h.intends)
			},
		},
		"state of a gate": {
			change: func(c *Config) { withState(c.Image) },
			before: func(s *system) any {
				c, v := s.domain(client), s.domain(server)
				v.ask(serve(1, "t.Echo"))
				if got, _ := c.ask(open(1, "t.Echo")); got.Op != abi.OpGate {
					s.t.Fatalf("no gate: %+v", got)
				}
				return nil
			},
			do: func(s *system, _ any) { s.sets(lamp, s.gateOf(client).Index(), 1) },
			after: func(h *heir) {
				g := h.gateOf(client)
				now, _ := g.State()
				h.wants("set", h.count(event.StateSet, func(e *event.Event) bool { return e.Count == now && e.Gate == g.Index() }), int(now&1))
				h.wants("not set", h.count(event.Notice, says("was not set")), int(now&1^1)*h.intends)
			},
		},
		"lend": {
			change: lends,
			before: func(s *system) any { return s.domain(client) },
			do: func(s *system, had any) {
				if got, _ := had.(*fakeDomain).ask(abi.Control{Op: abi.OpLend, Seq: 1, Text: lend.Encode()}); got.Op != abi.OpLent {
					s.t.Fatalf("%+v", got)
				}
			},
			after: func(h *heir) {
				last := delegations(h)
				h.wants("lent", h.count(event.Lent, nil), last)
				h.wants("ended", h.count(event.LentEnded, nil), 0)
			},
		},
		"take back": {
			change: lends,
			before: func(s *system) any {
				got, _ := s.domain(client).ask(abi.Control{Op: abi.OpLend, Seq: 1, Text: lend.Encode()})
				return got.Block
			},
			do: func(s *system, had any) { s.m.endLent(had.(uint32), "it is a test") },
			after: func(h *heir) {
				last := delegations(h)
				h.wants("lent", h.count(event.Lent, nil), 1)
				h.wants("ended", h.count(event.LentEnded, nil), 1-last)
			},
		},
		"change": {
			before: func(s *system) any {
				c, v := s.domain(client), s.domain(server)
				v.ask(serve(1, "t.Echo"))
				if got, _ := c.ask(open(1, "t.Echo")); got.Op != abi.OpGate {
					s.t.Fatalf("no gate: %+v", got)
				}
				return nil
			},
			do: func(s *system, _ any) {
				if _, err := s.ask(&admin.Change{Image: sealed(s.t, narrower(s.t))}); err != nil {
					s.t.Fatal(err)
				}
			},
			after: func(h *heir) {
				want := 0
				h.m.mu.Lock()
				if h.m.Hash == image.Hash(image.Encode(narrower(h.t))) {
					want = 1
				}
				h.m.mu.Unlock()
				if h.changes && want == 0 {
					h.t.Error("what was begun is not made again")
				}
				h.wants("closed", h.count(event.Closed, nil), want)
				h.wants("reloaded", h.count(event.Reloaded, nil), want)
			},
		},
		"change that cannot be made again": {
			before: func(s *system) any {
				c, v := s.domain(client), s.domain(server)
				v.ask(serve(1, "t.Echo"))
				if got, _ := c.ask(open(1, "t.Echo")); got.Op != abi.OpGate {
					s.t.Fatalf("no gate: %+v", got)
				}
				return nil
			},
			do: func(s *system, _ any) {
				if _, err := s.ask(&admin.Change{Image: sealed(s.t, narrower(s.t))}); err != nil {
					s.t.Fatal(err)
				}
				s.fabric.refuse(narrower(s.t))
			},
			after: func(h *heir) {
				h.m.mu.Lock()
				made, stops := h.m.Hash == image.Hash(image.Encode(narrower(h.t))), h.m.stopping
				h.m.mu.Unlock()
				back, reloaded := 0, 0
				if made { // nothing was left to be loaded
					reloaded = 1
				} else if h.changes {
					back = 1
				}
				if stops {
					h.t.Error("it stops")
				}
				h.wants("falls back", h.count(event.Notice, says("stays in force")), back)
				h.wants("reloaded", h.count(event.Reloaded, nil), reloaded)
				h.wants("closed", h.count(event.Closed, nil), max(back, reloaded))
			},
		},
		"memory": {
			change: func(c *Config) {
				withObjects(c.Image)
				c.Memories = &fakeMemories{}
			},
			before: func(s *system) any { return s.domain(client) },
			do:     func(s *system, had any) { had.(*fakeDomain).gets(makes(1, 64), readWrite, 64) },
			after: func(h *heir) {
				h.m.mu.Lock()
				n := len(h.m.book.References(h.m.domains[client].owner()))
				h.m.mu.Unlock()
				h.wants("object", h.count(event.Object, func(e *event.Event) bool { return e.Allow }), n)
			},
		},
	} {
		t.Run(name, func(t *testing.T) { d.atEveryMessage(t) })
	}
}
