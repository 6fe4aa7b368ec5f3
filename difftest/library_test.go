package difftest

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/filter"
	"ward/gate"
	"ward/image"
	"ward/kernel"
)

// The library of the receiver (docs/unprivileged.md) is one more oracle: it gets
// what the ends of a gate get, a part of the image with one route, and judges
// the messages that the filter judges. It knows no state and no rates, and no
// users: lanes with these are left to the others.

// A receiver is the library at the ends of a lane's gate.
type receiver struct {
	spec *filter.Spec        // that the lane had when this was made
	end  *gate.End           // nil: the library cannot have this route
	gate *kernel.ClassicGate // of a lane that has no other filter
}

// unheld reports whether a route looks at and changes nothing that only the
// kernel holds.
func unheld(img *image.Image, route int) bool {
	one := *img
	one.Routes = img.Routes[route : route+1]
	for _, o := range one.Unprivileged() {
		if o.Key == "policy" {
			return false
		}
	}
	return true
}

// receiver returns the library at the ends of the lane's gate, nil if there is none.
func (l *lane) receiver() (*gate.End, error) {
	if l.library.spec == l.spec {
		return l.library.end, nil
	}
	l.library = receiver{spec: l.spec}
	if l.who != "" || !unheld(l.b.img, l.index) {
		return nil, nil
	}
	var looks [2]image.Looks
	for dir := range looks {
		for range l.spec.Programs[dir].Params {
			looks[dir] = append(looks[dir], nil) // what records carry decides nothing
		}
	}
	check, err := checkOf(image.EncodeCheck(l.b.received.Part(uint32(l.index)), looks))
	if err != nil {
		return nil, err
	}
	end := &gate.End{Interface: l.iface().Name, Check: check}
	for i, m := range l.iface().Methods {
		end.Methods = append(end.Methods, abi.ControlMethod{Name: m.Name, ClientStream: m.ClientStream, ServerStream: m.ServerStream, Terse: l.spec.Programs[abi.Reply].Terse[i]})
	}
	l.library.end = end
	return end, nil
}

// checkOf has the library read what the monitor hands over.
func checkOf(b []byte) (*gate.Check, error) {
	fd, err := unix.MemfdCreate("difftest check", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "check")
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return nil, err
	}
	return gate.NewCheck(fd)
}

// textFault reports whether r is what may be wrong with the content of a string.
func textFault(r abi.Reason) bool { return r == abi.ReasonUTF8 || r == abi.ReasonBounds }

// received compares the verdict of the receiver's library on a packet with the
// one that is expected. It returns what differs.
func (l *lane) received(p *packet, raw []byte, want decided) (string, decided, error) {
	if want.reason == abi.ReasonHandle { // the library knows of no offers
		return "", decided{}, nil
	}
	end, err := l.receiver()
	if err != nil || end == nil {
		return "", decided{}, err
	}
	var got decided
	if got.reason, got.detail, err = end.Judge(p.dir, raw); err != nil {
		return "", got, err
	}
	if (got.reason == abi.ReasonPermit || got.reason == abi.ReasonForbid) && int(got.detail) < len(l.b.img.Policies) {
		got.policy = l.b.img.Policies[got.detail].ID
	}
	l.stats.library++
	switch {
	case got.reason == want.reason && got.detail == want.detail:
	case got.detail == want.detail && textFault(got.reason) && textFault(want.reason):
		// A string that is neither within its bounds nor UTF-8 is denied for what is
		// found first: the filter goes by stretches, the library by rules.
	case got.reason == abi.ReasonLength && form(want.reason):
		// What cannot be within its bounds is not looked at.
	case got.reason == abi.ReasonDefault && !want.reason.Allowed() && len(l.route().Methods[p.method].Request.Permit) == 0:
		// Of a method that nothing permits no message passes: bodies are not looked at.
	default:
		return "the receiver's library decides otherwise", got, nil
	}
	return "", got, nil
}

// form reports whether a message was denied for its form or bounds, without the
// policy being asked.
func form(r abi.Reason) bool {
	return !r.Allowed() && r != abi.ReasonForbid && r != abi.ReasonDefault && r != abi.ReasonState && r != abi.ReasonRate
}
