package cases

import (
	"cmp"
	"strings"

	"ward/abi"
)

// A Decided is what an audit record of the event "object" says was decided:
// whether a domain has a right to an object.
type Decided struct {
	Domain, Object string
	Action         string // create, open.read or open.write
}

// DecidedOn takes a record of the event "object" apart: whose right it was is
// that of the receiver of an offer, else of the domain that asked; writing is
// asked for together with reading. Of a record that is about no right it
// reports false.
func DecidedOn(domain, to, object, access string) (Decided, bool) {
	d := Decided{Domain: cmp.Or(to, domain), Object: object}
	switch access {
	case "create":
		d.Action = "create"
	case "open.write", "write", "rw", "read,write":
		d.Action = "open.write"
	case "open.read", "read", "r":
		d.Action = "open.read"
	}
	return d, d.Domain != "" && d.Object != "" && d.Action != ""
}

// verb is how a case asks about a right.
func (d Decided) verb() string { return strings.TrimPrefix(d.Action, "open.") }

// objectDraft makes a draft of a record of the event "object", or says why
// there is none; "" if nothing of it was decided by a policy.
func objectDraft(h *Happened, verdict string) (*draft, string) {
	d, ok := DecidedOn(h.Domain, h.To, h.Object, h.Access)
	switch {
	case h.Kind == "redeem" || h.Kind == "drop" || h.Kind == "retract":
		return nil, "" // what a policy had to decide was decided before
	case !ok:
		return nil, "a record about an object that does not say whose right to what it is about"
	case h.Policy == "" && h.Reason != abi.ReasonDefault.String():
		return nil, "a denial that no case can say: " + oneLine(h.Reason)
	}
	word := map[string]string{"create": "makes", "read": "reads", "write": "writes to"}[d.verb()]
	if h.Verdict != "allow" {
		word = "has no right to " + d.verb()
	}
	return &draft{title: d.Domain + " " + word + " " + d.Object,
		message: "  from: " + quote(d.Domain) + "\n  " + d.verb() + ": " + quote(d.Object) + "\n", verdict: verdict}, ""
}
