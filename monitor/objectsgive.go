package monitor

import (
	"errors"
	"fmt"
	"os"

	"ward/abi"
	"ward/image"
	"ward/objects"
)

// Passing objects on: who has an instance offers it at its end of a gate, and
// the kernel's filter lets one message there carry a handle that is as it was
// offered. Who gets the message redeems the handle, once.

// endOf finds an end of a gate as its domain names it.
func (m *Monitor) endOf(d *domain, block uint32) (gateEnd, bool) {
	e, ok := m.book.ends[endKey{d, block}]
	return e, ok && e.g.live[e.end]
}

// place is the end as the book has it.
func (e gateEnd) place() objects.End { return objects.End{Gate: e.g.Index(), Side: uint8(e.end)} }

// beyond is who is at the other end; nil: a user outside.
func (e gateEnd) beyond() *domain {
	if e.end == 0 {
		return e.g.server
	}
	return e.g.client
}

const noSuchEnd = "this domain has no open gate of which its end has that block"

// An offering is what somebody may offer.
type offering struct {
	at       gateEnd
	to       *domain
	instance *objects.Instance
	ref      *objects.Reference
	policy   uint32 // that lets the receiver have it
}

// offering checks an offer, and refuses it if the result is nil.
func (w *wish) offering() *offering {
	m, d, c := w.m, w.d, w.c
	ref, err := m.book.Reference(d.owner(), c.Handle)
	if err != nil {
		w.refuseFor(err)
		return nil
	}
	o := &offering{ref: ref, instance: m.book.Instance(ref.Instance), policy: abi.NoPolicy}
	w.e.Interface = o.instance.Object
	object := &m.Image.Objects[o.instance.Object]
	at, ok := m.endOf(d, c.Block)
	if !ok {
		w.refuse(abi.ReasonHandle, noSuchEnd)
		return nil
	}
	o.at, o.to = at, at.beyond()
	if o.to == nil {
		w.between(d.id, abi.NoDomain)
		w.refuse(abi.ReasonHandle, "programs outside Ward have no objects")
		return nil
	}
	w.between(d.id, o.to.id)
	if err := m.book.CanOffer(d.owner(), c.Handle, c.Access, at.place(), d.payer(), o.to.payer()); err != nil {
		w.refuseFor(err)
		return nil
	}
	v, of := rightTo(object, o.to, c.Access)
	w.e.List = []uint32{uint32(of)}
	switch {
	case !v.Allow:
		w.denied(v, fmt.Sprintf("no policy lets %s open Object::%q%s", o.to.def.Name, object.Name, forWriting(uint32(of))))
		return nil
	case !mayHave(object, d, c.Access):
		w.refuse(abi.ReasonHandle, fmt.Sprintf("the policy no longer lets %s have Object::%q: what is open stays open, but is not passed on", d.def.Name, object.Name))
		return nil
	case objects.Writes(c.Access) && m.book.sealing[o.instance.ID] > 0:
		w.refuse(abi.ReasonState, "it is being sealed against writing")
		return nil
	}
	if objects.Writes(c.Access) {
		// Whoever may write can seal it, too.
		sealed, err := m.Memories.Sealed(m.book.memory[o.instance.ID])
		if err != nil {
			w.failed(err)
			return nil
		}
		if sealed {
			m.book.Seal(o.instance.ID)
			w.refuse(abi.ReasonState, "it is sealed against writing, for good")
			return nil
		}
	}
	o.policy = v.Policy
	return o
}

// answerOffer lets one message carry a handle.
func (m *Monitor) answerOffer(d *domain, c *abi.Control) {
	w := m.wish(d, c)
	if w.none() {
		return
	}
	o := w.offering()
	if o == nil {
		return
	}
	if m.book.MustSeal(o.instance, c.Access) {
		if err := m.seal(o.instance.ID); err != nil {
			w.refuse(abi.ReasonState, fmt.Sprintf("what is offered for reading must be sealed against writing first: %v", err))
			return
		}
		// Others were served meanwhile.
		w = m.wish(d, c)
		if d.state != stateRunning {
			return
		}
		if o = w.offering(); o == nil {
			return
		}
	}
	offerer, ok := o.at.g.Gate.(Offerer)
	if !ok || m.handles == nil {
		w.refuse(abi.ReasonNotRunning, "the gates of this system carry no handles")
		return
	}
	dir := abi.Request
	if o.at.end == 1 {
		dir = abi.Reply
	}
	id, err := offerer.Offer(HandleOffer{Dir: dir, Kind: abi.HandleMemory, Size: o.instance.Size, Write: objects.Writes(c.Access)})
	switch {
	case errors.Is(err, ErrNoHandles):
		w.refuse(abi.ReasonQuota, "the domains of this system have as many handles on their way as it allows")
		return
	case errors.Is(err, os.ErrClosed):
		w.refuse(abi.ReasonClosed, "the gate is closed, or revoked")
		return
	case err != nil:
		w.failed(err)
		return
	}
	made := objects.Offer{ID: id, End: o.at.place(), Owner: d.owner(), Payer: d.payer(), To: o.to.payer(), Instance: o.instance.ID, Access: c.Access, Asked: c.Seq}
	m.book.Offer(made)
	w.e.Count = o.instance.Size
	m.keepOffer(&made, w.granting(o.policy))
	w.granted()
	m.keepOffer(&made, nil)
	m.answer(d, &abi.Control{Op: abi.OpOK, Seq: c.Seq, Handle: id})
}

// seal seals an instance. Others are served meanwhile; none of them can offer it
// for writing.
//
// Preconditions: m.mu is held; it is given up in between.
func (m *Monitor) seal(id uint32) error {
	f, err := dup(m.book.memory[id])
	if err != nil {
		return err
	}
	defer f.Close()
	m.book.sealing[id]++
	m.mu.Unlock()
	err = m.Memories.Seal(f)
	m.mu.Lock()
	if m.book.sealing[id]--; m.book.sealing[id] == 0 {
		delete(m.book.sealing, id)
	}
	if err == nil && m.book.Instance(id) != nil {
		m.book.Seal(id)
	}
	return err
}

// answerRedeem gives the memory of a handle to who got the message that the
// kernel admitted with it.
func (m *Monitor) answerRedeem(d *domain, c *abi.Control) {
	w := m.wish(d, c)
	if w.none() {
		return
	}
	at, ok := m.endOf(d, c.Block)
	if !ok {
		w.refuse(abi.ReasonHandle, noSuchEnd)
		return
	}
	o, err := m.book.Offered(c.Handle, at.place())
	if err != nil {
		w.refuseFor(err)
		return
	}
	i := m.book.Instance(o.Instance)
	w.e.Interface, w.e.Count = i.Object, i.Size
	from := abi.NoDomain
	if other := at.beyond(); other != nil {
		from = other.id
	}
	w.between(from, d.id)
	object := &m.Image.Objects[i.Object]
	v, of := rightTo(object, d, o.Access)
	w.e.List = []uint32{uint32(of)}
	if !v.Allow { // since it was offered
		w.denied(v, fmt.Sprintf("no policy lets %s open Object::%q%s any more", d.def.Name, object.Name, forWriting(uint32(of))))
		return
	}
	if err := m.mayRefer(d); err != nil {
		w.refuseFor(err)
		return
	}
	switch state, err := m.handles.Handle(o.ID); {
	case err != nil:
		w.failed(err)
		return
	case state == HandleOffered:
		w.refuse(abi.ReasonHandle, "no message that carries this handle was admitted")
		return
	case state == HandleGone:
		m.endOffer(o, false)
		w.refuse(abi.ReasonHandle, "the gate by which it came is revoked")
		return
	}
	w.redeem(o, v)
}

// redeem turns an offer into a reference. The next monitor, if this one dies in
// between, finds the reference, and ends the offer. Without a descriptor for it
// nothing is done, so that it can be redeemed later.
func (w *wish) redeem(o *objects.Offer, v image.Verdict) {
	m := w.m
	f, err := m.Memories.Open(m.book.memory[o.Instance], objects.Writes(o.Access))
	if err != nil {
		w.failed(err)
		return
	}
	defer f.Close()
	r := w.refer(m.book.Instance(o.Instance), o.Access, o.ID, v.Policy)
	taken, err := m.handles.TakeHandle(o.ID)
	if !taken || err != nil {
		m.endReference(r)
		if err != nil {
			w.failed(err)
			return
		}
		m.endOffer(o, false)
		w.refuse(abi.ReasonHandle, "the gate by which it came is revoked")
		return
	}
	m.endOffer(o, false) // the reference has the instance
	w.hand(r, f)
}

// hand answers with a reference that was just made, and its memory. A domain that
// does not get the answer does not know the reference.
func (w *wish) hand(r *objects.Reference, f *os.File) {
	m := w.m
	w.granted()
	m.keepReference(r, nil)
	if !m.answer(w.d, objectAnswer(r, m.book.Instance(r.Instance)), f) {
		m.endReference(r)
	}
}

// endOffer ends an offer; forget: in the kernel, too, which else knows that it
// has ended.
func (m *Monitor) endOffer(o *objects.Offer, forget bool) {
	if forget {
		if err := m.handles.ForgetHandle(o.ID); err != nil {
			m.notice(abi.NoDomain, "a handle that nobody is given any more: %v", err)
		}
	}
	m.forgetOffer(o)
	m.endInstance(m.book.Withdraw(o))
}

// endOffersAt ends what is on its way at a gate that is revoked: its ends may stay
// open for long, and who gets nothing more must not keep the giver from giving to
// others.
//
// Preconditions: m.mu is held; nothing passes at the gate any more.
func (m *Monitor) endOffersAt(g *gate) {
	if _, open := m.gates[g]; !open {
		return
	}
	for _, o := range m.book.OffersAt(g.Index()) {
		m.endOffer(o, true)
	}
}

// answerRetract ends an offer that nobody has redeemed, for who made it; or one
// that was admitted, for who does not want it.
func (m *Monitor) answerRetract(d *domain, c *abi.Control) {
	at, ok := m.endOf(d, c.Block)
	if !ok || m.handles == nil {
		m.refuse(d, c.Seq, abi.ReasonHandle, abi.NoPolicy, noSuchEnd)
		return
	}
	o, err := m.book.Made(d.owner(), c.Handle, at.place())
	mine := err == nil
	if !mine {
		if got, e := m.book.Offered(c.Handle, at.place()); e == nil {
			o, err = got, nil
		}
	}
	if err != nil && d.requests.renewed { // the monitor before may have done it
		m.answer(d, &abi.Control{Op: abi.OpOK, Seq: c.Seq})
		return
	}
	if err != nil {
		m.refuse(d, c.Seq, abi.ReasonHandle, abi.NoPolicy, err.Error())
		return
	}
	state, err := m.handles.Handle(o.ID)
	switch {
	case err != nil:
		m.notice(d.id, "a handle: %v", err)
		m.refuse(d, c.Seq, abi.ReasonRace, abi.NoPolicy, "the kernel does not say whether a message has carried it")
		return
	case !mine && state == HandleOffered:
		m.refuse(d, c.Seq, abi.ReasonHandle, abi.NoPolicy, "no message that carries this handle was admitted")
		return
	}
	m.endOffer(o, true)
	m.answer(d, &abi.Control{Op: abi.OpOK, Seq: c.Seq})
}
