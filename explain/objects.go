package explain

import (
	"fmt"
	"slices"
	"strings"

	"ward/abi"
	"ward/cases"
	"ward/diag"
	"ward/image"
)

// Objects: memory and mailboxes. Rights to them were decided when the system
// was compiled, so that an answer is one verdict.

// objectActions are what a domain may be allowed to do to an object: the names
// of the actions of a policy, after `ward::Action::`.
var objectActions = []string{"create", "open.read", "open.write"}

// An ObjectQuestion is about a right of a domain to an object.
type ObjectQuestion struct {
	From   string // a domain
	Action string // create, open.read or open.write
	Object string // of system.yaml
}

// IsAction reports whether a word names a right to an object.
func IsAction(word string) bool { return slices.Contains(objectActions, word) }

// Actions lists the rights to objects.
func Actions() []string { return slices.Clone(objectActions) }

// Object says why a domain has a right to an object, or has it not.
//
// Preconditions: as for Question.
func (s *System) Object(q ObjectQuestion) ([]Explanation, error) {
	o, d, err := s.about(q)
	if err != nil {
		return nil, err
	}
	a := &answerer{System: s, road: new(cases.Road), e: Explanation{Event: "explained", Kind: q.Action, From: q.From, Object: q.Object}}
	a.right(q.Action, o, d)
	return []Explanation{a.e}, nil
}

// about finds what a question names.
func (s *System) about(q ObjectQuestion) (*image.Object, abi.DomainID, error) {
	var domains, objects []string
	from, at := -1, -1
	for i := range s.Image.Domains {
		d := &s.Image.Domains[i]
		if d.Name == q.From && !d.Mailbox {
			from = i
		}
		if !d.Mailbox {
			domains = append(domains, d.Name)
		}
	}
	for i := range s.Image.Objects {
		if objects = append(objects, s.Image.Objects[i].Name); s.Image.Objects[i].Name == q.Object {
			at = i
		}
	}
	switch {
	case !IsAction(q.Action):
		return nil, 0, complaint(fmt.Sprintf("%q is no right to an object", q.Action), "it may be "+strings.Join(objectActions, ", "))
	case from < 0:
		return nil, 0, complaint(fmt.Sprintf("there is no domain %q", q.From), diag.Suggest(q.From, domains))
	case at < 0 && len(objects) == 0:
		return nil, 0, complaint(fmt.Sprintf("there is no object %q", q.Object), "system.yaml declares none")
	case at < 0:
		fix := diag.Suggest(q.Object, objects)
		if fix == "" {
			fix = "the objects are " + strings.Join(objects, ", ")
		}
		return nil, 0, complaint(fmt.Sprintf("there is no object %q", q.Object), fix)
	}
	return &s.Image.Objects[at], abi.DomainID(from), nil
}

// right answers for one domain, one object and one right.
func (a *answerer) right(action string, o *image.Object, d abi.DomainID) {
	lists := map[string][]image.Verdict{"create": o.Create, "open.read": o.Read, "open.write": o.Write}
	list := lists[action]
	switch {
	case o.Kind == image.ObjectMailbox && action != "open.read":
		a.e.Verdict, a.e.Check = Deny, "mailbox"
		a.e.Why = "a mailbox is written to by calls: ask about a method of its interface, as in ward explain DIR " + a.e.From + " pkg.Service/Method --to " + o.Name
		return
	case o.Kind == image.ObjectSecret && action != "create":
		a.e.Verdict, a.e.Check = Deny, "secret"
		a.e.Why = "it is secret: only the domain that makes an instance has it, and reads and writes it; ask about create"
		return
	case o.Shared && action == "create":
		a.e.Verdict, a.e.Check = Deny, "shared"
		a.e.Why = "it is shared: there is one instance, which no domain makes; ask about open.read or open.write"
		return
	case action == "open.write" && list[d].Allow && !o.Read[d].Allow:
		a.e.Why = "open.write is permitted, but writing needs open.read, too, which is denied"
		list, action = o.Read, "open.read"
	}
	v := list[d]
	a.e.Verdict = Deny
	if v.Allow {
		a.e.Verdict = Allow
	}
	a.decidedBy([]image.Verdict{v})
	if v.Allow {
		a.e.Notes = append(a.e.Notes, a.how(o, action, d))
		return
	}
	if v.Policy == abi.NoPolicy {
		a.holders(list)
	}
	a.grant(action, o)
}

// how says how a domain that has a right comes by the object.
func (a *answerer) how(o *image.Object, action string, d abi.DomainID) string {
	switch {
	case o.Kind == image.ObjectMailbox:
		return "it reads what is written to the mailbox, and nobody else does"
	case o.Kind == image.ObjectSecret:
		return fmt.Sprintf("at most %d instances at a time, of at most %d bytes, which nobody else can be given", o.Count, o.Size)
	case action == "create":
		return fmt.Sprintf("at most %d instances at a time, of at most %d bytes; it may read and write what it makes", o.Count, o.Size)
	case o.Shared:
		return "it opens it by its name"
	case o.Create[d].Allow:
		return "of what others made it has to come in a handle in a message that may pass; it may make its own, too"
	}
	return "it has to come in a handle in a message that may pass: nobody opens it by its name"
}

// holders names the permits of the same right for other domains.
func (a *answerer) holders(list []image.Verdict) {
	found := map[uint32][]string{}
	var order []uint32
	for i, v := range list {
		if !v.Allow {
			continue
		}
		if found[v.Policy] == nil {
			order = append(order, v.Policy)
		}
		found[v.Policy] = append(found[v.Policy], a.Image.Domains[i].Name)
	}
	for _, p := range order[:min(len(order), maxOthers)] {
		a.e.Close = append(a.e.Close, Near{Policy: a.policy(p), Scope: "permits it to " + strings.Join(found[p], ", to ")})
	}
}

// grant proposes the policy that gives a right that is denied.
func (a *answerer) grant(action string, o *image.Object) {
	if len(a.e.Policies) > 0 {
		p := a.e.Policies[0]
		a.e.Changes = append(a.e.Changes, Change{Text: fmt.Sprintf("no permit is of use: narrow the forbid %q (%s)", p.ID, p.Source)})
		return
	}
	if o.Kind == image.ObjectMailbox {
		for i, v := range o.Read {
			if v.Allow {
				a.e.Changes = append(a.e.Changes, Change{Text: fmt.Sprintf("a mailbox has one reader, and that is %s: take the right from it first", a.Image.Domains[i].Name)})
			}
		}
	}
	verb := map[string]string{"create": "make", "open.read": "read", "open.write": "write to"}[action]
	a.e.Changes = append(a.e.Changes, Change{Write: fmt.Sprintf(
		"@id(%s)\npermit (\n  principal == Domain::%s,\n  action == ward::Action::%s,\n  resource == Object::%s\n);",
		quoted(fmt.Sprintf("%s may %s %s", a.e.From, verb, o.Name)), quoted(a.e.From), quoted(action), quoted(o.Name))})
}

// reader is the domain that reads a mailbox, "nobody" if none does; "": it is
// no mailbox.
func (a *answerer) reader(name string) string {
	i, ok := a.Image.ObjectNamed(name)
	if !ok || a.Image.Objects[i].Kind != image.ObjectMailbox {
		return ""
	}
	for d, v := range a.Image.Objects[i].Read {
		if v.Allow {
			return a.Image.Domains[d].Name
		}
	}
	return "nobody"
}

// box says of a message to a mailbox what becomes of it.
func (a *answerer) box() {
	if who := a.reader(a.e.To); who != "" && a.e.Kind == "call" {
		a.e.Notes = append(a.e.Notes, fmt.Sprintf("%s is a mailbox: what is allowed waits in the kernel until %s reads it, and nobody answers", a.e.To, who))
	}
}

// handleWords are why the kernel refuses a message for its handle, by the field
// of ward.v1.Handle that claims what is not so.
var handleWords = map[string]string{
	fmt.Sprintf("field %d", image.HandleID):    "its number is of no offer that the sender made on this gate for such a message, or of one that went already: an offer is for one message, and does not outlive its gate",
	fmt.Sprintf("field %d", image.HandleKind):  "its kind is not that of what was offered",
	fmt.Sprintf("field %d", image.HandleSize):  "its size is not that of the instance that was offered",
	fmt.Sprintf("field %d", image.HandleWrite): "its `write` is not as it was offered",
}

// handleWhy says what a denial for a handle is about.
func handleWhy(detail string) string {
	why := "no policy decided: the kernel looks a handle up before it asks them, and that in the message is not the sender's to give"
	if words := handleWords[detail]; words != "" {
		return why + ": " + words
	}
	return why + ": it has to be of an offer that the sender made on this gate, for a message in this direction, that has not yet gone, with kind, size and write as they were offered"
}
