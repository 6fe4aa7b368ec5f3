package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"ward/abi"
	"ward/audit/event"
	"ward/objects"
)

// What is kept of objects. An instance is kept with its memory before anybody is
// given a reference to it; a reference before it is answered, and before the
// handle that it was redeemed from is taken in the kernel; an offer before the
// domain learns its number. So whatever a domain was told the next monitor knows.
// What it had asked for and was not told is told by the next one.

const (
	keptObjects   = "objects"    // how many monitors have given references
	keptInstance  = "object "    // by number; descriptor: the memory
	keptReference = "reference " // by ring and number
	keptOffer     = "offer "     // by number
)

// An instanceRecord is an instance. Whether it is sealed the kernel knows.
type instanceRecord struct {
	Object uint32
	Size   uint64
	Shared bool
	Secret bool `json:",omitempty"` // without a descriptor: its maker has it
}

func (m *Monitor) keepInstance(i *objects.Instance) {
	var files []*os.File
	if f := m.book.memory[i.ID]; f != nil {
		files = []*os.File{f}
	}
	m.put(key(keptInstance, i.ID), instanceRecord{i.Object, i.Size, i.Shared, i.Secret}, files...)
}

func referenceKey(r *objects.Reference) string {
	return fmt.Sprintf("%s%d %d", keptReference, r.Owner, r.Number)
}

// A referenceRecord is a reference, and what is not recorded of it yet.
type referenceRecord struct {
	objects.Reference
	Told [][]byte `json:",omitempty"` // events (tell.go)
}

// An offerRecord is likewise.
type offerRecord struct {
	objects.Offer
	Told [][]byte `json:",omitempty"`
}

// toldOf is what is kept of an event; nil: it is recorded.
func toldOf(e *event.Event) [][]byte {
	if e == nil {
		return nil
	}
	return telling{*e}.kept()
}

func (m *Monitor) keepReference(r *objects.Reference, told *event.Event) {
	if !m.book.counted {
		m.book.counted = true
		m.put(keptObjects, m.book.epoch)
	}
	m.put(referenceKey(r), referenceRecord{*r, toldOf(told)})
}

func (m *Monitor) forgetReference(r *objects.Reference) { m.drop(referenceKey(r)) }

func offerKey(id uint64) string { return keptOffer + strconv.FormatUint(id, 10) }

func (m *Monitor) keepOffer(o *objects.Offer, told *event.Event) {
	m.put(offerKey(o.ID), offerRecord{*o, toldOf(told)})
}

func (m *Monitor) forgetOffer(o *objects.Offer) { m.drop(offerKey(o.ID)) }

func (r *restoring) epoch(_ string, k *Kept) error {
	var before uint32
	err := json.Unmarshal(k.Value, &before)
	r.m.book.epoch = before + 1
	return err
}

func (r *restoring) instance(name string, k *Kept) error {
	id, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		return err
	}
	var rec instanceRecord
	if err := json.Unmarshal(k.Value, &rec); err != nil {
		return err
	}
	m := r.m
	if m.Next != nil && int(rec.Object) >= len(m.Image.Objects) {
		m.drop(k.Name) // of the image that comes: who has it keeps its memory, but cannot pass it on
		return nil
	}
	if len(k.Files) != 1 && !(rec.Secret && len(k.Files) == 0) || m.Memories == nil || int(rec.Object) >= len(m.Image.Objects) {
		return errors.New("there is no such object, or no memory of it")
	}
	if rec.Secret {
		return r.secret(uint32(id), &rec, k)
	}
	sealed, err := m.Memories.Sealed(k.Files[0])
	if err != nil {
		return err
	}
	if err := m.book.RestoreInstance(objects.Instance{ID: uint32(id), Object: rec.Object, Size: rec.Size, Shared: rec.Shared, Sealed: sealed}); err != nil {
		return err
	}
	m.book.memory[uint32(id)], k.Files = k.Files[0], nil
	return nil
}

func (r *restoring) reference(_ string, k *Kept) error {
	var rec referenceRecord
	if err := json.Unmarshal(k.Value, &rec); err != nil {
		return err
	}
	ref := rec.Reference
	r.m.tellLater(rec.Told)
	d := r.lives[uint32(ref.Owner)]
	if d == nil || d.state != stateRunning || r.m.book.Instance(ref.Instance) == nil {
		r.m.drop(k.Name) // it was ending
		return nil
	}
	return r.m.book.RestoreReference(ref)
}

func (r *restoring) offer(_ string, k *Kept) error {
	var rec offerRecord
	if err := json.Unmarshal(k.Value, &rec); err != nil {
		return err
	}
	o := rec.Offer
	r.m.tellLater(rec.Told)
	if r.byIndex == nil {
		r.byIndex = map[uint32]*gate{}
		for g := range r.m.gates {
			r.byIndex[g.Index()] = g
		}
	}
	if r.byIndex[o.End.Gate] == nil || r.m.book.Instance(o.Instance) == nil {
		r.m.drop(k.Name) // likewise; its handle has ended with the gate
		return nil
	}
	if to := (gateEnd{r.byIndex[o.End.Gate], int(o.End.Side)}).beyond(); to != nil {
		o.To = to.payer()
	}
	return r.m.book.RestoreOffer(o)
}

// resumeObjects goes on with objects: what the monitor before had not brought to
// an end is, and who asked is told again. One that was told closes what it does
// not wait for.
//
// Preconditions: m.mu is held; nobody was told to ask again yet.
func (m *Monitor) resumeObjects() {
	if m.book.epoch == 0 {
		m.book.epoch = 1
	}
	m.book.Again(m.book.epoch)
	for _, d := range m.everyone() {
		for _, r := range m.book.References(d.owner()) {
			if r.Via != 0 {
				m.finishRedeeming(d, r)
			}
		}
	}
	for g := range m.gates {
		for _, o := range m.book.OffersAt(g.Index()) {
			if state, err := m.handles.Handle(o.ID); err == nil && state == HandleGone {
				m.endOffer(o, false)
			}
		}
	}
	for _, id := range m.book.Unused() {
		m.endInstance(id)
	}
	for _, d := range m.everyone() {
		if d.state == stateRunning {
			m.tellObjects(d)
		}
	}
}

// finishRedeeming ends the offer that a reference of d comes from. Numbers come again
// (after 2^24 offers of a row), so that one of its number may be another.
func (m *Monitor) finishRedeeming(d *domain, r *objects.Reference) {
	o := m.book.ByNumber(r.Via)
	if o == nil || o.Instance != r.Instance || o.To != d.payer() {
		return
	}
	if _, err := m.handles.TakeHandle(o.ID); err != nil {
		m.notice(event.None, "a handle that was redeemed: %v", err)
	}
	m.endOffer(o, false)
}

// tellObjects answers once more what a domain asked of a monitor before this one.
func (m *Monitor) tellObjects(d *domain) {
	for _, r := range m.book.References(d.owner()) {
		if i := m.book.Instance(r.Instance); i.Secret {
			m.tellSecret(d, r, i)
			continue
		}
		f, err := m.Memories.Open(m.book.memory[r.Instance], objects.Writes(r.Access))
		if err != nil {
			m.notice(d.id, "an object: %v", err)
			continue
		}
		d.requests.again(r.Asked)
		d.send(objectAnswer(r, m.book.Instance(r.Instance)), f) // as in answer, if it waits
		f.Close()
	}
	for _, o := range m.book.OffersOf(d.owner()) {
		if state, err := m.handles.Handle(o.ID); err == nil && state == HandleOffered {
			d.requests.again(o.Asked)
			d.send(&abi.Control{Op: abi.OpOK, Seq: o.Asked, Handle: o.ID})
		}
	}
}
