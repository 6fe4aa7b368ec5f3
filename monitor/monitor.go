package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
	"ward/image"
)

// Config is what a Monitor is made of.
type Config struct {
	Image  *image.Image // changes while the system runs (switch.go)
	Sealed *os.File     // the image as it was sealed: the monitor's; nil: it does not change
	Hash   string       // of the encoded image
	// NamesProgram is the program of a name server that the image does not name one for.
	NamesProgram string
	RunDir       string
	Level        abi.Level     // what checks parameters; it is told, the Fabric enforces it
	UntilDone    bool          // stop when every `once` domain has ended
	Grace        time.Duration // between SIGTERM and SIGKILL at the end; 0: 2 s

	NeedWait     time.Duration // for what a domain needs to be ready; 0: 10 s
	RestartDelay time.Duration // before a domain is started again; 0: 100 ms. It doubles each time

	Fabric  Fabric
	Creator Creator
	Audit   Auditor
	Holder  Holder
	// Kept is what a monitor before this one kept, of the same image; nil: there was none.
	Kept         []Kept
	Next         *os.File // the image that the monitor before was about to put into force; nil: none
	ImageChanged bool     // Sealed is not the image that the system was started with
	// Credentials asks the kernel who is at the other end of a connection.
	Credentials func(*link.Conn) (Credentials, error)
	Memories    Memories // nil: there are no objects
	// Sockets lists the inodes of all sockets of this network namespace, by
	// which ended gates are found. Nil: gates end with their domains only.
	Sockets func() (map[uint64]bool, error)
	// Queues says of them how much each has sent that was not read yet. Nil: nobody knows.
	Queues func() (map[uint64]Queue, error)
}

// Bounds of what one domain or user may hold or do.
const (
	defaultGates  = image.DefaultGates // gate ends of a domain that exports nothing
	serverGates   = image.ServerGates  // of one that does
	blocksPerEnd  = 2                  // blocks of the verdict page: a closed end keeps its until the other is closed
	maxPending    = 32                 // gates that a domain may wait for
	openWait      = 5 * time.Second
	controlRate   = 200      // control messages a second …
	controlBurst  = 100      // … after this many at once
	objectCost    = 0.4      // … as which one about memory counts
	serverRing    = 64 << 10 // bytes; 200 a record. The audit writer has all of it mapped, twice
	clientRing    = 32 << 10
	userRing      = 4 << 10
	sweepInterval = time.Second
	defaultGrace  = 2 * time.Second
)

// A Monitor runs one system.
type Monitor struct {
	Config
	users *users

	loader       loader // held while a route is loaded; taken without mu
	mu           sync.Mutex
	domains      []*domain           // by abi.DomainID
	byName       map[string]*domain  // the same
	ifaces       map[string]uint32   // by name
	routes       map[routeKey]uint32 // index in the image
	loaded       map[uint32]Route    // routes between domains, by index in the image
	loads        map[loadKey]*loading
	gates        map[*gate]struct{}
	stale        []Route              // loaded, of a policy that is no longer in force, until their last gates are closed
	sockets      map[string]*listener // of exports, by path
	pending      []*opening
	makings              // making.go
	room         room    // room.go
	listing      listing // sweep.go
	outside      outside
	kindred              // spawn.go
	book         book    // objects.go
	handles      Handles // the Fabric's; nil: it has none
	operators    operators
	upgrades     upgrades
	started      bool // all domains are
	stopping     bool
	keeper       Keeper     // nil: nothing is kept (keep.go)
	restorer     Restorer   // … then nil, too
	restored     bool       // another monitor was before this one
	begun        bool       // the system's state has its first values
	serving      bool       // what comes of the creator and the holder is acted on
	giving       givingBack // the creator the image in force; guarded by loader (renewing.go)
	changedImage bool       // Sealed is not the image of the start
	coming       *os.File   // the image that the creator is given before it is in force; nil: none (renewing.go)
	routeKeys    map[Route]uint32
	numbers      systemRecord
	back         []*user          // restored
	adminBack    *listener        // restored
	overdue      map[*domain]bool // ended, and nobody has told (reaped.go)
	rings        uint32           // numbers of rings that were given, beside those of first starts
	failed       bool             // a `once` domain failed
	atStart      telling          // what is recorded of that
	untold       telling          // kept by the monitor before (tell.go)
	whenTold     []func()         // done when it is recorded
	lastTold     uint64           // time of the last event that is recorded once
	heard        heard            // of the creator, and acted on (notices.go)
	orphaned     bool             // the creator has ended

	fellBack bool          // the monitor before had decided not to make a change again (fallback.go)
	redone   chan struct{} // closed when a change that the monitor before had begun is made (redo)
	up       chan struct{} // closed when all domains are started
	stop     chan struct{} // closed when the ordered stop is to begin
	stopOnce sync.Once
	changed  chan struct{} // has an element after a domain has ended
	closers  []func()      // of listeners
	work     *work         // beside Run
}

type routeKey struct {
	client, server abi.DomainID
	iface          uint32
}

// New makes a monitor; nothing is started.
func New(cfg Config) (*Monitor, error) {
	m := &Monitor{Config: cfg, byName: map[string]*domain{}, ifaces: map[string]uint32{}, routes: map[routeKey]uint32{},
		loaded: map[uint32]Route{}, loads: map[loadKey]*loading{}, gates: map[*gate]struct{}{}, sockets: map[string]*listener{}, routeKeys: map[Route]uint32{}, redone: make(chan struct{}), up: make(chan struct{}), stop: make(chan struct{}), changed: make(chan struct{}, 1), work: newWork(), upgrades: upgrades{no: make(chan string, 1)}}
	if m.Grace == 0 {
		m.Grace = defaultGrace
	}
	if err := m.complete(cfg.Image); err != nil {
		return nil, err
	}
	for i := range cfg.Image.Domains {
		m.domains = append(m.domains, newDomain(cfg.Image, abi.DomainID(i)))
	}
	if len(cfg.Kept) == 0 {
		if err := m.secretsFit(cfg.Image); err != nil {
			return nil, err
		}
	}
	m.kindred.init(cfg.Image)
	m.book.init()
	m.handles, _ = cfg.Fabric.(Handles)
	m.index()
	var err error
	m.users, err = resolveUsers(cfg.Image)
	m.outside.init()
	if err != nil {
		return nil, err
	}
	m.changedImage = cfg.ImageChanged
	keeper, keeps := cfg.Holder.(Keeper)
	if restorer, ok := cfg.Fabric.(Restorer); ok && keeps {
		m.keeper, m.restorer = keeper, restorer
	}
	if len(cfg.Kept) > 0 {
		if err := m.restore(cfg.Kept); err != nil {
			return nil, err
		}
		m.index()
	}
	return m, nil
}

// complete names the name server's program, where the image leaves that to
// whoever starts the system. All others must be named.
func (m *Monitor) complete(img *image.Image) error {
	for i := range img.Domains {
		d := &img.Domains[i]
		if d.Names && d.Program == "" {
			d.Program = m.NamesProgram
		}
		if d.Program == "" && !d.Mailbox {
			return fmt.Errorf("domain %s has no program: build the system with `ward up` or `ward compile`, or name the name server's with --names-program", d.Name)
		}
	}
	return nil
}

// index makes what is looked up by name of the image, and the shares of its servers.
func (m *Monitor) index() {
	clear(m.byName)
	clear(m.ifaces)
	clear(m.routes)
	for _, d := range m.domains {
		m.byName[d.def.Name] = d
	}
	for i, f := range m.Image.Interfaces {
		m.ifaces[f.Name] = uint32(i)
	}
	for i, r := range m.Image.Routes {
		m.routes[routeKey{r.Client, r.Server, r.Interface}] = uint32(i)
	}
	m.shareOut()
	m.furnish()
}

// Run starts the system, serves it until Stop or until its end, and ends it. When it
// returns nothing is told to the audit writer any more (work.go).
// The status is 1 if a domain that runs to its end failed. An error says that
// the system could not be started; what was started is ended.
func (m *Monitor) Run(ctx context.Context) (status int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if m.restored {
		m.resume(ctx)
		m.notice(event.None, "the monitor is back")
	} else {
		e := event.New(event.Compiled)
		e.Text, e.Count, e.List = m.Hash, uint64(len(m.Image.Policies)), []uint32{uint32(m.Level)}
		m.mu.Lock()
		m.atStart.add(e)
		m.keepTold(&m.atStart, m.keepSystem)
		m.mu.Unlock()
	}
	m.mu.Lock()
	m.serving = true
	if m.stopping { // the one before was to end the system
		m.Stop()
	}
	wasReady := m.started
	m.mu.Unlock()
	go m.watchCreator(ctx)
	if err = m.start(ctx); err == nil && !wasReady {
		err = m.Holder.Ready()
	}
	if err == nil {
		m.mu.Lock()
		m.started = true
		m.keepSystem()
		m.mu.Unlock()
		close(m.up)
		if m.Next != nil {
			m.redo(ctx)
		}
		m.checkDone()
		m.sweepUntil(ctx)
	}
	m.Stop()
	m.end(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.orphaned && err == nil {
		err = errors.New("the creator has ended unexpectedly, so the system stops")
	}
	if m.failed || err != nil {
		status = 1
	}
	return status, err
}

// Stop begins the ordered stop; Run returns when it is complete.
func (m *Monitor) Stop() { m.stopOnce.Do(func() { close(m.stop) }) }

// sweepUntil looks for ended gates now and then until the stop begins.
func (m *Monitor) sweepUntil(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	if m.restored {
		m.sweepCalmly() // what was closed meanwhile
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.stop:
			return
		case <-tick.C:
			m.sweepCalmly()
			m.mu.Lock()
			m.expire(time.Now())
			m.tellArrivals()
			m.tellRefusals(time.Now())
			m.handAll()
			m.endUnopened()
			m.mu.Unlock()
			m.Reaped()
		}
	}
}

// checkDone begins the stop if every domain that runs to its end has.
func (m *Monitor) checkDone() {
	m.mu.Lock()
	defer m.mu.Unlock()
	once := false
	for _, d := range m.domains {
		if d.def.Once && d.lives() {
			return
		}
		once = once || d.def.Once
	}
	if m.UntilDone && once {
		m.Stop()
	}
}

func (m *Monitor) notice(d abi.DomainID, format string, args ...any) {
	m.Audit.Event(noticeOf(d, format, args...))
}

func noticeOf(d abi.DomainID, format string, args ...any) event.Event {
	e := event.New(event.Notice)
	e.Domain, e.Text = d, fmt.Sprintf(format, args...)
	return e
}
