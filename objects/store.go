package objects

import (
	"cmp"
	"maps"
	"slices"

	"ward/abi"
)

type refKey struct {
	owner  Owner
	number uint64
}

// A pair are a payer and a receiver.
type pair struct{ payer, to uint32 }

// A Store is the book. It is for one goroutine at a time. What it returns a
// pointer to is the book's own, to be read until the next change.
type Store struct {
	instances map[uint32]*Instance
	refs      map[refKey]*Reference
	offers    map[uint64]*Offer

	// Derived from those three.
	shared map[uint32]uint32 // the instance of a shared object
	made   map[uint32]uint32 // instances of an object
	held   map[Owner]int     // references
	atEnd  map[End]int       // offers
	paid   map[uint32]int    // offers of a payer
	sent   map[pair]int      // … for a receiver

	most         int // instances
	lastInstance uint32
	lastRef      map[Owner]uint64 // until the owner ends
	firstRef     uint64           // before the first that this book gives
}

// New returns an empty book.
func New() *Store {
	return &Store{most: MaxInstances, instances: map[uint32]*Instance{}, refs: map[refKey]*Reference{}, offers: map[uint64]*Offer{},
		shared: map[uint32]uint32{}, made: map[uint32]uint32{}, held: map[Owner]int{}, atEnd: map[End]int{}, paid: map[uint32]int{}, sent: map[pair]int{}, lastRef: map[Owner]uint64{}}
}

// Limit lowers the bound of instances in all.
func (s *Store) Limit(most int) { s.most = min(s.most, most) }

// CanMake reports why an owner cannot have one more instance of an object, of
// which there are to be at most count.
func (s *Store) CanMake(o Owner, object uint32, count uint32) error {
	if s.made[object] >= count {
		return refuse(abi.ReasonQuota, "there are %d instances, as many as system.yaml allows: close and unmap some, everywhere", count)
	}
	if len(s.instances) >= s.most {
		return refuse(abi.ReasonQuota, "there are %d instances of all objects of this system, which is the limit", s.most)
	}
	return s.CanRefer(o)
}

// CanRefer reports why an owner cannot have one more reference.
func (s *Store) CanRefer(o Owner) error {
	if s.held[o] >= MaxReferences {
		return refuse(abi.ReasonQuota, "this domain has %d objects open, which is the limit: close some", MaxReferences)
	}
	if len(s.refs) >= MaxReferencesInAll {
		return refuse(abi.ReasonQuota, "the domains of this system have %d objects open, which is the limit", MaxReferencesInAll)
	}
	return nil
}

// Held is how many references an owner has.
func (s *Store) Held(o Owner) int { return s.held[o] }

// Make adds an instance, without a reference to it. A shared one is that of
// its object from now on.
//
// Preconditions: CanMake; a shared object has no instance yet.
func (s *Store) Make(object uint32, size uint64, shared bool) *Instance {
	s.lastInstance++
	i := &Instance{ID: s.lastInstance, Object: object, Size: size, Shared: shared}
	s.addInstance(i)
	return i
}

// MakeSecret is Make of secret memory.
func (s *Store) MakeSecret(object uint32, size uint64) *Instance {
	i := s.Make(object, size, false)
	i.Secret = true
	return i
}

func (s *Store) addInstance(i *Instance) {
	s.instances[i.ID] = i
	s.made[i.Object]++
	if i.Shared {
		s.shared[i.Object] = i.ID
	}
}

// Shared returns the instance of a shared object, or nil.
func (s *Store) Shared(object uint32) *Instance { return s.instances[s.shared[object]] }

// Instance returns an instance, or nil.
func (s *Store) Instance(id uint32) *Instance { return s.instances[id] }

// Refer gives an owner a reference. Its number was no other's before, of this
// owner: who asks again, because the monitor has died, to end one that has ended
// does not end another.
//
// Preconditions: CanRefer; access is Valid, and does not write what is sealed; what
// is secret has no reference.
func (s *Store) Refer(o Owner, instance uint32, access uint8, asked uint32, via uint64) *Reference {
	s.lastRef[o] = max(s.lastRef[o], s.firstRef) + 1
	r := &Reference{Owner: o, Number: s.lastRef[o], Instance: instance, Access: access, Asked: asked, Via: via}
	s.addRef(r)
	return r
}

func (s *Store) addRef(r *Reference) {
	s.refs[refKey{r.Owner, r.Number}] = r
	s.held[r.Owner]++
	s.instances[r.Instance].uses++
}

// Reference finds what an owner calls by a number.
func (s *Store) Reference(o Owner, number uint64) (*Reference, error) {
	r := s.refs[refKey{o, number}]
	if r == nil {
		return nil, refuse(abi.ReasonHandle, "this domain has no object with the number %d", number)
	}
	return r, nil
}

// CanOffer reports why an owner cannot offer a reference with some rights at an
// end, to whom is at the other. An instance that is offered for reading only must be sealed before it is
// (MustSeal).
func (s *Store) CanOffer(o Owner, number uint64, access uint8, end End, payer, to uint32) error {
	r, err := s.Reference(o, number)
	if err != nil {
		return err
	}
	i := s.instances[r.Instance]
	switch {
	case !Valid(access):
		return refuse(abi.ReasonHandle, "an object is offered for reading, or for reading and writing")
	case i.Shared:
		return refuse(abi.ReasonHandle, "shared memory is not passed on: whoever may have it opens it by its name")
	case i.Secret:
		return refuse(abi.ReasonHandle, "secret memory is not passed on: only who made it has it")
	case Writes(access) && i.Sealed:
		return refuse(abi.ReasonState, "it is sealed against writing, for good: it was offered for reading before")
	case access&^r.Access != 0:
		return refuse(abi.ReasonHandle, "this domain may only read it, and passes on no more than that")
	case s.atEnd[end] >= MaxOffers:
		return refuse(abi.ReasonQuota, "%d handles of this end of the gate were not redeemed, which is the limit", MaxOffers)
	case s.sent[pair{payer, to}] >= MaxOffersTo:
		return refuse(abi.ReasonQuota, "%d handles for the same domain were not redeemed, which is the limit", MaxOffersTo)
	case s.paid[payer] >= MaxOffersOf:
		return refuse(abi.ReasonQuota, "%d handles of this domain were not redeemed, which is the limit", MaxOffersOf)
	case len(s.offers) >= abi.MaxHandles:
		return refuse(abi.ReasonQuota, "%d handles of this system were not redeemed, which is the limit", abi.MaxHandles)
	}
	if !s.MustSeal(i, access) {
		return nil
	}
	for _, other := range s.offers {
		if other.Instance == i.ID && Writes(other.Access) {
			return refuse(abi.ReasonState, "a handle with the right to write it is on its way, so it cannot be sealed: wait until it was redeemed, or retract it")
		}
	}
	return nil
}

// MustSeal reports whether an instance is to be sealed before it is offered.
func (s *Store) MustSeal(i *Instance, access uint8) bool {
	return !Writes(access) && !i.Sealed
}

// Seal notes that an instance is sealed: no reference to it writes any more.
func (s *Store) Seal(instance uint32) { s.instances[instance].Sealed = true }

// Offer adds an offer.
//
// Preconditions: CanOffer, of a reference to the same instance; it is sealed if
// it must be; no offer has its number.
func (s *Store) Offer(o Offer) { s.addOffer(&o) }

func (s *Store) addOffer(o *Offer) {
	s.offers[o.ID] = o
	s.atEnd[o.End]++
	s.paid[o.Payer]++
	s.sent[pair{o.Payer, o.To}]++
	s.instances[o.Instance].uses++
}

// Offered finds an offer that arrives at an end, by its number in the message.
func (s *Store) Offered(id uint64, end End) (*Offer, error) {
	o := s.offers[id]
	if o == nil || o.End != end.Other() {
		return nil, refuse(abi.ReasonHandle, "nothing came to this end of the gate by this handle, or it was redeemed before")
	}
	return o, nil
}

// Made finds an offer that an owner made at an end.
func (s *Store) Made(owner Owner, id uint64, end End) (*Offer, error) {
	o := s.offers[id]
	if o == nil || o.End != end || o.Owner != owner {
		return nil, refuse(abi.ReasonHandle, "this domain has offered nothing by this handle at this end of the gate")
	}
	return o, nil
}

// Drop ends a reference. The result is the instance of which it was the last use,
// or 0. It lingers, and counts, until Abandon.
//
// Preconditions: the reference is there.
func (s *Store) Drop(r *Reference) (unused uint32) {
	delete(s.refs, refKey{r.Owner, r.Number})
	count(s.held, r.Owner)
	return s.release(r.Instance)
}

// EndOwner ends all references of an owner, who never comes back. The result
// are the instances that linger from now on. What it offered stays.
func (s *Store) EndOwner(o Owner) (unused []uint32) {
	for _, r := range s.References(o) {
		if id := s.Drop(r); id != 0 {
			unused = append(unused, id)
		}
	}
	delete(s.lastRef, o)
	return unused
}

// Withdraw ends an offer, redeemed or not. The result is as of Drop.
//
// Preconditions: the offer is there.
func (s *Store) Withdraw(o *Offer) (unused uint32) {
	delete(s.offers, o.ID)
	count(s.atEnd, o.End)
	count(s.paid, o.Payer)
	count(s.sent, pair{o.Payer, o.To})
	return s.release(o.Instance)
}

// release ends one use of an instance.
func (s *Store) release(instance uint32) (unused uint32) {
	i := s.instances[instance]
	if i.uses--; i.uses > 0 || i.Shared {
		return 0
	}
	return instance
}

// Abandon ends an instance without references and offers: nobody has it open any
// more, or its making failed half-way.
func (s *Store) Abandon(instance uint32) {
	if i := s.instances[instance]; i != nil && i.uses == 0 {
		s.remove(i)
	}
}

func (s *Store) remove(i *Instance) {
	delete(s.instances, i.ID)
	count(s.made, i.Object)
	if i.Shared {
		delete(s.shared, i.Object)
	}
}

// count takes one off, and forgets what is not there any more.
func count[K comparable, N int | uint32](m map[K]N, key K) {
	if m[key]--; m[key] == 0 {
		delete(m, key)
	}
}

// References are those of an owner, in the order of their numbers.
func (s *Store) References(o Owner) (list []*Reference) {
	if s.held[o] == 0 {
		return nil
	}
	for k, r := range s.refs {
		if k.owner == o {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *Reference) int { return cmp.Compare(a.Number, b.Number) })
	return list
}

// OffersOf are the offers that an owner made, in the order of their numbers.
func (s *Store) OffersOf(o Owner) []*Offer {
	return s.offersThat(func(f *Offer) bool { return f.Owner == o })
}

// OffersAt are the offers at both ends of a gate, likewise.
func (s *Store) OffersAt(gate uint32) []*Offer {
	if s.atEnd[End{gate, 0}]+s.atEnd[End{gate, 1}] == 0 {
		return nil
	}
	return s.offersThat(func(f *Offer) bool { return f.End.Gate == gate })
}

// ByNumber returns the offer with a number, or nil, whoever made it.
func (s *Store) ByNumber(id uint64) *Offer { return s.offers[id] }

func (s *Store) offersThat(are func(*Offer) bool) (list []*Offer) {
	for _, o := range s.offers {
		if are(o) {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b *Offer) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Instances are all instances, in the order of their numbers.
func (s *Store) Instances() []*Instance {
	return slices.SortedFunc(maps.Values(s.instances), func(a, b *Instance) int { return cmp.Compare(a.ID, b.ID) })
}
