package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
	"ward/monitor/admin"
)

// A request is somebody's wish to put another image into force.
type request struct {
	kind    event.Kind // Reloaded, Revoked, Granted
	uid     uint32     // who
	running string     // hash of the image that it was made from: another one in force, and it is refused
	dry     bool       // only say what would happen
	text    string     // for the audit log
	sealed  *os.File   // the image
	again   bool       // begun by the monitor before this one (redo)
}

// change puts another image into force while the system runs, or says why it
// does not; then nothing has changed. Everything that can fail is prepared
// first. A message is judged by the old policy or by the new; the filters of
// the old one have all ended when change returns.
//
// Monitor.loader is held all the time: nothing is loaded of an image that may
// be about to go, and one change is made at a time.
func (m *Monitor) change(ctx context.Context, r *request) (*admin.Changed, error) {
	if m.Level == abi.LevelLibrary {
		return nil, fixed("a change of the policy")
	}
	if err := m.awaitRedone(ctx, r); err != nil {
		return nil, err
	}
	if !m.work.asked() {
		return nil, errStopping
	}
	defer m.work.done()
	img, encoded, err := readSealed(r.sealed)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(m.complete(img), m.secretsFit(img)); err != nil {
		return nil, err
	}
	users, err := resolveUsers(img)
	if err != nil {
		return nil, err
	}
	m.loader.lock(asker{task: taskChange})
	defer m.loader.unlock()
	c := &switching{m: m, request: r, img: img, encoded: encoded, users: users}
	if err := c.plan(); err != nil {
		return nil, err
	}
	if r.dry {
		return c.outcome(), nil
	}
	if err := c.prepare(ctx); err != nil {
		return nil, errors.Join(err, c.undo(ctx))
	}
	return c.commit(ctx)
}

// readSealed reads an image that nobody can change any more, and checks it.
func readSealed(f *os.File) (*image.Image, []byte, error) {
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if got, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err != nil || got&seals != seals {
		return nil, nil, errors.New("the policy image is not a sealed memfd: whoever made it could still change it")
	}
	encoded, err := io.ReadAll(io.NewSectionReader(f, 0, image.MaxImage+1))
	if err != nil {
		return nil, nil, fmt.Errorf("policy image: %w", err)
	}
	img, err := image.Decode(encoded)
	return img, encoded, err
}

// switching is a change on its way.
type switching struct {
	m       *Monitor
	request *request
	img     *image.Image
	encoded []byte
	users   *users

	before  *image.Image // that was in force until then
	steps   *plan
	changes []Change // one for each of steps.routes
	fates   map[Route]*fate
	dying   []*gate
	swap    Swap
	renewed bool
	bound   map[string]*listener
	swapped int
	took    time.Duration
	whole   time.Duration
	leaving []*domain // that the change takes away
	failed  []string  // domains that did not start
}

// plan finds out what changes, or why it cannot.
func (c *switching) plan() error {
	m, r := c.m, c.request
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case !m.started || m.stopping:
		return errors.New("the system is starting or stopping: its policy cannot be changed now")
	case m.Sealed == nil:
		return errors.New("this system was started without a descriptor of its image, which a change needs")
	case r.running != m.Hash:
		return errors.New("the policy was changed by somebody else meanwhile: look at what it is now, and try again")
	case !c.img.Aligned(m.Image):
		return errors.New("the new image does not have the numbers of the running one: use `ward reload`, which makes them the same")
	}
	if err := m.roomFor(c.img); err != nil {
		return err
	}
	m.sweep()
	loaded, routes := c.loaded()
	c.steps = makePlan(m.Image, c.img, loaded, m.processes())
	over := m.overtakes(c.img)
	over.dies(c.steps, loaded, routes)
	if err := c.steps.refused(c.img); err != nil {
		return err
	}
	for _, id := range c.steps.start {
		if int(id) < len(m.domains) && m.domains[id].endpoint != nil {
			return fmt.Errorf("domain %s has ended, and others still hold ends of its gates: try again when they have closed them", m.domains[id].def.Name)
		}
	}
	if !r.dry {
		m.plans++
	}
	fates := map[Route]*fate{}
	for i := range c.steps.routes {
		f := &c.steps.routes[i]
		c.changes = append(c.changes, Change{Route: routes[f.at], Number: f.route, Atoms: f.atoms, Dies: f.dies})
		fates[routes[f.at]] = f
	}
	c.fates = fates
	c.count()
	return nil
}

// loaded lists what is loaded, of a user also if its gate is not made yet.
//
// Preconditions: m.mu is held.
func (c *switching) loaded() (loaded []loadedRoute, routes []Route) {
	m := c.m
	for _, i := range slices.Sorted(maps.Keys(m.loaded)) {
		loaded, routes = append(loaded, loadedRoute{i, NoAtoms}), append(routes, m.loaded[i])
	}
	for _, o := range m.borrowers() {
		for _, i := range slices.Sorted(maps.Keys(o.chained())) {
			atoms := NoAtoms
			atoms.Chain, _ = m.chainFor(m.Image, o, i)
			loaded, routes = append(loaded, loadedRoute{i, atoms}), append(routes, o.chained()[i])
		}
	}
	for u := range m.outside.users {
		if i, ok := m.routes[routeKey{abi.NoDomain, u.server, u.iface}]; ok && u.route != nil {
			loaded, routes = append(loaded, loadedRoute{i, c.users.atoms(&u.credentials)}), append(routes, u.route)
		}
	}
	return loaded, routes
}

// count notes the gates that are swapped or die.
//
// Preconditions: m.mu is held.
func (c *switching) count() {
	c.dying, c.swapped = nil, 0
	for g := range c.m.gates {
		switch f := c.fates[g.loaded]; {
		case f == nil:
		case f.dies:
			c.dying = append(c.dying, g)
		default:
			c.swapped++
		}
	}
}

// prepare does all that may fail, and changes nothing that anybody sees.
func (c *switching) prepare(ctx context.Context) error {
	m := c.m
	var err error
	if c.swap, err = m.Fabric.Prepare(c.img, c.changes); err != nil {
		return fmt.Errorf("the new policy cannot be loaded: %w", err)
	}
	c.bound = map[string]*listener{}
	for path, e := range socketsOf(c.img) {
		m.mu.Lock()
		_, there := m.sockets[path]
		m.mu.Unlock()
		if there {
			continue
		}
		l, err := m.bindSocket(path, e)
		if err != nil {
			return err
		}
		c.bound[path] = l
	}
	if err := c.tellGrace(); err != nil {
		return err
	}
	if err := m.renewing(c.request.sealed); err != nil {
		return err
	}
	c.renewed = true
	return m.Creator.Renew(ctx, c.request.sealed)
}

// undo takes back what prepare did.
func (c *switching) undo(ctx context.Context) error {
	for path, l := range c.bound {
		c.m.drop(keptSocket + path)
		l.close()
	}
	var err error
	if c.swap != nil {
		err = c.swap.Cancel()
	}
	if c.renewed {
		c.m.mu.Lock()
		c.m.settled()
		c.m.mu.Unlock()
		err = errors.Join(err, c.m.giveBack(ctx))
	}
	return err
}

// commit puts the image into force: first for what the monitor decides itself,
// then in the kernel.
func (c *switching) commit(ctx context.Context) (*admin.Changed, error) {
	m := c.m
	start := time.Now()
	m.mu.Lock()
	err := c.startedSince()
	if m.stopping {
		err = errStopping
	}
	if err != nil {
		m.mu.Unlock()
		return nil, errors.Join(err, c.undo(ctx))
	}
	m.put(keptNext, c.request.text, c.request.sealed)
	c.tell()
	c.count() // gates have come and gone
	c.install()
	m.mu.Unlock()

	c.took, err = c.swap.Commit()
	c.whole = time.Since(start)
	var done event.Event
	c.finish(func() {
		c.takeAway()
		done = c.event(c.outcome(), err)
		m.changing(done)
	})
	c.stopDomains(ctx)
	c.startDomains(ctx)
	m.mu.Lock()
	m.tellChanged(done)
	m.mu.Unlock()
	out := c.outcome()
	m.checkDone()
	if err != nil {
		// Nothing passes where the swap failed.
		return nil, fmt.Errorf("the new policy is in force, but not everywhere: %w", err)
	}
	return out, nil
}

// finish follows the swap: who is at gates that die is told, and what has become of
// all is kept, with what also is to be kept before that.
func (c *switching) finish(also func()) {
	m := c.m
	if err := m.operate(); err != nil {
		m.notice(event.None, "users who may change the system cannot ask: %v", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range c.dying {
		m.tellEnds(g, c.fates[g.loaded], c.img)
		m.endOffersAt(g)
	}
	m.loseChanged(c.before)
	m.closeStale()
	also()
	m.keepChange()
	// Not before: a monitor that comes now knows the old image until it has made the change again.
	if err := m.openMailboxes(); err != nil {
		m.notice(event.None, "nothing can be posted there: %v", err)
	}
	m.dismissReaders()
	m.retry()
}

// tell gives the new image to the audit writer, before anything is judged by it.
func (c *switching) tell() {
	e := event.New(event.Image)
	e.Text = image.Hash(c.encoded)
	if sealed, err := dup(c.request.sealed); err == nil {
		c.m.Audit.Event(e, sealed)
	}
}

// install makes the new image that by which the monitor decides.
//
// Preconditions: m.mu is held.
func (c *switching) install() {
	m := c.m
	before := m.Image
	c.before = before
	over := m.overtakes(c.img) // since the plan there may be more, of which nothing is loaded
	m.Image, m.Hash, m.users = c.img, image.Hash(c.encoded), c.users
	if kept, err := dup(c.request.sealed); err == nil {
		m.Sealed.Close()
		m.Sealed, m.changedImage = kept, true
	}
	m.settled()
	for i := range m.Image.Domains {
		id := abi.DomainID(i)
		switch starts := slices.Contains(c.steps.start, id); {
		case i >= len(m.domains):
			m.domains = append(m.domains, newDomain(m.Image, id))
			if !starts && m.domains[i].box == nil {
				m.domains[i].state = stateRefused
			}
		case starts:
			m.domains[i] = newDomain(m.Image, id)
			m.domains[i].ringID = m.nextRing()
		default:
			d := m.domains[i]
			d.def = &m.Image.Domains[i]
			if d.def.Start.Allow { // it may run again
				d.leaves(nil)
			}
			for iface := range d.serving {
				if !publishes(d.def, iface) {
					delete(d.serving, iface)
				}
			}
		}
	}
	m.family.Renew(m.Image)
	m.index()
	if err := m.initialNew(before); err != nil {
		m.notice(event.None, "first values of new states: %v", err)
	}
	for i := range c.steps.routes {
		f := &c.steps.routes[i]
		r := c.changes[i].Route
		if f.dies {
			if m.loaded[f.route] == r {
				delete(m.loaded, f.route)
			}
			for _, o := range m.borrowers() {
				if o.chained()[f.route] == r {
					delete(o.chained(), f.route)
				}
			}
			switch u := c.userOf(r); {
			case u == nil:
				m.stale = append(m.stale, r)
			case !m.uses(r): // it waits for its gate still, and gets another route
				m.stale = append(m.stale, r)
				u.route = nil
			}
		}
	}
	over.end(m)
	m.tellKept()
	for u := range m.outside.users {
		u.atoms = m.users.atoms(&u.credentials)
	}
	places := socketsOf(m.Image)
	for path, l := range m.sockets {
		if _, stays := places[path]; !stays {
			l.close()
			m.drop(keptSocket + path)
			delete(m.sockets, path)
		}
	}
	for path, l := range c.bound {
		m.sockets[path] = l
		m.serveSocket(l)
	}
}

// userOf is the user whose a loaded route is, with whom it ends; nil: it is no user's.
func (c *switching) userOf(r Route) *user {
	for u := range c.m.outside.users {
		if u.route == r {
			return u
		}
	}
	return nil
}

// publishes reports whether a domain may serve an interface.
func publishes(d *image.Domain, iface uint32) bool {
	return slices.ContainsFunc(d.Exports, func(e image.Export) bool { return e.Interface == iface && e.Publish.Allow })
}

// closeStale unloads routes whose policy is no longer in force and whose gates
// are all closed.
//
// Preconditions: m.mu is held.
func (m *Monitor) closeStale() {
	m.stale = slices.DeleteFunc(m.stale, func(r Route) bool {
		if m.uses(r) {
			return false
		}
		m.closeRoute(r)
		return true
	})
}

// tellEnds tells those at the ends of a gate that was revoked why it was, so
// that their libraries close it: who waits at one for a message wakes up. Nothing
// depends on it: the kernel lets no message pass any more. A user outside is told
// no more than who connects anew: which policy forbids the gate to this user.
//
// Preconditions: m.mu is held.
func (m *Monitor) tellEnds(g *gate, f *fate, img *image.Image) {
	if _, open := m.gates[g]; !open {
		return
	}
	iface, _, _ := m.names(g)
	say := abi.Control{Op: abi.OpRevoked, Interface: iface, Reason: f.reason, Detail: f.policy}
	if f.reason == abi.ReasonForbid {
		say.Text = img.Policies[f.policy].ID
	}
	clientBlock, serverBlock := g.Blocks()
	if u := g.user; u != nil && !u.gone && g.live[0] {
		say.Block = clientBlock
		if msg, err := say.AppendTo(nil); err == nil {
			u.conn.Try(msg) // as for domains below
		}
	}
	for end, d := range []*domain{g.client, g.server} {
		if d == nil || d.state != stateRunning || !g.live[end] {
			continue
		}
		say.Block = []uint32{clientBlock, serverBlock}[end]
		d.send(&say) // at once or not at all; who does not read its channel finds out when it sends
	}
	e := gateEvent(abi.NoDomain, g.server.id, img.Routes[g.route].Interface)
	if g.client != nil {
		e.From = g.client.id
	} else {
		(&opening{user: g.user}).identify(&e)
	}
	e.Kind, e.Gate, e.Reason, e.Policy = event.Closed, g.Index(), f.reason, f.policy
	m.tellClosed(g, e)
}

// startDomains starts the domains that are new. One that does not start is
// told of; the policy stays in force.
func (c *switching) startDomains(ctx context.Context) {
	for _, d := range c.m.order() {
		if !slices.Contains(c.steps.start, d.id) {
			continue
		}
		if err := c.m.startDomain(ctx, d); err != nil {
			c.failed = append(c.failed, fmt.Sprintf("%s: %v", d.def.Name, err))
			c.m.notice(d.id, "does not start: %v", err)
		}
	}
}

// outcome says what was done, or would be.
func (c *switching) outcome() *admin.Changed {
	o := &admin.Changed{Hash: image.Hash(c.encoded), Routes: len(c.changes), Gates: c.swapped, Swap: c.took.Nanoseconds(),
		Whole: c.whole.Nanoseconds(), Failed: c.failed}
	for _, id := range c.steps.start {
		o.Started = append(o.Started, c.img.Domains[id].Name)
	}
	for _, id := range c.steps.stop {
		o.Stopped = append(o.Stopped, c.img.Domains[id].Name)
	}
	for _, g := range c.dying {
		f := c.fates[g.loaded]
		iface, from, to := c.m.names(g)
		if g.user != nil {
			from = "user:" + g.user.label()
		}
		x := admin.Dying{Gate: admin.Gate{Interface: iface, From: from, To: to}, Reason: f.reason.String()}
		if f.reason == abi.ReasonForbid {
			x.Policy = c.img.Policies[f.policy].ID
		} else if f.reason == abi.ReasonNotRunning {
			x.Reason = "its interface has changed"
		}
		o.Closed = append(o.Closed, x)
	}
	return o
}

// event is what is recorded of the change, of which the swap returned err.
func (c *switching) event(o *admin.Changed, err error) event.Event {
	e := event.New(c.request.kind)
	e.UID, e.Count, e.Status = c.request.uid, uint64(len(o.Closed)), int32(o.Gates)
	e.Text = c.request.text
	if e.Kind == event.Reloaded {
		e.Text = o.Hash
	}
	if err != nil {
		e.Reason = abi.ReasonClosed
	}
	return e
}

// label is the name of a user for people: its name, or its number.
func (u *user) label() string {
	if u.peer.Name != "" {
		return u.peer.Name
	}
	return fmt.Sprint(u.peer.UID)
}
