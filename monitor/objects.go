package monitor

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
	"ward/objects"
)

// Controlled objects: the monitor makes memory, gives it to whom the image lets
// have it, and lets one message of a gate say that it passes it on (objectsgive.go).
// Who has what is in an objects.Store, the memory itself here and with the holder.
// A descriptor cannot be taken back: what a domain has open stays open when it
// loses the right to it, and nothing new is given to it.

// Memories makes the memory of objects: that of package kernel behind an adapter
// is the real one.
type Memories interface {
	// Make makes memory of so many bytes; fixed: nobody can seal it.
	Make(name string, size uint64, fixed bool) (*os.File, error)
	// Open opens it again, with a descriptor that shares nothing with f.
	Open(f *os.File, write bool) (*os.File, error)
	// Seal ends all writing, for good. An error says in words why it cannot. It may
	// take a while: it is called without Monitor.mu.
	Seal(f *os.File) error
	Sealed(f *os.File) (bool, error)
	// InUse reports whether anybody else has what Make returned open or mapped.
	InUse(f *os.File) (bool, error)
	// MakeSecret makes secret memory, which no other method is for.
	MakeSecret(size uint64) (*os.File, error)
	// Secrets is why there is no secret memory, or nil.
	Secrets() error
}

// Handles are what a Fabric has that lets messages carry handles. Its gates are
// Offerers, then.
type Handles interface {
	Handle(id uint64) (HandleState, error)
	TakeHandle(id uint64) (bool, error) // it was admitted, and is gone now
	ForgetHandle(id uint64) error
}

// An Offerer is a Gate by which one message may carry a handle that is as it is
// offered. ErrNoHandles: there is no room. os.ErrClosed: the gate is closed or revoked.
type Offerer interface {
	Offer(HandleOffer) (id uint64, err error)
}

// A HandleOffer is what the message may say of the handle.
type HandleOffer struct {
	Dir   abi.Direction
	Kind  abi.HandleKind
	Size  uint64
	Write bool
}

// A HandleState says whether a handle has passed.
type HandleState uint8

const (
	HandleGone HandleState = iota
	HandleOffered
	HandleAdmitted
)

// ErrNoHandles: the kernel's table of handles is full.
var ErrNoHandles = errors.New("all handles of this system are in use")

// endKey names an end of a gate as its domain does: by its block.
type endKey struct {
	d     *domain
	block uint32
}

// A book is what the monitor knows of objects.
type book struct {
	*objects.Store
	memory    map[uint32]*os.File // of instances; of secret ones until their maker has it
	sealing   map[uint32]int      // instances that are being sealed
	lingering []uint32            // instances that are unused, but open (objectslinger.go)
	blind     bool                // what is open cannot be known
	ends      map[endKey]gateEnd
	epoch     uint32 // monitors before this one
	counted   bool   // the next one knows
}

// filesPart is the part of the descriptors that a process may have open that
// memory may take, here and in the holder, which must not run out of them.
const filesPart = 4

func (b *book) init() {
	*b = book{Store: objects.New(), memory: map[uint32]*os.File{}, sealing: map[uint32]int{}, ends: map[endKey]gateEnd{}}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil {
		b.Limit(int(min(files.Cur/filesPart, objects.MaxInstances)))
	}
}

func init() {
	dispatch[abi.OpMake] = asked{whileRunning, (*Monitor).answerMake}
	dispatch[abi.OpOpenObject] = asked{whileRunning, (*Monitor).answerOpenObject}
	dispatch[abi.OpOffer] = asked{whileRunning, (*Monitor).answerOffer}
	dispatch[abi.OpRedeem] = asked{whileRunning | whileStopping, (*Monitor).answerRedeem}
	dispatch[abi.OpDrop] = asked{whileRunning | whileStopping, (*Monitor).answerDrop}
	dispatch[abi.OpRetract] = asked{whileRunning | whileStopping, (*Monitor).answerRetract}
}

// owner is a process of a domain as the book has it.
func (d *domain) owner() objects.Owner { return objects.Owner(d.ringID) }

// payer is the domain of the image whose share of handles a domain uses.
func (d *domain) payer() uint32 {
	if d.kin != nil {
		return uint32(d.kin.Lineage[len(d.kin.Lineage)-1])
	}
	return uint32(d.id)
}

// A wish is a request for an object on its way to an answer and a record.
type wish struct {
	m *Monitor
	d *domain
	c *abi.Control
	e event.Event

	done event.Event // granted
}

func (m *Monitor) wish(d *domain, c *abi.Control) *wish {
	w := &wish{m: m, d: d, c: c, e: event.New(event.Object)}
	w.e.Domain, w.e.Status, w.e.List = d.id, int32(c.Op), []uint32{uint32(c.Access)}
	return w
}

// maxAsked is how much of an unknown name stands in a record, bytes.
const maxAsked = 64

// between makes the record one of two domains.
func (w *wish) between(from, to abi.DomainID) {
	w.e.Domain, w.e.From, w.e.To = event.None, from, to
}

// refuse answers that something is not done, of which no policy is the cause.
func (w *wish) refuse(r abi.Reason, text string) { w.deny(r, abi.NoPolicy, text) }

func (w *wish) deny(r abi.Reason, policy uint32, text string) {
	w.e.Reason, w.e.Policy = r, policy
	said := w.e
	if said.Interface == event.None { // in front of the reason: the name that was asked for
		name, _, _ := strings.Cut(said.Text, "\x00")
		said.Text = name[:min(len(name), maxAsked)] + "\x00"
	} else {
		said.Text = ""
	}
	said.Text += text
	w.m.Audit.Event(said)
	if w.d.state == stateRunning {
		w.m.refuse(w.d, w.c.Seq, r, policy, text)
	}
}

// refuseFor does it for a reason of the book.
func (w *wish) refuseFor(err error) {
	var r *objects.Refusal
	if errors.As(err, &r) {
		w.refuse(r.Reason, r.Text)
		return
	}
	w.failed(err)
}

// failed answers what went wrong here.
func (w *wish) failed(err error) {
	w.m.notice(w.d.id, "an object: %v", err)
	w.refuse(abi.ReasonQuota, "the object could not be had; the audit log says why")
}

// denied answers what the policy says.
func (w *wish) denied(v image.Verdict, text string) {
	if v.Policy != abi.NoPolicy {
		w.deny(abi.ReasonForbid, v.Policy, w.m.policyID(v.Policy))
		return
	}
	w.deny(abi.ReasonDefault, abi.NoPolicy, text)
}

// granting makes the record that it is done: it is kept with what is done, and sent
// by granted (tell.go).
//
// Preconditions: m.mu is held until it is sent.
func (w *wish) granting(policy uint32) *event.Event {
	w.done = w.e
	w.done.Allow, w.done.Policy, w.done.Text = true, policy, ""
	w.m.stamp(&w.done)
	return &w.done
}

// granted records that it is done. The answer comes after it.
func (w *wish) granted() { w.m.Audit.Event(w.done) }

// objectRoom: answers with memory may take half of a control channel, some hundred
// of them, until their domain reads: descriptors on their way count for all domains
// together. It is more than the 64 that a monitor after this one tells again at once.
const objectRoom = 2

// none reports that there are no objects for who asks.
func (w *wish) none() bool {
	w.e.Text = w.c.Name
	switch {
	case w.m.Level == abi.LevelLibrary:
		w.refuse(abi.ReasonNotRunning, "there are no objects at the level library: only a kernel that looks into messages can say which handle has passed; start the system as root, at the level kernel")
	case w.m.Memories == nil:
		w.refuse(abi.ReasonNotRunning, "this system has no objects")
	case w.d.unread(objectRoom):
		w.refuse(abi.ReasonQuota, "the domain does not read the answers on its control channel: memory that it asked for waits there")
	case w.d.kin != nil:
		w.refuse(abi.ReasonDefault, "a child has no objects: rights to them are not passed on")
	default:
		return false
	}
	return true
}

// named finds memory by its name, or nil: of what nobody may know more.
func (w *wish) named() *image.Object {
	w.e.Text = w.c.Name
	i, ok := w.m.Image.ObjectNamed(w.c.Name)
	if !ok || w.m.Image.Objects[i].Kind == image.ObjectMailbox {
		return nil
	}
	w.e.Interface = i
	return &w.m.Image.Objects[i]
}

// rightTo is what the policy says on access to an object, and on which part of
// it that is: writing takes the right to read, too.
func rightTo(o *image.Object, d *domain, access uint8) (image.Verdict, uint8) {
	switch {
	case d.kin != nil || int(d.id) >= len(o.Read):
		return image.Verdict{Policy: abi.NoPolicy}, access
	case !o.Read[d.id].Allow || !objects.Writes(access):
		return o.Read[d.id], abi.AccessRead
	}
	return o.Write[d.id], access
}

// mayHave reports whether a domain may have, now, what it was given before.
func mayHave(o *image.Object, d *domain, access uint8) bool {
	if d.kin == nil && int(d.id) < len(o.Create) && o.Create[d.id].Allow {
		return true
	}
	v, _ := rightTo(o, d, access)
	return v.Allow
}

const bothAccess = abi.AccessRead | abi.AccessWrite

// answerMake makes an instance.
func (m *Monitor) answerMake(d *domain, c *abi.Control) {
	w := m.wish(d, c)
	w.e.List[0] = 0
	if w.none() {
		return
	}
	o := w.named()
	v := image.Verdict{Policy: abi.NoPolicy}
	if o != nil {
		v = o.Create[d.id]
	}
	size := c.Size
	if o != nil && size == 0 {
		size = o.Size
	}
	switch {
	case o != nil && o.Shared && o.Read[d.id].Allow:
		w.deny(abi.ReasonDefault, abi.NoPolicy, fmt.Sprintf("%s is shared: there is one, which is opened by its name", o.Name))
		return
	case !v.Allow:
		w.denied(v, fmt.Sprintf("no policy lets %s create Object::%q", d.def.Name, c.Name))
		return
	case (o.Kind == image.ObjectSecret) != (c.Access == abi.AccessSecret):
		w.refuse(abi.ReasonHandle, secretMisnamed(o))
		return
	case size > o.Size:
		w.refuse(abi.ReasonQuota, fmt.Sprintf("%d bytes: instances of %s have at most %d", size, o.Name, o.Size))
		return
	}
	if err := m.mayMake(d, w.e.Interface, o.Count); err != nil {
		w.refuseFor(err)
		return
	}
	if o.Kind == image.ObjectSecret {
		w.makeSecret(size, v.Policy)
		return
	}
	i, err := m.newInstance(w.e.Interface, o.Name, size, false)
	if err != nil {
		w.failed(err)
		return
	}
	w.e.Count = size
	w.give(w.refer(i, bothAccess, 0, v.Policy))
}

// answerOpenObject opens shared memory. Its instance is made for the first who
// opens it.
func (m *Monitor) answerOpenObject(d *domain, c *abi.Control) {
	w := m.wish(d, c)
	if w.none() {
		return
	}
	if !objects.Valid(c.Access) {
		w.refuse(abi.ReasonHandle, "an object is opened for reading, or for reading and writing")
		return
	}
	o := w.named()
	v := image.Verdict{Policy: abi.NoPolicy}
	if o != nil {
		var of uint8
		v, of = rightTo(o, d, c.Access)
		w.e.List[0] = uint32(of)
	}
	switch {
	case !v.Allow:
		w.denied(v, fmt.Sprintf("no policy lets %s open Object::%q%s", d.def.Name, c.Name, forWriting(w.e.List[0])))
		return
	case !o.Shared:
		w.refuse(abi.ReasonHandle, fmt.Sprintf("%s is not shared: its instances come by handles in messages, not by name", o.Name))
		return
	}
	if err := m.mayRefer(d); err != nil {
		w.refuseFor(err)
		return
	}
	i := m.book.Shared(w.e.Interface)
	if i == nil {
		err := m.mayMake(d, w.e.Interface, 1)
		if err == nil {
			i, err = m.newInstance(w.e.Interface, o.Name, o.Size, true)
		}
		if err != nil {
			w.refuseFor(err)
			return
		}
	}
	w.e.Count = i.Size
	w.give(w.refer(i, c.Access, 0, v.Policy))
}

func forWriting(access uint32) string {
	if objects.Writes(uint8(access)) {
		return " for writing"
	}
	return ""
}

// newInstance makes memory of an object.
func (m *Monitor) newInstance(object uint32, name string, size uint64, shared bool) (*objects.Instance, error) {
	f, err := m.Memories.Make("ward object "+name, size, shared)
	if err != nil {
		return nil, err
	}
	i := m.book.Make(object, size, shared)
	m.book.memory[i.ID] = f
	m.keepInstance(i)
	return i, nil
}

// refer gives a domain a reference, and keeps it, with the record of that.
func (w *wish) refer(i *objects.Instance, access uint8, via uint64, policy uint32) *objects.Reference {
	r := w.m.book.Refer(w.d.owner(), i.ID, access, w.c.Seq, via)
	w.m.keepReference(r, w.granting(policy))
	return r
}

// give hands an instance over to who has just got a reference to it.
func (w *wish) give(r *objects.Reference) {
	m := w.m
	f, err := m.Memories.Open(m.book.memory[r.Instance], objects.Writes(r.Access))
	if err != nil {
		m.endReference(r)
		w.failed(err)
		return
	}
	defer f.Close()
	w.hand(r, f)
}

func objectAnswer(r *objects.Reference, i *objects.Instance) *abi.Control {
	return &abi.Control{Op: abi.OpObject, Seq: r.Asked, Handle: r.Number, Size: i.Size, Access: r.Access}
}

// answerDrop ends a reference.
func (m *Monitor) answerDrop(d *domain, c *abi.Control) {
	r, err := m.book.Reference(d.owner(), c.Handle)
	if err != nil && !d.requests.renewed { // else the monitor before may have done it
		m.refuse(d, c.Seq, abi.ReasonHandle, abi.NoPolicy, err.Error())
		return
	}
	if err == nil && m.book.Instance(r.Instance).Secret {
		m.refuse(d, c.Seq, abi.ReasonHandle, abi.NoPolicy, "secret memory is its maker's until the process ends: use it again")
		return
	}
	if err == nil {
		m.endReference(r)
	}
	m.answer(d, &abi.Control{Op: abi.OpOK, Seq: c.Seq})
}

func (m *Monitor) endReference(r *objects.Reference) {
	m.forgetReference(r)
	m.endInstance(m.book.Drop(r))
}

// endObjects ends what a process of a domain has. What it offered and no message
// has carried can be carried by none any more; what was admitted is its
// receiver's, while there is the gate.
//
// Preconditions: m.mu is held; nothing of the process runs.
func (m *Monitor) endObjects(d *domain) {
	for _, r := range m.book.References(d.owner()) {
		m.forgetReference(r)
	}
	for _, id := range m.book.EndOwner(d.owner()) {
		m.endInstance(id)
	}
	for _, o := range m.book.OffersOf(d.owner()) {
		if state, err := m.handles.Handle(o.ID); err == nil && state == HandleAdmitted {
			continue
		}
		m.endOffer(o, true)
	}
}

// openEnds notes the ends of a gate, by which its domains name it.
func (b *book) openEnds(g *gate) {
	client, server := g.Blocks()
	if g.client != nil {
		b.ends[endKey{g.client, client}] = gateEnd{g, 0}
	}
	b.ends[endKey{g.server, server}] = gateEnd{g, 1}
}

// endHandles ends what is offered at a gate that is closed.
//
// Preconditions: m.mu is held.
func (m *Monitor) endHandles(g *gate) {
	client, server := g.Blocks()
	delete(m.book.ends, endKey{g.client, client})
	delete(m.book.ends, endKey{g.server, server})
	for _, o := range m.book.OffersAt(g.Index()) {
		m.endOffer(o, false)
	}
}

// tellKept says what domains have open that a new policy no longer lets them have.
//
// Preconditions: m.mu is held; the new image is in force.
func (m *Monitor) tellKept() {
	for _, d := range m.domains {
		var names []string
		for _, r := range m.book.References(d.owner()) {
			o := &m.Image.Objects[m.book.Instance(r.Instance).Object]
			if !mayHave(o, d, r.Access) && !slices.Contains(names, o.Name) {
				names = append(names, o.Name)
				m.notice(d.id, "the policy no longer lets it have the object %s; what it has open of it stays open until it closes it or ends, and nothing more is given to it", o.Name)
			}
		}
	}
}
