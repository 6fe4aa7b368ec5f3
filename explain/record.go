package explain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ward/abi"
	"ward/cases"
	"ward/image"
)

// Recorded is what an audit record says, as far as it matters here.
type Recorded struct {
	Event     string            `json:"event"`
	Seq       uint64            `json:"seq,omitempty"`
	From      string            `json:"from"`
	To        string            `json:"to"`
	Domain    string            `json:"domain,omitempty"` // of the event object: who
	Object    string            `json:"object,omitempty"`
	Access    string            `json:"access,omitempty"` // of the event object: what was asked for
	Interface string            `json:"interface,omitempty"`
	Address   string            `json:"address,omitempty"` // of the event socket
	Method    string            `json:"method,omitempty"`
	Kind      string            `json:"kind,omitempty"`
	Params    map[string]any    `json:"params,omitempty"`
	Absent    []string          `json:"absent,omitempty"` // parameters that the message did not have
	State     map[string]string `json:"state,omitempty"`  // after the decision: of a denial also before it
	Verdict   string            `json:"verdict"`
	Policy    string            `json:"policy,omitempty"`
	Reason    string            `json:"reason,omitempty"`
	Detail    string            `json:"detail,omitempty"`
	Cut       []string          `json:"cut,omitempty"` // parameters of which the record has the beginning only
}

// ParseRecord reads one line of the audit file.
func ParseRecord(line []byte) (*Recorded, error) {
	r := new(Recorded)
	d := json.NewDecoder(strings.NewReader(string(line)))
	d.UseNumber()
	if err := d.Decode(r); err != nil {
		return nil, fmt.Errorf("not an audit record: %w", err)
	}
	switch {
	case r.Event == "object":
		return r, r.whole()
	case r.Event == "spawned" || r.Event == "lent":
		if r.From == "" || r.To == "" {
			return nil, fmt.Errorf("the record does not say who, or of whom: %s", r.Reason)
		}
		return r, nil
	case (r.Event == "socket" || r.Event == "published") && r.Verdict == Deny:
		if r.From == "" {
			return nil, fmt.Errorf("the record does not say who: %s", r.Reason)
		}
		return r, nil
	case r.Event != "call" && r.Event != "reply" && r.Event != "gate":
		return nil, fmt.Errorf("a record of the event %q: only call, reply, gate, object, spawned, lent, and denials of socket and published can be explained", r.Event)
	case r.From == "" || r.To == "" && r.Event != "gate":
		return nil, fmt.Errorf("the record does not say from whom, or to whom")
	case r.Event == "gate" && r.Interface == "" || r.Event != "gate" && r.Method == "":
		return nil, fmt.Errorf("the record does not say which method: %s", r.Reason)
	}
	return r, nil
}

// FromRecord turns a record into a question, and notes what the record does not
// have whole.
//
// Preconditions: as for System.Question.
func (s *System) FromRecord(r *Recorded) (cases.Question, error) {
	q := cases.Question{From: r.From, To: r.To, Method: r.Method, Reply: r.Event == "reply"}
	if r.Event == "gate" {
		// No gate: no method of the interface. The first stands for all.
		for _, i := range s.Image.Interfaces {
			if i.Name == r.Interface && len(i.Methods) > 0 {
				q.Method = i.Name + "/" + i.Methods[0].Name
			}
		}
		if q.Method == "" { // Record has said so already
			return q, fmt.Errorf("this system has no interface %q", r.Interface)
		}
		return q, nil
	}
	if r.Kind == "error" || r.Kind == "stream end" || r.Kind == "cancel" || r.Kind == "credit" {
		return q, nil // no message of the method
	}
	if r.Verdict == Deny && len(r.State) > 0 {
		q.State = cases.RecordedState(s.Image, r.State)
	}
	args, cut := s.arguments(q, r)
	r.Cut = cut
	var err error
	q.Args, err = cases.Compact(s.Image, s.Set, q.Method, q.Reply, args)
	return q, err
}

// Record explains what a record says, for the ends that it names.
//
// Preconditions: as for Question.
func (s *System) Record(r *Recorded) ([]Explanation, error) {
	switch {
	case s.ungranted(r):
		return []Explanation{s.ungrantedRecord(r)}, nil
	case r.Event == "object":
		return s.objectRecord(r)
	case r.Event == "spawned" || r.Event == "lent":
		return s.kinRecord(r)
	case r.ofKin():
		return s.kinMessage(r)
	}
	q, err := s.FromRecord(r)
	if err != nil {
		return nil, err
	}
	if r.Event != "gate" && r.Verdict == Deny && r.Policy == "" && r.Reason != abi.ReasonDefault.String() {
		return []Explanation{s.checked(r, q)}, nil
	}
	all, err := s.question(q, r.Event == "gate")
	for i := range all {
		all[i].Record = r
		all[i].markUnsent(r.Absent)
		all[i].spent(r)
	}
	return all, err
}

// spent says of a message that the policies allow, and that was denied all the
// same, which of their effects it was.
func (e *Explanation) spent(r *Recorded) {
	why := map[string]string{
		abi.ReasonRate.String():  "the policies permit it, at a rate: there was no token left",
		abi.ReasonState.String(): "the policies permit it, and enter state to which no declared move led from the one that it met",
		abi.ReasonRace.String():  "the policies permit it: other messages changed the same state, or the same slot, again and again at the same time",
	}[r.Reason]
	if why != "" && r.Verdict == Deny && e.Verdict == Allow {
		e.Verdict, e.Check, e.Why = Deny, r.Reason, why
	}
}

// Changed reports whether an explanation of a record comes to another verdict
// than the record, or to other policies.
func (r *Recorded) Changed(e *Explanation) bool {
	if e.Verdict != Allow && e.Verdict != Deny {
		return false // it depends on what the record does not have
	}
	if r.Verdict != e.Verdict {
		return true
	}
	return r.Policy != "" && !slices.ContainsFunc(e.Policies, func(p Policy) bool { return p.ID == r.Policy })
}

// checked explains a denial by a check of the filter, which comes before any
// policy, or after all of them.
func (s *System) checked(r *Recorded, q cases.Question) Explanation {
	e := Explanation{Event: "explained", Kind: r.Event, From: r.From, To: r.To, Method: r.Method, Args: q.Args, Verdict: Deny, Check: r.Reason, Record: r,
		Why: "no policy decided: the filter refuses such a message whatever the policies say"}
	switch r.Reason {
	case abi.ReasonHandle.String():
		e.Why = handleWhy(r.Detail)
		return e
	case abi.ReasonRate.String():
		e.Why = "no policy denies it: the uses of the delegation are used up, or there is no token left"
		return e
	}
	number, err := strconv.ParseUint(strings.TrimPrefix(r.Detail, "field "), 10, 32)
	m := s.message(q)
	if err != nil || m == nil {
		return e
	}
	// The number is that of a field of the message, or of one nested in it.
	at := slices.IndexFunc(m.Fields, func(f image.Field) bool { return uint64(f.Number) == number })
	if at >= 0 && !slices.ContainsFunc(m.Fields, func(f image.Field) bool { return f.Type == image.Nested }) {
		f := &m.Fields[at]
		what := image.Scalar
		if f.Card == image.Repeated {
			what = image.Count
		}
		e.Why += fmt.Sprintf("; field %d is %s: %s", number, f.Name, Bounds(f, what))
	} else if at < 0 {
		e.Why += fmt.Sprintf("; %s has no field %d", m.Name, number)
	}
	return e
}

// message is the one that a question is about.
func (s *System) message(q cases.Question) *image.Message {
	service, name, _ := strings.Cut(q.Method, "/")
	for _, i := range s.Image.Interfaces {
		for _, m := range i.Methods {
			if i.Name == service && m.Name == name {
				if q.Reply {
					return &s.Image.Messages[m.Reply]
				}
				return &s.Image.Messages[m.Request]
			}
		}
	}
	return nil
}
