package objects

import (
	"errors"
	"fmt"
)

// The book of a monitor that has died is written again from what it kept:
// instances, then references and offers.

// Again begins the numbers of references anew, in front of those that monitors
// before this one gave: epoch counts the monitors, from 1 for the second.
func (s *Store) Again(epoch uint32) { s.firstRef = uint64(epoch) << 32 }

// RestoreInstance takes over an instance.
func (s *Store) RestoreInstance(i Instance) error {
	if i.ID == 0 || s.instances[i.ID] != nil || i.Shared && s.Shared(i.Object) != nil {
		return fmt.Errorf("instance %d is there twice, or another one of its object", i.ID)
	}
	i.uses = 0
	s.lastInstance = max(s.lastInstance, i.ID)
	s.addInstance(&i)
	return nil
}

// RestoreReference takes over a reference.
func (s *Store) RestoreReference(r Reference) error {
	if r.Number == 0 || s.refs[refKey{r.Owner, r.Number}] != nil || s.instances[r.Instance] == nil || !Valid(r.Access) {
		return fmt.Errorf("reference %d of %d: it is there twice, or its instance is not", r.Number, r.Owner)
	}
	s.lastRef[r.Owner] = max(s.lastRef[r.Owner], r.Number)
	s.addRef(&r)
	return nil
}

// RestoreOffer takes over an offer.
func (s *Store) RestoreOffer(o Offer) error {
	if o.ID == 0 || s.offers[o.ID] != nil || s.instances[o.Instance] == nil || o.End.Side > 1 || !Valid(o.Access) {
		return fmt.Errorf("offer %d: it is there twice, or its instance is not", o.ID)
	}
	s.addOffer(&o)
	return nil
}

// Unused are the instances without references and offers, which are not shared:
// those that linger, and those that a monitor that died was making.
func (s *Store) Unused() (list []uint32) {
	for _, i := range s.Instances() {
		if i.uses == 0 && !i.Shared {
			list = append(list, i.ID)
		}
	}
	return list
}

// Check reports an invariant that does not hold. It is for tests.
func (s *Store) Check() error {
	uses, made, held, atEnd, paid, sent := map[uint32]int{}, map[uint32]uint32{}, map[Owner]int{}, map[End]int{}, map[uint32]int{}, map[pair]int{}
	for id, i := range s.instances {
		made[i.Object]++
		if i.ID != id || id > s.lastInstance || i.Shared && s.shared[i.Object] != id {
			return fmt.Errorf("instance %d: %+v", id, i)
		}
	}
	for k, r := range s.refs {
		uses[r.Instance]++
		held[r.Owner]++
		if k != (refKey{r.Owner, r.Number}) || r.Number == 0 || r.Number > s.lastRef[r.Owner] || s.instances[r.Instance] == nil || !Valid(r.Access) {
			return fmt.Errorf("reference %+v: %+v", k, r)
		}
	}
	for id, o := range s.offers {
		uses[o.Instance]++
		atEnd[o.End]++
		paid[o.Payer]++
		sent[pair{o.Payer, o.To}]++
		i := s.instances[o.Instance]
		if o.ID != id || i == nil || !Valid(o.Access) {
			return fmt.Errorf("offer %d: %+v", id, o)
		}
		if Writes(o.Access) == i.Sealed || i.Shared || i.Secret {
			return fmt.Errorf("offer %d of %+v: %+v", id, i, o)
		}
	}
	for id, i := range s.instances {
		if i.uses != uses[id] {
			return fmt.Errorf("instance %d has %d uses, %d are counted", id, uses[id], i.uses)
		}
		if i.Secret && i.uses > 1 {
			return fmt.Errorf("secret instance %d is had %d times", id, i.uses)
		}
	}
	if !same(made, s.made) || !same(held, s.held) || !same(atEnd, s.atEnd) || !same(paid, s.paid) || !same(sent, s.sent) {
		return errors.New("what is counted is not what there is")
	}
	for _, n := range held {
		if n > MaxReferences {
			return fmt.Errorf("%d references", n)
		}
	}
	for _, n := range atEnd {
		if n > MaxOffers {
			return fmt.Errorf("%d offers at an end", n)
		}
	}
	for _, n := range paid {
		if n > MaxOffersOf {
			return fmt.Errorf("%d offers of a payer", n)
		}
	}
	for _, n := range sent {
		if n > MaxOffersTo {
			return fmt.Errorf("%d offers of a payer for one receiver", n)
		}
	}
	return nil
}

func same[K comparable, N comparable](a, b map[K]N) bool {
	for k, n := range a {
		if b[k] != n {
			return false
		}
	}
	return len(a) == len(b)
}
