package monitor

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
	"ward/monitor/admin"
	"ward/objects"
)

// Memory goes from its maker to whom it was offered by the handle that one
// message carried, sealed; and again to be written.
func TestMemory(t *testing.T) {
	s := memorySystem(t, nil)
	c, srv := s.domain(client), s.domain(server)
	cb, sb := s.joined(c, srv)

	ref, f := c.gets(makes(1, 5000), readWrite, 5000)
	if e := s.audit.last(event.Object); !e.Allow || e.Domain != client || e.Interface != frames || e.Count != 5000 || e.Status != int32(abi.OpMake) || e.Policy != 0 {
		t.Errorf("record: %+v", e)
	}
	if _, err := f.WriteAt([]byte("frame"), 0); err != nil {
		t.Fatal(err)
	}
	id := c.offers(offer(2, ref, cb, readOnly))
	if e := s.audit.last(event.Object); !e.Allow || e.From != client || e.To != server || e.Domain != event.None || e.Status != int32(abi.OpOffer) || e.List[0] != uint32(readOnly) {
		t.Errorf("record: %+v", e)
	}
	if h := s.fabric.handles[id]; h == nil || h.HandleOffer != (HandleOffer{Dir: abi.Request, Kind: abi.HandleMemory, Size: 5000}) {
		t.Errorf("in the kernel: %+v", h)
	}
	srv.refused(redeem(1, id, sb), abi.ReasonHandle) // nothing was admitted
	s.fabric.admit(id)
	_, got := srv.gets(redeem(2, id, sb), readOnly, 5000)
	b := make([]byte, 5)
	if _, err := got.ReadAt(b, 0); err != nil || string(b) != "frame" {
		t.Errorf("it reads %q, %v", b, err)
	}
	if _, err := f.WriteAt(b, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("the maker writes on: %v", err)
	}
	if e := s.audit.last(event.Object); !e.Allow || e.From != client || e.To != server || e.Status != int32(abi.OpRedeem) {
		t.Errorf("record: %+v", e)
	}
	srv.refused(redeem(3, id, sb), abi.ReasonHandle) // once

	// To be written, and by a reply.
	whole, _ := c.gets(makes(3, 0), readWrite, 1<<16)
	id = c.offers(offer(4, whole, cb, readWrite))
	c.refused(offer(5, whole, cb, readOnly), abi.ReasonState) // somebody is about to write it
	s.fabric.admit(id)
	theirs, w := srv.gets(redeem(4, id, sb), readWrite, 1<<16)
	if _, err := w.WriteAt([]byte("x"), 0); err != nil {
		t.Error(err)
	}
	srv.refused(offer(5, theirs, sb, readWrite), abi.ReasonDefault) // the client made it, but may not open it
	if n := s.instances(); n != 2 {
		t.Errorf("%d instances", n)
	}
	c.ok(drop(6, ref))
	c.ok(drop(7, whole))
	srv.ok(drop(8, theirs))
	if n := s.instances(); n != 1 {
		t.Errorf("%d instances, one is read yet", n)
	}
	c.refused(drop(8, ref), abi.ReasonHandle)
}

// What is mapped for writing is not sealed, and what is not sealed is not offered.
func TestMemoryMapped(t *testing.T) {
	s := memorySystem(t, nil)
	c, srv := s.domain(client), s.domain(server)
	cb, _ := s.joined(c, srv)
	ref, f := c.gets(makes(1, 4096), readWrite, 4096)
	b, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	if text := c.refused(offer(2, ref, cb, readOnly), abi.ReasonState); !strings.Contains(text, "unmap it first") {
		t.Errorf("refused: %s", text)
	}
	if e := s.audit.last(event.Object); e.Allow || e.Reason != abi.ReasonState || e.To != server || e.Interface != frames {
		t.Errorf("record: %+v", e)
	}
	if s.fabric.rows() != 0 {
		t.Error("it is offered all the same")
	}
	unix.Munmap(b)
	c.offers(offer(3, ref, cb, readOnly))
	c.refused(offer(4, ref, cb, readWrite), abi.ReasonState)
	// Sealed by its maker himself.
	ref, f = c.gets(makes(5, 4096), readWrite, 4096)
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != nil {
		t.Fatal(err)
	}
	c.refused(offer(6, ref, cb, readWrite), abi.ReasonState)
	c.offers(offer(7, ref, cb, readOnly))
}

func TestSharedMemory(t *testing.T) {
	s := memorySystem(t, nil)
	c, srv, other := s.domain(client), s.domain(server), s.domain(second)
	cb, _ := s.joined(c, srv)
	_, w := srv.gets(openBoard(1, readWrite), readWrite, 1<<12)
	ref, r := c.gets(openBoard(1, readOnly), readOnly, 1<<12)
	if _, err := w.WriteAt([]byte("hi"), 7); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2)
	if _, err := r.ReadAt(b, 7); err != nil || string(b) != "hi" {
		t.Errorf("it reads %q, %v", b, err)
	}
	c.refused(openBoard(2, readWrite), abi.ReasonDefault)
	if e := s.audit.last(event.Object); e.Allow || e.Domain != client || e.List[0] != uint32(readWrite) || e.Reason != abi.ReasonDefault {
		t.Errorf("record: %+v", e)
	}
	other.refused(openBoard(1, readWrite), abi.ReasonDefault)
	if e := s.audit.last(event.Object); e.List[0] != uint32(readOnly) { // that is what it has not
		t.Errorf("record: %+v", e)
	}
	c.refused(openBoard(3, abi.AccessWrite), abi.ReasonHandle)
	c.refused(openBoard(4, 0), abi.ReasonHandle)
	c.refused(abi.Control{Op: abi.OpMake, Seq: 5, Name: "board"}, abi.ReasonDefault)
	c.refused(offer(6, ref, cb, readOnly), abi.ReasonHandle) // by name only
	c.ok(drop(7, ref))
	s.creator.Signal(t.Context(), server, syscall.SIGKILL)
	s.untilEnded(server)
	_, r = c.gets(openBoard(8, readOnly), readOnly, 1<<12)
	if _, err := r.ReadAt(b, 7); err != nil || string(b) != "hi" {
		t.Errorf("when nobody had it open, it forgot: %q, %v", b, err)
	}
}

// What the image does not allow is refused, with the reason, and recorded.
func TestMemoryRefusals(t *testing.T) {
	s := memorySystem(t, nil)
	c, srv, other := s.domain(client), s.domain(server), s.domain(second)
	cb, sb := s.joined(c, srv)
	cb2, sb2 := s.again(c, srv)
	ref, _ := c.gets(makes(1, 64), readWrite, 64)
	id := c.offers(offer(2, ref, cb, readOnly))
	s.fabric.admit(id)
	for name, test := range map[string]struct {
		who    *fakeDomain
		ask    abi.Control
		reason abi.Reason
	}{
		"may not make":                     {srv, makes(10, 1), abi.ReasonDefault},
		"an object that is not there":      {c, abi.Control{Op: abi.OpMake, Seq: 11, Name: "none"}, abi.ReasonDefault},
		"too large":                        {c, makes(12, 1<<16+1), abi.ReasonQuota},
		"opens what is not shared":         {srv, abi.Control{Op: abi.OpOpenObject, Seq: 13, Name: "frames", Access: readOnly}, abi.ReasonHandle},
		"is forbidden to open":             {other, abi.Control{Op: abi.OpOpenObject, Seq: 14, Name: "frames", Access: readOnly}, abi.ReasonForbid},
		"opens what is not there":          {srv, abi.Control{Op: abi.OpOpenObject, Seq: 15, Name: "none", Access: readOnly}, abi.ReasonDefault},
		"offers what it has not":           {c, offer(16, ref+1, cb, readOnly), abi.ReasonHandle},
		"offers what another has":          {srv, offer(17, ref, sb, readOnly), abi.ReasonHandle},
		"offers at no gate":                {c, offer(18, ref, cb+50, readOnly), abi.ReasonHandle},
		"offers at another's end":          {c, offer(19, ref, sb, readOnly), abi.ReasonHandle},
		"offers nothing of it":             {c, offer(20, ref, cb, 0), abi.ReasonHandle},
		"redeems what was not offered":     {srv, redeem(21, id+1<<16, sb), abi.ReasonHandle},
		"redeems what it offered":          {c, redeem(22, id, cb), abi.ReasonHandle},
		"redeems at another gate":          {srv, redeem(23, id, sb2), abi.ReasonHandle},
		"redeems what another got":         {other, redeem(24, id, sb), abi.ReasonHandle},
		"drops what another has":           {srv, drop(25, ref), abi.ReasonHandle},
		"retracts at another gate":         {c, retract(27, id, cb2), abi.ReasonHandle},
		"retracts what another has":        {other, retract(28, id, cb), abi.ReasonHandle},
		"a mailbox's name for memory":      {c, abi.Control{Op: abi.OpOpenObject, Seq: 29, Name: "client", Access: readOnly}, abi.ReasonDefault},
		"offers to who may not":            {c, offer(30, ref, cb2, readWrite), abi.ReasonState}, // sealed by now
		"what nobody could be refused for": {other, retract(31, 0, 0), abi.ReasonHandle},
	} {
		t.Run(name, func(t *testing.T) {
			test.who.t = t
			test.who.refused(test.ask, test.reason)
			e := s.audit.last(event.Object)
			if op := test.ask.Op; op != abi.OpDrop && op != abi.OpRetract && (e.Allow || e.Reason != test.reason || e.Status != int32(op)) {
				t.Errorf("record: %+v", e)
			}
		})
	}
	c.t, srv.t, other.t = t, t, t
	if n := s.instances(); n != 1 || s.fabric.rows() != 1 {
		t.Errorf("%d instances, %d handles", n, s.fabric.rows())
	}
	srv.gets(redeem(50, id, sb), readOnly, 64) // the control
}

// A handle that nobody took is taken back by who offered it, or given up by who
// got it; with its gate it ends.
func TestHandleEnds(t *testing.T) {
	s := memorySystem(t, nil)
	c, srv := s.domain(client), s.domain(server)
	cb, sb := s.joined(c, srv)
	ref, _ := c.gets(makes(1, 64), readWrite, 64)
	c.ok(retract(2, c.offers(offer(3, ref, cb, readOnly)), cb))
	id := c.offers(offer(4, ref, cb, readOnly))
	srv.refused(retract(1, id, sb), abi.ReasonHandle) // it did not get it yet
	s.fabric.admit(id)
	srv.ok(retract(2, id, sb))
	srv.refused(redeem(3, id, sb), abi.ReasonHandle)
	if n := s.fabric.rows(); n != 0 {
		t.Errorf("%d handles in the kernel", n)
	}
	c.ok(drop(5, ref))
	if n := s.instances(); n != 0 {
		t.Errorf("%d instances", n)
	}

	// Who offered it ends: what was admitted can be redeemed, what was not is gone.
	ref, _ = c.gets(makes(6, 64), readWrite, 64)
	sent := c.offers(offer(7, ref, cb, readOnly))
	c.offers(offer(8, ref, cb, readOnly))
	never, _ := c.gets(makes(9, 64), readWrite, 64)
	c.offers(offer(10, never, cb, readWrite))
	s.fabric.admit(sent)
	s.creator.Signal(t.Context(), client, syscall.SIGKILL)
	s.untilEnded(client)
	if n := s.instances(); n != 1 || s.fabric.rows() != 1 {
		t.Errorf("%d instances, %d handles, one was sent", n, s.fabric.rows())
	}
	theirs, _ := srv.gets(redeem(4, sent, sb), readOnly, 64)
	srv.ok(drop(5, theirs))
	if n := s.instances(); n != 0 {
		t.Errorf("%d instances, nobody has any", n)
	}
}

// The end of a gate ends what is on its way there.
func TestHandleEndsWithGate(t *testing.T) {
	s := memorySystem(t, nil)
	c, srv := s.domain(client), s.domain(server)
	cb, _ := s.joined(c, srv)
	ref, _ := c.gets(makes(1, 64), readWrite, 64)
	s.fabric.admit(c.offers(offer(2, ref, cb, readOnly)))
	c.offers(offer(3, ref, cb, readOnly))
	c.ok(drop(4, ref))
	if n := s.instances(); n != 1 {
		t.Fatalf("%d instances, one is on its way", n)
	}
	s.m.mu.Lock()
	for g := range s.m.gates {
		s.m.dropGate(g)
	}
	ends := len(s.m.book.ends)
	s.m.mu.Unlock()
	if n := s.instances(); n != 0 || ends != 0 || s.fabric.rows() != 0 {
		t.Errorf("%d instances, %d ends, %d handles", n, ends, s.fabric.rows())
	}
	ref, _ = c.gets(makes(5, 64), readWrite, 64)
	c.refused(offer(6, ref, cb, readOnly), abi.ReasonHandle)
}

func TestMemoryQuota(t *testing.T) {
	s := memorySystem(t, func(c *Config) { c.Image.Objects[frames].Count = 70 })
	c, srv := s.domain(client), s.domain(server)
	cb, sb := s.joined(c, srv)
	var refs []uint64
	seq := uint32(100)
	next := func() uint32 { seq++; return seq }
	for range objects.MaxReferences {
		ref, _ := c.gets(makes(next(), 1), readWrite, 1)
		refs = append(refs, ref)
	}
	if text := c.refused(makes(next(), 1), abi.ReasonQuota); !strings.Contains(text, "64 objects open") {
		t.Errorf("refused: %s", text)
	}
	if e := s.audit.last(event.Object); e.Allow || e.Reason != abi.ReasonQuota {
		t.Errorf("record: %+v", e)
	}
	var ids []uint64
	for range objects.MaxOffers {
		ids = append(ids, c.offers(offer(next(), refs[0], cb, readOnly)))
	}
	c.refused(offer(next(), refs[0], cb, readOnly), abi.ReasonQuota)
	// Who has as many open as it may redeems nothing more, and does not lose it.
	for _, id := range ids {
		s.fabric.admit(id)
	}
	var theirs uint64
	for _, id := range ids {
		theirs, _ = srv.gets(redeem(next(), id, sb), readOnly, 1)
	}
	id := c.offers(offer(next(), refs[0], cb, readOnly))
	s.fabric.admit(id)
	srv.refused(redeem(next(), id, sb), abi.ReasonQuota)
	srv.ok(drop(next(), theirs))
	srv.gets(redeem(next(), id, sb), readOnly, 1)
	// Instances of an object: what is dropped makes room.
	for _, ref := range refs {
		c.ok(drop(next(), ref))
	}
	s.m.mu.Lock()
	s.m.Image.Objects[frames].Count = 3
	s.m.mu.Unlock()
	var last uint64
	for range 2 {
		last, _ = c.gets(makes(next(), 1), readWrite, 1)
	}
	c.refused(makes(next(), 1), abi.ReasonQuota) // one is the server's
	c.ok(drop(next(), last))
	c.gets(makes(next(), 1), readWrite, 1)

	// The kernel's table.
	s.m.mu.Lock()
	for range maxFakeHandles {
		for g := range s.m.gates {
			g.Gate.(Offerer).Offer(HandleOffer{})
		}
	}
	s.m.mu.Unlock()
	ref, _ := c.gets(openBoard(next(), readOnly), readOnly, 1<<12)
	c.ok(drop(next(), ref))
	s.m.mu.Lock()
	last = s.m.book.References(s.m.domains[client].owner())[0].Number
	s.m.mu.Unlock()
	c.refused(offer(next(), last, cb, readOnly), abi.ReasonQuota)
}

// Others are served while memory is sealed; nobody offers it for writing meanwhile,
// and what is not true any more afterwards is not done.
func TestMemorySealing(t *testing.T) {
	hold := make(chan struct{})
	s := memorySystem(t, func(c *Config) { c.Memories = &fakeMemories{hold: hold} })
	c, srv := s.domain(client), s.domain(server)
	cb, sb := s.joined(c, srv)
	ref, _ := c.gets(makes(1, 64), readWrite, 64)
	id := c.offers(offer(2, ref, cb, readWrite))
	s.fabric.admit(id)
	theirs, _ := srv.gets(redeem(1, id, sb), readWrite, 64)
	c.send(offer(3, ref, cb, readOnly)) // waits
	s.until("it is being sealed", func() bool { return len(s.m.book.sealing) > 0 })
	srv.refused(offer(2, theirs, sb, readWrite), abi.ReasonDefault) // others are served
	s.m.mu.Lock()
	s.m.Image.Objects[frames].Read[client] = image.Verdict{Allow: true}
	s.m.Image.Objects[frames].Write[client] = image.Verdict{Allow: true}
	s.m.mu.Unlock()
	srv.refused(offer(3, theirs, sb, readWrite), abi.ReasonState)
	s.m.mu.Lock()
	s.m.Image.Objects[frames].Read[server] = image.Verdict{Policy: 1} // a reload takes it away
	s.m.mu.Unlock()
	close(hold)
	if got, _ := c.read(); got.Seq != 3 || got.Op != abi.OpRefused || got.Reason != abi.ReasonForbid {
		t.Errorf("after the right was taken away: %+v", got)
	}
	s.m.mu.Lock()
	sealing := len(s.m.book.sealing)
	s.m.mu.Unlock()
	if s.fabric.rows() != 0 || sealing != 0 {
		t.Error("it is offered all the same")
	}
	s.instances()
}

// A reload takes rights away: what is open stays, and nothing new is given.
func TestMemoryReload(t *testing.T) {
	build := func(change func(*image.Image)) *image.Image {
		img := testImage()
		withObjects(img)
		if change != nil {
			change(img)
		}
		return img
	}
	s := memorySystem(t, func(c *Config) {
		c.Image = build(nil)
		c.Sealed, c.Hash = sealed(t, c.Image), image.Hash(image.Encode(c.Image))
	})
	c, srv := s.domain(client), s.domain(server)
	cb, sb := s.joined(c, srv)
	ref, f := c.gets(makes(1, 64), readWrite, 64)
	sent, late := c.offers(offer(2, ref, cb, readWrite)), c.offers(offer(3, ref, cb, readWrite))
	s.fabric.admit(sent)
	s.fabric.admit(late)
	theirs, _ := srv.gets(redeem(1, sent, sb), readWrite, 64)
	none := func(i *image.Image) {
		for _, list := range [][]image.Verdict{i.Objects[frames].Create, i.Objects[frames].Read, i.Objects[frames].Write} {
			for d := range list {
				list[d] = image.Verdict{Policy: abi.NoPolicy}
			}
		}
	}
	if _, err := s.ask(&admin.Change{Image: sealed(t, build(none))}); err != nil {
		t.Fatal(err)
	}
	if e := s.audit.last(event.Notice); !strings.Contains(e.Text, "stays open") {
		t.Errorf("nobody is told: %+v", e)
	}
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Errorf("what is open: %v", err)
	}
	c.refused(makes(4, 1), abi.ReasonDefault)
	c.refused(offer(5, ref, cb, readWrite), abi.ReasonDefault)
	srv.refused(redeem(2, late, sb), abi.ReasonDefault)
	// The receiver may have it again, the maker not: it passes nothing on.
	if _, err := s.ask(&admin.Change{Image: sealed(t, build(func(i *image.Image) { i.Objects[frames].Create[client] = image.Verdict{Policy: abi.NoPolicy} }))}); err != nil {
		t.Fatal(err)
	}
	if text := c.refused(offer(6, ref, cb, readWrite), abi.ReasonHandle); !strings.Contains(text, "no longer") {
		t.Errorf("refused: %s", text)
	}
	srv.gets(redeem(3, late, sb), readWrite, 64)
	c.ok(drop(7, ref))
	srv.ok(drop(8, theirs))
}

// Without filters in the kernel there are no objects, and it is said why.
func TestObjectsAtLibrary(t *testing.T) {
	s := memorySystem(t, func(c *Config) { c.Level, c.Memories = abi.LevelLibrary, nil })
	c := s.domain(client)
	for i, ask := range []abi.Control{makes(1, 1), openBoard(2, readOnly), offer(3, 1, 1, readOnly), redeem(4, 1, 1)} {
		if text := c.refused(ask, abi.ReasonNotRunning); !strings.Contains(text, "level library") {
			t.Errorf("%d: %s", i, text)
		}
	}
	c.refused(drop(5, 1), abi.ReasonHandle)
	c.refused(retract(6, 1, 1), abi.ReasonHandle)
}

// What fails here is said so, and leaves nothing behind.
func TestMemoryFails(t *testing.T) {
	mem := &fakeMemories{}
	s := memorySystem(t, func(c *Config) { c.Memories = mem })
	c, srv := s.domain(client), s.domain(server)
	cb, sb := s.joined(c, srv)
	ref, _ := c.gets(makes(1, 64), readWrite, 64)
	id := c.offers(offer(2, ref, cb, readOnly))
	s.fabric.admit(id)
	mem.mu.Lock()
	mem.fail = errors.New("no descriptors")
	mem.mu.Unlock()
	c.refused(makes(3, 64), abi.ReasonQuota)
	srv.refused(redeem(1, id, sb), abi.ReasonQuota)
	if e := s.audit.last(event.Notice); !strings.Contains(e.Text, "no descriptors") {
		t.Errorf("notice: %+v", e)
	}
	if n := s.instances(); n != 1 || s.fabric.rows() != 1 {
		t.Errorf("%d instances, %d handles", n, s.fabric.rows())
	}
	mem.mu.Lock()
	mem.fail = nil
	mem.mu.Unlock()
	srv.gets(redeem(2, id, sb), readOnly, 64) // nothing is lost

	// An offer that fails otherwise than by the end of its gate is told of.
	for _, test := range []struct {
		err    error
		reason abi.Reason
		told   bool
	}{{fmt.Errorf("gate 1: %w", os.ErrClosed), abi.ReasonClosed, false}, {errors.New("no such map"), abi.ReasonQuota, true}} {
		s.m.mu.Lock()
		for g := range s.m.gates {
			g.Gate = &failingGate{g.Gate, test.err}
		}
		s.m.mu.Unlock()
		c.refused(offer(10, ref, cb, readOnly), test.reason)
		if e := s.audit.last(event.Notice); strings.Contains(e.Text, test.err.Error()) != test.told {
			t.Errorf("%v: notice: %+v", test.err, e)
		}
	}
}

// A failingGate is one at which no offer is made.
type failingGate struct {
	Gate
	err error
}

func (g *failingGate) Offer(HandleOffer) (uint64, error) { return 0, g.err }

// Requests about memory count less than those for gates, and all that there are count.
func TestRequestsCount(t *testing.T) {
	for op := range dispatch {
		about := op >= abi.OpMake && op <= abi.OpRetract && op != abi.OpOpenObject
		if cost := costOf(op); cost <= 0 || cost > 1 || (cost < 1) != about {
			t.Errorf("op %d counts %v", op, cost)
		}
	}
	b := newBucket(1e-9, 1)
	for range 2 {
		b.spend(objectCost)
	}
	if b.take() {
		t.Error("two requests about memory and another one are one")
	}
}
