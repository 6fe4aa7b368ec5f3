package monitor

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
	"ward/image"
	"ward/monitor/admin"
)

// Mailboxes: messages wait in the kernel until they are read, and nobody
// answers. A mailbox is an entry among the domains without a process: routes
// lead to it, filters judge what is sent there, its endpoint's page is handed to
// nobody and its ring has the denials of whoever sends on a reading end. The
// monitor opens a writer's gate whether the reader runs or not and keeps the
// reading end; so does the holder, while there is no monitor. The one domain
// that may read gets copies of the reading ends when it asks, and its next
// process gets them again (docs/decisions/0121-mailboxes.md).
//
// What the kernel admitted is delivered: a gate to a mailbox stays, with what
// waits in it, after its writer has closed it or has ended, until it is empty.
// Only a change of the interface itself ends what waits in it.

// A mailbox is what the monitor knows of one beside a domain.
type mailbox struct {
	reader *domain // the process that asked for the reading ends; nil: none has
	pace   *bucket // of ends that are handed over: a request may be for many
	short  bool    // the reader's limit was told
}

// Bounds of what is handed to a reader.
const (
	handRate  = 256  // ends a second …
	handBurst = 1024 // … after so many at once
	handPart  = 2    // of a reader's open files one half may be ends of mailboxes
	handRoom  = 4    // of its control channel one quarter, so that there is room for answers
)

// letters are the reading end of a gate to a mailbox.
type letters struct {
	reading *os.File // the holder has it, too; nil: of another gate, or what waited is gone
	opened  uint64   // CLOCK_BOOTTIME, ns: the order in which gates are handed over
	handed  *domain  // the process that has a copy; of a gate that is given up here, too, until it has closed that
}

func init() { dispatch[abi.OpReceive] = asked{whileRunning, (*Monitor).answerReceive} }

// noMailboxes says why there are none at the level library.
const noMailboxes = "there are no mailboxes at the level library: a message in one waits for a reader that may not run yet, so only the kernel can check it; start the system as root, at the level kernel"

// openMailboxes makes the endpoints of mailboxes that have none: at the start of
// the system, and of those that a new image brings.
//
// Preconditions: m.mu is held.
func (m *Monitor) openMailboxes() error {
	for _, d := range m.domains {
		if d.box == nil || d.endpoint != nil {
			continue
		}
		if m.Level == abi.LevelLibrary {
			m.notice(d.id, "%s", noMailboxes)
			continue
		}
		if err := m.openMailbox(d); err != nil {
			return fmt.Errorf("mailbox %s: %w", d.def.Name, err)
		}
	}
	return nil
}

// openMailbox makes the endpoint of a mailbox. Nobody's cgroup is expected at
// its end: nothing that is sent there is admitted, whoever sends it.
//
// Preconditions: m.mu is held.
func (m *Monitor) openMailbox(d *domain) error {
	if err := m.initialDomain(d.id); err != nil {
		return err
	}
	var err error
	if d.endpoint, err = m.Fabric.Endpoint(d.id, 0, uint32(blocksPerEnd*d.limit), clientRing); err != nil {
		return err
	}
	if err := m.sendRing(d.endpoint, d.ringID, d.id, 0, ""); err != nil {
		return err
	}
	m.keepLife(d)
	return nil
}

// mistaken finds requests for gates that no policy could allow: for a call
// where only messages are taken, or the other way round.
func (m *Monitor) mistaken(o *opening) (abi.Reason, string) {
	name := m.Image.Interfaces[o.iface].Name
	boxes, servers := false, false
	for _, d := range m.domains {
		if slices.ContainsFunc(d.def.Exports, func(e image.Export) bool { return e.Interface == o.iface }) {
			boxes, servers = boxes || d.box != nil, servers || d.box == nil
		}
	}
	switch {
	case o.post && m.Level == abi.LevelLibrary:
		return abi.ReasonNotRunning, noMailboxes
	case o.post && !boxes:
		return abi.ReasonUnknownInterface, "no mailbox of this system takes messages of " + name
	case !o.post && boxes && !servers:
		return abi.ReasonUnknownInterface, name + " is the interface of a mailbox: nobody answers, so it cannot be called; post to it"
	}
	return abi.ReasonNone, ""
}

// onlyMailboxes reports whether nobody but mailboxes takes an interface.
func (m *Monitor) onlyMailboxes(iface uint32) bool {
	r, _ := m.mistaken(&opening{iface: iface})
	return r != abi.ReasonNone
}

// answerReceive gives a domain the reading ends of a mailbox, now and from now
// on. One that asks again gets them again.
func (m *Monitor) answerReceive(d *domain, c *abi.Control) {
	e := event.New(event.Object)
	e.Domain, e.Status, e.List, e.Text = d.id, int32(abi.OpReceive), []uint32{uint32(abi.AccessRead)}, c.Name
	refuse := func(r abi.Reason, policy uint32, text string) {
		if e.Reason, e.Policy = r, policy; e.Interface != event.None {
			e.Text = text
		}
		m.Audit.Event(e)
		m.refuse(d, c.Seq, r, policy, text)
	}
	v := image.Verdict{Policy: abi.NoPolicy} // a child has no objects: rights to them are not passed on
	i, known := m.Image.ObjectNamed(c.Name)
	if o := m.Image.Objects; known && o[i].Kind == image.ObjectMailbox {
		if e.Interface = i; d.kin == nil {
			v = o[i].Read[d.id]
		}
	}
	switch {
	case m.Level == abi.LevelLibrary:
		refuse(abi.ReasonNotRunning, abi.NoPolicy, noMailboxes)
		return
	case !v.Allow && v.Policy != abi.NoPolicy:
		refuse(abi.ReasonForbid, v.Policy, m.policyID(v.Policy))
		return
	case !v.Allow: // whether there is one of that name is not told
		refuse(abi.ReasonDefault, abi.NoPolicy, fmt.Sprintf("no policy lets this domain read a mailbox %q", c.Name))
		return
	}
	e.Allow, e.Policy, e.Text = true, v.Policy, ""
	m.Audit.Event(e)
	s := m.domains[m.Image.Objects[i].Domain]
	s.box.reader, s.box.short = d, false
	for _, g := range m.lettersOf(s) {
		g.handed = nil
	}
	if m.answer(d, &abi.Control{Op: abi.OpOK, Seq: c.Seq}) {
		m.handOver(s)
	}
}

// lettersOf lists the gates to a mailbox whose reading ends are here, in the
// order in which they were opened.
//
// Preconditions: m.mu is held.
func (m *Monitor) lettersOf(s *domain) (all []*gate) {
	for g := range m.gates {
		if g.server == s && g.reading != nil {
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b *gate) int { return cmp.Compare(a.opened, b.opened) })
	return all
}

// handOver gives the reader of a mailbox copies of the reading ends that it has
// not, until a quarter of its control channel is full: the rest comes with later
// turns of handAll. One that does not read its channel gets nothing more, and
// there is room for the answers to what it asks. Writers that open gates without
// end must not take all of the reader's descriptors: its library could not even
// hear the monitor then.
//
// Preconditions: m.mu is held.
func (m *Monitor) handOver(s *domain) {
	r := s.box.reader
	if r == nil {
		return
	}
	if r.state != stateRunning {
		s.box.reader = nil
		return
	}
	held := 0
	for g := range m.gates {
		if g.handed == r {
			held++
		}
	}
	most := int(m.Image.LimitsOf(r.def).Files) / handPart
	for _, g := range m.lettersOf(s) {
		if g.handed == r {
			continue
		}
		if held >= most {
			if !s.box.short {
				m.notice(r.id, "holds %d ends of mailboxes, half of the files that it may have open: more of %s come when writers have left", held, s.def.Name)
			}
			s.box.short = true
			return
		}
		if busy(r) || !s.box.pace.take() {
			return
		}
		c := m.offer(g.route, g.loaded)
		c.Access, c.Name, c.Peer = abi.AccessRead, s.def.Name, g.client.peer()
		_, c.Block = g.Blocks()
		if err := r.send(&c, g.reading); err != nil {
			if !errors.Is(err, link.ErrFull) && !errors.Is(err, unix.ETOOMANYREFS) {
				s.box.reader = nil // it is ending
			}
			return
		}
		g.handed = r
		held++
	}
}

// busy reports whether a domain has so much to read on its control channel that
// what can wait does: else the monitor itself would leave no room for answers.
func busy(d *domain) bool { return d.unread(handRoom) }

// unread reports whether what a domain has not read takes one of so many parts of
// its control channel, or more.
func (d *domain) unread(parts int) (full bool) {
	d.control.Control(func(fd uintptr) { // an error: it is closed, as whoever sends finds out
		queued, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		room, roomErr := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
		full = err == nil && roomErr == nil && queued >= room/parts
	})
	return full
}

// handAll does that for all mailboxes, and tells domains that the monitor is a new
// one whose control channels had no room for it.
//
// Preconditions: m.mu is held.
func (m *Monitor) handAll() {
	for _, d := range m.everyone() {
		switch {
		case d.box != nil:
			m.handOver(d)
		case d.requests.untold && d.state == stateRunning:
			m.renew(d)
		}
	}
}

// retain keeps a gate's reading end here.
func (l *letters) retain(server *os.File) (err error) {
	l.reading, err = dup(server)
	l.opened = event.Now()
	return err
}

// readingEnd is what is kept of the reading end for the next monitor.
func (l *letters) readingEnd() []*os.File {
	if l.reading == nil {
		return nil
	}
	return []*os.File{l.reading}
}

// giveUp gives up the reading end of a gate in which nothing waits that is to be
// kept, here and in the holder. While its reader has a copy the gate goes on to
// count, for the reader and for the writer: else a writer that opens and closes
// gates would pile up descriptors in a reader that is busy.
//
// Preconditions: m.mu is held.
func (m *Monitor) giveUp(g *gate) {
	g.discard()
	m.keepGate(g)
}

// copied reports whether a process that runs may have a copy of the reading end.
func (l *letters) copied() bool { return l.handed != nil && l.handed.state == stateRunning }

// discard gives the reading end up.
func (l *letters) discard() {
	if l.reading != nil {
		l.reading.Close()
		l.reading = nil
	}
}

// waiting is how many bytes wait to be read, headers included.
func (l *letters) waiting() uint64 {
	if l.reading == nil {
		return 0
	}
	n, err := unix.IoctlGetInt(int(l.reading.Fd()), unix.SIOCINQ)
	if err != nil {
		return 0
	}
	return uint64(n)
}

// letters takes over the reading end of a gate. If it is not there, what waited
// was given up.
func (r *restoring) letters(g *gate, rec *gateRecord, k *Kept) {
	g.handed = r.m.mayHaveCopy(g.server)
	if g.opened = rec.Opened; len(k.Files) == 1 {
		g.reading, k.Files = k.Files[0], nil
		return
	}
	if g.copied() { // it is known soon whether the reader has
		return
	}
	g.live[1] = false
	g.server.ends--
}

// mayHaveCopy is who may have copies of a mailbox's reading ends: until it asks
// again, it is taken to have those of all gates.
func (m *Monitor) mayHaveCopy(s *domain) *domain {
	for i := range m.Image.Objects {
		o := &m.Image.Objects[i]
		if o.Kind != image.ObjectMailbox || o.Domain != s.id {
			continue
		}
		if id := slices.IndexFunc(o.Read, func(v image.Verdict) bool { return v.Allow }); id >= 0 {
			return m.domains[id]
		}
	}
	return nil
}

// loseChanged gives up what waits at gates whose interface has another shape
// now: the next reader could not make sense of it. A reader that runs has a copy
// of the end, and reads on by what it was told of the interface.
//
// Preconditions: m.mu is held.
func (m *Monitor) loseChanged(before *image.Image) {
	for g := range m.gates {
		if g.reading == nil || sameShape(before, m.Image, m.Image.Routes[g.route].Interface) {
			continue
		}
		if n := g.waiting(); n > 0 {
			iface, from, _ := m.names(g)
			m.notice(g.server.id, "%s has changed: %d bytes that %s had posted are given up, but for what a reader that runs reads of them", iface, n, from)
		}
		if m.giveUp(g); m.Sockets == nil || !g.copied() {
			m.endClosed(g, 1)
		}
	}
}

// dismissReaders takes mailboxes from those who may not read them any more. That
// is a domain that is being stopped, or the change would have been refused: until it
// has ended it gets no more ends.
//
// Preconditions: m.mu is held; the new image is in force.
func (m *Monitor) dismissReaders() {
	for i := range m.Image.Objects {
		o := &m.Image.Objects[i]
		if o.Kind != image.ObjectMailbox {
			continue
		}
		if box := m.domains[o.Domain].box; box.reader != nil && !o.Read[box.reader.id].Allow {
			box.reader = nil
		}
	}
}

// describeMailbox says what waits in a mailbox, and for whom.
//
// Preconditions: m.mu is held.
func (m *Monitor) describeMailbox(d *domain) *admin.Mailbox {
	if d.box == nil {
		return nil
	}
	a := &admin.Mailbox{}
	for _, e := range d.def.Exports {
		a.Interface = m.Image.Interfaces[e.Interface].Name
	}
	for i := range m.Image.Objects {
		o := &m.Image.Objects[i]
		for id, v := range o.Read {
			if o.Kind == image.ObjectMailbox && o.Domain == d.id && v.Allow {
				a.Reader = m.Image.Domains[id].Name
			}
		}
	}
	a.Reading = d.box.reader != nil && d.box.reader.state == stateRunning
	for _, g := range m.lettersOf(d) {
		if g.live[0] {
			a.Writers++
		}
		a.Waiting += g.waiting()
	}
	return a
}

// losesMailbox names the mailboxes that a running domain may not read any more:
// it holds copies of their reading ends, which nobody can take back.
func losesMailbox(before, after *image.Image, id int) (what []string) {
	for i := range before.Objects {
		o := &before.Objects[i]
		if o.Kind == image.ObjectMailbox && o.Read[id].Allow && !after.Objects[i].Read[id].Allow {
			what = append(what, "that it reads the mailbox "+o.Name)
		}
	}
	return what
}
