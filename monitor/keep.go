package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
	"ward/monitor/admin"
)

// The monitor may be killed at any moment. What the next one must know it puts
// into the holder's keeping before it tells anybody: names, a few numbers, and
// the descriptors that only it has. What is in the channel to the holder
// outlives it. The next one makes its state of that (restore.go).

// A Keeper keeps things for the next monitor: HolderLink.
type Keeper interface {
	Put(name string, value []byte, files ...*os.File) error
	Drop(name string) error
}

// A Kept is what a Keeper gives back.
type Kept struct {
	Name  string
	Value []byte
	Files []*os.File
}

// A Restorer is a Fabric that another process can take over. Without one
// nothing is kept.
type Restorer interface {
	// Describe says what Restore needs: of an Endpoint, files, which stay its own;
	// of a Route or Gate, a text.
	Describe(any) (json.RawMessage, []*os.File)
	RestoreEndpoint(id abi.DomainID, uid uint32, cgroup uint64, files []*os.File) (Endpoint, error)
	RestoreRoute(state json.RawMessage, client, server Endpoint) (Route, error)
	RestoreGate(state json.RawMessage, r Route) (Gate, error)
}

// Names of what is kept, in front of a number or path.
const (
	keptLife   = "life "   // by ring: a process of a domain
	keptNow    = "now "    // by ring: what changes of it
	keptUser   = "user "   // by endpoint
	keptRoute  = "route "  // by number
	keptGate   = "gate "   // by index
	keptSocket = "socket " // by path: of an export
	keptAdmin  = "admin"   // the listener for root
	keptSystem = "system"  // systemRecord
	keptImage  = "image"   // hash; descriptor: sealed, if it is not the one of the start
	keptNext   = "next image"
)

// A lifeRecord is a process of a domain. Its descriptors come in the order of has.
type lifeRecord struct {
	Domain           abi.DomainID
	PID              int
	UID              uint32
	Cgroup           uint64
	Refusal          uint32
	Has              string // letters of descriptors: see lifeFiles
	Restarts         uint32
	Limit, Share     int
	Starting, Closed bool
	Kin              *kinRecord `json:",omitempty"` // of a child
}

// A nowRecord is what changes while a process lives.
type nowRecord struct {
	State           state
	Serving, Served []uint32
	Row             int
	Began           int64
	Reason, Says    string
	Ready, Again    bool
	Hostile         bool
	Status          int
	Last            Counters
	Hits            admin.Hits
	Standing        standing `json:",omitempty"`
	Told            [][]byte `json:",omitempty"` // events (tell.go)
	Heard           heard    `json:",omitzero"`
	Leaving         *leave   `json:",omitempty"`
}

type routeRecord struct {
	Image          uint32 // index
	Client, Server uint32 // rings; Client is the endpoint of a user if User
	User, Stale    bool
	Lent           uint32 // delegation; 0: none
	State          json.RawMessage
}

type gateRecord struct {
	Image          uint32
	Route          uint32 // key
	Client, Server uint32
	User           bool
	Inodes         [2]uint64
	State          json.RawMessage
	Opened         uint64 `json:",omitempty"` // of a gate to a mailbox; descriptor: the reading end
}

type userRecord struct {
	UID, GID, PID uint32
	Groups        []uint32
	Server        abi.DomainID
	Interface     uint32
	Equipped      bool // it has an endpoint
	Pidfd         bool
}

type systemRecord struct {
	Begun, Started, Failed bool
	Stopping               bool
	Rings, Users, Routes   uint32
	Told                   [][]byte `json:",omitempty"` // events (tell.go)

	LastChild abi.DomainID // numbers that were given last, and how many children of each template
	LastLent  uint32
	Named     map[abi.DomainID]uint32
}

// files of a life that the monitor holds only to keep them.
type lifeFiles struct {
	output  *os.File // o: the reading end of what it writes
	pidfd   *os.File // p
	refused *os.File // r: ring of refused addresses
}

func (f *lifeFiles) close() {
	for _, file := range []*os.File{f.output, f.pidfd, f.refused} {
		if file != nil {
			file.Close()
		}
	}
	*f = lifeFiles{}
}

// requests remembers the numbers of the last requests of a domain: when it was
// told that the monitor or the name server is a new one, it asks again what it
// was not answered, some of which may have been heard all the same.
type requests struct {
	last    [256]uint32
	n       int
	renewed bool // the domain was told, or is going to be
	untold  bool // there was no room on its control channel: it is told later
}

// again reports whether a request was heard before.
func (r *requests) again(seq uint32) bool {
	if r.renewed && seq != 0 && slices.Contains(r.last[:], seq) {
		return true
	}
	r.last[r.n%len(r.last)] = seq
	r.n++
	return false
}

// renew tells a domain to ask again, and to publish again; one whose control
// channel is full, with a later turn of handAll: a mailbox's reader that waits for
// messages asks nothing, so it would never know.
//
// Preconditions: m.mu is held; d is running.
func (m *Monitor) renew(d *domain) {
	d.requests.renewed = true
	err := d.send(&abi.Control{Op: abi.OpRenewed})
	d.requests.untold = errors.Is(err, link.ErrFull)
}

// put keeps something. If that fails the holder has died, and so will this process.
func (m *Monitor) put(name string, v any, files ...*os.File) {
	if m.keeper == nil {
		return
	}
	value, err := json.Marshal(v)
	if err == nil {
		err = m.keeper.Put(name, value, files...)
	}
	if err != nil {
		m.notKept(name, err)
	}
}

func (m *Monitor) notKept(name string, err error) {
	m.notice(event.None, "%s cannot be kept for a monitor after this one: %v", name, err)
}

func (m *Monitor) drop(name string) {
	if m.keeper != nil {
		m.keeper.Drop(name) // an error: the holder has died
	}
}

func key(name string, n uint32) string { return name + strconv.FormatUint(uint64(n), 10) }

// keepLife keeps a domain's process: before it starts, and again with all that
// belongs to it before the domain is greeted.
func (m *Monitor) keepLife(d *domain) {
	if m.keeper == nil {
		return
	}
	r := lifeRecord{Kin: d.kinOf(), Domain: d.id, PID: d.process.PID, UID: d.process.UID, Cgroup: d.process.Cgroup, Refusal: d.refusalID,
		Restarts: d.restarts, Limit: d.limit, Share: d.share}
	var files []*os.File
	add := func(letter string, f ...*os.File) {
		for _, file := range f {
			if file != nil {
				r.Has, files = r.Has+letter, append(files, file)
			}
		}
	}
	if d.state != stateEnded && d.control != nil {
		if c, err := d.control.File(); err == nil {
			defer c.Close()
			add("c", c)
		}
	}
	add("o", d.kept.output)
	add("p", d.kept.pidfd)
	add("r", d.kept.refused)
	add("n", d.notify)
	if d.endpoint != nil {
		_, ends := m.restorer.Describe(d.endpoint)
		add("e", ends...)
	}
	m.put(key(keptLife, d.ringID), r, files...)
	m.keepNow(d)
}

// keepNow keeps what has changed of a domain.
func (m *Monitor) keepNow(d *domain) {
	if m.keeper == nil {
		return
	}
	r := nowRecord{State: d.state, Row: d.row, Reason: d.reason, Says: d.says, Ready: d.isReady, Again: d.again, Hostile: d.hostile,
		Status: d.status, Last: d.last, Hits: d.hits, Standing: d.standing, Told: d.told.kept(), Heard: m.heard, Leaving: d.leaving}
	if !d.began.IsZero() {
		r.Began = d.began.UnixNano()
	}
	for i := range d.serving {
		r.Serving = append(r.Serving, i)
	}
	for i := range d.served {
		r.Served = append(r.Served, i)
	}
	m.put(key(keptNow, d.ringID), r)
}

// dropLife forgets a process that is not its domain's last one.
func (m *Monitor) dropLife(d *domain) {
	d.kept.close()
	if d.kin == nil && m.domains[d.id] == d {
		m.keepLife(d) // how it ended
		return
	}
	m.drop(key(keptLife, d.ringID))
	m.drop(key(keptNow, d.ringID))
}

// keepRoute keeps a loaded route, before gates are opened on it.
func (m *Monitor) keepRoute(r Route, image uint32, client, server *domain, u *user, stale bool) {
	if m.keeper == nil {
		return
	}
	rec := routeRecord{Image: image, Server: server.ringID, User: u != nil, Stale: stale}
	if u != nil {
		rec.Client = u.id
	} else {
		rec.Client = client.ringID
	}
	m.keepLoaded(r, rec)
}

// keepLoaded keeps a loaded route as rec has it, but for its state.
func (m *Monitor) keepLoaded(r Route, rec routeRecord) {
	if m.keeper == nil {
		return
	}
	k, known := m.routeKeys[r]
	if !known {
		m.numbers.Routes++
		k = m.numbers.Routes
		m.routeKeys[r] = k
		m.keepSystem()
	}
	rec.State, _ = m.restorer.Describe(r)
	m.put(key(keptRoute, k), rec)
}

// closeRoute unloads a route.
func (m *Monitor) closeRoute(r Route) {
	r.Close()
	delete(m.servers, r)
	delete(m.room.kin, r)
	if k, known := m.routeKeys[r]; known {
		delete(m.routeKeys, r)
		m.drop(key(keptRoute, k))
	}
}

// keepGate keeps a gate, before an end of it is handed over.
func (m *Monitor) keepGate(g *gate) {
	if m.keeper == nil {
		return
	}
	state, _ := m.restorer.Describe(g.Gate)
	rec := gateRecord{Image: g.route, Route: m.routeKeys[g.loaded], Server: g.server.ringID, User: g.user != nil, Inodes: g.inodes, State: state, Opened: g.opened}
	if g.user != nil {
		rec.Client = g.user.id
	} else {
		rec.Client = g.client.ringID
	}
	m.put(key(keptGate, g.Index()), rec, g.readingEnd()...)
}

func (m *Monitor) keepUser(u *user, e place) {
	if m.keeper == nil {
		return
	}
	c := &u.credentials
	r := userRecord{UID: c.UID, GID: c.GID, PID: c.PID, Groups: c.Groups, Server: e.server, Interface: e.iface, Equipped: u.endpoint != nil, Pidfd: c.Pidfd != nil}
	conn, err := u.conn.File()
	if err != nil {
		return
	}
	defer conn.Close()
	files := []*os.File{conn}
	if c.Pidfd != nil {
		files = append(files, c.Pidfd)
	}
	if u.endpoint != nil {
		_, ends := m.restorer.Describe(u.endpoint)
		files = append(files, ends...)
	}
	m.put(key(keptUser, u.id), r, files...)
}

func (m *Monitor) keepSystem() {
	m.put(keptSystem, systemRecord{Begun: m.begun, Started: m.started, Failed: m.failed, Stopping: m.stopping, Rings: m.rings, Users: m.outside.next, Routes: m.numbers.Routes,
		LastChild: m.lastChild, LastLent: m.lastLent, Named: m.named, Told: m.atStart.kept()})
}

func (m *Monitor) keepSocket(name string, l *listener) { m.put(name, l.path, l.file) }

// introduce tells a writer of audit records, which may be a new one, all that
// it must know: whose rings there are, and who stands at the gates of users.
// It does not mind what it knows already.
//
// Preconditions: m.mu is held.
func (m *Monitor) introduce() {
	if m.Sealed != nil && m.changedImage {
		e := event.New(event.Image)
		e.Text = m.Hash
		if sealed, err := dup(m.Sealed); err == nil {
			m.Audit.Event(e, sealed)
		}
	}
	for _, d := range m.lives() {
		if d.kin != nil {
			m.tellChild(d)
		}
		if d.endpoint != nil {
			m.sendRing(d.endpoint, d.ringID, d.id, 0, "")
		}
		if d.refusalID != 0 && d.kept.refused != nil {
			r := event.New(event.Ring)
			r.Endpoint, r.Domain = d.refusalID, d.id
			if f, err := dup(d.kept.refused); err == nil {
				m.Audit.Event(r, f)
			}
		}
		m.sendOutput(d)
	}
	for g := range m.gates {
		if g.chained {
			m.tellChained(g)
		}
		if g.user == nil {
			continue
		}
		e := gateEvent(abi.NoDomain, g.server.id, m.Image.Routes[g.route].Interface)
		e.Kind, e.Allow, e.Gate = event.Known, true, g.Index()
		(&opening{user: g.user}).identify(&e)
		m.Audit.Event(e)
	}
	for u := range m.outside.users {
		if u.endpoint != nil {
			m.sendRing(u.endpoint, u.id, abi.NoDomain, u.peer.UID, u.peer.Name)
		}
	}
}

// ringCopy is a descriptor of an endpoint's ring.
func ringCopy(e Endpoint) []*os.File {
	f, err := dup(e.Ring())
	if err != nil {
		return nil
	}
	return []*os.File{f}
}

// sendOutput gives the audit writer the reading end of what a domain writes.
func (m *Monitor) sendOutput(d *domain) {
	if d.kept.output == nil {
		return
	}
	out := event.New(event.Output)
	out.Domain, out.Endpoint = d.id, d.ringID
	if f, err := dup(d.kept.output); err == nil {
		m.Audit.Event(out, f)
	}
}

// lives are the processes of domains that gates or anybody else still knows.
func (m *Monitor) lives() []*domain {
	seen := map[*domain]bool{}
	var all []*domain
	add := func(d *domain) {
		if d != nil && !seen[d] {
			seen[d] = true
			all = append(all, d)
		}
	}
	for _, d := range m.everyone() {
		add(d)
	}
	for g := range m.gates {
		add(g.client)
		add(g.server)
	}
	return all
}

// keepChange keeps what a change of the policy has done to routes and gates.
//
// Preconditions: m.mu is held.
func (m *Monitor) keepChange() {
	if m.keeper == nil {
		return
	}
	for i, r := range m.loaded {
		m.keepRoute(r, i, m.domains[m.Image.Routes[i].Client], m.domains[m.Image.Routes[i].Server], nil, false)
	}
	for g := range m.gates {
		if g.chained {
			continue
		}
		if g.user == nil {
			m.keepRoute(g.loaded, g.route, g.client, g.server, nil, m.loaded[g.route] != g.loaded)
		}
		m.keepGate(g)
	}
	for u := range m.outside.users { // who wait for their gates still, too
		if i, ok := m.routes[routeKey{abi.NoDomain, u.server, u.iface}]; ok && u.route != nil {
			m.keepRoute(u.route, i, nil, m.servers[u.route], u, false)
		}
	}
	m.keepChains()
	m.holdChanged()
	m.put(keptImage, m.Hash, m.Sealed)
	m.drop(keptNext)
	m.drop(keptRenewing)
}

// AuditRenewed is told that there is a new writer of audit records.
func (m *Monitor) AuditRenewed() {
	if !m.work.begin() {
		return
	}
	defer m.work.done()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.introduce()
}

// Put keeps something under a name for the next monitor.
func (h HolderLink) Put(name string, value []byte, files ...*os.File) error {
	text := name + "\x00" + string(value)
	if len(text) >= link.MaxMessage {
		return fmt.Errorf("%d bytes of %s: the limit is %d", len(text), name, link.MaxMessage-1)
	}
	return h.Tell(link.Put, text, files...)
}

// Drop ends that.
func (h HolderLink) Drop(name string) error { return h.Tell(link.Drop, name) }
