package difftest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"github.com/cedar-policy/cedar-go/types"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"ward/abi"
	"ward/filter"
	"ward/image"
	"ward/kernel"
	"ward/policy/eval"
	"ward/system"
)

// maxPacket is the largest packet that a test run takes: less than a page with
// room for what the kernel keeps there. Larger ones are really sent. maxBody
// keeps those within what the filter walks: see abi.MaxSteps.
const (
	maxPacket = 3500
	maxBody   = 60_000
)

// A lane is a loaded route with an open gate, both of its ends in this process.
type lane struct {
	b         *built
	index     int    // of the route
	who       string // the user, on a route of users
	auditAll  bool
	validator protovalidate.Validator // nil: not asked
	r         *rand.Rand
	stats     *stats
	*memory
	word   uint64            // of the gate
	beside map[uint32]string // metadata of the message that is judged, by index of the key

	pending map[uint16]packet // calls that are not answered, by slot
	spec    *filter.Spec
	sides   [2]*side // by direction: who sends
	closers []func() error
	loaded  *kernel.Route
	gate    *kernel.Gate
	runs    [2]*kernel.Runner
	opening map[int][]byte // by method: a request that was admitted
	seen    [2]int         // messages that the programs of both directions have judged
	hurry   bool           // calls begin with such a request: replies are missing
	buf     []byte
	library receiver
	offers
}

// blocks is the number of gate ends of a side.
const blocks = 64

// A side is a domain, or a user, as the fabric knows it.
type side struct {
	name    string
	end     *kernel.Endpoint
	page    []byte
	ring    *kernel.Ring
	records uint64 // that must have been written
}

func newSide(f *kernel.Fabric, id abi.DomainID, name string, ring int) (*side, error) {
	var e *kernel.Endpoint
	var err error
	if id == abi.NoDomain {
		e, err = f.AddUser(uint32(1000+slices.Index(users, name)), blocks, ring)
	} else {
		e, err = f.AddEndpoint(id, 0, blocks, ring)
	}
	if err != nil {
		return nil, err
	}
	s := &side{name: name, end: e}
	if s.page, err = unix.Mmap(int(e.Page().Fd()), 0, blocks*abi.PageBlock*8, unix.PROT_READ, unix.MAP_SHARED); err == nil {
		s.ring, err = kernel.OpenRing(e.Ring())
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *side) close() error {
	var err error
	if s.ring != nil {
		err = s.ring.Close()
	}
	if s.page != nil {
		err = errors.Join(err, unix.Munmap(s.page))
	}
	return errors.Join(err, s.end.Close())
}

// settle makes sure that there are no records but those that were asked for.
func (s *side) settle() error {
	if err := s.ring.Drain(); err != nil {
		return err
	}
	if r, err := s.ring.Read(); err == nil {
		return fmt.Errorf("a record that nothing asked for: %+v", r)
	}
	c, err := s.end.Counters()
	if err == nil && (c.Records != s.records || c.Lost != 0) {
		err = fmt.Errorf("counters %+v, but %d records", c, s.records)
	}
	return err
}

func (l *lane) route() *image.Route     { return &l.b.img.Routes[l.index] }
func (l *lane) iface() *image.Interface { return &l.b.img.Interfaces[l.route().Interface] }
func (l *lane) names() bool             { return l.b.img.Domains[l.route().Server].Names }

// name is the lane's in the plain model, in histories and in every image of the system.
func (l *lane) name() string {
	client := "user " + l.who
	if l.who == "" {
		client = l.b.img.Domains[l.route().Client].Name
	}
	return client + " " + l.b.img.Domains[l.route().Server].Name + " " + l.iface().Name
}

// trusted reports whether a caller is spared conditions on parameters: the
// export says so, and the caller is in the server's ring or above it.
func (l *lane) trusted(method int) bool {
	if l.who != "" {
		return false
	}
	find := func(id abi.DomainID) *system.Domain {
		for _, d := range l.b.res.System.Domains {
			if d.Name.Value == l.b.img.Domains[id].Name {
				return d
			}
		}
		return nil
	}
	client, server := find(l.route().Client), find(l.route().Server)
	if slices.Index(ringNames, client.Ring.Value) > slices.Index(ringNames, server.Ring.Value) {
		return false
	}
	for _, e := range server.Exports {
		if e.Interface.Value == l.iface().Name {
			return e.Trust.Value != "" || slices.ContainsFunc(e.Methods, func(m system.ExportMethod) bool {
				return m.Name.Value == l.iface().Methods[method].Name && m.Trust.Value != ""
			})
		}
	}
	return false
}

// principal is the client as Cedar names it.
func (l *lane) principal() types.EntityUID {
	if l.route().Client == abi.NoDomain {
		return uid("User", l.who)
	}
	return uid("Domain", l.b.img.Domains[l.route().Client].Name)
}

// blueprint builds the filters of the route, for its user if it has one.
func (l *lane) blueprint() (*filter.Spec, error) {
	img := l.b.wrong
	atoms := filter.Atoms{User: slices.Index(img.Users, l.who)}
	for i, g := range img.Groups {
		if slices.Contains(userGroups[l.who], g) {
			atoms.Groups = append(atoms.Groups, i)
		}
	}
	return filter.Build(img, uint32(l.index), atoms)
}

// swap replaces the policy of the lane, whose gate stays open, by that of
// another image of the same system. It does nothing if that has no such route.
func (l *lane) swap(b *built) error {
	r := l.route()
	i := slices.IndexFunc(b.img.Routes, func(x image.Route) bool {
		return x.Client == r.Client && x.Server == r.Server && x.Interface == r.Interface
	})
	if i < 0 {
		return nil
	}
	l.b, l.index, l.opening = b, i, map[int][]byte{}
	var err error
	if l.spec, err = l.blueprint(); err != nil {
		return err
	}
	l.stats.swaps++
	l.stats.programs += 2
	l.seen = [2]int{}
	return l.loaded.Replace(l.spec)
}

// open loads a route between two sides and opens a gate on it.
func (l *lane) open(f *kernel.Fabric, client, server *side) (err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.spec, err = l.blueprint(); err != nil {
		return err
	}
	l.word, l.pending = l.b.img.Initial(image.GateWord), map[uint16]packet{}
	l.opening, l.buf, l.sides = map[int][]byte{}, make([]byte, abi.MaxMessage), [2]*side{client, server}
	if l.loaded, err = f.Load(l.spec, client.end, server.end); err != nil {
		return err
	}
	l.closers = append(l.closers, l.loaded.Close)
	if l.gate, err = f.Open(l.loaded); err != nil {
		return err
	}
	for _, f := range []*os.File{l.gate.Client, l.gate.Server} {
		l.closers = append(l.closers, f.Close)
		if err := unix.SetNonblock(int(f.Fd()), true); err != nil {
			return err
		}
	}
	l.closers = append(l.closers, l.gate.Close)
	for dir := range l.runs {
		if l.runs[dir], err = l.gate.Runner(abi.Direction(dir)); err != nil {
			return err
		}
		l.closers = append(l.closers, l.runs[dir].Close)
	}
	return nil
}

func (l *lane) close() error {
	var errs error
	for _, c := range slices.Backward(l.closers) {
		errs = errors.Join(errs, c())
	}
	l.closers = nil
	return errs
}

// A packet is a message whose header is right.
type packet struct {
	dir       abi.Direction
	kind      abi.Kind
	method    int
	slot, gen uint16
	section   []byte // of metadata; nil: none
	body      []byte
}

func (p *packet) bytes() []byte {
	h := abi.Header{Kind: p.kind, Method: uint32(p.method), Slot: p.slot, Gen: p.gen}
	b := make([]byte, abi.HeaderSize, abi.HeaderSize+2+len(p.section)+len(p.body))
	if p.section != nil {
		h.Flags = abi.FlagMetadata
		b = append(binary.LittleEndian.AppendUint16(b, uint16(len(p.section))), p.section...)
	}
	b = append(b, p.body...)
	h.Length = uint32(len(b) - abi.HeaderSize)
	h.Put(b)
	return b
}

// decided is a verdict.
type decided struct {
	reason abi.Reason
	detail uint32
	policy string // its ID, if one decided
	audit  bool   // a record is asked for
	wait   uint64 // ReasonRate: ns until the bucket that is longest empty has a token
	after  *change
}

func (d decided) String() string {
	if d.policy != "" {
		return fmt.Sprintf("reason %d by %q", d.reason, d.policy)
	}
	return fmt.Sprintf("reason %d, detail %d", int(d.reason), int32(d.detail))
}

// expect is what the Go side says of a packet; msg is the message if its
// policy was asked, w the check of its body.
func (l *lane) expect(p *packet) (want decided, msg *dynamicpb.Message, w *walk, err error) {
	img := l.b.img
	m := &l.iface().Methods[p.method]
	w = &walk{img: img}
	l.beside, l.heard = nil, nil
	if p.section != nil && !w.message(metadata(img, l.route()), p.section, 0) {
		return decided{reason: abi.ReasonMetadata, audit: true}, nil, w, nil
	}
	l.beside = besideOf(p.section)
	rules := &l.route().Methods[p.method]
	if p.section != nil && (p.dir == abi.Request && rules.Request.Silent || p.dir == abi.Reply && rules.Reply.Silent) {
		return decided{reason: abi.ReasonMetadata, audit: true}, nil, w, nil
	}
	none := decided{reason: abi.ReasonAdmit, detail: abi.NoPolicy}
	d, index := &rules.Request, m.Request
	if p.dir == abi.Reply {
		d, index = &rules.Reply, m.Reply
	}
	switch {
	case p.dir == abi.Reply && (p.kind == abi.KindError || p.kind == abi.KindStreamEnd):
		terse := l.terse(d)
		if terse && p.section != nil {
			return decided{reason: abi.ReasonMetadata, audit: true}, nil, w, nil
		}
		if p.kind == abi.KindError {
			with, root := status(img, terse)
			if w.img = with; !w.message(root, p.body, 0) {
				return decided{reason: w.reason, detail: w.field, audit: true}, nil, w, nil
			}
		}
		return none, nil, w, nil
	case p.kind == abi.KindStreamEnd:
		return none, nil, w, nil
	case p.kind == abi.KindCall && m.ClientStream:
		if !slices.ContainsFunc(d.Permit, func(r image.Rule) bool { return l.possible(&r.When) != no }) {
			none.reason, none.audit = abi.ReasonDefault, true
		}
		return none, nil, w, nil
	}
	if !w.message(&img.Messages[index], p.body, 0) {
		return decided{reason: w.reason, detail: w.field, audit: true}, nil, w, nil
	}
	msg = dynamicpb.NewMessage(l.b.res.Set.MessageTypes[index])
	if err := proto.Unmarshal(p.body, msg); err != nil {
		return want, nil, w, fmt.Errorf("the check accepts it, Go's decoder does not: %w", err)
	}
	if hidden(msg) {
		return want, nil, w, errors.New("the check accepts it, Go's decoder finds unknown fields")
	}
	if field := l.falsely(p, d, msg); field != 0 {
		return decided{reason: abi.ReasonHandle, detail: field, audit: true}, nil, w, nil
	}
	o := eval.Judge(d, l.args(msg), l.client(), &eval.Memory{Image: img, Gate: l.word, Words: l.words})
	want = decided{reason: o.Reason, detail: o.Verdict.Policy, audit: o.Audit}
	if o.Verdict.Allow {
		l.consequences(p, &o, &want)
	}
	if want.detail != abi.NoPolicy {
		want.policy = img.Policies[want.detail].ID
	}
	return want, msg, w, nil
}

// args are the parameters of the message that is judged, its metadata included.
func (l *lane) args(msg *dynamicpb.Message) eval.Args {
	return eval.WithMetadata(eval.Message(msg), l.beside)
}

// terse reports whether a method's errors are their code: not every reply may pass.
func (l *lane) terse(reply *image.Decision) bool {
	forbidden := slices.ContainsFunc(reply.Forbid, func(r image.Rule) bool { return l.possible(&r.When) != no })
	effect := slices.ContainsFunc(reply.Permit, func(r image.Rule) bool {
		return (len(r.Enter) > 0 || r.Rate != image.Rate{}) && l.possible(&r.When) != no
	})
	return reply.Silent || forbidden || effect || !slices.ContainsFunc(reply.Permit, func(r image.Rule) bool { return l.possible(&r.When) == yes })
}

// client tells eval who the user is.
func (l *lane) client() eval.Client {
	if l.who == "" {
		return eval.Client{}
	}
	return eval.Client{
		User:   func(a uint32) bool { return l.b.img.Users[a] == l.who },
		Member: func(a uint32) bool { return slices.Contains(userGroups[l.who], l.b.img.Groups[a]) },
	}
}

// judge has a packet judged by all, really sent or not. It returns whether the
// filter admitted it, and what differs.
func (l *lane) judge(p *packet, send bool) (bool, error) {
	if l.library.gate != nil {
		return l.deliver(p)
	}
	l.note(step{lane: l.name(), method: l.iface().Methods[p.method].Name, packet: *p})
	want, msg, w, err := l.expect(p)
	if err != nil {
		return false, l.differs(p, err.Error(), want, nil, nil)
	}
	raw := p.bytes()
	send = send || len(raw) > maxPacket
	ret, err := l.pass(p, raw, send)
	if err != nil {
		return false, l.differs(p, err.Error(), want, nil, nil)
	}
	block := []uint32{l.gate.ClientBlock, l.gate.ServerBlock}[p.dir]
	word := abi.VerdictWord(binary.LittleEndian.Uint64(l.sides[p.dir].page[(int(block)*abi.PageBlock+abi.PageSlots+int(p.slot))*8:]))
	got := decided{reason: word.Reason(), detail: word.Detail()}
	if want.reason == abi.ReasonRate && got.reason == abi.ReasonRate {
		// The page tells how long to wait: since the model's clock stands still, less what has passed.
		told := min(want.wait/1000, math.MaxUint32)
		if late := uint64(slack.Microseconds()); uint64(got.detail) > told || uint64(got.detail)+late < told {
			return false, l.differs(p, fmt.Sprintf("told to wait %d µs, not %d", got.detail, told), want, &got, nil)
		}
		word = abi.MakeVerdictWord(p.gen, word.Reason(), word.Kind(), want.detail)
		got.detail = want.detail
	}
	if (got.reason == abi.ReasonPermit || got.reason == abi.ReasonForbid) && int(got.detail) < len(l.b.img.Policies) {
		got.policy = l.b.img.Policies[got.detail].ID
	}
	if w.also != 0 && got.reason == w.also {
		want.reason = w.also
	}
	expected := int32(0)
	switch {
	case want.reason.Allowed():
		expected = -1
	case p.dir == abi.Reply && len(raw) > abi.HeaderSize:
		expected = abi.HeaderSize
	case p.dir == abi.Reply: // an answer without a body is cut below its header
		expected = abi.DeniedSize
	}
	l.stats.count(p, want, send)
	l.seen[p.dir]++
	l.settled(p, &want)
	if word != abi.MakeVerdictWord(p.gen, want.reason, p.kind, want.detail) || ret != expected {
		return false, l.differs(p, fmt.Sprintf("the filter returned %d, not %d, and wrote %x", ret, expected, uint64(word)), want, &got, nil)
	}
	if want.audit || l.auditAll {
		l.sides[p.dir].records++
		if err := l.record(p, want, msg); err != nil {
			return false, l.differs(p, err.Error(), want, &got, nil)
		}
	}
	if err := l.handed(want); err != nil {
		return false, l.differs(p, err.Error(), want, &got, nil)
	}
	if wrong, other, err := l.received(p, raw, want); err != nil {
		return false, l.differs(p, err.Error(), want, &got, nil)
	} else if wrong != "" {
		return false, l.differs(p, fmt.Sprintf("%s: %v", wrong, other), want, &got, nil)
	}
	if msg != nil {
		if wrong, r := l.b.oracle.agrees(l, p.method, p.dir == abi.Reply, msg, want); wrong != "" {
			return false, l.differs(p, wrong, want, &got, &r)
		}
		l.stats.cedar++
	}
	if err := l.validate(p); err != nil {
		return false, l.differs(p, err.Error(), want, &got, nil)
	}
	if want.after != nil && want.after.enters {
		if err := l.remembered(); err != nil {
			return false, l.differs(p, err.Error(), want, &got, nil)
		}
	}
	return want.reason.Allowed(), nil
}

// pass gives a packet to the filter and returns what it returned.
func (l *lane) pass(p *packet, raw []byte, send bool) (int32, error) {
	if !send {
		ret, _, err := l.runs[p.dir].Run(raw, 1)
		return ret, err
	}
	from, to := l.gate.Client, l.gate.Server
	if p.dir == abi.Reply {
		from, to = to, from
	}
	if _, err := unix.Write(int(from.Fd()), raw); err != nil {
		return 0, fmt.Errorf("write: %w", err)
	}
	n, err := unix.Read(int(to.Fd()), l.buf)
	if errors.Is(err, unix.EAGAIN) {
		return 0, nil
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("read: %w", err)
	case !slices.Equal(l.buf[:n], raw[:min(n, len(raw))]):
		return 0, fmt.Errorf("received %x", l.buf[:n])
	case n == len(raw):
		return -1, nil
	}
	return int32(n), nil
}

// record reads the record of a packet and compares it.
func (l *lane) record(p *packet, want decided, msg *dynamicpb.Message) error {
	l.sides[p.dir].ring.SetDeadline(time.Now().Add(10 * time.Second))
	r, err := l.sides[p.dir].ring.Read()
	if err != nil {
		return fmt.Errorf("no audit record: %w", err)
	}
	from, to := l.route().Client, l.route().Server
	if p.dir == abi.Reply {
		from, to = to, from
	}
	ok := r.Seq == l.sides[p.dir].records && r.Gate == l.gate.Index && r.From == from && r.To == to && r.Route == uint32(l.index) &&
		r.Method == uint32(p.method) && r.Slot == p.slot && r.Gen == p.gen && r.Kind == p.kind && r.Dir == p.dir &&
		r.Reason == want.reason && (r.Detail == want.detail || l.asEmpty(p, &want, r.Detail)) && r.Length == uint32(len(p.bytes()))
	if !ok {
		return fmt.Errorf("audit record %+v", r)
	}
	if err := l.told(p, &want, &r, msg != nil || want.reason == abi.ReasonHandle); err != nil {
		return err
	}
	l.stats.records++
	if msg == nil {
		return nil
	}
	params, args := l.spec.Programs[p.dir].Params[p.method], l.args(msg)
	for i, v := range r.Params {
		x := params[i]
		switch {
		case x.Count:
			ok = int64(v) == args.Long(x.Path, image.Count)
		case x.Type == image.Bytes:
			ok = int64(uint32(v)) == args.Long(x.Path, image.Size)
		case x.Text:
			s := args.Text(x.Path)
			text, size := filter.Text(params, &r, i)
			ok = size == len(s) && strings.HasPrefix(s, string(text)) && len(text) >= min(len(s), abi.RecordText/8)
		case x.Type == image.Nested || x.Type == image.Float || x.Type == image.Double:
			ok = args.Has(x.Path) == (r.Present>>i&1 == 1)
		default:
			ok = int64(v) == args.Long(x.Path, image.Scalar)
		}
		if !ok {
			return fmt.Errorf("audit record: parameter %s is %x, text %q", x.Name, v, r.Text)
		}
	}
	return nil
}

// validate compares the bounds with protovalidate, on the message that Go's
// decoder reads: what stands twice in the body stands there once.
func (l *lane) validate(p *packet) error {
	if l.validator == nil || len(l.b.res.Set.Unenforced) > 0 {
		return nil
	}
	m := &l.iface().Methods[p.method]
	index := m.Request
	if p.dir == abi.Reply {
		index = m.Reply
	}
	msg := dynamicpb.NewMessage(l.b.res.Set.MessageTypes[index])
	if proto.Unmarshal(p.body, msg) != nil || hidden(msg) {
		return nil
	}
	body, err := proto.Marshal(msg)
	if err != nil {
		return fmt.Errorf("what was decoded is not encoded: %w", err)
	}
	w := &walk{img: l.b.img}
	ok := w.message(&w.img.Messages[index], body, 0)
	if !ok && w.soft {
		return nil
	}
	l.stats.validated++
	err = l.validator.Validate(msg)
	var invalid *protovalidate.ValidationError
	switch {
	case err != nil && !errors.As(err, &invalid):
		return fmt.Errorf("protovalidate: %w", err)
	case (err == nil) != ok:
		return fmt.Errorf("protovalidate says %v, the bounds reason %d of field %d", err, w.reason, w.field)
	}
	return nil
}
