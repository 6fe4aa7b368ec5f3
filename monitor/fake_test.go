package monitor

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
	"ward/image"
)

const wait = 10 * time.Second

// fakeFabric makes gates without filters.
type fakeFabric struct {
	mu       sync.Mutex
	next     int
	open     int
	loads    int
	closed   int // gates
	fail     error
	prepare  error                              // of Prepare
	refuses  func(*image.Image, []Change) error // likewise; nil: nothing
	swaps    int
	words    map[uint32]uint64
	cancels  int
	everyEnd int // endpoints that are open
	handles  map[uint64]*fakeHandle
	lives    func() bool // whether the monitor that sets a state does; nil: it does
}

type fakeEndpoint struct {
	f    *fakeFabric
	file *os.File
}

func (f *fakeFabric) Endpoint(abi.DomainID, uint64, uint32, int) (Endpoint, error) {
	null, err := os.Open(os.DevNull)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.everyEnd++
	return &fakeEndpoint{f, null}, err
}

func (f *fakeFabric) User(uint32, uint32, int) (Endpoint, error) {
	return f.Endpoint(abi.NoDomain, 0, 1, 0)
}

func (f *fakeFabric) State(word uint32) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.words[word], nil
}

func (f *fakeFabric) SetState(word uint32, mask, bits uint64, from ...uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lives != nil && !f.lives() {
		return nil
	}
	if f.words == nil {
		f.words = map[uint32]uint64{}
	}
	return setWord(f.words, word, mask, bits, from)
}

// setWord changes a word as the kernel does.
func setWord(words map[uint32]uint64, word uint32, mask, bits uint64, from []uint64) error {
	old := words[word]
	switch {
	case len(from) > 0 && !slices.Contains(from, old&mask):
		return errors.New("not in this state")
	case old&mask != bits:
		words[word] = (old&^mask | bits) + 1<<image.StateBits
	}
	return nil
}

func (e *fakeEndpoint) Page() *os.File              { return e.file }
func (e *fakeEndpoint) Ring() *os.File              { return e.file }
func (e *fakeEndpoint) Counters() (Counters, error) { return Counters{Records: 7}, nil }
func (e *fakeEndpoint) Close() error {
	e.f.mu.Lock()
	defer e.f.mu.Unlock()
	e.f.everyEnd--
	return e.file.Close()
}

type fakeRoute struct {
	img  *image.Image // whose policy it has
	dead bool
	open bool
}

func (r *fakeRoute) Close() error   { r.open = false; return nil }
func (r *fakeRoute) Terse(int) bool { return false }

func (f *fakeFabric) Load(img *image.Image, _ uint32, _ Atoms, _, _ Endpoint) (Route, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loads++
	return &fakeRoute{img: img, open: true}, f.fail
}

// fakeSwap swaps nothing but what the routes say of themselves.
type fakeSwap struct {
	f       *fakeFabric
	img     *image.Image
	changes []Change
}

func (f *fakeFabric) Prepare(img *image.Image, changes []Change) (Swap, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuses != nil {
		if err := f.refuses(img, changes); err != nil {
			return nil, err
		}
	}
	return &fakeSwap{f, img, changes}, f.prepare
}

func (s *fakeSwap) Commit() (time.Duration, error) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	for _, c := range s.changes {
		r := c.Route.(*fakeRoute)
		r.img, r.dead = s.img, c.Dies
	}
	s.f.swaps++
	return time.Millisecond, nil
}

func (s *fakeSwap) Cancel() error {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.cancels++
	return nil
}

type fakeGate struct {
	f              *fakeFabric
	index          uint32
	client, server *os.File
	word           map[uint32]uint64
}

func (f *fakeFabric) Open(Route) (Gate, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	f.open++
	return &fakeGate{f, uint32(f.next), os.NewFile(uintptr(fds[0]), "client"), os.NewFile(uintptr(fds[1]), "server"), map[uint32]uint64{}}, nil
}

func (g *fakeGate) Index() uint32                   { return g.index }
func (g *fakeGate) Ends() (client, server *os.File) { return g.client, g.server }
func (g *fakeGate) Blocks() (client, server uint32) { return g.index, g.index + 100 }
func (g *fakeGate) State() (uint64, error)          { return g.word[0], nil }
func (g *fakeGate) SetState(mask, bits uint64, from ...uint64) error {
	g.f.mu.Lock()
	defer g.f.mu.Unlock()
	if g.f.lives != nil && !g.f.lives() {
		return nil
	}
	return setWord(g.word, 0, mask, bits, from)
}

func (g *fakeGate) Close() error {
	g.f.mu.Lock()
	defer g.f.mu.Unlock()
	for id, h := range g.f.handles {
		if h.gate == g.index {
			delete(g.f.handles, id)
		}
	}
	g.f.open--
	g.f.closed++
	return nil
}

// get reads one of the counters.
func (f *fakeFabric) get(n *int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *n
}

// fakeCreator gives the control channels of domains to the test.
type fakeCreator struct {
	exits   chan Exit
	hits    chan Hit
	mu      sync.Mutex
	started []abi.DomainID
	ends    map[abi.DomainID]*link.Conn // the domains' sides
	killed  chan abi.DomainID
	refuse  abi.DomainID

	renewed  int
	stubborn error  // of Renew
	image    string // hash of what it was given last
	acted    []uint64
}

// Heard notes what the monitor has acted on.
func (c *fakeCreator) Heard(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acted = append(c.acted, number)
}

func (c *fakeCreator) Start(_ context.Context, d abi.DomainID, control, output *os.File) (Process, error) {
	if d == c.refuse {
		return Process{}, errors.New("no such program")
	}
	fd, err := unix.FcntlInt(control.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return Process{}, err
	}
	conn, err := link.New(os.NewFile(uintptr(fd), "domain"))
	if err != nil {
		return Process{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started = append(c.started, d)
	c.ends[d] = conn
	null, err := os.Open(os.DevNull)
	return Process{PID: 1000 + int(d), UID: 70000 + uint32(d), Pidfd: null}, err
}

// Signal ends a domain, whatever the signal.
func (c *fakeCreator) Signal(_ context.Context, d abi.DomainID, sig syscall.Signal) error {
	c.mu.Lock()
	conn := c.ends[d]
	delete(c.ends, d)
	c.mu.Unlock()
	if conn == nil {
		return errors.New("not running")
	}
	conn.Close()
	if sig == syscall.SIGKILL {
		c.killed <- d
	}
	c.exits <- Exit{Domain: d, PID: 1000 + int(d), Status: syscall.WaitStatus(sig)}
	return nil
}

func (c *fakeCreator) Exits() <-chan Exit { return c.exits }

func (c *fakeCreator) Hits() <-chan Hit { return c.hits }

func (c *fakeCreator) Renew(_ context.Context, sealed *os.File) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.renewed++
	if _, encoded, err := readSealed(sealed); err == nil && c.stubborn == nil {
		c.image = image.Hash(encoded)
	}
	return c.stubborn
}

// fakeAudit keeps events.
type fakeAudit struct {
	mu     sync.Mutex
	events []event.Event
	over   bool // Run has returned
	late   []event.Event
	reads  map[uint32]uint64 // by ring: the pipe that is read, by its inode
}

func (a *fakeAudit) Event(e event.Event, files ...*os.File) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, e)
	if a.over {
		a.late = append(a.late, e)
	}
	a.follow(&e, files)
	link.CloseAll(files)
}

// ends notes that the monitor tells nothing any more, and checks at the end of the test that it did not.
func (a *fakeAudit) ends() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
}

func (a *fakeAudit) last(k event.Kind) event.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := len(a.events) - 1; i >= 0; i-- {
		if a.events[i].Kind == k {
			return a.events[i]
		}
	}
	return event.Event{}
}

type fakeHolder struct{ ready chan struct{} }

func (fakeHolder) Bound(string) error { return nil }
func (h fakeHolder) Ready() error     { close(h.ready); return nil }

// Domains of the test system: client may have gates of t.Echo at server, and
// none of t.Secret; server exports both, but may publish t.Echo only.
const (
	client abi.DomainID = iota
	server
	second // exports t.Echo, too
)

func testImage() *image.Image {
	yes, no := image.Verdict{Allow: true, Policy: 0}, image.Verdict{Policy: 1}
	def := image.Verdict{Policy: abi.NoPolicy}
	domain := func(name string, exports ...image.Export) image.Domain {
		return image.Domain{Name: name, Program: "/bin/" + name, Ring: image.Ring{Level: 3, Name: "user"}, Start: yes, Exports: exports}
	}
	method := []image.MethodPolicy{{Request: image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.True}}}}}}
	user := image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.User, Atom: 0}}}, Forbid: []image.Rule{{Policy: 1, When: image.Expr{Op: image.Group, Atom: 0}}}}
	return &image.Image{Name: "t",
		Domains: []image.Domain{domain("client"), domain("server", image.Export{Publish: yes}, image.Export{Interface: 1, Publish: no}),
			domain("second", image.Export{Publish: yes})},
		Interfaces: []image.Interface{{Name: "t.Echo", Methods: []image.Method{{Name: "Say"}}}, {Name: "t.Secret", Methods: []image.Method{{Name: "Say"}}}},
		Messages:   []image.Message{{Name: "t.Text"}},
		Policies:   []image.Policy{{ID: "yes"}, {ID: "no", Forbid: true}},
		Users:      []string{"1000"}, Groups: []string{"2000"},
		Routes: []image.Route{{Client: client, Server: server, Connect: yes, Lookup: yes, Methods: method},
			{Client: client, Server: server, Interface: 1, Connect: no, Lookup: no, Methods: method},
			{Client: abi.NoDomain, Server: server, Connect: def, ConnectUser: user, Lookup: def, Methods: method}},
	}
}

// system is a monitor with fakes around it.
type system struct {
	t       *testing.T
	m       *Monitor
	img     *image.Image
	fabric  *fakeFabric
	creator *fakeCreator
	audit   *fakeAudit
	status  chan int
	err     error
}

func startSystem(t *testing.T, change func(*Config)) *system {
	t.Helper()
	s := &system{t: t, img: testImage(), fabric: &fakeFabric{}, audit: &fakeAudit{}, status: make(chan int, 1),
		creator: &fakeCreator{exits: make(chan Exit, 16), hits: make(chan Hit, 16), ends: map[abi.DomainID]*link.Conn{}, killed: make(chan abi.DomainID, 16), refuse: event.None}}
	ready := make(chan struct{})
	cfg := Config{Image: s.img, RunDir: t.TempDir(), Grace: time.Second, Fabric: s.fabric, Creator: s.creator, Audit: s.audit, Holder: fakeHolder{ready}}
	if change != nil {
		change(&cfg)
	}
	if err := s.img.Check(); err != nil {
		t.Fatal(err)
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.m = m
	done := make(chan struct{})
	go func() {
		defer close(done)
		status, err := m.Run(context.Background())
		s.audit.ends()
		s.err = err
		s.status <- status
	}()
	t.Cleanup(func() {
		m.Stop()
		<-done
		s.audit.mu.Lock()
		defer s.audit.mu.Unlock()
		for _, e := range s.audit.late {
			t.Errorf("told after Run returned: %+v", e)
		}
	})
	select {
	case <-ready:
	case <-done:
	case <-time.After(wait):
		t.Fatal("the system does not become ready")
	}
	return s
}

// domain is the domain's side of its control channel, past the greeting.
func (s *system) domain(id abi.DomainID) *fakeDomain {
	s.t.Helper()
	s.creator.mu.Lock()
	conn := s.creator.ends[id]
	s.creator.mu.Unlock()
	d := &fakeDomain{s.t, conn}
	if hello, files := d.read(); hello.Op != abi.OpHello || hello.Name != s.img.Domains[id].Name || len(files) != 1 {
		s.t.Fatalf("greeting: %+v with %d descriptors", hello, len(files))
	}
	return d
}

type fakeDomain struct {
	t    *testing.T
	conn *link.Conn
}

func (d *fakeDomain) read() (abi.Control, []*os.File) {
	d.t.Helper()
	buf := make([]byte, abi.MaxControl)
	d.conn.SetReadDeadline(time.Now().Add(wait))
	n, files, err := d.conn.Recv(buf, 4)
	if err != nil {
		d.t.Fatalf("control channel: %v", err)
	}
	d.t.Cleanup(func() { link.CloseAll(files) })
	c, err := abi.ParseControl(buf[:n])
	if err != nil {
		d.t.Fatal(err)
	}
	return c, files
}

func (d *fakeDomain) send(c abi.Control) {
	d.t.Helper()
	b, err := c.AppendTo(nil)
	if err == nil {
		err = d.conn.Send(b, wait)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *fakeDomain) ask(c abi.Control) (abi.Control, []*os.File) {
	d.t.Helper()
	d.send(c)
	got, files := d.read()
	if got.Seq != c.Seq {
		d.t.Fatalf("answer %d to question %d", got.Seq, c.Seq)
	}
	return got, files
}

// closed waits until the monitor has closed the channel.
func (d *fakeDomain) closed() bool {
	buf := make([]byte, abi.MaxControl)
	d.conn.SetReadDeadline(time.Now().Add(wait))
	for {
		if _, _, err := d.conn.Recv(buf, 0); err != nil {
			return !errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
}
