package difftest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// Two senders at the same time, on gates of their own that share words of
// domains and of the system. Afterwards there must be one order of all changes
// of a word, that of its count, in which the plain model and Cedar come to the
// same values and the same verdicts.

// A sent is a message of one of the senders, with what became of it.
type sent struct {
	l          *lane
	packet     packet
	msg        *dynamicpb.Message
	start, end uint64 // CLOCK_BOOTTIME ns, around the write
	verdict    abi.VerdictWord
	record     abi.Record
	charged    []string // policies whose buckets gave a token, as Cedar has it
}

// rounds is the number of messages of each sender; less than the 65,536
// changes after which the count of a word begins again.
const rounds = 400

// concurrentSystems is how many systems two senders are let loose on.
const concurrentSystems = 24

// TestConcurrent lets two senders race in random systems with state.
func TestConcurrent(t *testing.T) {
	needRoot(t)
	seed := number64(t, envSeed, rand.Uint64())
	t.Logf("%s=%d", envSeed, seed)
	var c counts
	for i, done := uint64(0), 0; done < concurrentSystems; i++ {
		if i == 20*concurrentSystems {
			t.Fatalf("only %d systems in which two senders share a word", done)
		}
		ran, err := concurrent(seed, i, nil, &c)
		if err != nil {
			t.Fatalf("%s=%d, system %d: %v", envSeed, seed, i, err)
		}
		if ran {
			done++
		}
	}
	t.Logf("%d messages in %d systems: %d changed a shared word, %d of them right after the other sender; %d denied for state, %d for a rate, %d lost races; %d verdicts by Cedar",
		c.messages, concurrentSystems, c.changes, c.turns, c.states, c.rates, c.races, c.asked)
	if c.changes < 200 || c.turns < 20 {
		t.Error("the senders hardly ever meet")
	}
}

// TestConcurrentCatches is the positive control: what the two senders leave
// behind is not explained by a system with other moves.
func TestConcurrentCatches(t *testing.T) {
	needRoot(t)
	anywhere := wrongs[slices.IndexFunc(wrongs, func(w struct {
		name  string
		form  bool
		spoil func(*image.Image)
	}) bool {
		return w.name == "a state may go anywhere"
	})].spoil
	for i := range uint64(20 * concurrentSystems) {
		if _, err := concurrent(1, i, anywhere, &counts{}); err != nil {
			t.Log(err)
			return
		}
	}
	t.Error("not caught")
}

type counts struct{ messages, changes, turns, states, rates, races, asked int }

// concurrent runs system i of a seed. It reports whether it has two lanes that
// share a word which both change.
func concurrent(seed, i uint64, spoil func(*image.Image), c *counts) (ran bool, err error) {
	r := rand.New(rand.NewPCG(seed, i))
	x := &runner{busy: r.IntN(2) == 0, damage: damage{filter: spoil}}
	b, err := x.generate(&generator{r: r})
	if err != nil || len(b.img.Cells) == 0 {
		return false, err
	}
	pair := sharing(b, r)
	if pair == nil {
		return false, nil
	}
	y, err := newRunning(b, kernel.FabricConfig{Gates: 2, Programs: 4, AuditAll: true})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, y.close()) }()
	y.ring = 1 << 20 // room for all records of a sender
	var lanes []*lane
	for _, route := range pair {
		l := &lane{b: b, index: route, auditAll: true, r: rand.New(rand.NewPCG(r.Uint64(), r.Uint64())), stats: &x.stats}
		if b.img.Routes[route].Client == abi.NoDomain {
			l.who = users[len(lanes)]
		}
		if err := y.open(l); err != nil {
			return false, err
		}
		lanes = append(lanes, l)
	}
	initial := slices.Clone(y.words)
	all := make([][]*sent, len(lanes))
	errs := make([]error, len(lanes))
	var wg sync.WaitGroup
	start := make(chan struct{})
	for k, l := range lanes {
		wg.Go(func() {
			<-start
			for len(all[k]) < rounds && errs[k] == nil {
				errs[k] = l.race(&all[k])
			}
		})
	}
	close(start)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return false, fmt.Errorf("%w\n%v", err, b.src)
	}
	if err := y.match(lanes, all); err != nil {
		return false, err
	}
	e := &explanation{y: y, initial: initial, counts: c}
	if err := e.explain(slices.Concat(all...)); err != nil {
		return false, fmt.Errorf("%w\n%v", err, b.src)
	}
	return true, nil
}

// sharing picks two routes of which some message each changes the same word,
// which is not that of a gate; nil if there are none. Of users one route is enough.
func sharing(b *built, r *rand.Rand) []int {
	of := map[uint32][]int{}
	for i := range b.img.Routes {
		route := &b.img.Routes[i]
		if b.img.Domains[route.Server].Names {
			continue
		}
		for _, m := range route.Methods {
			for _, d := range []*image.Decision{&m.Request, &m.Reply} {
				for _, p := range d.Permit {
					for _, e := range p.Enter {
						if w := b.img.Cells[e.Cell].Word; w != image.GateWord && !slices.Contains(of[w], i) {
							of[w] = append(of[w], i)
						}
					}
				}
			}
		}
	}
	var pairs [][]int
	for w := range b.img.Words {
		if n := len(of[w]); n > 1 {
			k := r.IntN(n)
			pairs = append(pairs, []int{of[w][k], of[w][(k+1)%n]})
		} else if n == 1 {
			pairs = append(pairs, []int{of[w][0], of[w][0]})
		}
	}
	if len(pairs) == 0 {
		return nil
	}
	return pick(r, pairs...)
}

// race makes one call and answers it, whatever becomes of it.
func (l *lane) race(all *[]*sent) error {
	method := l.r.IntN(len(l.iface().Methods))
	m := &l.iface().Methods[method]
	p := packet{kind: abi.KindCall, method: method, slot: 0, gen: uint16(len(*all))}
	if !m.ClientStream {
		p.body = l.body(m.Request)
	}
	ok, err := l.shoot(p, all)
	if err != nil || !ok {
		return err
	}
	if m.ClientStream {
		p.kind = abi.KindStreamItem
		for range 3 {
			p.body = l.body(m.Request)
			if _, err := l.shoot(p, all); err != nil {
				return err
			}
		}
	}
	p.dir, p.kind = abi.Reply, abi.KindReply
	if m.ServerStream {
		p.kind = abi.KindStreamItem
		for range 3 {
			p.body = l.body(m.Reply)
			if _, err := l.shoot(p, all); err != nil {
				return err
			}
		}
		p.kind, p.body = abi.KindStreamEnd, nil
	} else {
		p.body = l.body(m.Reply)
	}
	for { // a reply that lost a race may be sent again: its call is pending
		if _, err = l.shoot(p, all); err != nil || (*all)[len(*all)-1].verdict.Reason() != abi.ReasonRace {
			return err
		}
	}
}

// shoot sends a message and notes what the filter said.
func (l *lane) shoot(p packet, all *[]*sent) (bool, error) {
	s := &sent{l: l, packet: p, start: now()}
	from, to := l.gate.Client, l.gate.Server
	block := l.gate.ClientBlock
	if p.dir == abi.Reply {
		from, to, block = to, from, l.gate.ServerBlock
	}
	if _, err := unix.Write(int(from.Fd()), p.bytes()); err != nil {
		return false, fmt.Errorf("write: %w", err)
	}
	s.end = now()
	s.verdict = abi.VerdictWord(binary.LittleEndian.Uint64(l.sides[p.dir].page[(int(block)*abi.PageBlock+abi.PageSlots+int(p.slot))*8:]))
	*all = append(*all, s)
	if _, err := unix.Read(int(to.Fd()), l.buf); err != nil && !errors.Is(err, unix.EAGAIN) {
		return false, fmt.Errorf("read: %w", err)
	}
	return s.verdict.Reason().Allowed(), nil
}

func now() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err)
	}
	return uint64(ts.Nano())
}

// match reads the records, and gives each message its own.
func (y *running) match(lanes []*lane, all [][]*sent) error {
	next := map[*lane][2]int{}
	for name, s := range y.sides {
		if err := s.ring.Drain(); err != nil {
			return err
		}
		for {
			r, err := s.ring.Read()
			if err != nil {
				break
			}
			k := slices.IndexFunc(lanes, func(l *lane) bool { return l.gate.Index == r.Gate })
			at := next[lanes[k]]
			for at[r.Dir] < len(all[k]) && all[k][at[r.Dir]].packet.dir != r.Dir {
				at[r.Dir]++
			}
			if at[r.Dir] == len(all[k]) {
				return fmt.Errorf("%s: a record of a message that nobody sent: %+v", name, r)
			}
			x := all[k][at[r.Dir]]
			at[r.Dir]++
			next[lanes[k]] = at
			x.record = r
			if r.Reason != x.verdict.Reason() || r.Kind != x.packet.kind || r.Gen != x.packet.gen || r.Method != uint32(x.packet.method) {
				return fmt.Errorf("%s: the record %+v is not of the message %+v", name, r, x.packet)
			}
		}
	}
	for _, list := range all {
		for _, x := range list {
			if x.record.Seq == 0 {
				return fmt.Errorf("no record of %+v", x.packet)
			}
			if x.record.Reason >= abi.ReasonShort && x.record.Reason < abi.ReasonRate && x.record.Reason != abi.ReasonRace {
				continue
			}
			m := x.l.iface().Methods[x.packet.method]
			if x.record.Reason == abi.ReasonAdmit || x.packet.kind == abi.KindCall && m.ClientStream {
				continue // no message
			}
			index := m.Request
			if x.packet.dir == abi.Reply {
				index = m.Reply
			}
			x.msg = dynamicpb.NewMessage(x.l.b.res.Set.MessageTypes[index])
			if err := proto.Unmarshal(x.packet.body, x.msg); err != nil {
				return err
			}
		}
	}
	return nil
}

// word is the word of state that a record tells, and ok whether it does.
func (s *sent) word() (w uint32, ok bool) {
	if s.record.Word == 0 {
		return 0, false
	}
	return s.l.spec.Programs[s.packet.dir].Words[s.packet.method][s.record.Word-1], true
}

func count(word uint64) uint64 { return word >> image.StateBits }
