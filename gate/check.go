package gate

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
	"ward/policy/eval"
)

// Where the kernel's filter cannot look into messages (Ward started by an
// ordinary user), the monitor hands the policy of the gate over beside the gate,
// and the library at each end checks what it receives before anybody sees it.
// It checks the kind, method and size of what it sends, too: the kernel drops
// what is wrong with these without a word.
//
// That keeps a hostile sender from a receiver that uses this library, and does
// not keep a hostile receiver from what it is sent (docs/unprivileged.md).

// A Check is the policy of one gate, as the monitor handed it over.
type Check struct {
	img     *image.Image // of the gate's route, and nothing else
	route   *image.Route
	section *image.Message   // of metadata
	methods [2][]methodCheck // by abi.Direction
	terse   []bool           // by method
	reports *reports         // nil: nobody is told
	block   uint32
}

// A methodCheck is what the messages of one method are held to.
type methodCheck struct {
	root     uint32 // message
	decision *image.Decision
	keep     map[string]bool // parameters that the decision or a record looks at, by path
	looks    []image.Look
}

// maxCheck bounds the size of what the monitor hands over, in bytes.
const maxCheck = 64 << 20

// statusImage holds what the body of an error is, whole and terse.
var statusImage = &image.Image{Messages: []image.Message{
	{Name: "ward.v1.Status", Fields: []image.Field{
		{Number: 1, Type: image.Int32},
		{Number: 2, Type: image.String, MaxLen: MaxErrorMessage},
		{Number: 3, Type: image.Nested, Card: image.Repeated, Message: 1, MaxLen: math.MaxUint32, MaxItems: MaxDetails},
	}},
	{Name: "google.protobuf.Any", Fields: []image.Field{
		{Number: 1, Type: image.String, MaxLen: MaxDetailType},
		{Number: 2, Type: image.Bytes, MaxLen: MaxDetail},
	}},
	{Name: "ward.v1.Status", Fields: []image.Field{{Number: 1, Type: image.Int32, HasRange: true, Max: uint64(maxCode)}}},
}}

const (
	wholeStatus = 0
	terseStatus = 2
)

// NewCheck reads the policy of a gate from a descriptor, which stays the
// caller's. Programs get theirs from a Domain.
func NewCheck(fd int) (*Check, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("policy of the gate: %w", err)
	}
	if st.Size > maxCheck {
		return nil, fmt.Errorf("policy of the gate: %d bytes, the limit is %d", st.Size, maxCheck)
	}
	b := make([]byte, st.Size)
	for n := 0; n < len(b); {
		k, err := unix.Pread(fd, b[n:], int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil || k == 0 {
			return nil, fmt.Errorf("policy of the gate: cut off after %d bytes: %w", n, err)
		}
		n += k
	}
	return parseCheck(b)
}

func parseCheck(b []byte) (*Check, error) {
	part, looks, err := image.DecodeCheck(b)
	if err != nil {
		return nil, fmt.Errorf("policy of the gate: %w", err)
	}
	c := &Check{img: part, route: &part.Routes[0], section: part.Section(&part.Routes[0])}
	f := &part.Interfaces[c.route.Interface]
	for i := range f.Methods {
		policy := &c.route.Methods[i]
		c.methods[abi.Request] = append(c.methods[abi.Request], newMethodCheck(f.Methods[i].Request, &policy.Request, looks[abi.Request][i]))
		c.methods[abi.Reply] = append(c.methods[abi.Reply], newMethodCheck(f.Methods[i].Reply, &policy.Reply, looks[abi.Reply][i]))
	}
	c.terse = make([]bool, len(f.Methods))
	return c, nil
}

func newMethodCheck(root uint32, d *image.Decision, looks []image.Look) methodCheck {
	m := methodCheck{root: root, decision: d, keep: map[string]bool{}, looks: looks}
	for _, rules := range [][]image.Rule{d.Forbid, d.Permit} {
		for i := range rules {
			m.note(&rules[i].When)
		}
	}
	for _, l := range looks {
		m.keep[pathKey(l.Path)] = true
	}
	return m
}

// note remembers the parameters of a condition.
func (m *methodCheck) note(e *image.Expr) {
	for _, path := range [][]uint32{e.Left.Path, e.Right.Path, e.Path} {
		if len(path) > 0 {
			m.keep[pathKey(path)] = true
		}
	}
	for i := range e.Args {
		m.note(&e.Args[i])
	}
}

// A judgement is what the library decided on a message.
type judgement struct {
	reason abi.Reason
	detail uint32
	audit  bool
	values values
}

func rejected(r abi.Reason, detail uint32) judgement {
	return judgement{reason: r, detail: detail, audit: true}
}

// shape checks what the kernel's classic filter checks, with the reason why not.
func (c *Check) shape(dir abi.Direction, h *abi.Header, size int) abi.Reason {
	plain, section, ok := c.img.Payload(c.route, h.Method, dir, h.Kind, int64(h.Method) < int64(len(c.terse)) && c.terse[h.Method])
	switch {
	case int64(h.Method) >= int64(len(c.route.Methods)):
		return abi.ReasonMethod
	case len(c.route.Methods[h.Method].Request.Permit) == 0:
		return abi.ReasonDefault
	case !ok:
		return abi.ReasonKind
	case h.Flags&^abi.FlagsKnown != 0:
		return abi.ReasonFlags
	case h.Slot >= abi.Slots:
		return abi.ReasonSlot
	case dir == abi.Reply && h.Deadline != 0:
		return abi.ReasonDeadline
	case h.Flags&abi.FlagMetadata == 0 && size <= int(plain), h.Flags&abi.FlagMetadata != 0 && size <= int(section):
		return abi.ReasonNone
	case h.Flags&abi.FlagMetadata != 0 && section == 0:
		return abi.ReasonMetadata
	}
	return abi.ReasonLength
}

// judge decides on a message; payload is what follows its header.
func (c *Check) judge(dir abi.Direction, h *abi.Header, payload []byte) judgement {
	if r := c.shape(dir, h, len(payload)); r != abi.ReasonNone {
		detail := uint32(0)
		if r == abi.ReasonDefault {
			detail = abi.NoPolicy
		}
		return rejected(r, detail)
	}
	terse := dir == abi.Reply && c.terse[h.Method]
	walk := bodyCheck{img: c.img, keep: c.methods[dir][h.Method].keep, values: values{}}
	if h.Flags&abi.FlagMetadata != 0 {
		section, body, ok := splitSection(payload)
		if !ok || !walk.message(c.section, section, &beside, 0) || terse && h.Kind != abi.KindReply && h.Kind != abi.KindStreamItem {
			return rejected(abi.ReasonMetadata, 0)
		}
		payload = body
	}
	admitted := judgement{reason: abi.ReasonAdmit, detail: abi.NoPolicy}
	switch {
	case h.Kind == abi.KindError:
		root := wholeStatus
		if terse {
			root = terseStatus
		}
		walk := bodyCheck{img: statusImage, fields: walk.fields}
		if !walk.message(&statusImage.Messages[root], payload, nil, 0) {
			return rejected(walk.reason, walk.field)
		}
		return admitted
	case h.Kind == abi.KindStreamEnd, h.Kind == abi.KindCancel, h.Kind == abi.KindCredit,
		h.Kind == abi.KindCall && c.img.Interfaces[c.route.Interface].Methods[h.Method].ClientStream:
		if len(payload) != 0 {
			return rejected(abi.ReasonLength, 0)
		}
		return admitted
	}
	return c.body(&c.methods[dir][h.Method], &walk, payload)
}

// body decides on a body by the policy of its method. walk has what was kept
// of the metadata beside it.
func (c *Check) body(m *methodCheck, walk *bodyCheck, body []byte) judgement {
	root := ""
	if !walk.message(&c.img.Messages[m.root], body, &root, 0) {
		return rejected(walk.reason, walk.field)
	}
	v, audit := eval.Decide(m.decision, walk.values, eval.Client{})
	j := judgement{reason: abi.ReasonDefault, detail: v.Policy, audit: audit, values: walk.values}
	switch {
	case v.Allow:
		j.reason = abi.ReasonPermit
	case v.Policy != abi.NoPolicy:
		j.reason = abi.ReasonForbid
	}
	return j
}

// splitSection takes a payload with a metadata section apart.
func splitSection(payload []byte) (section, body []byte, ok bool) {
	if len(payload) < 2 {
		return nil, nil, false
	}
	n := int(binary.LittleEndian.Uint16(payload))
	if n > len(payload)-2 {
		return nil, nil, false
	}
	return payload[2 : 2+n], payload[2+n:], true
}

// beside is the path of the metadata section.
var beside = pathKey([]uint32{image.MetadataField})

// A pendingTable is what a client's end knows of the calls that it sent: an
// answer must be one to them. In the kernel the call table of a gate does that.
type pendingTable struct {
	mu    sync.Mutex
	calls [abi.Slots]struct {
		gen    uint16
		method uint32
		busy   bool
	}
}

// sent notes a call. Only one that is admitted is one.
func (p *pendingTable) sent(h *abi.Header) {
	if h.Kind != abi.KindCall {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.calls[h.Slot]
	s.gen, s.method, s.busy = h.Gen, h.Method, true
}

// answers reports whether a message answers a pending call.
func (p *pendingTable) answers(h *abi.Header) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.calls[h.Slot]
	ok := s.busy && s.gen == h.Gen && s.method == h.Method
	if ok && slices.Contains([]abi.Kind{abi.KindReply, abi.KindError, abi.KindStreamEnd}, h.Kind) {
		s.busy = false
	}
	return ok
}
