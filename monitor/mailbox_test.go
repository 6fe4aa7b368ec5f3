package monitor

import (
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
)

// box is the test system's mailbox: client may post t.Letter there, server may
// read it. Of t.Letter there is nothing else.
const box abi.DomainID = 3

// withMailbox adds it to an image.
func withMailbox(img *image.Image) {
	img.Interfaces = append(img.Interfaces, image.Interface{Name: "t.Letter", Methods: []image.Method{{Name: "Say"}}})
	img.Domains = append(img.Domains, image.Domain{Name: "box", Mailbox: true, Ring: image.Ring{Level: 3, Name: "user"}, Start: image.Verdict{Policy: abi.NoPolicy},
		Exports: []image.Export{{Interface: 2, Publish: image.Verdict{Policy: abi.NoPolicy}}}})
	img.Routes = append(img.Routes, image.Route{Client: client, Server: box, Interface: 2, Connect: image.Verdict{Allow: true}, Lookup: image.Verdict{Policy: abi.NoPolicy},
		Methods: []image.MethodPolicy{{Request: image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.True}}}}}}})
	o := image.Object{Name: "box", Kind: image.ObjectMailbox, Domain: box}
	for _, list := range []*[]image.Verdict{&o.Create, &o.Read, &o.Write} {
		*list = slices.Repeat([]image.Verdict{{Policy: abi.NoPolicy}}, len(img.Domains))
	}
	o.Read[server] = image.Verdict{Allow: true, Policy: 0}
	o.Read[second] = image.Verdict{Policy: 1} // forbidden
	img.Objects = append(img.Objects, o)
}

// mailSystem is a system with the mailbox.
func mailSystem(t *testing.T, change func(*Config)) *system {
	t.Helper()
	return startSystem(t, func(c *Config) {
		withMailbox(c.Image)
		if change != nil {
			change(c)
		}
	})
}

func post(seq uint32) abi.Control {
	return abi.Control{Op: abi.OpOpen, Seq: seq, Interface: "t.Letter", Access: abi.AccessPost}
}

func receive(seq uint32, name string) abi.Control {
	return abi.Control{Op: abi.OpReceive, Seq: seq, Name: name}
}

// posted opens a gate to the mailbox.
func (s *system) posted(d *fakeDomain, seq uint32) *os.File {
	s.t.Helper()
	got, files := d.ask(post(seq))
	if got.Op != abi.OpGate || len(files) != 1 || got.Access != abi.AccessPost || got.Name != "box" || got.Interface != "t.Letter" || got.Peer.Domain != box {
		s.t.Fatalf("gate for a writer: %+v", got)
	}
	return files[0]
}

// letterbox reads the message that hands over the reading end of a gate.
func (s *system) letterbox(d *fakeDomain) *os.File {
	s.t.Helper()
	got, files := d.read()
	if got.Op != abi.OpGate || got.Seq != 0 || len(files) != 1 || got.Access != abi.AccessRead || got.Name != "box" || got.Peer.Domain != client ||
		got.Peer.Name != "client" || len(got.Methods) != 1 {
		s.t.Fatalf("reading end: %+v with %d descriptors", got, len(files))
	}
	return files[0]
}

func say(t *testing.T, f *os.File, text string) {
	t.Helper()
	if err := unix.Send(int(f.Fd()), []byte(text), unix.MSG_DONTWAIT); err != nil {
		t.Fatalf("post %q: %v", text, err)
	}
}

func hears(t *testing.T, f *os.File, want string) {
	t.Helper()
	b := make([]byte, 16)
	if n, _, err := unix.Recvfrom(int(f.Fd()), b, unix.MSG_DONTWAIT); err != nil || string(b[:n]) != want {
		t.Fatalf("%q waits, %v; want %q", b[:max(n, 0)], err, want)
	}
}

// swept is how many gates are closed after the monitor has looked.
func (s *system) swept() int {
	s.m.mu.Lock()
	s.m.sweep()
	s.m.mu.Unlock()
	return s.fabric.get(&s.fabric.closed)
}

// TestMailbox: a writer posts while nobody reads; the reader gets it when it
// asks, and what comes after; its next process gets the rest. Gates that their
// writer has left stay until they are empty.
func TestMailbox(t *testing.T) {
	s := mailSystem(t, func(c *Config) {
		c.RestartDelay = time.Millisecond
		c.Image.Domains[server].Restart = image.RestartAlways
	})
	c, r := s.domain(client), s.domain(server)
	first := s.posted(c, 1)
	for _, text := range []string{"a", "b", "c"} {
		say(t, first, text)
	}
	if got, files := r.ask(receive(1, "box")); got.Op != abi.OpOK || len(files) != 0 {
		t.Fatalf("receive: %+v", got)
	}
	end := s.letterbox(r)
	hears(t, end, "a")
	later := s.posted(c, 2)
	say(t, later, "x")
	hears(t, s.letterbox(r), "x")
	if got, _ := r.ask(serve(2, "t.Echo")); got.Op != abi.OpOK { // nothing else came
		t.Fatalf("%+v", got)
	}

	s.ends(server, exit3)
	s.starts(server, 2)
	r = s.domain(server)
	if got, _ := r.ask(receive(1, "box")); got.Op != abi.OpOK {
		t.Fatalf("receive: %+v", got)
	}
	end = s.letterbox(r)
	hears(t, end, "b") // "a" was the first process's
	s.letterbox(r)

	say(t, later, "y")
	later.Close()
	s.creator.Signal(t.Context(), client, syscall.SIGTERM)
	s.untilEnded(client)
	if n := s.swept(); n != 0 {
		t.Errorf("%d gates are closed though messages wait in them", n)
	}
	if a, _ := s.m.describe(box, false); a.State != "mailbox" || a.Mailbox == nil || a.Mailbox.Writers != 0 || a.Mailbox.Waiting != 2 || a.Mailbox.Reader != "server" || !a.Mailbox.Reading || a.PID != 0 {
		t.Errorf("the mailbox: %+v %+v", a, a.Mailbox)
	}
	hears(t, end, "c")
	if n := s.swept(); n != 1 {
		t.Errorf("%d gates are closed, one is empty and left", n)
	}
	if got, _ := r.ask(receive(2, "box")); got.Op != abi.OpOK {
		t.Fatalf("receive: %+v", got)
	}
	hears(t, s.letterbox(r), "y")
	if n := s.swept(); n != 2 {
		t.Errorf("%d gates are closed, want all", n)
	}
}

// untilEnded waits until a domain has ended.
func (s *system) untilEnded(id abi.DomainID) {
	s.t.Helper()
	for end := time.Now().Add(wait); ; {
		s.m.mu.Lock()
		over := s.m.domains[id].state == stateEnded
		s.m.mu.Unlock()
		if over {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("domain %d does not end", id)
		}
		<-time.After(time.Millisecond)
	}
}

// TestMailboxSlowReader: a reader whose control channel is full is not ended for
// it, and gets its gates when there is room.
func TestMailboxSlowReader(t *testing.T) {
	s := mailSystem(t, nil)
	c, r := s.domain(client), s.domain(server)
	if got, _ := r.ask(receive(1, "box")); got.Op != abi.OpOK {
		t.Fatalf("receive: %+v", got)
	}
	s.m.mu.Lock()
	reader, full := s.m.domains[server], 0
	for ; reader.send(&abi.Control{Op: abi.OpOK, Seq: 99}) == nil; full++ {
	}
	s.m.mu.Unlock()
	say(t, s.posted(c, 1), "a")
	for range full {
		if got, _ := r.read(); got.Seq != 99 {
			t.Fatalf("%+v", got)
		}
	}
	s.m.mu.Lock()
	s.m.handAll()
	s.m.mu.Unlock()
	hears(t, s.letterbox(r), "a")
}

// TestMailboxLateReader: what waits for a reader at more gates than its control
// channel has room for is no reason why it does not get its answers.
func TestMailboxLateReader(t *testing.T) {
	const gates = 400
	s := mailSystem(t, func(c *Config) {
		c.Image.Domains[client].Quota.Gates, c.Image.Domains[box].Quota.Gates = gates+1, gates+1
		c.Image.Domains[server].Quota.Files = handPart * (gates + 1)
	})
	c, r := s.domain(client), s.domain(server)
	for i := range uint32(gates) {
		w := s.posted(c, i+1)
		say(t, w, "a")
		w.Close()
	}
	r.send(receive(1, "box"))
	r.send(serve(2, "t.Echo"))
	got := 0
	for answered := 0; answered < 2 || got < gates; {
		if answered == 2 { // the rest comes with later turns
			s.m.mu.Lock()
			s.m.handAll()
			s.m.mu.Unlock()
		}
		switch a, files := r.read(); {
		case a.Seq == 0 && a.Op == abi.OpGate:
			hears(t, files[0], "a")
			files[0].Close()
			got++
		case a.Op == abi.OpOK:
			answered++
		default:
			t.Fatalf("%+v", a)
		}
	}
	if e := s.audit.last(event.Notice); strings.Contains(e.Text, "killed") {
		t.Errorf("notice: %+v", e)
	}
}

// TestMailboxRenewedLater: a reader whose control channel is full when there is a
// new monitor is told of it when there is room.
func TestMailboxRenewedLater(t *testing.T) {
	s := mailSystem(t, nil)
	r := s.domain(server)
	s.m.mu.Lock()
	reader, full := s.m.domains[server], 0
	for ; reader.send(&abi.Control{Op: abi.OpOK, Seq: 99}) == nil; full++ {
	}
	s.m.renew(reader)
	s.m.mu.Unlock()
	for range full {
		if got, _ := r.read(); got.Seq != 99 {
			t.Fatalf("%+v", got)
		}
	}
	s.m.mu.Lock()
	s.m.handAll()
	s.m.handAll() // once is enough
	s.m.mu.Unlock()
	if got, _ := r.read(); got.Op != abi.OpRenewed {
		t.Errorf("%+v", got)
	}
	if got, _ := r.ask(serve(1, "t.Echo")); got.Op != abi.OpOK {
		t.Errorf("%+v", got)
	}
}

// TestMailboxManyGates: a writer that opens gates without end does not take all
// of the reader's descriptors, nor does a reader that asks without end keep the
// monitor busy.
func TestMailboxManyGates(t *testing.T) {
	const files = 16
	s := mailSystem(t, func(c *Config) { c.Image.Domains[server].Quota.Files = files })
	c, r := s.domain(client), s.domain(server)
	var ends []*os.File
	for i := range uint32(files) {
		ends = append(ends, s.posted(c, i+1))
	}
	if got, _ := r.ask(receive(1, "box")); got.Op != abi.OpOK {
		t.Fatalf("receive: %+v", got)
	}
	var first *os.File
	for i := range files / handPart {
		if end := s.letterbox(r); i == 0 {
			first = end
		}
	}
	if got, _ := r.ask(serve(2, "t.Echo")); got.Op != abi.OpOK { // nothing more came
		t.Fatalf("%+v", got)
	}
	if e := s.audit.last(event.Notice); e.Domain != server || !strings.Contains(e.Text, "holds 8 ends of mailboxes") {
		t.Errorf("notice: %+v", e)
	}
	// When one has left, and is empty, the next comes.
	say(t, ends[files/handPart], "next")
	s.m.mu.Lock()
	for g := range s.m.gates {
		if ino, err := inode(first); err != nil || g.inodes[1] == ino {
			s.m.endClosed(g, 0)
			s.m.endClosed(g, 1)
		}
	}
	s.m.handAll()
	s.m.mu.Unlock()
	hears(t, s.letterbox(r), "next")

	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.domains[box].box.pace = newBucket(0, 0)
	for g := range s.m.gates {
		g.handed = nil
	}
	s.m.handOver(s.m.domains[box])
	for g := range s.m.gates {
		if g.handed != nil {
			t.Errorf("gate %d is handed over beyond the rate", g.Index())
		}
	}
}

// TestMailboxBusyReader: writers that open and close gates without end do not fill
// the descriptors of a reader that is busy, and has not closed any: what it has
// counts until it closes it, and then others come.
func TestMailboxBusyReader(t *testing.T) {
	const files = 16
	s := mailSystem(t, func(c *Config) {
		c.Image.Domains[server].Quota.Files = files
		c.Sockets = UnixSockets
	})
	if _, err := UnixSockets(); err != nil {
		t.Skipf("needs sock_diag of unix sockets: %v", err)
	}
	c, r := s.domain(client), s.domain(server)
	if got, _ := r.ask(receive(1, "box")); got.Op != abi.OpOK {
		t.Fatalf("receive: %+v", got)
	}
	for i := range uint32(3 * files) {
		s.posted(c, i+1).Close()
		s.swept()
	}
	r.send(serve(2, "t.Echo"))
	var held []*os.File
	for {
		got, ends := r.read()
		if got.Seq == 2 {
			break
		}
		held = append(held, ends...)
	}
	if len(held) != files/handPart {
		t.Fatalf("the reader was given %d ends, at most %d may be", len(held), files/handPart)
	}
	s.m.mu.Lock()
	for g := range s.m.gates {
		if g.reading != nil || g.live[0] || !g.live[1] {
			t.Errorf("gate %d: its writer has left and nothing waits, but its end stays: %v", g.Index(), g.live)
		}
	}
	if n := len(s.m.gates); n != len(held) {
		t.Errorf("%d gates, the reader has %d ends", n, len(held))
	}
	s.m.mu.Unlock()
	for _, f := range held {
		f.Close()
	}
	s.swept()
	w := s.posted(c, 100)
	say(t, w, "a")
	hears(t, s.letterbox(r), "a")
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if n := len(s.m.gates); n != 1 {
		t.Errorf("%d gates are left of those that the reader has closed", n-1)
	}
}

// TestMailboxRefusals: who may not, gets nothing, with the reason.
func TestMailboxRefusals(t *testing.T) {
	s := mailSystem(t, nil)
	c, r, other := s.domain(client), s.domain(server), s.domain(second)
	for name, test := range map[string]struct {
		who    *fakeDomain
		ask    abi.Control
		reason abi.Reason
	}{
		"a writer that asks to read":        {c, receive(1, "box"), abi.ReasonDefault},
		"one that is forbidden to":          {other, receive(1, "box"), abi.ReasonForbid},
		"a mailbox that is not there":       {r, receive(1, "boxes"), abi.ReasonDefault},
		"a domain in a mailbox's place":     {r, receive(2, "client"), abi.ReasonDefault},
		"the reader that asks to post":      {r, post(3), abi.ReasonDefault},
		"a call to a mailbox":               {c, open(4, "t.Letter"), abi.ReasonUnknownInterface},
		"a message to a domain":             {c, abi.Control{Op: abi.OpOpen, Seq: 5, Interface: "t.Echo", Access: abi.AccessPost}, abi.ReasonUnknownInterface},
		"a call to a mailbox by its name":   {c, abi.Control{Op: abi.OpOpen, Seq: 6, Interface: "t.Echo", Name: "box"}, abi.ReasonDefault},
		"a message to a domain by name":     {c, abi.Control{Op: abi.OpOpen, Seq: 7, Interface: "t.Letter", Name: "server", Access: abi.AccessPost}, abi.ReasonDefault},
		"serving the mailbox's interface":   {r, serve(8, "t.Letter"), abi.ReasonUnknownInterface},
		"lending what only a mailbox takes": {c, abi.Control{Op: abi.OpLend, Seq: 9, Text: (&abi.LendRequest{To: "server", Entry: "t.Letter/Say", Lifetime: 1}).Encode()}, abi.ReasonUnknownInterface},
	} {
		t.Run(name, func(t *testing.T) {
			if got, files := test.who.ask(test.ask); got.Op != abi.OpRefused || got.Reason != test.reason || len(files) != 0 {
				t.Errorf("answer: %+v", got)
			}
		})
	}
	// The control: who may, gets it.
	s.posted(c, 20)
	if got, _ := r.ask(receive(20, "box")); got.Op != abi.OpOK {
		t.Errorf("receive: %+v", got)
	}
	s.letterbox(r)
}

// TestMailboxBesideServer: where a mailbox and a domain take the same interface,
// calls go to the domain and messages to the mailbox, whoever comes first.
func TestMailboxBesideServer(t *testing.T) {
	s := mailSystem(t, func(c *Config) {
		img := c.Image
		img.Domains[box].Exports[0].Interface = 0
		img.Routes[len(img.Routes)-1].Interface = 0
		img.Routes = append(img.Routes, image.Route{Client: second, Server: box, Connect: image.Verdict{Allow: true}, Lookup: image.Verdict{Policy: abi.NoPolicy},
			Methods: img.Routes[0].Methods})
	})
	c, srv, other := s.domain(client), s.domain(server), s.domain(second)
	ask := func(d *fakeDomain, seq uint32, access uint8) abi.Control {
		t.Helper()
		return first(d.ask(abi.Control{Op: abi.OpOpen, Seq: seq, Interface: "t.Echo", Access: access}))
	}
	if got := ask(c, 1, abi.AccessPost); got.Op != abi.OpGate || got.Peer.Name != "box" || got.Access != abi.AccessPost {
		t.Errorf("a message: %+v", got)
	}
	if got := ask(other, 1, 0); got.Op != abi.OpRefused || got.Reason != abi.ReasonDefault { // it may post, and call nobody
		t.Errorf("a call of who may only post: %+v", got)
	}
	srv.ask(serve(1, "t.Echo"))
	if got := ask(c, 2, 0); got.Op != abi.OpGate || got.Peer.Name != "server" || got.Access != 0 {
		t.Errorf("a call: %+v", got)
	}
	if got := ask(c, 3, abi.AccessPost); got.Op != abi.OpGate || got.Peer.Name != "box" {
		t.Errorf("a message: %+v", got)
	}
}

// TestMailboxAtLibrary: without the kernel's filters there are none.
func TestMailboxAtLibrary(t *testing.T) {
	s := mailSystem(t, func(c *Config) { c.Level = abi.LevelLibrary })
	c, r := s.domain(client), s.domain(server)
	for _, got := range []abi.Control{first(c.ask(post(1))), first(r.ask(receive(1, "box")))} {
		if got.Op != abi.OpRefused || got.Text != noMailboxes {
			t.Errorf("answer: %+v", got)
		}
	}
}

func first(c abi.Control, _ []*os.File) abi.Control { return c }

// TestMailboxKeepsReader: a domain that runs and holds copies of reading ends
// does not lose the right to read by a reload.
func TestMailboxKeepsReader(t *testing.T) {
	build := func(reader abi.DomainID) *image.Image {
		img := testImage()
		withMailbox(img)
		img.Objects[0].Read[server] = image.Verdict{Policy: abi.NoPolicy}
		img.Objects[0].Read[reader] = image.Verdict{Allow: true, Policy: 0}
		return img
	}
	for _, test := range []struct {
		running []bool
		restart int
	}{{[]bool{true, true, true, false}, 1}, {[]bool{true, false, true, false}, 0}} {
		p := makePlan(build(server), build(second), nil, test.running)
		if len(p.restart) != test.restart || test.restart > 0 && (p.restart[0].domain != server || p.refused(build(second)) == nil) {
			t.Errorf("server runs: %v; restarts %+v", test.running[server], p.restart)
		}
	}
	if p := makePlan(build(server), build(server), nil, []bool{true, true, true, false}); len(p.restart) > 0 || len(p.start) > 0 || len(p.stop) > 0 {
		t.Errorf("nothing changed, but %+v", p)
	}
}
