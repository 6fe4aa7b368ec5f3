package monitor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
	"ward/image"
)

// Programs outside Ward: an export with a socket path is a listening
// SOCK_SEQPACKET socket. Whoever connects gets one message: OpGate with its
// end of a gate and its verdict page, or OpRefused. It need not say anything,
// and what it says is not listened to. The connection stays open as long as
// the client wants the gate to be its own: when it is closed and no end of the
// gate is left, the gate is freed.

// Bounds of users outside Ward.
const (
	maxUsers   = 512 // connections in all
	maxPerUser = 16  // of one user ID
	maxChatter = 64  // messages of a client, which nobody reads
	userRate   = 10  // connections of one user ID a second: each costs the loading of a route …
	userBurst  = 40  // … after this many at once
)

// A user is one connection of a program outside Ward.
type user struct {
	credentials Credentials
	peer        abi.Peer
	atoms       Atoms
	conn        *link.Conn
	endpoint    Endpoint
	id          uint32 // of the endpoint
	route       Route
	server      abi.DomainID // of the export
	iface       uint32
	loads       int  // 1 while its route is loaded, or its gate made
	gone        bool // its connection is closed
}

// outside is what the monitor knows of users, guarded by Monitor.mu.
type outside struct {
	perUID   map[uint32]int
	all      int
	users    map[*user]struct{} // that were let in, until nothing is left of them
	next     uint32             // endpoint ID
	arrivals map[uint32]*arrivals
}

// arrivals are the connections of one user ID of late.
type arrivals struct {
	*bucket
	refused uint64 // that nothing was said of yet
}

// firstUser is the first endpoint ID of users; below are domains.
const firstUser = 1 << 16

func (o *outside) init() {
	o.perUID, o.users, o.next, o.arrivals = map[uint32]int{}, map[*user]struct{}{}, firstUser, map[uint32]*arrivals{}
}

// enter counts a user in.
func (o *outside) enter(u *user) {
	o.users[u] = struct{}{}
	o.all++
	o.perUID[u.credentials.UID]++
}

// arrives reports whether a user may connect once more now.
func (o *outside) arrives(uid uint32) bool {
	a := o.arrivals[uid]
	if a == nil {
		a = &arrivals{bucket: newBucket(userRate, userBurst)}
		o.arrivals[uid] = a
	}
	if !a.take() {
		a.refused++
		return false
	}
	return true
}

// tellArrivals tells the audit log of the connections that were refused because
// they came too fast, once for many, and forgets users that have not come of late.
//
// Preconditions: m.mu is held.
func (m *Monitor) tellArrivals() {
	for uid, a := range m.outside.arrivals {
		if a.refused > 0 {
			m.notice(event.None, "%d connections of user %d were refused: more than %d a second", a.refused, uid, userRate)
			a.refused = 0
		}
		if a.fill(); a.tokens == a.burst {
			delete(m.outside.arrivals, uid)
		}
	}
}

// listenOutside binds the sockets of all exports.
func (m *Monitor) listenOutside() error {
	for path, e := range socketsOf(m.Image) {
		m.mu.Lock()
		l := m.sockets[path] // of a monitor before this one
		m.mu.Unlock()
		if l == nil {
			var err error
			if l, err = m.bindSocket(path, e); err != nil {
				return err
			}
		}
		m.mu.Lock()
		m.sockets[path] = l
		m.mu.Unlock()
		m.serveSocket(l)
	}
	return nil
}

// A place is where an export stands in an image.
type place struct {
	server abi.DomainID
	iface  uint32
	name   string // of the server
}

// socketsOf are the exports that have a socket and may be published, by path.
func socketsOf(img *image.Image) map[string]place {
	all := map[string]place{}
	for i := range img.Domains {
		for _, e := range img.Domains[i].Exports {
			if e.Socket != "" && e.Publish.Allow {
				all[e.Socket] = place{abi.DomainID(i), e.Interface, img.Domains[i].Name}
			}
		}
	}
	return all
}

func (m *Monitor) bindSocket(path string, e place) (*listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("socket of %s: %w", e.name, err)
	}
	if err := safeDirectory(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("socket of %s: %w", e.name, err)
	}
	l, err := listenAt(path, socketPacket, 0o666)
	if err != nil {
		return nil, fmt.Errorf("socket of %s: %w", e.name, err)
	}
	if err := m.Holder.Bound(path); err != nil {
		l.close()
		return nil, err
	}
	m.keepSocket(keptSocket+path, l)
	return l, nil
}

func (m *Monitor) serveSocket(l *listener) {
	go l.serve(func(fd int) { m.welcome(fd, l.path) })
}

// addCloser notes a listener to be closed and removed at the end.
func (m *Monitor) addCloser(l *listener) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closers = append(m.closers, l.close)
}

// welcome takes a new connection to the socket at path over and decides on it.
// What the path stands for is looked up each time: a reload may move it.
func (m *Monitor) welcome(fd int, path string) {
	conn, err := link.Inherited(fd, "connection of a user")
	if err != nil {
		return
	}
	c, err := m.Credentials(conn)
	if err != nil {
		conn.Close() // it has gone already
		return
	}
	if !m.work.asked() {
		conn.Close()
		return
	}
	defer m.work.done()
	m.mu.Lock()
	defer m.mu.Unlock()
	u := &user{credentials: c, conn: conn, peer: m.users.peer(&c), atoms: m.users.atoms(&c)}
	e, there := socketsOf(m.Image)[path]
	if !there {
		u.release() // the path went in a reload
		return
	}
	u.server, u.iface = e.server, e.iface
	server, iface := m.domains[e.server], e.iface
	if !m.outside.arrives(c.UID) {
		m.answerUser(u, &abi.Control{Op: abi.OpRefused, Reason: abi.ReasonQuota, Detail: abi.NoPolicy,
			Text: fmt.Sprintf("too many connections: at most %d a second for a user", userRate)})
		u.release()
		return
	}
	o := &opening{user: u, iface: iface, server: server.def.Name, until: time.Now().Add(openWait)}
	if m.outside.all >= maxUsers || m.outside.perUID[c.UID] >= maxPerUser || m.stopping {
		m.deny(o, server.id, abi.ReasonQuota, abi.NoPolicy, fmt.Sprintf("too many connections: at most %d for a user", maxPerUser))
		u.gone = true
		u.release()
		return
	}
	u.id = m.outside.next
	m.outside.next = max(m.outside.next+1, firstUser)
	m.outside.enter(u)
	if _, ok := m.routes[routeKey{abi.NoDomain, server.id, iface}]; ok {
		if err := m.equipUser(u); err != nil {
			m.notice(server.id, "cannot serve a user: %v", err)
			m.deny(o, server.id, abi.ReasonQuota, abi.NoPolicy, "the gate could not be made; the audit log says why")
			m.leave(u)
			return
		}
	}
	m.keepUser(u, e)
	m.keepSystem()
	m.request(o)
	go m.awaitLeave(u)
}

func (m *Monitor) equipUser(u *user) error {
	var err error
	if u.endpoint, err = m.Fabric.User(u.peer.UID, 1, userRing); err != nil {
		return err
	}
	return m.sendRing(u.endpoint, u.id, abi.NoDomain, u.peer.UID, u.peer.Name)
}

// answerUser answers a user, whose socket is empty and so takes one message.
// After a refusal the connection has no more use.
//
// Preconditions: m.mu is held.
func (m *Monitor) answerUser(u *user, c *abi.Control, files ...*os.File) {
	msg, err := c.AppendTo(nil)
	if err == nil {
		err = u.conn.Try(msg, files...)
	}
	if err != nil || c.Op != abi.OpGate {
		u.conn.CloseSoon()
	}
}

// awaitLeave waits until the client closes its connection.
func (m *Monitor) awaitLeave(u *user) {
	buf := make([]byte, 16)
	for range maxChatter {
		if _, _, err := u.conn.Recv(buf, 0); err != nil && !errors.Is(err, link.ErrTruncated) {
			break
		}
	}
	if !m.work.begin() {
		return
	}
	defer m.work.done()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leave(u)
	m.sweep()
}

// leave notes that a user's connection is closed.
//
// Preconditions: m.mu is held.
func (m *Monitor) leave(u *user) {
	if u.gone {
		return
	}
	u.gone = true
	m.retry()
	m.retireUser(u)
}

// forgetRoute unloads the route of a user, who gets another one when it is needed.
//
// Preconditions: m.mu is held; no gate uses it.
func (m *Monitor) forgetRoute(u *user) {
	m.closeRoute(u.route)
	u.route = nil
}

// forgetRoutes does so for those that lead to a process that has ended.
//
// Preconditions: m.mu is held; d has no gate, and none is made to it.
func (m *Monitor) forgetRoutes(d *domain) {
	for u := range m.outside.users {
		if u.route != nil && m.servers[u.route] == d {
			m.forgetRoute(u)
		}
	}
}

// retireUser frees what belongs to a connection when it is closed and has no
// gate left.
//
// Preconditions: m.mu is held.
func (m *Monitor) retireUser(u *user) {
	for g := range m.gates {
		if g.user == u {
			return
		}
	}
	if !u.gone || u.conn == nil || u.loads > 0 {
		return
	}
	if u.route != nil {
		m.forgetRoute(u)
	}
	if u.endpoint != nil {
		m.closeEndpoint(u.endpoint, u.id, abi.NoDomain, u.peer.UID, u.peer.Name)
	}
	m.drop(key(keptUser, u.id))
	delete(m.outside.users, u)
	m.outside.all--
	if m.outside.perUID[u.peer.UID]--; m.outside.perUID[u.peer.UID] == 0 {
		delete(m.outside.perUID, u.peer.UID)
	}
	u.release()
}

func (u *user) release() {
	u.conn.Close()
	u.conn = nil
	if u.credentials.Pidfd != nil {
		u.credentials.Pidfd.Close()
	}
}
