package audit

import (
	"fmt"
	"strings"

	"ward/abi"
	"ward/audit/event"
)

var objectKinds = map[abi.ControlOp]string{abi.OpMake: "make", abi.OpOpenObject: "open", abi.OpOffer: "offer", abi.OpRedeem: "redeem", abi.OpReceive: "receive"}

// object is a request for an object, or one to give it. A refusal of which no
// policy is the cause has its own words.
func (t *translator) object(r *Record, e *event.Event) {
	r.Event, r.Kind = EventObject, objectKinds[abi.ControlOp(e.Status)]
	if int(e.Interface) < len(t.img.Objects) {
		r.Object = t.img.Objects[e.Interface].Name
	} else {
		r.Object, e.Text, _ = strings.Cut(e.Text, "\x00")
	}
	access := uint8(0)
	if len(e.List) > 0 {
		access = uint8(e.List[0])
	}
	switch {
	case access&abi.AccessWrite != 0:
		r.Access = "open.write"
	case access&abi.AccessRead != 0:
		r.Access = "open.read"
	case abi.ControlOp(e.Status) == abi.OpMake:
		r.Access = "create"
	}
	reason := e.Reason
	if e.Allow {
		reason = abi.ReasonPermit
		if e.Count > 0 {
			r.Detail = fmt.Sprintf("%d bytes", e.Count)
		}
	}
	t.decided(r, e.Allow, reason, e.Policy)
	if e.Allow {
		return
	}
	r.Detail = e.Text
	if reason != abi.ReasonForbid && reason != abi.ReasonDefault {
		r.Policy = ""
	}
	t.limited(r, e, "limit of objects")
}
