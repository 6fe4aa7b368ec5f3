package difftest

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// maxTries bounds the systems that one reduction loads.
const maxTries = 400

// A shrinker reduces a mismatch greedily: it leaves out lines of the policy,
// the interfaces and the domains, and fields and bytes of the message, as long
// as the three still disagree.
type shrinker struct {
	damage    damage
	validator protovalidate.Validator
	best      *mismatch
	tries     int
}

// shrink returns the smallest mismatch that it finds.
func shrink(m *mismatch, d damage, v protovalidate.Validator) *mismatch {
	s := &shrinker{damage: d, best: m}
	if m.lane.validator != nil {
		s.validator = v
	}
	if !s.try(m.src.clone(), m.packet.body, m.packet.section) {
		m.what += " (it does not repeat by itself: reduced to nothing)"
		return m
	}
	for size := -1; size != s.size() && s.tries < maxTries; {
		size = s.size()
		s.try(s.best.src.clone(), s.best.packet.body, nil)
		s.lines(func(x *source) []string { return x.policies })
		s.fields()
		s.bytes()
		s.lines(func(x *source) []string { return x.proto })
		s.lines(func(x *source) []string { return x.domains })
	}
	return s.best
}

func (s *shrinker) size() int {
	return len(s.best.src.String()) + len(s.best.packet.body) + len(s.best.packet.section)
}

// lines leaves out lines, from many at once down to one.
func (s *shrinker) lines(of func(*source) []string) {
	for n := max(len(of(s.best.src))/2, 1); n > 0; n /= 2 {
		for i := 0; i < len(of(s.best.src)); i += n {
			next := s.best.src.clone()
			changed := false
			for j := i; j < min(i+n, len(of(next))); j++ {
				if line := of(next)[j]; strings.HasPrefix(line, "  ") || strings.HasPrefix(line, "@") {
					of(next)[j], changed = "", true
				}
			}
			if changed {
				s.try(next, s.best.packet.body, s.best.packet.section)
			}
		}
	}
}

// fields clears fields of the message as Go reads it.
func (s *shrinker) fields() {
	for changed := true; changed; {
		changed = false
		for _, body := range s.without() {
			if len(body) < len(s.best.packet.body) && s.try(s.best.src, body, s.best.packet.section) {
				changed = true
				break
			}
		}
	}
}

// without lists the encodings of the message with one field less.
func (s *shrinker) without() [][]byte {
	m := &s.best.lane.iface().Methods[s.best.packet.method]
	index := m.Request
	if s.best.packet.dir == abi.Reply {
		index = m.Reply
	}
	msg := dynamicpb.NewMessage(s.best.lane.b.res.Set.MessageTypes[index])
	if proto.Unmarshal(s.best.packet.body, msg) != nil {
		return nil
	}
	var all [][]byte
	var each func(x protoreflect.Message)
	each = func(x protoreflect.Message) {
		x.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			if fd.Message() != nil && !fd.IsList() {
				each(v.Message())
			}
			x.Clear(fd)
			if b, err := proto.Marshal(msg); err == nil {
				all = append(all, b)
			}
			x.Set(fd, v)
			return true
		})
	}
	each(msg)
	return all
}

// bytes leaves out bytes of the message.
func (s *shrinker) bytes() {
	for n := max(len(s.best.packet.body)/2, 1); n > 0; n /= 2 {
		for i := 0; i+n <= len(s.best.packet.body); {
			if !s.try(s.best.src, slices.Delete(slices.Clone(s.best.packet.body), i, i+n), s.best.packet.section) {
				i += n
			}
		}
	}
}

// try reports whether a source and a message still mismatch, and notes them.
func (s *shrinker) try(src *source, body, section []byte) bool {
	if s.tries++; s.tries > maxTries {
		return false
	}
	m := s.repeat(src, body, section)
	if m != nil {
		s.best = m
	}
	return m != nil
}

// repeat goes down the road with one message: the same client, server,
// interface, method and direction.
func (s *shrinker) repeat(src *source, body, section []byte) *mismatch {
	old := s.best
	b, err := build(src, s.damage)
	if err != nil {
		return nil
	}
	was, route := old.lane.b.img, old.lane.route()
	l := &lane{b: b, who: old.lane.who, auditAll: true, validator: s.validator, r: rand.New(rand.NewPCG(1, 1)), stats: &stats{}}
	server, client := b.domain(was.Domains[route.Server].Name), abi.NoDomain
	if route.Client != abi.NoDomain {
		client = b.domain(was.Domains[route.Client].Name)
	}
	l.index = slices.IndexFunc(b.img.Routes, func(r image.Route) bool {
		return r.Client == client && r.Server == server && b.img.Interfaces[r.Interface].Name == old.lane.iface().Name
	})
	if l.index < 0 || route.Client != abi.NoDomain && client == abi.NoDomain {
		return nil
	}
	p := old.packet
	name := old.lane.iface().Methods[p.method].Name
	p.method = slices.IndexFunc(l.iface().Methods, func(m image.Method) bool { return m.Name == name })
	if p.method < 0 {
		return nil
	}
	y := &running{sides: map[string]*side{}}
	if y.fabric, err = kernel.NewFabric(kernel.FabricConfig{Gates: 1, Programs: 2, AuditAll: true}); err != nil {
		return nil
	}
	defer y.close()
	if y.open(l) != nil {
		return nil
	}
	if p.kind != abi.KindCall {
		// The call that this message belongs to.
		call := packet{kind: abi.KindCall, method: p.method, slot: p.slot, gen: p.gen, body: old.opening}
		if ok, err := l.judge(&call, false); err != nil || !ok {
			return nil
		}
	}
	p.body, p.section = body, section
	if len(p.body) == 0 {
		p.body = nil
	}
	l.opening[p.method] = old.opening
	_, err = l.judge(&p, false)
	var m *mismatch
	errors.As(err, &m)
	return m
}
