package monitor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
)

// restoring is what is known while the state is made anew.
type restoring struct {
	m       *Monitor
	lives   map[uint32]*domain // by ring
	users   map[uint32]*user   // by endpoint
	routes  map[uint32]Route   // by key
	parents map[*domain]uint32 // of children, by ring
	lentBy  map[Route]bool     // those of delegations
	byIndex map[uint32]*gate   // made when it is needed
}

// restore makes the state of what an earlier monitor kept. Nobody is told of it
// here, and nothing changes in the kernel.
//
// Preconditions: nothing is started; the image is the one that was kept.
func (m *Monitor) restore(kept []Kept) error {
	r := &restoring{m: m, lives: map[uint32]*domain{}, users: map[uint32]*user{}, routes: map[uint32]Route{}, parents: map[*domain]uint32{}, lentBy: map[Route]bool{}}
	steps := []struct {
		name string
		take func(*restoring, string, *Kept) error
	}{
		{keptSystem, (*restoring).system}, {keptLife, (*restoring).life}, {keptNow, (*restoring).now},
		{keptLent, (*restoring).lent}, {keptUser, (*restoring).user}, {keptProgram, (*restoring).program}, {keptRoute, (*restoring).route}, {keptGate, (*restoring).gate}, {keptClosed, (*restoring).closed}, {keptChanged, (*restoring).changed}, {keptSetting, (*restoring).setting}, {keptFellBack, (*restoring).fellBackTo}, {keptSocket, (*restoring).socket}, {keptAdmin, (*restoring).admin},
		{keptObjects, (*restoring).epoch}, {keptInstance, (*restoring).instance}, {keptReference, (*restoring).reference}, {keptOffer, (*restoring).offer},
		{keptRenewing, (*restoring).renewed},
	}
	for _, s := range steps {
		if s.name == keptLent { // all lives are known
			if err := r.kindred(); err != nil {
				return fmt.Errorf("take over from the monitor before: %w", err)
			}
		}
		var mine []*Kept
		for i := range kept {
			if strings.HasPrefix(kept[i].Name, s.name) {
				mine = append(mine, &kept[i])
			}
		}
		number := func(k *Kept) int { n, _ := strconv.Atoi(k.Name[len(s.name):]); return n }
		slices.SortFunc(mine, func(a, b *Kept) int { return cmp.Compare(number(a), number(b)) })
		for _, k := range mine {
			if err := s.take(r, k.Name[len(s.name):], k); err != nil {
				return fmt.Errorf("take over %q from the monitor before: %w", k.Name, err)
			}
		}
	}
	for i := range kept {
		link.CloseAll(kept[i].Files)
	}
	// What was not kept must not be left to be judged by what is loaded next.
	if f, ok := m.Fabric.(interface{ Restored() error }); ok {
		if err := f.Restored(); err != nil {
			return err
		}
	}
	m.restored = true
	return nil
}

func (r *restoring) system(_ string, k *Kept) error {
	var s systemRecord
	if err := json.Unmarshal(k.Value, &s); err != nil {
		return err
	}
	m := r.m
	m.begun, m.started, m.failed, m.rings, m.numbers.Routes = s.Begun, s.Started, s.Failed, s.Rings, s.Routes
	m.stopping = s.Stopping
	m.tellLater(s.Told)
	m.outside.next = max(m.outside.next, s.Users)
	m.lastChild, m.lastLent = s.LastChild, s.LastLent
	if s.Named != nil {
		m.named = s.Named
	}
	return nil
}

func (r *restoring) life(name string, k *Kept) error {
	var l lifeRecord
	if err := json.Unmarshal(k.Value, &l); err != nil {
		return err
	}
	if l.Kin == nil && int(l.Domain) >= len(r.m.domains) {
		return errors.New("there is no such domain")
	}
	ring, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		return err
	}
	if len(l.Has) != len(k.Files) {
		return fmt.Errorf("%d descriptors instead of %d", len(k.Files), len(l.Has))
	}
	var d *domain
	if l.Kin == nil {
		d = newDomain(r.m.Image, l.Domain)
	} else if d, err = r.kinless(&l, uint32(ring)); err != nil {
		return err
	}
	d.ringID, d.restarts, d.refusalID = uint32(ring), l.Restarts, l.Refusal
	d.limit, d.share = l.Limit, l.Share
	d.process = Process{PID: l.PID, UID: l.UID, Cgroup: l.Cgroup}
	var ends []*os.File
	for i, letter := range l.Has {
		f := k.Files[i]
		switch letter {
		case 'c':
			if d.control, err = link.New(f); err != nil {
				return err
			}
			continue
		case 'e':
			ends = append(ends, f)
			continue
		case 'o':
			d.kept.output = f
		case 'p':
			d.kept.pidfd = f
		case 'r':
			d.kept.refused = f
		case 'n':
			d.notify = f
		}
	}
	if len(ends) > 0 {
		if d.endpoint, err = r.m.restorer.RestoreEndpoint(d.id, 0, l.Cgroup, ends); err != nil {
			return err
		}
		link.CloseAll(ends)
	}
	k.Files = nil
	r.lives[d.ringID] = d
	d.begun()
	if d.kin != nil {
		return nil
	}
	r.m.domains[d.id] = d // of several lives the last one is the domain; they come in order
	return nil
}

func (r *restoring) now(name string, k *Kept) error {
	ring, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		return err
	}
	d := r.lives[uint32(ring)]
	var n nowRecord
	if err := json.Unmarshal(k.Value, &n); err != nil || d == nil {
		return err
	}
	d.state, d.row, d.reason, d.says, d.hostile, d.status, d.last = n.State, n.Row, n.Reason, n.Says, n.Hostile, n.Status, n.Last
	d.hits, d.standing = n.Hits, n.Standing
	d.again = n.Again
	if !d.def.Start.Allow { // else it was to go with a change that is not in force
		d.leaves(n.Leaving)
	}
	r.m.heard = r.m.heard.later(n.Heard)
	if d.state == stateEnded && d.control != nil { // the monitor before had not come to give it up
		d.control.Close()
		d.control = nil
	}
	r.m.tellLater(n.Told)
	if n.Began != 0 {
		d.began = time.Unix(0, n.Began)
	}
	for _, i := range n.Serving {
		d.serving[i] = true
	}
	for _, i := range n.Served {
		d.served[i] = true
	}
	if n.Ready {
		d.setReady()
	}
	d.begun()
	return nil
}

// begun notes that the start of a domain was begun, where the monitor before died
// between keeping its channel and keeping that it starts: what it writes may be read
// already, by the number that it has.
func (d *domain) begun() {
	if d.state == stateWaiting && d.control != nil {
		d.state = stateStarting
	}
}

func (r *restoring) user(name string, k *Kept) error {
	var rec userRecord
	if err := json.Unmarshal(k.Value, &rec); err != nil {
		return err
	}
	if r.m.Next != nil && (int(rec.Server) >= len(r.m.domains) || int(rec.Interface) >= len(r.m.Image.Interfaces)) {
		r.m.drop(k.Name) // it came to an export of the image that comes, and comes again
		return nil
	}
	id, err := strconv.ParseUint(name, 10, 32)
	if err != nil || len(k.Files) == 0 || int(rec.Server) >= len(r.m.domains) {
		return errors.New("malformed")
	}
	m := r.m
	u := &user{id: uint32(id), server: rec.Server, iface: rec.Interface, credentials: Credentials{UID: rec.UID, GID: rec.GID, PID: rec.PID, Groups: rec.Groups}}
	u.peer, u.atoms = m.users.peer(&u.credentials), m.users.atoms(&u.credentials)
	if u.conn, err = link.New(k.Files[0]); err != nil {
		return err
	}
	files := k.Files[1:]
	if rec.Pidfd && len(files) > 0 {
		u.credentials.Pidfd, files = files[0], files[1:]
	}
	if rec.Equipped {
		if u.endpoint, err = m.restorer.RestoreEndpoint(abi.NoDomain, rec.UID, 0, files); err != nil {
			return err
		}
		link.CloseAll(files)
	}
	k.Files = nil
	m.outside.enter(u)
	r.users[u.id] = u
	m.back = append(m.back, u)
	return nil
}

func (r *restoring) route(name string, k *Kept) error {
	var rec routeRecord
	if err := json.Unmarshal(k.Value, &rec); err != nil {
		return err
	}
	id, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		return err
	}
	m := r.m
	server := r.lives[rec.Server]
	var client Endpoint
	if u := r.users[rec.Client]; rec.User && u != nil {
		client = u.endpoint
	} else if d := r.lives[rec.Client]; !rec.User && d != nil {
		client = d.endpoint
	}
	if server == nil || server.endpoint == nil || client == nil || rec.Lent != 0 && m.lent[rec.Lent] == nil {
		m.drop(key(keptRoute, uint32(id))) // it was being closed
		return nil
	}
	made, err := m.restorer.RestoreRoute(rec.State, client, server.endpoint)
	if err != nil {
		return err
	}
	r.routes[uint32(id)], m.routeKeys[made] = made, uint32(id)
	r.lentBy[made] = rec.Lent != 0
	if rec.User || rec.Lent != 0 || r.lives[rec.Client].kin != nil {
		m.servers[made] = server
	}
	if !rec.User && m.servers[made] != nil {
		m.takeRoom(made, &opening{client: r.lives[rec.Client]})
	}
	switch {
	case rec.User:
		r.users[rec.Client].route = made
	case rec.Stale && (rec.Lent != 0 || r.lives[rec.Client].kin != nil):
		m.stale = append(m.stale, made)
	case rec.Lent != 0:
		m.lent[rec.Lent].routes[rec.Image] = made
	case r.lives[rec.Client].kin != nil:
		r.lives[rec.Client].kin.routes[rec.Image] = made
	case rec.Stale || m.domains[server.id] != server || m.domains[r.lives[rec.Client].id] != r.lives[rec.Client] || m.loaded[rec.Image] != nil:
		m.stale = append(m.stale, made)
	default:
		m.loaded[rec.Image] = made
	}
	return nil
}

func (r *restoring) gate(name string, k *Kept) error {
	var rec gateRecord
	if err := json.Unmarshal(k.Value, &rec); err != nil {
		return err
	}
	m := r.m
	route, server := r.routes[rec.Route], r.lives[rec.Server]
	if route == nil || server == nil {
		m.drop(keptGate + name) // it was being closed
		return nil
	}
	made, err := m.restorer.RestoreGate(rec.State, route)
	if err != nil {
		return err
	}
	g := &gate{Gate: made, route: rec.Image, loaded: route, server: server, inodes: rec.Inodes, live: [2]bool{true, true}}
	if rec.User {
		g.user = r.users[rec.Client]
	} else {
		g.client = r.lives[rec.Client]
		g.client.ends++
		g.chained = g.client.kin != nil || r.lentBy[route]
	}
	server.ends++
	m.gates[g] = struct{}{}
	m.book.openEnds(g)
	if server.box != nil {
		r.letters(g, &rec, k)
	}
	return nil
}

func (r *restoring) socket(path string, k *Kept) error {
	l, err := r.listener(path, k)
	if err == nil {
		r.m.sockets[path] = l
	}
	return err
}

func (r *restoring) admin(_ string, k *Kept) error {
	var path string
	if err := json.Unmarshal(k.Value, &path); err != nil {
		return err
	}
	var err error
	r.m.adminBack, err = r.listener(path, k)
	return err
}

func (r *restoring) listener(path string, k *Kept) (*listener, error) {
	if len(k.Files) != 1 {
		return nil, errors.New("no descriptor")
	}
	// Made anew, so that waiting costs no thread.
	fd, err := unix.FcntlInt(k.Files[0].Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &listener{f, raw, path}, nil
}

// resume goes on where the monitor before was: who runs is listened to again,
// and asked to ask again what it was not answered; what was under way is begun
// again.
func (m *Monitor) resume(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.introduce()
	m.tellAgain()
	m.resumeKin(ctx)
	m.resumeObjects()
	if len(m.back) > 0 { // of users, gates whose ends went with the monitor before are made again; of all others sweepUntil finds them
		m.closeEnds(m.closedEnds(func(g *gate) bool { return g.user != nil }))
	}
	for _, d := range m.domains {
		switch {
		case d.state == stateStarting:
			if u, ok := m.Creator.(Undoer); ok {
				u.Undo(ctx, d.id) // an error: there is no such process
			}
			if d.control != nil {
				d.control.Close()
			}
			d.kept.close()
			m.unequip(d)
			d.state, d.control = stateWaiting, nil
			m.drop(key(keptLife, d.ringID))
			m.drop(key(keptNow, d.ringID))
			d.ringID = m.nextRing() // the audit writer may know the number already
			m.keepLife(d)
			if m.started {
				m.work.run(func() { m.restart(d) })
			}
		case d.state == stateWaiting && m.started:
			m.work.run(func() { m.restart(d) })
		case d.state == stateRunning:
			if d.notify != nil {
				if f, err := pollableFile(d.notify); err == nil {
					d.notify = f
					go m.hearNotify(d, f)
				}
			}
			// The monitor before may not have come to greet it; a second greeting is not minded.
			if d.endpoint != nil {
				d.send(&abi.Control{Op: abi.OpHello, Name: d.def.Name, System: m.Image.Name}, d.endpoint.Page())
			}
			m.renew(d)
			if d.exit != nil {
				m.ended(d)
				continue
			}
			if d.hostile { // the monitor before had not come to end it
				m.work.run(func() { m.kill(d) })
			}
			if !d.def.Start.Allow {
				m.takeAway(d, m.grace(d)) // if the monitor before had not come to note it
				l := d.leaving
				m.work.run(func() { m.seeOff(d, l) })
			}
			go m.listen(d)
		case d.again:
			m.work.run(func() { m.restart(d) })
		}
	}
	m.resumeChildren()
	for _, u := range m.back {
		go m.awaitLeave(u)
		has := false
		for g := range m.gates {
			has = has || g.user == u
		}
		if !has && u.endpoint != nil {
			m.request(&opening{user: u, iface: u.iface, server: m.domains[u.server].def.Name, until: time.Now().Add(openWait)})
		} else if !has {
			m.leave(u)
		}
	}
	m.back = nil
	m.serving = true // an end that is told from here on is acted on
}

// unequip takes back the endpoint of a process that was not greeted, of which nobody
// has a gate.
//
// Preconditions: m.mu is held.
func (m *Monitor) unequip(d *domain) {
	if d.endpoint == nil { // not kept, but its ring may be read already, which is empty
		gone := event.New(event.RingGone)
		gone.Endpoint, gone.Domain = d.ringID, d.id
		m.Audit.Event(gone)
		return
	}
	for i, r := range m.loaded {
		if m.Image.Routes[i].Client == d.id || m.Image.Routes[i].Server == d.id {
			m.closeRoute(r)
			delete(m.loaded, i)
		}
	}
	m.closeEndpoint(d.endpoint, d.ringID, d.id, 0, "")
	d.endpoint = nil
}

// awaitRedone lets a change wait for the one that the monitor before had begun, which
// is half in force until it is made again: it comes first, and must not find that somebody
// else's came between.
func (m *Monitor) awaitRedone(ctx context.Context, r *request) error {
	if m.Next == nil || r.again {
		return nil
	}
	select {
	case <-m.redone:
		return nil
	case <-m.stop:
		return errStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pollableFile makes a received descriptor one that costs no thread while it is read.
func pollableFile(f *os.File) (*os.File, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "what a domain says"), nil
}

// An Undoer is a Creator that can take back a start that was never told of: it
// kills the process, if there is one, and says nothing of its end.
type Undoer interface {
	Undo(ctx context.Context, domain abi.DomainID) error
}

// Orphan takes the end of a domain that no creator could tell.
func (m *Monitor) Orphan(pid int, status syscall.WaitStatus) {
	if !m.work.begin() {
		return
	}
	defer m.work.done()
	m.mu.Lock()
	for _, d := range m.everyone() {
		if d.process.PID != pid || d.exit != nil || d.state != stateRunning || !hasEnded(d.kept.pidfd) {
			continue
		}
		d.exit = &Exit{Domain: d.id, PID: pid, Status: status}
		if m.serving {
			m.ended(d)
		}
	}
	m.mu.Unlock()
	m.checkDone()
	m.tellChange()
}

// hasEnded reports whether the process of a pidfd has ended.
func hasEnded(pidfd *os.File) bool {
	if pidfd == nil {
		return false
	}
	fds := []unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}
