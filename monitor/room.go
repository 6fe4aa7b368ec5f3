package monitor

import (
	"fmt"
	"slices"
	"time"

	"ward/audit/event"
	"ward/image"
)

// Room for routes. What is loaded takes two slots of the Fabric, one for each direction.
// How many it has is settled when the system starts, so of all that may want some it must be
// known how much that is:
//
//   - the routes of the image, each once. They are loaded when somebody asks for them first, and
//     room is there for them then, whatever others have;
//   - the same again for what is left of routes when a process ends or a policy goes:
//     they stay until both sides have closed their gates (Monitor.stale). Who does not
//     close them has them closed, the oldest first, when they are more;
//   - those of users outside, and of processes that have posted to mailboxes and ended,
//     which are bounded elsewhere;
//   - those of children and by delegations, which nobody knows before: families share
//     them in equal parts.
//
// The invariant: the sum of these is at most what the Fabric has. A change of the policy that
// would break it is refused. Nothing of it is kept for a monitor after this one: it follows
// from what is loaded.

// Bounds of routes.
const (
	kinRoutes      = 2048 // of children and by delegations, of all families,
	kinRoutesLeast = 32   // … but of each at least as many
	leftRoutes     = 256  // that are left, beside as many as the image has
)

// A Slotted is a Fabric that has room for so many programs: two for each route.
// Without it routes have no bound.
type Slotted interface{ Slots() int }

// Slots is how many a Fabric needs for a system.
func Slots(img *image.Image) int { return 2 * (reserved(img) + kinRoom(img)) }

// reserved is how many routes there may be beside those of children and delegations.
func reserved(img *image.Image) int {
	writers := 0
	for i := range img.Routes {
		if s := img.Routes[i].Server; int(s) < len(img.Domains) && img.Domains[s].Mailbox {
			writers++
		}
	}
	return ownRoutes(img) + mostLeft(img) + maxUsers + MaxLeft*writers
}

// ownRoutes is how many a domain of the image may ask for.
func ownRoutes(img *image.Image) (n int) {
	for i := range img.Routes {
		r := &img.Routes[i]
		if int(r.Client) < len(img.Domains) && !img.Domains[r.Client].Template && r.Connect.Allow {
			n++
		}
	}
	return n
}

// mostLeft is how many of these there may be besides that are of no use any more.
func mostLeft(img *image.Image) int { return ownRoutes(img) + leftRoutes }

// kinRoom is how many routes of children and delegations there may be.
func kinRoom(img *image.Image) int { return max(kinRoutes, kinRoutesLeast*len(families(img))) }

// families are the domains that may have children, or may get a delegation.
func families(img *image.Image) map[uint32]bool {
	all := map[uint32]bool{}
	for _, s := range img.Spawns {
		if p := &img.Domains[s.Parent]; s.Spawn.Allow && !p.Template && p.Children.Number > 0 {
			all[uint32(s.Parent)] = true
		}
	}
	for _, g := range img.Grants {
		if g.Verdict.Allow && !img.Domains[g.To].Template {
			all[uint32(g.To)] = true
		}
	}
	return all
}

// room is what the routes of children and delegations have of it, guarded by Monitor.mu.
type room struct {
	slots    int // of the Fabric; 0: there is no bound
	left     int // routes of the image that may be left
	all      int // routes of children and delegations that there may be
	share    int // … of one family
	families map[uint32]bool
	kin      map[Route]kinRoute
	taken    uint64 // so far
	refused  map[uint32]*refusals
}

// A kinRoute is a loaded route of a child, or by a delegation, until it is unloaded.
type kinRoute struct {
	family uint32 // the domain of the image whose child asked for it, or that did itself
	number uint64 // the higher, the later
}

// refusals are those of a family that nothing was said of yet.
type refusals struct {
	n    uint64
	told time.Time // when the last were
}

// furnish takes up the room that there is by the image that is in force.
func (m *Monitor) furnish() {
	r := &m.room
	if r.kin == nil {
		r.kin, r.refused = map[Route]kinRoute{}, map[uint32]*refusals{}
	}
	if s, ok := m.Fabric.(Slotted); ok {
		r.slots = s.Slots()
	}
	r.left, r.families = mostLeft(m.Image), families(m.Image)
	r.all = max(0, min(kinRoom(m.Image), r.slots/2-reserved(m.Image)))
	r.share = r.all / max(1, len(r.families))
}

// roomFor reports why another image cannot come into force: there would not be room
// for all of its routes.
//
// Preconditions: m.mu is held.
func (m *Monitor) roomFor(img *image.Image) error {
	used, _ := m.kinUsed(nil)
	if n := reserved(img); m.room.slots > 0 && n+used > m.room.slots/2 {
		return fmt.Errorf("the policy needs room for %d routes, and %d are loaded for children and by delegations; the system was started with room for %d: let children and delegations end, or `ward down` and `ward up` the system", n, used, m.room.slots/2)
	}
	return nil
}

// takeRoom counts a route that was loaded for o, if that is a child or by a delegation.
//
// Preconditions: m.mu is held.
func (m *Monitor) takeRoom(r Route, o *opening) {
	m.room.taken++
	m.room.kin[r] = kinRoute{o.client.payer(), m.room.taken}
}

// kinUsed is how many routes of children and delegations are loaded or being
// loaded: of all families, and of that of o.
//
// Preconditions: m.mu is held.
func (m *Monitor) kinUsed(o *opening) (all, its int) {
	count := func(family uint32) {
		all++
		if o != nil && family == o.client.payer() {
			its++
		}
	}
	for _, k := range m.room.kin {
		count(k.family)
	}
	for key := range m.loads {
		switch {
		case key.lent != nil:
			count(key.lent.to.payer())
		case key.child != nil:
			count(key.child.payer())
		}
	}
	return all, its
}

// noRoom says why no other route may be loaded for a child, or by a delegation; "": one may.
// What is left of routes is given up before.
//
// Preconditions: m.mu is held.
func (m *Monitor) noRoom(o *opening, route uint32) string {
	if o.chained() == nil || m.room.slots == 0 || m.loads[o.loadKey(route)] != nil {
		return ""
	}
	why := m.roomExceeded(o)
	if why == "" {
		return ""
	}
	m.sweep()
	for why = m.roomExceeded(o); why != "" && m.giveUpLeft(o); {
		why = m.roomExceeded(o)
	}
	return why
}

func (m *Monitor) roomExceeded(o *opening) string {
	switch all, its := m.kinUsed(o); {
	case its >= m.room.share:
		return fmt.Sprintf("%d routes are loaded for children of %s and what it and they were lent, which is the limit; let some of them end", its, m.Image.Domains[o.client.payer()].Name)
	case all >= m.room.all:
		return fmt.Sprintf("%d routes are loaded for children and delegations of all domains, which is the limit; let some of them end", all)
	}
	return ""
}

// giveUpLeft unloads one route of the family of o that is of no use any more, the oldest: that
// of a child that has ended, or to a process that has, or whose policy or delegation
// is gone. Somebody has still an end of a gate there; what was sent to it before
// can be read on. What waits in mailboxes stays.
//
// Preconditions: m.mu is held.
func (m *Monitor) giveUpLeft(o *opening) bool {
	useful := map[Route]bool{}
	for _, b := range m.borrowers() {
		for _, r := range b.chained() {
			useful[r] = true
		}
	}
	m.stays(useful)
	var oldest Route
	for r, k := range m.room.kin {
		if k.family == o.client.payer() && !useful[r] && (oldest == nil || k.number < m.room.kin[oldest].number) {
			oldest = r
		}
	}
	if oldest == nil {
		return false
	}
	m.giveUpRoute(oldest)
	return true
}

// makeRoom unloads what is left of routes of the image, the oldest first, if it is more
// than there is room for.
//
// Preconditions: m.mu is held; a route of the image is about to be loaded.
func (m *Monitor) makeRoom() {
	most := m.room.left
	if m.room.slots == 0 || len(m.stale) < most {
		return
	}
	stays := map[Route]bool{}
	m.stays(stays)
	var left []Route
	for _, r := range m.stale {
		if _, kin := m.room.kin[r]; !kin && !stays[r] {
			left = append(left, r)
		}
	}
	for ; len(left) >= most; left = left[1:] {
		m.giveUpRoute(left[0])
	}
}

// stays notes the routes on which something may wait for a reader, or a gate is made.
func (m *Monitor) stays(noted map[Route]bool) {
	for g := range m.gates {
		if g.server.box != nil {
			noted[g.loaded] = true
		}
	}
	for k := range m.making {
		noted[k.loaded] = true
	}
}

func (m *Monitor) giveUpRoute(r Route) {
	var gates []*gate
	for g := range m.gates {
		if g.loaded == r {
			gates = append(gates, g)
		}
	}
	for _, g := range gates {
		m.notice(g.server.id, "a gate of %s, of no use any more, was given up, whose end somebody has still: there is no room for as many", m.otherEnd(g))
		m.dropGate(g)
	}
	m.stale = slices.DeleteFunc(m.stale, func(s Route) bool { return s == r })
	m.closeRoute(r)
}

func (m *Monitor) otherEnd(g *gate) string {
	if g.client != nil {
		return g.client.def.Name
	}
	return "a user"
}

// tellNoRoom records that a family was refused a route; at most once a second, the rest
// with a turn of sweepUntil.
//
// Preconditions: m.mu is held.
func (m *Monitor) tellNoRoom(family uint32) {
	f := m.room.refused[family]
	if f == nil {
		f = &refusals{}
		m.room.refused[family] = f
	}
	f.n++
	m.tellRefusals(time.Now())
}

// tellRefusals records those that it is time for.
//
// Preconditions: m.mu is held.
func (m *Monitor) tellRefusals(now time.Time) {
	for family, f := range m.room.refused {
		switch {
		case now.Sub(f.told) < sweepInterval:
		case f.n == 0:
			delete(m.room.refused, family)
		default:
			d, e := m.domains[family], event.New(event.Quota)
			d.hits.Routes += f.n
			e.Domain, e.Count = d.id, f.n
			e.Text = fmt.Sprintf("routes: %d gates were refused to its children, or by what it and they were lent; at most %d routes are loaded for these", f.n, m.room.share)
			d.told.add(e)
			m.keepTold(&d.told, func() { m.keepNow(d) })
			f.n, f.told = 0, now
		}
	}
}

// loadedKin is how many routes a family has loaded of how many; none: it may have none.
//
// Preconditions: m.mu is held.
func (m *Monitor) loadedKin(d *domain) (used, limit int) {
	if m.room.slots == 0 || d.kin != nil {
		return 0, 0
	}
	_, used = m.kinUsed(&opening{client: d})
	if used > 0 || m.room.families[uint32(d.id)] {
		limit = m.room.share
	}
	return used, limit
}
