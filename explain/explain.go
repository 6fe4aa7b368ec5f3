package explain

import (
	"fmt"
	"slices"
	"strings"

	"ward/abi"
	"ward/cases"
	"ward/image"
	"ward/interfaces"
	"ward/policy"
	"ward/policy/eval"
	"ward/policy/prove"
)

// Verdicts of an Explanation.
const (
	Allow   = "allow"
	Deny    = "deny"
	Depends = "depends" // on what the question leaves out
	Unknown = "unknown" // the search ended early
)

// An Explanation says what is decided on the messages of a question between
// two ends, and why.
type Explanation struct {
	Event    string    `json:"event"` // "explained"
	Kind     string    `json:"kind"`  // call or reply; create, open.read or open.write
	From     string    `json:"from"`
	To       string    `json:"to,omitempty"`
	Method   string    `json:"method,omitempty"`
	Object   string    `json:"object,omitempty"` // of create and open
	Args     string    `json:"args,omitempty"`   // as given
	Verdict  string    `json:"verdict"`
	Check    string    `json:"check,omitempty"`    // what denied if no policy did: default, bounds
	Why      string    `json:"why,omitempty"`      // in words, where there is more to say
	Notes    []string  `json:"notes,omitempty"`    // of what happens beside the verdict
	Policies []Policy  `json:"policies,omitempty"` // that decide, one or another
	Saw      []Value   `json:"saw,omitempty"`      // what they looked at
	Allowed  *Case     `json:"allowed,omitempty"`  // of Depends
	Denied   *Case     `json:"denied,omitempty"`
	Close    []Near    `json:"close,omitempty"`   // permits that came close
	Effects  []string  `json:"effects,omitempty"` // of the permits that decide, in words
	Changes  []Change  `json:"changes,omitempty"` // each alone would allow it, or would be a step to it
	Record   *Recorded `json:"record,omitempty"`  // what the question is about, if it came from a record
}

// A Policy is a policy, with its place and its text if that is known.
type Policy struct {
	ID     string `json:"id"`
	Source string `json:"source"` // file:line
	Effect string `json:"effect"`
	Text   string `json:"text,omitempty"`
}

// A Value is what a policy saw of a parameter.
type Value struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Any    bool   `json:"any,omitempty"`    // the question leaves it out: Value is an example
	Unsent bool   `json:"unsent,omitempty"` // of a record: the message did not have it, which is as if it had Value
}

// A Case is an example.
type Case struct {
	Args   string   `json:"args,omitempty"`
	Groups []string `json:"groups,omitempty"` // that the user is in
	State  []Value  `json:"state,omitempty"`
	Policy *Policy  `json:"policy,omitempty"` // nil: default deny
}

// Near is a permit that covers the message but for what is missing.
type Near struct {
	Policy  Policy `json:"policy"`
	Missing []Term `json:"missing,omitempty"` // conditions that fail
	Scope   string `json:"scope,omitempty"`   // whom else it is about, if the message is not in its scope
}

// A Term is a part of a condition, with the values that it saw.
type Term struct {
	Condition string  `json:"condition"`
	Saw       []Value `json:"saw,omitempty"`
}

// A Change would allow the message.
type Change struct {
	Set   []Value `json:"set,omitempty"`   // arguments, or "user" and "groups"
	Write string  `json:"write,omitempty"` // a policy to write
	Text  string  `json:"text,omitempty"`  // in words, if it is neither
}

// A System is what is explained.
type System struct {
	Image    *image.Image
	Set      *interfaces.Set
	Policies []policy.Outline
}

// maxOthers bounds the permits of other scopes that are named.
const maxOthers = 8

// Question answers a question, once for each pair of ends that it is about.
//
// Preconditions: all of s comes from one compilation without errors.
func (s *System) Question(q cases.Question) ([]Explanation, error) { return s.question(q, false) }

// question answers for one method; if whole, that method stands for all of its
// interface.
func (s *System) question(q cases.Question, whole bool) ([]Explanation, error) {
	if !strings.Contains(q.Method, "/") && slices.Contains(objectActions, q.Method) {
		return nil, complaint(q.Method+" is about an object", "name one: write FROM "+q.Method+" OBJECT")
	}
	roads, findings := cases.Roads(s.Image, s.Set, q)
	if findings.Failed() {
		return nil, complaint(findings[0].Message, findings[0].Fix)
	}
	var all []Explanation
	for i := range roads {
		a := &answerer{System: s, road: &roads[i], q: q, whole: whole, e: Explanation{Event: "explained", Kind: "call", From: roads[i].From, To: roads[i].To,
			Method: q.Method, Args: q.Args}}
		if q.Reply {
			a.e.Kind = "reply"
		}
		a.answer()
		a.box()
		a.lent()
		if whole {
			a.e.Method, _, _ = strings.Cut(q.Method, "/")
		}
		all = append(all, a.e)
	}
	return all, nil
}

func complaint(message, fix string) error {
	message = strings.ReplaceAll(strings.ReplaceAll(message, "a case.", ""), "a case ", "the request ")
	if fix != "" {
		return fmt.Errorf("%s: %s", message, fix)
	}
	return fmt.Errorf("%s", message)
}

// answerer works on one pair of ends.
type answerer struct {
	*System
	road  *cases.Road
	q     cases.Question
	whole bool
	e     Explanation
}

func (a *answerer) answer() {
	if v := a.road.Fixed; v != nil {
		a.e.Verdict, a.e.Why = Deny, a.road.Why
		if v.Allow {
			a.e.Verdict = Allow
		}
		a.decidedBy([]image.Verdict{*v})
		if !v.Allow {
			a.others()
			a.write()
		}
		return
	}
	any := func(image.Verdict) bool { return true }
	if _, some := a.ask(a.road.Question.Given, any, nil); some == prove.Never {
		a.outOfBounds()
		return
	}
	var seen []image.Verdict
	note := func(v image.Verdict) {
		if !slices.Contains(seen, v) {
			seen = append(seen, v)
		}
	}
	denied, no := a.ask(a.road.Question.Given, func(v image.Verdict) bool { return !v.Allow }, note)
	if no == prove.Found && denied.Verdict.Policy != abi.NoPolicy { // better one of default deny: it shows what came close
		if e, answer := a.ask(a.road.Question.Given, func(v image.Verdict) bool { return !v.Allow && v.Policy == abi.NoPolicy }, nil); answer == prove.Found {
			denied = e
		}
	}
	allowed, yes := a.ask(a.road.Question.Given, func(v image.Verdict) bool { return v.Allow }, note)
	switch {
	case no == prove.Never && yes == prove.Found:
		a.e.Verdict = Allow
		a.ofKind(seen, true)
		a.saw(&allowed)
		a.effects()
	case yes == prove.Never && no == prove.Found:
		a.e.Verdict = Deny
		a.ofKind(seen, false)
		a.saw(&denied)
		a.close(&denied)
		a.change()
	case yes == prove.Found && no == prove.Found:
		a.e.Verdict, a.e.Why = Depends, "it depends on what the request leaves out"
		a.e.Allowed, a.e.Denied = a.example(&allowed), a.example(&denied)
		a.close(&denied)
	default:
		a.e.Verdict, a.e.Why = Unknown, "cannot tell for all values of what is left out: give more of the arguments"
	}
}

// ask asks about the messages that satisfy given.
func (a *answerer) ask(given []image.Expr, want func(image.Verdict) bool, saw func(image.Verdict)) (prove.Example, prove.Answer) {
	q := a.road.Question
	q.Given, q.Want, q.Saw = given, want, saw
	return prove.Ask(&q)
}

// ofKind names the policies among the verdicts seen that allow, or deny.
func (a *answerer) ofKind(seen []image.Verdict, allow bool) {
	a.decidedBy(slices.DeleteFunc(seen, func(v image.Verdict) bool { return v.Allow != allow }))
}

func (a *answerer) decidedBy(verdicts []image.Verdict) {
	for _, v := range verdicts {
		if v.Policy == abi.NoPolicy {
			a.e.Check = "default"
		} else {
			a.e.Policies = append(a.e.Policies, a.policy(v.Policy))
		}
	}
	slices.SortFunc(a.e.Policies, func(x, y Policy) int { return strings.Compare(x.Source+x.ID, y.Source+y.ID) })
}

func (s *System) policy(i uint32) Policy {
	p := &s.Image.Policies[i]
	res := Policy{ID: p.ID, Source: p.Source, Effect: "permit"}
	if p.Forbid {
		res.Effect = "forbid"
	}
	if at := slices.IndexFunc(s.Policies, func(o policy.Outline) bool { return o.ID == p.ID }); at >= 0 {
		res.Text = s.Policies[at].Text
	}
	return res
}

func (a *answerer) example(e *prove.Example) *Case {
	c := &Case{Args: cases.ShowArgs(a.Image, e, a.road.Type)}
	for g, in := range e.Groups {
		if in {
			c.Groups = append(c.Groups, a.Image.Groups[g])
		}
	}
	slices.Sort(c.Groups)
	for _, cell := range e.Cells {
		if v, ok := a.cell(cell.Cell, e); ok {
			c.State = append(c.State, v)
		}
	}
	if e.Verdict.Policy != abi.NoPolicy {
		p := a.policy(e.Verdict.Policy)
		c.Policy = &p
	}
	return c
}

// saw lists what the decisions looked at, for the policies that decide.
func (a *answerer) saw(e *prove.Example) {
	var paths []image.Operand
	for _, d := range a.road.Question.Decisions {
		for _, rules := range [][]image.Rule{d.Forbid, d.Permit} {
			for i := range rules {
				id := a.Image.Policies[rules[i].Policy].ID
				if slices.ContainsFunc(a.e.Policies, func(p Policy) bool { return p.ID == id }) {
					paths = operands(&rules[i].When, paths)
				}
			}
		}
	}
	a.e.Saw = a.values(paths, e)
}

// close finds the permits that would have covered a denied message.
func (a *answerer) close(e *prove.Example) {
	if e.Verdict.Policy != abi.NoPolicy {
		return // a forbid: permits do not matter
	}
	client := a.clientOf(e)
	for _, d := range a.road.Question.Decisions {
		for i := range d.Permit {
			// What is implied follows from the policies that people write.
			if r := &d.Permit[i]; !holds(&r.When, e, client) && !strings.HasPrefix(a.Image.Policies[r.Policy].ID, "implied: ") {
				a.e.Close = append(a.e.Close, Near{Policy: a.policy(r.Policy), Missing: a.missing(&r.When, e, client)})
			}
		}
	}
	if len(a.e.Close) == 0 {
		a.others()
	}
}

// others names the permits that admit this method for somebody else.
func (a *answerer) others() {
	service, name, _ := strings.Cut(a.q.Method, "/")
	found := map[uint32][]string{}
	var order []uint32
	for i := range a.Image.Routes {
		r := &a.Image.Routes[i]
		iface := &a.Image.Interfaces[r.Interface]
		m := slices.IndexFunc(iface.Methods, func(m image.Method) bool { return m.Name == name })
		if iface.Name != service || m < 0 {
			continue
		}
		d := &r.Methods[m].Request
		from, to := a.domain(r.Client), a.domain(r.Server)
		if a.q.Reply {
			d, from, to = &r.Methods[m].Reply, to, from
		}
		for _, rule := range d.Permit {
			if found[rule.Policy] == nil {
				order = append(order, rule.Policy)
			}
			found[rule.Policy] = append(found[rule.Policy], from+" to "+to)
		}
	}
	for _, p := range order[:min(len(order), maxOthers)] {
		a.e.Close = append(a.e.Close, Near{Policy: a.policy(p), Scope: "permits it from " + strings.Join(found[p], ", from ")})
	}
}

func (a *answerer) domain(id abi.DomainID) string {
	if id == abi.NoDomain {
		return "users"
	}
	return a.Image.Domains[id].Name
}

// effects says what else has to be so for a message that the policies allow.
func (a *answerer) effects() {
	seen := map[uint32]bool{}
	for _, d := range a.road.Question.Decisions {
		for i := range d.Permit {
			r := &d.Permit[i]
			possible := func() bool {
				_, answer := a.ask(append(slices.Clip(a.road.Question.Given), r.When), func(image.Verdict) bool { return true }, nil)
				return answer != prove.Never
			}
			if seen[r.Policy] || len(r.Enter) == 0 && r.Rate == (image.Rate{}) || !possible() {
				continue
			}
			seen[r.Policy] = true
			id := a.Image.Policies[r.Policy].ID
			for _, e := range r.Enter {
				a.e.Effects = append(a.e.Effects, fmt.Sprintf("%q enters %s=%s, and is denied where no declared move leads there", id, eval.Cell(a.Image, e.Cell), eval.Value(a.Image, e.Cell, e.Value)))
			}
			if r.Rate != (image.Rate{}) {
				a.e.Effects = append(a.e.Effects, fmt.Sprintf("%q has a rate: %d at once, then one every %v", id, r.Rate.Burst, duration(r.Rate.Every)))
			}
		}
	}
}

// duration writes nanoseconds for people.
func duration(ns uint64) string {
	switch {
	case ns%1_000_000_000 == 0:
		return fmt.Sprintf("%d s", ns/1_000_000_000)
	case ns >= 1_000_000:
		return fmt.Sprintf("%.4g ms", float64(ns)/1e6)
	}
	return fmt.Sprintf("%d ns", ns)
}
