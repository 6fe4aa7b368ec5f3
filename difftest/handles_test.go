package difftest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// Handles in messages: what was offered on each gate, as a list, and what
// messages make of it.

// handleRows is the number of handles of a fabric: enough for all gates of a system.
const handleRows = 4096

// offers are the handles of a gate.
type offers struct {
	way   abi.Direction // of the message that is made
	all   []*offer
	heard *offer // what the message that is judged rightly carries
}

// An offer is a handle, as Go knows it: what a message may say of it, and
// whether one was admitted.
type offer struct {
	kernel.HandleOffer
	id   uint64
	gone bool
}

// offered is how many handles of a gate are kept for later messages.
const offered = 6

// aboutHandle writes a test of a handle.
func (a *author) aboutHandle(on string) string {
	return pick(a.r, on+".write", "!"+on+".write", on+`.kind == "memory"`, on+`.kind != "memory"`, on+".size"+a.order()+pick(a.r, "4096", "0", "1000000"),
		"["+on+`.kind].contains("memory")`, a.some(4, a.number)+".contains("+on+".size)")
}

// handle fills in a handle: most often one that the gate has for this
// direction, as it is; or an earlier one, or one that it has for the other, or
// one that is not quite so. false: it is for others to fill in.
func (l *lane) handle(m *dynamicpb.Message) bool {
	if l.gate == nil || l.r.IntN(12) == 0 {
		return false
	}
	if len(l.all) == 0 || l.r.IntN(2) == 0 {
		o := &offer{HandleOffer: kernel.HandleOffer{Dir: l.way, Kind: abi.HandleMemory, Size: pick(l.r, uint64(1), 4096, 4096, 1_000_000, image.MaxObjectSize), Write: l.r.IntN(2) == 0}}
		if l.r.IntN(8) == 0 {
			o.Dir ^= 1
		}
		var err error
		if o.id, err = l.gate.Offer(o.HandleOffer); err != nil {
			return false
		}
		l.all = append(l.all, o)
	}
	if len(l.all) > offered {
		l.fabric.ForgetHandle(l.all[0].id)
		l.all = l.all[1:]
	}
	o := l.all[len(l.all)-1]
	if l.r.IntN(3) == 0 {
		o = pick(l.r, l.all...)
	}
	id, kind, size, write := o.id, o.Kind, o.Size, o.Write
	switch l.r.IntN(24) {
	case 0:
		id ^= 1 << l.r.IntN(40)
	case 1:
		kind ^= 1
	case 2:
		size ^= 1 << l.r.IntN(30)
	case 3:
		write = !write
	}
	fields := m.Descriptor().Fields()
	m.Set(fields.ByNumber(image.HandleID), protoreflect.ValueOfUint64(id))
	m.Set(fields.ByNumber(image.HandleKind), protoreflect.ValueOfEnum(protoreflect.EnumNumber(kind)))
	m.Set(fields.ByNumber(image.HandleSize), protoreflect.ValueOfUint64(size))
	m.Set(fields.ByNumber(image.HandleWrite), protoreflect.ValueOfBool(write))
	return true
}

// handleIn finds the handle in a message.
func handleIn(m protoreflect.Message) (found protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Message() == nil || fd.IsList():
		case fd.Message().FullName() == image.HandleName:
			found = v.Message()
		default:
			found = handleIn(v.Message())
		}
		return found == nil
	})
	return found
}

// falsely returns the field of the handle in a message that claims what was not
// offered, 0 if there is none. Of messages that no policy may admit nobody asks.
func (l *lane) falsely(p *packet, d *image.Decision, msg protoreflect.Message) uint32 {
	h := handleIn(msg)
	if h == nil || !slices.ContainsFunc(d.Permit, func(r image.Rule) bool { return l.possible(&r.When) != no }) {
		return 0
	}
	get := func(n protoreflect.FieldNumber) protoreflect.Value { return h.Get(h.Descriptor().Fields().ByNumber(n)) }
	i := slices.IndexFunc(l.all, func(o *offer) bool { return o.id == get(image.HandleID).Uint() && !o.gone && o.Dir == p.dir })
	if i < 0 {
		return image.HandleID
	}
	switch o := l.all[i]; {
	case get(image.HandleKind).Enum() != protoreflect.EnumNumber(o.Kind):
		return image.HandleKind
	case get(image.HandleSize).Uint() != o.Size:
		return image.HandleSize
	case get(image.HandleWrite).Bool() != o.Write:
		return image.HandleWrite
	default:
		l.heard = o
	}
	return 0
}

// handed compares what became of the handle of a message that was judged. One
// that was admitted is taken, so that it is gone.
func (l *lane) handed(want decided) error {
	for _, o := range l.all {
		state := kernel.HandleOffered
		switch {
		case o.gone:
			state = kernel.HandleGone
		case o == l.heard && want.reason.Allowed():
			state = kernel.HandleAdmitted
		}
		if got, err := l.fabric.Handle(o.id); err != nil || got != state {
			return fmt.Errorf("handle %#x is %v, not %v: %v", o.id, got, state, err)
		}
		if state != kernel.HandleAdmitted {
			continue
		}
		l.stats.carried++
		o.gone = true
		if taken, err := l.fabric.TakeHandle(o.id); !taken || err != nil {
			return fmt.Errorf("handle %#x was admitted, and taken: %v, %v", o.id, taken, err)
		}
	}
	return nil
}

// TestCatchesHandles is the positive control: filters that take no message for a
// handle are caught.
func TestCatchesHandles(t *testing.T) {
	needRoot(t)
	x := &runner{each: perRouteControl, handles: true, damage: damage{filter: func(img *image.Image) {
		for i := range img.Messages {
			if img.Messages[i].Name == image.HandleName {
				img.Messages[i].Name = "z.v1.Other"
			}
		}
	}}}
	for i := uint64(3); x.stats.messages < controlMessages; i += 4 { // in these systems some messages carry handles
		err := x.system(2026, i, controlMessages)
		var m *mismatch
		if errors.As(err, &m) {
			t.Logf("caught after %d messages: %s", x.stats.messages, m.what)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("not caught")
}
