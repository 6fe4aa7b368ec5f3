package objects

import (
	"errors"
	"strings"
	"testing"

	"ward/abi"
)

const (
	read  = abi.AccessRead
	both  = abi.AccessRead | abi.AccessWrite
	frame = 0 // an object with instances
	board = 1 // a shared one
)

var gate = End{Gate: 7}

// book is a Store that is checked after every step.
func book(t *testing.T) *Store {
	s := New()
	t.Cleanup(func() {
		if err := s.Check(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// made makes an instance of frame, which o has.
func made(t *testing.T, s *Store, o Owner) *Reference {
	t.Helper()
	if err := s.CanMake(o, frame, 100); err != nil {
		t.Fatal(err)
	}
	return s.Refer(o, s.Make(frame, 4096, false).ID, both, 0, 0)
}

// refused checks why something is not done.
func refused(t *testing.T, err error, reason abi.Reason, text string) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || r.Reason != reason || !strings.Contains(r.Text, text) {
		t.Errorf("%v; want %v: %s", err, reason, text)
	}
}

// offer makes an offer, sealing what must be.
func offer(t *testing.T, s *Store, id uint64, r *Reference, access uint8, end End, payer uint32) {
	t.Helper()
	if err := s.CanOffer(r.Owner, r.Number, access, end, payer, end.Gate); err != nil {
		t.Fatal(err)
	}
	if i := s.Instance(r.Instance); s.MustSeal(i, access) {
		s.Seal(i.ID)
	}
	s.Offer(Offer{ID: id, End: end, Owner: r.Owner, Payer: payer, To: end.Gate, Instance: r.Instance, Access: access})
}

func TestInstanceLives(t *testing.T) {
	s := book(t)
	r := made(t, s, 1)
	id := r.Instance
	offer(t, s, 100, r, read, gate, 1)
	if s.Drop(r) != 0 || s.Instance(id) == nil {
		t.Error("an instance ends though it is offered")
	}
	o, err := s.Offered(100, gate.Other())
	if err != nil {
		t.Fatal(err)
	}
	got := s.Refer(2, o.Instance, o.Access, 0, o.ID)
	if s.Withdraw(o) != 0 || s.Instance(id) == nil || got.Access != read {
		t.Error("an instance ends though it was redeemed")
	}
	if _, err := s.Offered(100, gate.Other()); err == nil {
		t.Error("an offer is redeemed twice")
	}
	s.Abandon(id) // somebody has it
	if s.Drop(got) != id || s.Instance(id) == nil {
		t.Error("an instance that nobody refers to does not linger")
	}
	refused(t, s.CanMake(1, frame, 1), abi.ReasonQuota, "1 instances")
	if s.Abandon(id); s.Instance(id) != nil || s.CanMake(1, frame, 1) != nil {
		t.Error("an instance that nobody has goes on")
	}
	// A shared one does not end.
	b := s.Make(board, 1, true)
	if s.Drop(s.Refer(3, b.ID, both, 0, 0)) != 0 || s.Shared(board) == nil || s.Shared(frame) != nil {
		t.Error("a shared instance ends")
	}
}

func TestRefusals(t *testing.T) {
	s := book(t)
	mine := made(t, s, 1)
	if _, err := s.Reference(2, mine.Number); err == nil {
		t.Error("a reference is found by another owner")
	}
	refused(t, s.CanOffer(2, mine.Number, read, gate, 2, 7), abi.ReasonHandle, "no object with the number")
	refused(t, s.CanOffer(1, mine.Number, abi.AccessWrite, gate, 1, 7), abi.ReasonHandle, "for reading, or for")
	refused(t, s.CanOffer(1, mine.Number, 4|read, gate, 1, 7), abi.ReasonHandle, "for reading, or for")
	refused(t, s.CanOffer(1, mine.Number, 0, gate, 1, 7), abi.ReasonHandle, "for reading, or for")

	offer(t, s, 1, mine, both, gate, 1)
	refused(t, s.CanOffer(1, mine.Number, read, gate, 1, 7), abi.ReasonState, "on its way")
	o, _ := s.Made(1, 1, gate)
	if o == nil {
		t.Fatal("who offered finds its offer")
	}
	for name, err := range map[string]error{
		"another owner":           second(s.Made(2, 1, gate)),
		"the other end":           second(s.Made(1, 1, gate.Other())),
		"redeemed by its sender":  second(s.Offered(1, gate)),
		"redeemed at another":     second(s.Offered(1, End{8, 1})),
		"a handle that is no one": second(s.Offered(2, gate.Other())),
	} {
		if err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	writer := s.Refer(2, o.Instance, o.Access, 0, 1)
	s.Withdraw(o)
	offer(t, s, 2, writer, read, gate, 2) // who was given it to write passes it on, and seals it
	refused(t, s.CanOffer(1, mine.Number, both, gate, 1, 7), abi.ReasonState, "sealed")
	reader := s.Refer(3, mine.Instance, read, 0, 2)
	offer(t, s, 3, reader, read, End{9, 0}, 3)

	refused(t, s.CanOffer(3, reader.Number, both, gate, 3, 7), abi.ReasonState, "sealed")

	b := s.Make(board, 1, true)
	for _, access := range []uint8{read, both} {
		r := s.Refer(3, b.ID, access, 0, 0)
		refused(t, s.CanOffer(3, r.Number, access, gate, 3, 7), abi.ReasonHandle, "by its name")
	}
	// Who was given an unsealed instance for reading only; that does not come about.
	odd := s.Refer(3, made(t, s, 2).Instance, read, 0, 0)
	refused(t, s.CanOffer(3, odd.Number, both, gate, 3, 7), abi.ReasonHandle, "may only read")
}

func second[T any](_ T, err error) error { return err }

func TestBounds(t *testing.T) {
	s := book(t)
	for range 3 {
		made(t, s, 1)
	}
	refused(t, s.CanMake(1, frame, 3), abi.ReasonQuota, "3 instances")
	if err := s.CanMake(1, frame, 4); err != nil {
		t.Error(err)
	}
	if err := s.CanMake(1, board, 3); err != nil {
		t.Errorf("instances of another object count: %v", err)
	}
	for range MaxReferences - 3 {
		made(t, s, 1)
	}
	refused(t, s.CanMake(1, frame, 1000), abi.ReasonQuota, "64 objects open")
	refused(t, s.CanRefer(1), abi.ReasonQuota, "64 objects open")
	if err := s.CanRefer(2); err != nil {
		t.Errorf("another owner's references count: %v", err)
	}
	r := s.References(1)[0]
	id := uint64(0)
	for i := range uint64(MaxOffers) {
		id = i + 1
		offer(t, s, id, r, read, gate, 1)
	}
	refused(t, s.CanOffer(1, r.Number, read, gate, 1, 7), abi.ReasonQuota, "this end of the gate")
	// At another gate to the same receiver there are no more …
	refused(t, s.CanOffer(1, r.Number, read, End{8, 1}, 1, 7), abi.ReasonQuota, "for the same domain")
	if err := s.CanOffer(1, r.Number, read, End{8, 1}, 2, 7); err != nil {
		t.Errorf("another payer's offers count: %v", err)
	}
	for other := uint32(8); id < MaxOffersOf; other++ { // … and to others there are
		for range MaxOffersTo {
			id++
			offer(t, s, id, r, read, End{other, 1}, 1)
		}
	}
	refused(t, s.CanOffer(1, r.Number, read, End{99, 0}, 1, 99), abi.ReasonQuota, "handles of this domain")
	if err := s.CanOffer(1, r.Number, read, End{99, 0}, 2, 99); err != nil {
		t.Errorf("another payer's offers count: %v", err)
	}
	s.Withdraw(s.OffersAt(gate.Gate)[0])
	if err := s.CanOffer(1, r.Number, read, gate, 1, 7); err != nil {
		t.Errorf("what has ended counts: %v", err)
	}
	for len(s.Instances()) < MaxInstances {
		s.Make(2, 1, false)
	}
	refused(t, s.CanMake(5, 3, 10), abi.ReasonQuota, "2048 instances")
	s.Limit(MaxInstances + 1)
	refused(t, s.CanMake(5, 3, 10), abi.ReasonQuota, "2048 instances")
	for _, id := range s.Unused() {
		s.Abandon(id)
	}
	if err := s.CanMake(5, 3, 10); err != nil {
		t.Errorf("what was given up counts: %v", err)
	}
	s.Limit(len(s.Instances()))
	refused(t, s.CanMake(5, 3, 10), abi.ReasonQuota, "which is the limit")
}

// Numbers are not used again, by the same owner, nor by a book after this one.
func TestNumbersAreNew(t *testing.T) {
	s := book(t)
	first := made(t, s, 1)
	s.Drop(first)
	next := made(t, s, 1)
	if next.Number == first.Number {
		t.Error("a number is used again")
	}
	if other := made(t, s, 2); other.Number != first.Number {
		t.Errorf("an owner sees how much others open: its first is %d", other.Number)
	}
	again := book(t)
	again.Again(1)
	if r := made(t, again, 1); r.Number <= next.Number {
		t.Errorf("a book after this one gives %d again", r.Number)
	}
	s.EndOwner(1)
	s.EndOwner(2)
	for _, id := range s.Unused() {
		s.Abandon(id)
	}
	if len(s.lastRef)+len(s.Instances()) > 0 {
		t.Error("something is left of owners that have ended")
	}
}

func TestRestore(t *testing.T) {
	s := book(t)
	r := made(t, s, 1)
	offer(t, s, 9, r, read, gate, 3)
	s.Refer(2, s.Make(board, 1, true).ID, read, 5, 0)
	lost := s.Make(frame, 1, false)

	again := book(t)
	for _, i := range s.Instances() {
		if err := again.RestoreInstance(*i); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []Owner{1, 2} {
		for _, r := range s.References(o) {
			if err := again.RestoreReference(*r); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, o := range s.OffersOf(1) {
		if err := again.RestoreOffer(*o); err != nil {
			t.Fatal(err)
		}
	}
	if got := again.Unused(); len(got) != 1 || got[0] != lost.ID {
		t.Errorf("unused: %v, want %d", got, lost.ID)
	}
	again.Abandon(lost.ID)
	s.Abandon(lost.ID)
	again.Abandon(r.Instance) // somebody has it
	if again.Instance(r.Instance) == nil {
		t.Error("what somebody has is given up")
	}
	if got, err := again.Reference(2, 1); err != nil || got.Asked != 5 {
		t.Errorf("%+v, %v", got, err)
	}
	// Nothing comes twice, and nothing of what is not there.
	for name, err := range map[string]error{
		"instance":       again.RestoreInstance(Instance{ID: r.Instance}),
		"second board":   again.RestoreInstance(Instance{ID: 77, Object: board, Shared: true}),
		"reference":      again.RestoreReference(*r),
		"of no instance": again.RestoreReference(Reference{Owner: 1, Number: 8, Instance: 99, Access: read}),
		"offer":          again.RestoreOffer(Offer{ID: 9, Instance: r.Instance, Access: read}),
		"offer of none":  again.RestoreOffer(Offer{ID: 10, Instance: 99, Access: read}),
	} {
		if err == nil {
			t.Errorf("%s: taken over", name)
		}
	}
	if m := again.Make(frame, 1, false); m.ID <= lost.ID {
		t.Errorf("instance %d is there again", m.ID)
	} else {
		again.Abandon(m.ID)
	}
}
