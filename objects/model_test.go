package objects

import (
	"math/rand/v2"
	"slices"
	"testing"

	"ward/abi"
)

// The model says in the plainest way what a book must: lists that are searched
// from front to back, and rights that are followed back to where they come from.
type model struct {
	t       *testing.T
	s       *Store
	refs    []modelRef
	offers  []modelOffer
	sealed  map[uint32]bool
	secret  map[uint32]bool
	shared  uint32
	ids     uint64
	ended   map[uint32]bool
	lingers map[uint32]bool
}

type modelRef struct {
	owner    Owner
	number   uint64
	instance uint32
	access   uint8
}

type modelOffer struct {
	id       uint64
	from, to End
	owner    Owner
	instance uint32
	access   uint8
}

// There are three owners and a gate between each two of them, and one of the
// first to itself.
var modelEnds = map[End]Owner{{1, 0}: 1, {1, 1}: 2, {2, 0}: 2, {2, 1}: 3, {3, 0}: 3, {3, 1}: 1, {4, 0}: 1, {4, 1}: 1}

func (m *model) alive(instance uint32) bool {
	return instance == m.shared ||
		slices.ContainsFunc(m.refs, func(r modelRef) bool { return r.instance == instance }) ||
		slices.ContainsFunc(m.offers, func(o modelOffer) bool { return o.instance == instance })
}

// end notes what the book says is not used any more: every third is not open, and
// ends, others linger.
func (m *model) end(ids ...uint32) {
	for _, id := range ids {
		if id == 0 {
			continue
		}
		if m.ended[id] || m.alive(id) {
			m.t.Fatalf("instance %d ends; twice: %v", id, m.ended[id])
		}
		m.ended[id] = true
		if id%3 == 0 {
			m.s.Abandon(id)
		} else {
			m.lingers[id] = true
		}
	}
}

func (m *model) step(op, a, b, c byte) {
	owner := Owner(a%3 + 1)
	access := c & 3
	end := End{uint32(b%4) + 1, b >> 2 & 1}
	ref := func() *modelRef { // some reference of the owner
		var own []int
		for i := range m.refs {
			if m.refs[i].owner == owner {
				own = append(own, i)
			}
		}
		if len(own) == 0 {
			return nil
		}
		return &m.refs[own[int(b)%len(own)]]
	}
	switch op % 10 {
	case 9: // something that lingered is not open any more
		for _, id := range m.s.Unused() {
			if !m.lingers[id] {
				m.t.Fatalf("instance %d is unused, and does not linger", id)
			}
			delete(m.lingers, id)
			m.s.Abandon(id)
			break
		}
	case 0: // make
		count := len(m.lingers)
		seen := map[uint32]bool{m.shared: true}
		note := func(i uint32) {
			if !seen[i] {
				seen[i] = true
				count++
			}
		}
		for _, r := range m.refs {
			note(r.instance)
		}
		for _, o := range m.offers {
			note(o.instance)
		}
		if may := m.s.CanMake(owner, frame, 9) == nil; may != (count < 9) {
			m.t.Fatalf("%d instances: one more may be made: %v", count, may)
		} else if !may {
			return
		}
		var i *Instance
		if b%4 == 3 {
			i = m.s.MakeSecret(frame, 1)
			m.secret[i.ID] = true
		} else {
			i = m.s.Make(frame, 1, false)
		}
		m.refer(m.s.Refer(owner, i.ID, both, 0, 0))
	case 1: // open by name
		if m.s.Shared(board) == nil {
			m.shared = m.s.Make(board, 1, true).ID
		}
		if Valid(access) {
			m.refer(m.s.Refer(owner, m.shared, access, 0, 0))
		}
	case 2, 3: // offer
		r := ref()
		if r == nil || modelEnds[end] != owner {
			return
		}
		m.offer(r, access, end)
	case 4, 5: // redeem, by whom it is for or another
		if len(m.offers) == 0 {
			return
		}
		k := int(c) % len(m.offers)
		o := m.offers[k]
		got, err := m.s.Offered(o.id, end)
		if (err == nil) != (end == o.to) {
			m.t.Fatalf("%+v arrives at %+v: %v", o, end, err)
		}
		if err != nil {
			return
		}
		m.refer(m.s.Refer(modelEnds[end], got.Instance, got.Access, 0, o.id))
		if n := len(m.refs) - 1; m.refs[n].access != o.access || m.refs[n].instance != o.instance {
			m.t.Fatalf("%+v was offered, %+v redeemed", o, m.refs[n])
		}
		m.offers = slices.Delete(m.offers, k, k+1)
		m.end(m.s.Withdraw(got))
	case 6: // drop
		r := ref()
		if r == nil {
			return
		}
		got, err := m.s.Reference(owner, r.number)
		if err != nil {
			m.t.Fatal(err)
		}
		gone := *r
		m.refs = slices.DeleteFunc(m.refs, func(o modelRef) bool { return o == gone })
		m.end(m.s.Drop(got))
		if _, err := m.s.Reference(owner, gone.number); err == nil {
			m.t.Fatal("a reference is found after its end")
		}
	case 7: // retract, by who made it or another
		if len(m.offers) == 0 {
			return
		}
		k := int(c) % len(m.offers)
		o := m.offers[k]
		got, err := m.s.Made(owner, o.id, end)
		if (err == nil) != (end == o.from && owner == o.owner) {
			m.t.Fatalf("%+v is retracted by %d at %+v: %v", o, owner, end, err)
		}
		if err == nil {
			m.offers = slices.Delete(m.offers, k, k+1)
			m.end(m.s.Withdraw(got))
		}
	case 8: // the end of an owner, or of a gate
		if c%2 == 0 {
			m.refs = slices.DeleteFunc(m.refs, func(r modelRef) bool { return r.owner == owner })
			m.end(m.s.EndOwner(owner)...)
			return
		}
		for _, o := range m.s.OffersAt(end.Gate) {
			m.offers = slices.DeleteFunc(m.offers, func(x modelOffer) bool { return x.id == o.ID })
			m.end(m.s.Withdraw(o))
		}
		if slices.ContainsFunc(m.offers, func(o modelOffer) bool { return o.from.Gate == end.Gate }) {
			m.t.Fatal("an offer outlives its gate")
		}
	}
}

// refer notes a new reference: nobody is given the right to write to what is sealed.
func (m *model) refer(r *Reference) {
	if Writes(r.Access) && m.sealed[r.Instance] {
		m.t.Fatalf("%+v: it is sealed", r)
	}
	if slices.ContainsFunc(m.refs, func(o modelRef) bool { return o.owner == r.Owner && o.number == r.Number }) {
		m.t.Fatalf("%+v: the owner has one of that number", r)
	}
	m.refs = append(m.refs, modelRef{r.Owner, r.Number, r.Instance, r.Access})
}

func (m *model) offer(r *modelRef, access uint8, end End) {
	writes, sealed, shared := access&abi.AccessWrite != 0, m.sealed[r.instance], r.instance == m.shared
	underway := slices.ContainsFunc(m.offers, func(o modelOffer) bool { return o.instance == r.instance && o.access&abi.AccessWrite != 0 })
	may := access&abi.AccessRead != 0 && access&^r.access == 0 && !shared && !m.secret[r.instance] && !(writes && sealed) && (writes || sealed || !underway)
	held := 0
	for _, o := range m.offers {
		if o.from == end {
			held++
		}
	}
	may = may && held < MaxOffers
	if err := m.s.CanOffer(r.owner, r.number, access, end, uint32(end.Gate), uint32(end.Side)); (err == nil) != may {
		m.t.Fatalf("%+v with %d at %+v: %v", r, access, end, err)
	}
	if !may {
		return
	}
	if m.s.MustSeal(m.s.Instance(r.instance), access) {
		m.s.Seal(r.instance)
		m.sealed[r.instance] = true
	}
	m.ids++
	m.s.Offer(Offer{ID: m.ids, End: end, Owner: r.owner, Payer: end.Gate, To: uint32(end.Side), Instance: r.instance, Access: access})
	m.offers = append(m.offers, modelOffer{m.ids, end, end.Other(), r.owner, r.instance, access})
}

func runModel(t *testing.T, ops []byte) {
	m := &model{t: t, s: New(), sealed: map[uint32]bool{}, secret: map[uint32]bool{}, ended: map[uint32]bool{}, lingers: map[uint32]bool{}}
	for ; len(ops) >= 4; ops = ops[4:] {
		if len(m.refs) < MaxReferences { // that of each owner is another test's
			m.step(ops[0], ops[1], ops[2], ops[3])
		} else {
			m.step(6, ops[1], ops[2], ops[3])
		}
		if err := m.s.Check(); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, i := range m.s.Instances() {
			if m.alive(i.ID) == m.lingers[i.ID] || i.Sealed != m.sealed[i.ID] {
				t.Fatalf("%+v goes on: %v, sealed %v", i, m.alive(i.ID), m.sealed[i.ID])
			}
			n++
		}
		for _, r := range m.refs {
			if m.s.Instance(r.instance) == nil {
				t.Fatalf("%+v: its instance has ended", r)
			}
		}
	}
}

func TestStoreAgainstModel(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		ops := make([]byte, 4*400)
		for i := range ops {
			ops[i] = byte(rng.Uint32())
		}
		runModel(t, ops)
	}
}

func FuzzStore(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 0, 0, 1, 4, 0, 4, 0, 6, 0, 0, 0, 8, 1, 0, 0})
	f.Add([]byte{1, 0, 0, 3, 2, 0, 0, 3, 4, 0, 4, 0, 8, 0, 0, 1})
	f.Fuzz(runModel)
}
