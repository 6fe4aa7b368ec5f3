package difftest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"ward/abi"
	"ward/image"
	"ward/kernel"
	"ward/policy"
)

// Messages for each loaded route, at least: of the comparison, and of the
// positive controls, for which other systems are worth more than other messages.
// perProgram is how many each loaded program judges, of which a route has one for
// requests and one for replies, and others after a swap. Controls do without.
const (
	perRoute        = 160
	perRouteControl = 40
	perProgram      = 100
)

type stats struct {
	systems, programs, swaps, messages, sent, large, records, cedar, validated int
	permits, forbids, defaults, bodies, refused                                int
	carried, handles                                                           int // messages admitted with a handle, denied for it
	states, rates, changed, tokens                                             int // denied for state, for a rate; words changed, tokens taken
	library, dropped                                                           int // judged by the receiver's library, too; by the kernel at its level
	short                                                                      int // programs for replies that judged fewer than perProgram: no call was admitted
}

// add adds the counts of another run.
func (s *stats) add(o *stats) {
	for _, p := range [][2]*int{{&s.systems, &o.systems}, {&s.programs, &o.programs}, {&s.swaps, &o.swaps}, {&s.messages, &o.messages}, {&s.sent, &o.sent},
		{&s.large, &o.large}, {&s.records, &o.records}, {&s.cedar, &o.cedar}, {&s.validated, &o.validated}, {&s.permits, &o.permits}, {&s.forbids, &o.forbids},
		{&s.defaults, &o.defaults}, {&s.bodies, &o.bodies}, {&s.refused, &o.refused}, {&s.states, &o.states}, {&s.rates, &o.rates}, {&s.changed, &o.changed},
		{&s.tokens, &o.tokens}, {&s.carried, &o.carried}, {&s.handles, &o.handles}, {&s.library, &o.library}, {&s.dropped, &o.dropped}, {&s.short, &o.short}} {
		*p[0] += *p[1]
	}
}

func (s *stats) count(p *packet, d decided, send bool) {
	s.messages++
	if send {
		s.sent++
	}
	if len(p.body) > maxPacket {
		s.large++
	}
	switch d.reason {
	case abi.ReasonPermit, abi.ReasonAdmit:
		s.permits++
	case abi.ReasonForbid:
		s.forbids++
	case abi.ReasonDefault:
		s.defaults++
	case abi.ReasonState:
		s.states++
	case abi.ReasonRate:
		s.rates++
	case abi.ReasonHandle:
		s.handles++
	default:
		s.bodies++
	}
}

func (s *stats) String() string {
	return fmt.Sprintf("%d messages (%d admitted, %d forbidden, %d by default, %d for their form or bounds, %d for state, %d for rates, %d for handles), %d with handles, %d words changed, %d tokens taken, %d programs (%d for replies that hardly any call had), %d swaps, %d systems; "+
		"%d really sent (%d of more than a page), %d audit records, %d decisions by Cedar, %d by protovalidate, %d by the library of the receiver; %d policies refused",
		s.messages, s.permits, s.forbids, s.defaults, s.bodies, s.states, s.rates, s.handles, s.carried, s.changed, s.tokens, s.programs, s.short, s.swaps, s.systems, s.sent, s.large, s.records, s.cedar, s.validated, s.library, s.refused)
}

// A mismatch is what this test looks for. It holds what repeats it.
type mismatch struct {
	src      *source
	lane     *lane
	packet   packet
	history  []step // the message is the last
	before   []step // makes the state that it met
	what     string
	verdicts string
}

func (m *mismatch) Error() string {
	img, f := m.lane.b.img, m.lane.iface()
	client := m.lane.who
	if client == "" {
		client = img.Domains[m.lane.route().Client].Name
	}
	direction := "request"
	if m.packet.dir == abi.Reply {
		direction = "reply"
	}
	return fmt.Sprintf("%s\n%s of %s/%s between %s and %s, kind %d, metadata %x, body %x\n%s\nafter %d steps, state %v\n%s%v", m.what, direction, f.Name, f.Methods[m.packet.method].Name,
		client, img.Domains[m.lane.route().Server].Name, m.packet.kind, m.packet.section, m.packet.body, m.text(), len(m.history)-1, m.before, m.verdicts, m.src)
}

// text is the message for people.
func (m *mismatch) text() string {
	method := m.lane.iface().Methods[m.packet.method]
	index := method.Request
	if m.packet.dir == abi.Reply {
		index = method.Reply
	}
	msg := dynamicpb.NewMessage(m.lane.b.res.Set.MessageTypes[index])
	if err := proto.Unmarshal(m.packet.body, msg); err != nil {
		return "message: " + err.Error()
	}
	return fmt.Sprintf("message %s {%v}", msg.Descriptor().Name(), msg)
}

func (l *lane) differs(p *packet, what string, want decided, got *decided, r *ruling) error {
	m := &mismatch{src: l.b.src, lane: l, packet: *p, what: what, before: l.snapshot(l.name())}
	m.history = slices.Clone(l.history)
	m.verdicts = fmt.Sprintf("Go: %v\n", want)
	if got != nil {
		m.verdicts += fmt.Sprintf("kernel: %v\n", *got)
	}
	if r != nil {
		m.verdicts += fmt.Sprintf("Cedar: %v\n", *r)
	}
	return m
}

// A runner makes random systems and has random messages judged.
type runner struct {
	stats     stats
	validator protovalidate.Validator
	each      int  // messages for each loaded route
	always    bool // ask the validator in every system, not in one of four
	busy      bool // every call changes state
	handles   bool // in one of four systems some messages carry handles
	damage    damage
}

// A damage is what a positive control does to images.
type damage struct {
	filter  func(*image.Image) // to that of the filters, nil: nothing
	compile func(*image.Image) // to what the compiler makes
	library func(*image.Image) // to that of the receiver's library
}

// system makes and runs system i of a seed, with at most limit messages.
func (x *runner) system(seed, i uint64, limit int) error {
	r := rand.New(rand.NewPCG(seed, i))
	b, err := x.generate(&generator{r: r, handles: x.handles && i%4 == 3})
	if err != nil {
		return err
	}
	return x.run(b, r, i, limit)
}

// generate makes a system that compiles.
func (x *runner) generate(g *generator) (*built, error) {
	src := &source{head: g.head()}
	src.domains = g.system()
	var b *built
	var err error
	for try := 0; b == nil; try++ {
		// Bounds that no value satisfies, or messages that no gate carries, are refused.
		if try%8 == 7 { // models may refuse what the domains say
			src.head = g.head()
			src.domains = g.system()
		}
		if src.proto = g.schema(); try == 60 {
			return nil, fmt.Errorf("no schema in %d is accepted: %w\n%v", try, err, src)
		}
		b, err = build(src, damage{})
	}
	return x.policies(g, src, b)
}

// policies gives a system random policies, in place of those it has. Options
// are those of policy.Compile.
func (x *runner) policies(g *generator, src *source, b *built, options ...policy.Option) (*built, error) {
	src.policies = nil
	author := newAuthor(g, b.res.Set)
	n := 6 + g.r.IntN(14)
	for i := range n {
		src.policies = append(src.policies, author.policy(i))
	}
	if len(g.states) > 0 {
		if x.busy {
			src.policies = append(src.policies, author.busy()...)
		}
		for i := range g.r.IntN(3) {
			src.policies = append(src.policies, author.carousel(i)...)
		}
		for i := range 6 + g.r.IntN(16) {
			src.policies = append(src.policies, author.stateful(i))
		}
	}
	// Many permits, so that most messages get to a decision.
	for i, a := range author.acts {
		if !a.reply && g.chance(2) {
			src.policies = append(src.policies, fmt.Sprintf(`@id("q%d") permit (principal, action == %s, resource)%s;`, i, a.action,
				pick(g.r, "", " when { "+author.aboutField(a.message, "context")+" }", " unless { "+author.aboutField(a.message, "context")+" }")))
		}
	}
	for try := 0; try < 200 && !x.accepted(g, src, b, options); try++ {
	}
	return build(src, x.damage, options...)
}

// A running is a system with all its routes loaded and a gate on each.
type running struct {
	*memory
	fabric *kernel.Fabric
	sides  map[string]*side // by name of the domain or user
	lanes  []*lane
	ring   int // bytes of the ring of a side
}

func (y *running) close() error {
	var err error
	for _, l := range y.lanes {
		err = errors.Join(err, l.close())
	}
	for _, s := range y.sides {
		err = errors.Join(err, s.close())
	}
	return errors.Join(err, y.fabric.Close())
}

// newRunning makes a fabric for a system, in the state that it begins with.
func newRunning(b *built, cfg kernel.FabricConfig) (*running, error) {
	cfg.Words, cfg.Buckets, cfg.Handles = b.img.Words, buckets, handleRows
	y := &running{sides: map[string]*side{}, ring: 64 << 10}
	var err error
	if y.fabric, err = kernel.NewFabric(cfg); err != nil {
		return nil, err
	}
	if y.memory, err = newMemory(y.fabric, b); err != nil {
		return nil, errors.Join(err, y.fabric.Close())
	}
	return y, nil
}

// buckets of a fabric: enough for all policies of a system, and of those that replace them.
const buckets = 1 << 14

// open adds a lane.
func (y *running) open(l *lane) error {
	l.memory = y.memory
	var ends [2]*side
	for i, id := range []abi.DomainID{l.route().Client, l.route().Server} {
		name := l.who
		if id != abi.NoDomain {
			name = l.b.img.Domains[id].Name
		}
		if y.sides[name] == nil {
			s, err := newSide(y.fabric, id, name, y.ring)
			if err != nil {
				return err
			}
			y.sides[name] = s
		}
		ends[i] = y.sides[name]
	}
	if err := l.open(y.fabric, ends[0], ends[1]); err != nil {
		return fmt.Errorf("route %d: %w\n%v", l.index, err, l.b.src)
	}
	y.lanes = append(y.lanes, l)
	return nil
}

// run loads all routes of a system, those of users for two of them, and has
// messages of all judged in turns.
func (x *runner) run(b *built, r *rand.Rand, i uint64, limit int) (err error) {
	x.stats.systems++
	n, auditAll := uint32(2*len(b.img.Routes)+1), r.IntN(2) == 0
	y, err := newRunning(b, kernel.FabricConfig{Gates: n, Programs: 2 * n, AuditAll: auditAll})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, y.close()) }()
	for k := range b.img.Routes {
		who := []string{""}
		if b.img.Routes[k].Client == abi.NoDomain {
			at := r.IntN(len(users))
			who = []string{users[at], users[(at+1)%len(users)]}
		}
		for _, u := range who {
			l := &lane{b: b, index: k, who: u, auditAll: auditAll, r: r, stats: &x.stats}
			if x.always || i%4 == 0 {
				l.validator = x.validator
			}
			if err := y.open(l); err != nil {
				return err
			}
			x.stats.programs += 2
		}
	}
	const turns = 4
	for turn := range turns {
		if turn == turns/2 && r.IntN(2) == 0 {
			if err := x.fill(y); err != nil {
				return err
			}
			if err := x.swap(y, r); err != nil {
				return err
			}
		}
		for _, l := range y.lanes {
			if err := l.exercise((x.each + turns - 1) / turns); err != nil {
				return err
			}
		}
		if x.stats.messages >= limit {
			break
		}
	}
	if err := x.fill(y); err != nil {
		return err
	}
	for _, l := range y.lanes {
		if err := l.remembered(); err != nil {
			return fmt.Errorf("%s: %w\n%v", l.name(), err, b.src)
		}
	}
	for name, s := range y.sides {
		if err := s.settle(); err != nil {
			return fmt.Errorf("%s: %w\n%v", name, err, b.src)
		}
	}
	return x.closed(b, r)
}

// swap compiles other policies for the same system, and puts them into the
// running one.
func (x *runner) swap(y *running, r *rand.Rand) error {
	if len(y.lanes) == 0 {
		return nil
	}
	old := y.lanes[0].b
	src := old.src.clone()
	g := &generator{r: r}
	if slices.Contains(src.head, "state:") {
		g.states = statesOf
	}
	for _, d := range old.res.System.Domains {
		if !d.Implicit {
			g.domains = append(g.domains, d.Name.Value)
		}
	}
	b, err := x.policies(g, src, old, policy.Running(old.img))
	if err != nil {
		return err
	}
	if !slices.Equal(b.img.Cells, old.img.Cells) {
		return fmt.Errorf("swap: cells do not keep their places\n%v\n%v", src, old.src)
	}
	for _, l := range y.lanes {
		if err := l.swap(b); err != nil {
			return fmt.Errorf("swap: %w\n%v", err, src)
		}
	}
	return nil
}

// fill goes on until every program has judged enough messages. One for replies
// may have none to judge: no call of its route is admitted.
func (x *runner) fill(y *running) error {
	if x.each < perProgram {
		return nil
	}
	for _, l := range y.lanes {
		before := l.seen[abi.Reply]
		for tries := 0; min(l.seen[0], l.seen[1]) < perProgram; tries++ {
			if tries > perProgram/4 && l.seen[abi.Request] >= perProgram && l.seen[abi.Reply]-before < tries/4 {
				break
			}
			l.hurry = l.seen[abi.Request] >= perProgram
			if err := l.exercise(1); err != nil {
				return err
			}
		}
		l.hurry = false
		switch {
		case l.seen[abi.Request] < perProgram:
			return fmt.Errorf("%s: its program for requests judged %d messages", l.name(), l.seen[abi.Request])
		case l.seen[abi.Reply] < perProgram:
			x.stats.short++
		}
	}
	return nil
}

// exercise sends messages of all methods both ways until there were n of them.
func (l *lane) exercise(n int) error {
	end := l.stats.messages + n
	for l.stats.messages < end {
		if err := l.shake(); err != nil {
			return err
		}
		if err := l.call(l.r.IntN(len(l.iface().Methods))); err != nil {
			return err
		}
	}
	return nil
}

// call makes one call and ends it.
func (l *lane) call(method int) error {
	m := &l.iface().Methods[method]
	l.way = abi.Request
	p := packet{kind: abi.KindCall, method: method, slot: uint16(l.r.IntN(abi.Slots)), gen: uint16(l.r.Uint32())}
	opened := false
	for try := 0; !opened && try < 4; try++ {
		p.section, p.body = l.section(), nil
		if !m.ClientStream {
			if p.body = l.body(m.Request); (try == 3 || try == 0 && l.hurry) && l.opening[method] != nil {
				p.section, p.body = nil, l.opening[method] // so that there are replies
			}
		}
		var err error
		if opened, err = l.judge(&p, l.real()); err != nil {
			return err
		}
	}
	if !opened {
		return nil
	}
	if p.section == nil && p.body != nil {
		l.opening[method] = p.body
	}
	if m.ClientStream {
		p.kind = abi.KindStreamItem
		for range 1 + l.r.IntN(6) {
			p.section, p.body = l.section(), l.body(m.Request)
			if _, err := l.judge(&p, l.real()); err != nil {
				return err
			}
		}
	}
	return l.answer(m, p)
}

// answer has the server answer the call of p, and end it.
func (l *lane) answer(m *image.Method, p packet) error {
	p.dir, p.kind, l.way = abi.Reply, abi.KindReply, abi.Reply
	if m.ServerStream {
		p.kind = abi.KindStreamItem
		for range 1 + l.r.IntN(5) {
			p.section, p.body = l.section(), l.body(m.Reply)
			if _, err := l.judge(&p, l.real()); err != nil {
				return err
			}
		}
		p.kind, p.section, p.body = abi.KindStreamEnd, l.section(), nil
	}
	if l.r.IntN(4) == 0 {
		p.kind, p.section, p.body = abi.KindError, l.section(), l.failure()
	} else if !m.ServerStream {
		p.section, p.body = l.section(), l.body(m.Reply)
	}
	_, err := l.judge(&p, l.real())
	return err
}

// real says whether a message is really sent: one in eight.
func (l *lane) real() bool { return l.r.IntN(8) == 0 }

func (l *lane) body(message uint32) []byte {
	s := &sampler{r: l.r, img: l.b.img, handle: l.handle}
	if l.names() && l.r.IntN(3) > 0 {
		name := pick(l.r, "z.v1.A", "z.v1.B", "ward.v1.Names", "z.v1.AB", "z.v1.")
		return append([]byte{0x0a, byte(len(name))}, name...)
	}
	for {
		if b := s.body(message, l.b.res.Set.MessageTypes[message]); len(b) <= maxBody {
			return b
		}
	}
}

// failure is the body of an error: one that is right, or nearly.
func (l *lane) failure() (b []byte) {
	bytes := func(b []byte, tag byte, n int) []byte {
		return append(protowire.AppendVarint(append(b, tag), uint64(n)), strings.Repeat("e", n)...)
	}
	if l.r.IntN(4) > 0 {
		b = protowire.AppendVarint(append(b, 1<<3), pick(l.r, uint64(0), 1, 5, 16, 17, 99, 1<<31, 1<<63))
	}
	if l.r.IntN(3) == 0 {
		b = bytes(b, 2<<3|2, pick(l.r, 0, 1, 100, 1024, 1025))
	}
	if l.r.IntN(4) == 0 {
		for range pick(l.r, 1, 2, 8, 9) {
			any := bytes(nil, 1<<3|2, pick(l.r, 0, 10, 256, 257))
			any = bytes(any, 2<<3|2, pick(l.r, 0, 20))
			b = append(protowire.AppendVarint(append(b, 3<<3|2), uint64(len(any))), any...)
		}
	}
	if l.r.IntN(4) == 0 {
		b = (&sampler{r: l.r}).mutate(b)
	}
	return b
}

// closed asks Cedar about pairs that have no route: it must permit nothing.
func (x *runner) closed(b *built, r *rand.Rand) error {
	img := b.img
	for c := range img.Domains {
		for s := range img.Domains {
			for _, e := range img.Domains[s].Exports {
				has := false
				for _, route := range img.Routes {
					has = has || int(route.Client) == c && int(route.Server) == s && route.Interface == e.Interface
				}
				if has || c == s || img.Domains[c].Names || img.Domains[s].Names {
					continue
				}
				route := image.Route{Client: abi.DomainID(c), Server: abi.DomainID(s), Interface: e.Interface}
				with := *b
				with.img = new(image.Image)
				*with.img = *img
				with.img.Routes = []image.Route{route}
				l := &lane{b: &with, r: r, memory: &memory{plain: newPlain(b.res.System.States)}}
				b.oracle.told = -1
				for m, method := range l.iface().Methods {
					for range 4 {
						msg := dynamicpb.NewMessage(b.res.Set.MessageTypes[method.Request])
						(&sampler{r: r, img: img}).fill(msg, method.Request)
						if got := b.oracle.ask(l, m, false, msg); got.allow {
							return fmt.Errorf("no route from %s to %s over %s, but Cedar says %v of {%v}\n%v", img.Domains[c].Name, img.Domains[s].Name, l.iface().Name, got, msg, b.src)
						}
						x.stats.cedar++
					}
				}
			}
		}
	}
	return nil
}
