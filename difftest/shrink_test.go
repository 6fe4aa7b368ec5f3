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
	// The message in the state that it met, its call before it; else with all that came before.
	if !s.past(slices.Concat(m.before, m.call(), m.history[len(m.history)-1:])) && !s.past(m.history) {
		m.what += " (it does not repeat by itself: reduced to nothing)"
		return m
	}
	for size := -1; size != s.size() && s.tries < maxTries; {
		size = s.size()
		s.steps()
		s.try(s.best.src.clone(), s.best.packet.body, nil)
		s.lines(func(x *source) []string { return x.policies })
		s.fields()
		s.bytes()
		s.lines(func(x *source) []string { return x.proto })
		s.lines(func(x *source) []string { return x.domains })
		s.lines(func(x *source) []string { return x.head })
	}
	return s.best
}

// call is the step that opened the call which the message belongs to.
func (m *mismatch) call() []step {
	last := m.history[len(m.history)-1]
	for i := len(m.history) - 2; i >= 0 && last.packet.kind != abi.KindCall; i-- {
		if x := m.history[i]; x.lane == last.lane && x.packet.kind == abi.KindCall && x.packet.slot == last.packet.slot {
			return []step{x}
		}
	}
	return nil
}

func (s *shrinker) size() int {
	return len(s.best.src.String()) + len(s.best.packet.body) + len(s.best.packet.section) + 20*len(s.best.history)
}

// steps leaves out what was done before the message.
func (s *shrinker) steps() {
	for n := max((len(s.best.history)-1)/2, 1); n > 0; n /= 2 {
		for i := 0; i+n < len(s.best.history); {
			if !s.past(slices.Delete(slices.Clone(s.best.history), i, i+n)) {
				i += n
			}
		}
	}
}

// past tries the mismatch with another history.
func (s *shrinker) past(history []step) bool {
	was := s.best.history
	s.best.history = history
	if s.try(s.best.src.clone(), s.best.packet.body, s.best.packet.section) {
		return true
	}
	s.best.history = was
	return false
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

// repeat goes down the road with the history of the mismatch, at the end of
// which is the message itself. Any mismatch on the way is as good.
func (s *shrinker) repeat(src *source, body, section []byte) *mismatch {
	b, err := build(src, s.damage)
	if err != nil {
		return nil
	}
	history := slices.Clone(s.best.history)
	last := &history[len(history)-1]
	last.packet.body, last.packet.section = body, section
	if len(body) == 0 {
		last.packet.body = nil
	}
	n := uint32(len(b.img.Routes)*len(users) + 1)
	y, err := newRunning(b, kernel.FabricConfig{Gates: n, Programs: 2 * n, AuditAll: true})
	if err != nil {
		return nil
	}
	defer y.close()
	lanes := map[string]*lane{}
	for _, x := range history {
		if _, ok := lanes[x.lane]; x.lane != "" && !ok {
			l := s.lane(b, x.lane)
			if l != nil && y.open(l) != nil {
				return nil
			}
			lanes[x.lane] = l
		}
	}
	main := lanes[last.lane]
	if main == nil {
		return nil
	}
	for i, x := range history {
		l := lanes[x.lane]
		if x.lane == "" {
			if l = main; strings.Contains(x.of, " ") {
				l = lanes[x.of]
			}
			if l != nil && x.of != "" && main.plain.has(x.name) && l.give(x.of, x.name, x.value) != nil {
				return nil
			}
			continue
		}
		if l == nil {
			continue
		}
		p := x.packet
		p.method = slices.IndexFunc(l.iface().Methods, func(m image.Method) bool { return m.Name == x.method })
		if p.method < 0 || !l.legal(&p) {
			if i == len(history)-1 {
				return nil
			}
			continue
		}
		_, err := l.judge(&p, false)
		var m *mismatch
		if errors.As(err, &m) {
			return m
		}
		if err != nil {
			return nil
		}
	}
	return nil
}

// lane is that of a name in another build of the system, or nil.
func (s *shrinker) lane(b *built, name string) *lane {
	for i := range b.img.Routes {
		for _, who := range append([]string{""}, users...) {
			if (b.img.Routes[i].Client == abi.NoDomain) != (who != "") {
				continue
			}
			l := &lane{b: b, index: i, who: who, auditAll: true, validator: s.validator, r: rand.New(rand.NewPCG(1, 1)), stats: &stats{}}
			if l.name() == name {
				return l
			}
		}
	}
	return nil
}
