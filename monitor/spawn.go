package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
	"ward/image"
)

// Children: domains that a domain makes while the system runs. Who may be made
// is decided by an image.Family, which the creator keeps, too. What a child may
// call is its template's policy and its parent's and so on up the tree, and
// what was asked for: the filters of its gates are made of all of them
// (image.Chain). Children call; they serve nothing.

// A Spawner is a Creator that makes children.
type Spawner interface {
	Spawn(ctx context.Context, o Order, control, output *os.File) (Process, error)
}

// ErrQuota is what errors.Is finds in the refusal of a Spawner for which the
// parent uses too much itself.
var ErrQuota = errors.New("beyond the quota of its parent")

// An Order says what child is to be made.
type Order struct {
	Child, Parent, Template abi.DomainID
	Name                    string
	Quota                   image.ChildQuota
	Adopted                 bool
	Until                   uint64 // CLOCK_BOOTTIME ns; 0: no end
}

func init() {
	dispatch[abi.OpSpawn] = asked{whileRunning, (*Monitor).answerSpawn}
	dispatch[abi.OpKill] = asked{whileRunning | whileStopping, (*Monitor).answerKill}
	dispatch[abi.OpChildren] = asked{whileRunning | whileStopping, (*Monitor).answerChildren}
	dispatch[abi.OpLend] = asked{whileRunning, (*Monitor).answerLend}
	dispatch[abi.OpTakeBack] = asked{whileRunning | whileStopping, (*Monitor).answerTakeBack}
	dispatch[abi.OpBorrow] = asked{whileRunning, (*Monitor).answerBorrow}
}

// kindred is what a monitor knows of children and delegations.
type kindred struct {
	family    *image.Family
	children  map[abi.DomainID]*domain
	lastChild abi.DomainID
	gone      map[abi.DomainID]*domain // the child that had a number last
	named     map[abi.DomainID]uint32  // children made of each template
	lent      map[uint32]*delegation
	lastLent  uint32
	asks      map[abi.DomainID]*sharedBucket // of all that come from a domain (asking.go)
	servers   map[Route]*domain              // of routes of children, delegations and users: the process at their other end

	ending     []*delegation // by a change of the policy: their gates die with it
	kinBack    []*domain     // restored, in the order in which they were made
	lentBefore uint32        // the last number that a monitor before this one gave
}

func (k *kindred) init(img *image.Image) {
	k.family, k.children, k.gone, k.named, k.lent, k.servers = image.NewFamily(img), map[abi.DomainID]*domain{}, map[abi.DomainID]*domain{}, map[abi.DomainID]uint32{}, map[uint32]*delegation{}, map[Route]*domain{}
}

// A kin is what a child is beside a domain.
type kin struct {
	*image.Kin
	parent    *domain
	levels    []level       // the policies over it, its own first
	rights    []image.Entry // what it may call at most; sorted
	until     uint64        // CLOCK_BOOTTIME ns; 0: no end
	routes    map[uint32]Route
	asked     uint32 // Seq of the request for it
	told      bool   // its parent was told of its end
	overtaken bool   // a change of the policy ends it
	doomed    bool   // its parent ends it
}

// A level is a policy over a child: that of a domain of the image, whose
// messages are charged to sender.
type level struct{ policy, sender abi.DomainID }

// levelsOf are the policies over what a domain sends.
func (d *domain) levelsOf() []level {
	if d.kin != nil {
		return d.kin.levels
	}
	return []level{{d.id, d.id}}
}

// base is the domain of the image by whose policy d is judged first.
func (d *domain) base() abi.DomainID {
	if d.kin != nil {
		return d.kin.Template
	}
	return d.id
}

// find returns a domain or child, or nil.
func (m *Monitor) find(id abi.DomainID) *domain {
	if int(id) < len(m.domains) {
		return m.domains[id]
	}
	return m.children[id]
}

// everyone is all domains and children.
func (m *Monitor) everyone() []*domain {
	all := slices.Clone(m.domains)
	for _, k := range m.family.All() {
		if d := m.children[k.ID]; d != nil {
			all = append(all, d)
		}
	}
	return all
}

// entryName is how people write an entry point.
func entryName(img *image.Image, e image.Entry) string {
	f := &img.Interfaces[e.Interface]
	return f.Name + "/" + f.Methods[e.Method].Name
}

// entryOf finds an entry point by its name.
func (m *Monitor) entryOf(name string) (image.Entry, bool) {
	service, method, _ := strings.Cut(name, "/")
	i, ok := m.ifaces[service]
	if !ok {
		return image.Entry{}, false
	}
	for j := range m.Image.Interfaces[i].Methods {
		if m.Image.Interfaces[i].Methods[j].Name == method {
			return image.Entry{Interface: i, Method: uint32(j)}, true
		}
	}
	return image.Entry{}, false
}

// mayCall reports whether all of levels, and a list of rights if there is one,
// may let an entry point be called at some server.
func (m *Monitor) mayCall(levels []level, rights []image.Entry, limited bool, e image.Entry) bool {
	if limited && !slices.Contains(rights, e) {
		return false
	}
	for s := range m.domains {
		all := true
		for _, l := range levels {
			i, ok := m.routes[routeKey{l.policy, abi.DomainID(s), e.Interface}]
			all = all && ok && m.Image.Routes[i].Connect.Allow && len(m.Image.Routes[i].Methods[e.Method].Request.Permit) > 0
		}
		if all {
			return true
		}
	}
	return false
}

// has reports whether a domain may call an entry point at all.
func (m *Monitor) has(d *domain, e image.Entry) bool {
	if d.kin == nil {
		return m.mayCall(d.levelsOf(), nil, false, e)
	}
	return m.mayCall(d.kin.levels, d.kin.rights, true, e)
}

// rightsOf are what a new child of parent gets: what was asked for, all of
// which the parent must have, and what it inherits.
func (m *Monitor) rightsOf(parent *domain, template abi.DomainID, asked []string) ([]image.Entry, error) {
	var rights []image.Entry
	own := append([]level{{template, template}}, parent.levelsOf()...)
	for _, name := range asked {
		e, ok := m.entryOf(name)
		switch {
		case !ok:
			return nil, fmt.Errorf("%q is no entry point of this system", name)
		case !m.has(parent, e):
			return nil, fmt.Errorf("%s may not be passed on: %s has no right to call it", name, parent.def.Name)
		case !m.mayCall(own, nil, false, e):
			return nil, fmt.Errorf("no policy lets children of %s call %s", m.Image.Domains[template].Name, name)
		}
		rights = append(rights, e)
	}
	c := &parent.def.Children
	for i := range m.Image.Interfaces {
		for j := range m.Image.Interfaces[i].Methods {
			e := image.Entry{Interface: uint32(i), Method: uint32(j)}
			inherits := c.Inherit == image.InheritAll || c.Inherit == image.InheritListed && slices.Contains(c.Passes, e) || m.isLookup(e)
			if inherits && m.has(parent, e) && m.mayCall(own, nil, false, e) {
				rights = append(rights, e)
			}
		}
	}
	slices.SortFunc(rights, image.CompareEntries)
	return slices.Compact(rights), nil
}

// namesInterface is the name server's. That a child may look up what it may
// call is no right of its own: a name confers none.
const namesInterface = "ward.v1.Names"

func (m *Monitor) isLookup(e image.Entry) bool {
	f := &m.Image.Interfaces[e.Interface]
	return f.Name == namesInterface && f.Methods[e.Method].Name == "Lookup"
}

// noSpawn says that a domain may not make children of a template.
func noSpawn(d *domain, template string, why error) string {
	return fmt.Sprintf("no policy lets %s make children of %s: %v", d.def.Name, template, why)
}

// answerSpawn makes a child.
func (m *Monitor) answerSpawn(d *domain, c *abi.Control) {
	ask, err := abi.ParseSpawn(c.Text)
	if err != nil {
		m.hostile(d, "sent a malformed request for a child")
		return
	}
	template := d.base()
	if ask.Template != "" {
		t := m.byName[ask.Template]
		if t == nil {
			// The answer to whom no policy lets make children of one that is there.
			m.refuseSpawn(d, c.Seq, event.None, abi.ReasonDefault, abi.NoPolicy, noSpawn(d, ask.Template, image.ErrChild))
			return
		}
		template = t.id
	}
	template, ok := m.inRing(template, ask.Ring)
	if !ok {
		m.refuseRing(d, c.Seq, template, ask.Ring)
		return
	}
	spawner, ok := m.Creator.(Spawner)
	if !ok {
		m.refuseSpawn(d, c.Seq, template, abi.ReasonNotRunning, abi.NoPolicy, "this system makes no children")
		return
	}
	id, err := m.family.Free(m.lastChild)
	if err != nil {
		m.refuseSpawn(d, c.Seq, template, abi.ReasonQuota, abi.NoPolicy, err.Error())
		return
	}
	quota := image.ChildQuota{Processes: ask.Processes, Memory: ask.Memory, CPUWeight: ask.CPUWeight, Files: ask.Files, Gates: ask.Gates}
	name := fmt.Sprintf("%s#%d", m.Image.Domains[template].Name, m.named[template]+1)
	k, verdict, err := m.family.Add(id, d.id, template, name, quota, ask.Adopted)
	if err != nil {
		reason, text := abi.ReasonQuota, err.Error()
		switch {
		case errors.Is(err, image.ErrTrust):
			reason, verdict.Policy = abi.ReasonDefault, abi.NoPolicy
		case errors.Is(err, image.ErrChild):
			reason, text = abi.ReasonDefault, noSpawn(d, m.Image.Domains[template].Name, err)
			if verdict.Policy != abi.NoPolicy {
				reason, text = abi.ReasonForbid, m.policyID(verdict.Policy)
			}
		}
		m.refuseSpawn(d, c.Seq, template, reason, verdict.Policy, text)
		return
	}
	if left := m.gatesOf(d); d.ends > left {
		m.family.Remove(id)
		m.refuseSpawn(d, c.Seq, template, abi.ReasonQuota, verdict.Policy, fmt.Sprintf("%d gates would be left of the parent's quota, and it has %d open", left, d.ends))
		return
	}
	rights, err := m.rightsOf(d, template, ask.Rights)
	if err == nil && len(rights)+2*len(k.Lineage) > event.MaxList/2-8 {
		err = fmt.Errorf("%d entry points: a child has at most %d", len(rights), event.MaxList/2-8-2*len(k.Lineage))
	}
	child := m.newChild(k, d, rights, ask.Lifetime)
	if err == nil {
		err = m.fits(child)
	}
	if err != nil {
		m.family.Remove(id)
		m.refuseSpawn(d, c.Seq, template, abi.ReasonDefault, abi.NoPolicy, err.Error())
		return
	}
	m.lastChild = id
	m.named[template]++
	m.keepSystem()
	m.children[id] = child
	child.kin.asked = c.Seq
	child.state = stateStarting
	given := k.Line[0].Ask
	m.work.run(func() { m.startChild(spawner, child, verdict, given) })
}

func (m *Monitor) newChild(k *image.Kin, parent *domain, rights []image.Entry, lifetime uint64) *domain {
	d := &domain{id: k.ID, def: k.Def, serving: map[uint32]bool{}, served: map[uint32]bool{}, limit: int(m.Image.LimitsOf(k.Def).Gates),
		life: life{ringID: m.nextRing(), ready: make(chan struct{})}}
	d.kin = &kin{Kin: k, parent: parent, levels: append([]level{{k.Template, k.ID}}, parent.levelsOf()...), rights: rights, routes: map[uint32]Route{}}
	if lifetime > 0 {
		d.kin.until = event.Now() + lifetime
	}
	if p := parent.kin; p != nil && p.until > 0 && (d.kin.until == 0 || d.kin.until > p.until) && !k.Adopted {
		d.kin.until = p.until
	}
	return d
}

// A Fitter is a Fabric that can say before a gate is made whether its policies fit a filter.
type Fitter interface {
	Fits(img *image.Image, route uint32, atoms Atoms) error
}

// fits reports policies over a child that no filter could hold together, so
// that this is known before the child is made.
func (m *Monitor) fits(d *domain) error {
	f, ok := m.Fabric.(Fitter)
	if !ok {
		return nil
	}
	for i := range m.Image.Routes {
		r := &m.Image.Routes[i]
		if r.Client != d.kin.Template {
			continue
		}
		if chain, ok := m.chain(m.Image, d, d.kin.levels, uint32(i)); ok {
			if err := f.Fits(m.Image, uint32(i), Atoms{User: -1, Chain: chain}); err != nil {
				return fmt.Errorf("the policies over it do not fit one filter: %w", err)
			}
		}
	}
	return nil
}

// chain is what a child's gate on a route is held to, and whether it can have one.
func (m *Monitor) chain(img *image.Image, d *domain, levels []level, route uint32) (image.Chain, bool) {
	r := &img.Routes[route]
	c := image.Chain{Client: d.id}
	for _, l := range levels {
		i, ok := m.routes[routeKey{l.policy, r.Server, r.Interface}]
		if !ok {
			return c, false
		}
		c.Levels = append(c.Levels, image.Level{Route: i, Sender: l.sender})
	}
	if d.kin != nil {
		c.Until = d.kin.until
		for _, e := range d.kin.rights {
			if e.Interface == r.Interface {
				c.Methods = append(c.Methods, e.Method)
			}
		}
	}
	return c, len(c.Methods) > 0
}

// startChild has a child made, and answers its parent.
func (m *Monitor) startChild(spawner Spawner, d *domain, v image.Verdict, quota image.ChildQuota) {
	p, err := m.makeChild(spawner, d, quota)
	if p.Arrived != nil {
		defer p.Arrived()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		d.kept.pidfd = p.Pidfd // for a creator after this one
		if p.Ring != nil {
			d.kept.refused, _ = dup(p.Ring) // an error: a new audit writer does not get it
		}
		d.process = p
		d.process.Pidfd, d.process.Ring, d.process.Notify, d.process.Arrived = nil, nil, nil, nil
		m.tellChild(d)
		e := event.New(event.Spawned)
		e.Domain, e.From, e.To, e.Allow, e.Policy = d.id, d.kin.parent.id, d.kin.Template, true, v.Policy
		e.UID, e.PID, e.Ring, e.Text = p.UID, uint32(p.PID), d.def.Ring.Level, m.describeRights(d)
		err = m.equip(d, e)
	}
	if err != nil {
		if p.Pidfd != nil {
			m.work.run(func() { m.kill(d) })
		}
		d.state, d.status = stateEnded, 127
		m.childGone(d)
		m.dropLife(d)
		if errors.Is(err, ErrQuota) {
			m.refuseSpawn(d.kin.parent, d.kin.asked, d.kin.Template, abi.ReasonQuota, abi.NoPolicy, err.Error())
			return
		}
		m.notice(d.kin.parent.id, "child %s cannot be started: %v", d.def.Name, err)
		m.refuseSpawn(d.kin.parent, d.kin.asked, d.kin.Template, abi.ReasonNotRunning, abi.NoPolicy, "the child could not be started: "+err.Error())
		return
	}
	m.arrived(d, p)
	if parent := d.kin.parent; parent.state == stateRunning {
		m.answer(parent, &abi.Control{Op: abi.OpChild, Seq: d.kin.asked, Block: uint32(d.id), Name: d.def.Name})
	}
	if d.exit = d.exit.of(&p); d.exit != nil {
		m.ended(d)
		return
	}
	if d.kin.parent.state != stateRunning && !d.kin.Adopted || m.stopping || d.kin.overtaken {
		m.work.run(func() { m.kill(d) })
	}
	go m.listen(d)
}

// makeChild makes the process. Others are served meanwhile.
func (m *Monitor) makeChild(spawner Spawner, d *domain, quota image.ChildQuota) (p Process, err error) {
	control, theirs, err := link.Pair("control channel of " + d.def.Name)
	if err != nil {
		return p, err
	}
	defer theirs.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return p, err
	}
	defer write.Close()
	m.mu.Lock()
	m.tellChild(d)
	d.control, d.kept.output = control, read
	m.keepLife(d)
	m.sendOutput(d)
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(m.work.ctx, spawnWait)
	defer cancel()
	p, err = spawner.Spawn(ctx, Order{d.id, d.kin.Parent, d.kin.Template, d.def.Name, quota, d.kin.Adopted, d.kin.until}, theirs, write)
	m.madeLate(d.id, err, 0)
	return p, err
}

// spawnWait bounds how long the creator may take for a child.
const spawnWait = 30 * time.Second

// describeRights says in words what a child was given, for the audit log.
func (m *Monitor) describeRights(d *domain) string {
	var names []string
	for _, e := range d.kin.rights {
		if !m.isLookup(e) {
			names = append(names, entryName(m.Image, e))
		}
	}
	if len(names) == 0 {
		return "no rights to call"
	}
	return "may call " + strings.Join(names, ", ")
}

// tellChild tells the audit writer who a child is, and by which policies its
// messages are judged.
func (m *Monitor) tellChild(d *domain) {
	e := event.New(event.Child)
	e.Domain, e.From, e.To, e.Text = d.id, d.kin.parent.id, d.kin.Template, d.def.Name
	e.List = encodeLevels(d.kin.levels, d.kin.rights)
	m.Audit.Event(e)
}

// encodeLevels is what the audit writer needs to read records of a chain: the
// number of levels, their policies and senders, then interfaces and methods.
func encodeLevels(levels []level, rights []image.Entry) []uint32 {
	list := []uint32{uint32(len(levels))}
	for _, l := range levels {
		list = append(list, uint32(l.policy), uint32(l.sender))
	}
	for _, e := range rights {
		list = append(list, e.Interface, e.Method)
	}
	return list
}

// refuseSpawn refuses a child, with a record.
func (m *Monitor) refuseSpawn(d *domain, seq uint32, template abi.DomainID, r abi.Reason, policy uint32, text string) {
	e := event.New(event.Spawned)
	e.From, e.To, e.Reason, e.Policy, e.Text = d.id, template, r, policy, text
	m.Audit.Event(e)
	if d.state == stateRunning {
		m.refuse(d, seq, r, policy, text)
	}
}

// childGone forgets a child that has ended, and tells its parent. What is left
// of it are gates that the other side has not closed.
//
// Preconditions: m.mu is held; d.state is stateEnded.
func (m *Monitor) childGone(d *domain) {
	if m.children[d.id] != d {
		return
	}
	delete(m.children, d.id)
	m.gone[d.id] = &domain{id: d.id, def: d.def}
	m.family.Remove(d.id)
	m.takeBackAll(d)
	if d.exit != nil {
		m.tellParent(d)
	}
}

// tellParent tells the end of a child. It is told again by the next monitor if
// this one dies before it notes that; whoever is told twice does not mind.
//
// Preconditions: m.mu is held.
func (m *Monitor) tellParent(d *domain) {
	if p := d.kin.parent; p.state == stateRunning && !d.kin.told {
		p.send(&abi.Control{Op: abi.OpChildEnded, Block: uint32(d.id), Name: d.def.Name, Detail: uint32(d.status), Text: d.reason})
	}
	d.kin.told = true
	if d.endpoint != nil {
		m.keepLife(d)
	}
}

// endChildren ends what ends with a domain. The creator does the same by its
// own count; this one covers a child that is being made.
//
// Preconditions: m.mu is held.
func (m *Monitor) endChildren(d *domain) {
	for _, k := range m.family.Doomed(d.id) {
		if c := m.children[k.ID]; c != nil && c.state == stateRunning {
			m.work.run(func() { m.kill(c) })
		}
	}
	m.takeBackAll(d)
}

// childOf finds a living child of d.
func (m *Monitor) childOf(d *domain, id uint32) *domain {
	c := m.children[abi.DomainID(id)]
	if c == nil || c.kin.parent != d || c.state != stateRunning {
		return nil
	}
	return c
}

func (m *Monitor) answerKill(d *domain, c *abi.Control) {
	child := m.childOf(d, c.Block)
	if child == nil {
		m.refuse(d, c.Seq, abi.ReasonNotRunning, abi.NoPolicy, "there is no such child")
		return
	}
	child.kin.doomed = true
	m.keepLife(child) // who was told that it ends is not told so in vain
	m.work.run(func() { m.kill(child) })
	m.answer(d, &abi.Control{Op: abi.OpOK, Seq: c.Seq})
}

// answerChildren lists the children of a domain, as many as fit one answer. Other
// domains wait for it: it takes no longer than it must, however many there are.
func (m *Monitor) answerChildren(d *domain, c *abi.Control) {
	all := m.family.All()
	below := map[abi.DomainID]uint32{}
	for _, k := range all {
		for _, id := range k.Lineage {
			below[id]++
		}
	}
	var list []abi.Child
	for _, k := range all {
		child := m.children[k.ID]
		if child == nil || child.kin.parent != d || uint32(k.ID) <= c.Block {
			continue
		}
		list = append(list, abi.Child{ID: uint32(k.ID), Name: k.Def.Name, Template: m.Image.Domains[k.Template].Name, PID: uint32(child.process.PID),
			Running: child.state == stateRunning, Children: below[k.ID]})
	}
	a := abi.Control{Op: abi.OpOK, Seq: c.Seq}
	text, n := abi.EncodeChildren(list)
	if a.Text = text; n < len(list) {
		a.Detail = 1
	}
	m.answer(d, &a)
}
