package policy

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ward/abi"
	"ward/diag"
	"ward/image"
	"ward/policy/eval"
	"ward/policy/internal/syntax"
	"ward/policy/prove"
)

// effects are what @enter and @rate of a permit say.
type effects struct {
	enter   []entry
	rate    image.Rate
	enterAt diag.Pos // of the annotation; none: there is none
	rateAt  diag.Pos
}

func (e *effects) any() bool { return len(e.enter) > 0 || e.rate != image.Rate{} }

// An entry is one assignment of @enter.
type entry struct {
	target, state, value          string
	targetPos, statePos, valuePos diag.Pos
	index, to                     uint32 // the state and the value, once resolved
}

// targets are whose state @enter may name.
var targets = []string{"principal", "resource", "gate", "system"}

func sortMoves(moves []image.Move) {
	slices.SortFunc(moves, func(a, b image.Move) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
}

// within is the place of an offset, in bytes, of the text of a literal. Where the
// literal has escapes it is that of the literal.
func within(a syntax.Annotation, offset int) diag.Pos {
	at := a.ValuePos
	if !strings.ContainsFunc(a.Value, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' || r == '\'' }) {
		at.Column += 1 + offset
	}
	return at
}

const enterHint = `write @enter("resource.session=authenticated; system.mode=normal")`

// readEnter reads @enter("TARGET.STATE=VALUE; …").
func (s *source) readEnter(a syntax.Annotation, findings *diag.List) {
	s.effects.enterAt = a.Pos
	if s.Forbid {
		findings.Errorf(a.Pos, "put it on the permit that admits the message", "@enter on a forbid, which admits nothing")
		return
	}
	offset := 0
	for part := range strings.SplitSeq(a.Value, ";") {
		start := offset + len(part) - len(strings.TrimLeft(part, " "))
		offset += len(part) + 1
		path, value, found := strings.Cut(part, "=")
		target, state, dot := strings.Cut(strings.TrimSpace(path), ".")
		if !found || !dot || state == "" || strings.TrimSpace(value) == "" {
			findings.Errorf(within(a, start), enterHint, "@enter: %s is not TARGET.STATE=VALUE", quote(strings.TrimSpace(part)))
			s.broken = true
			continue
		}
		e := entry{target: target, state: state, value: strings.TrimSpace(value)}
		e.targetPos, e.statePos = within(a, start), within(a, start+len(target)+1)
		e.valuePos = within(a, offset-1-len(strings.TrimLeft(value, " ")))
		if !slices.Contains(targets, target) {
			findings.Errorf(e.targetPos, didYouMean(target, targets, "target"), "@enter: %s has no state to enter", quote(target))
			s.broken = true
			continue
		}
		if slices.ContainsFunc(s.effects.enter, func(f entry) bool { return f.target == target && f.state == state }) {
			findings.Errorf(e.targetPos, "keep one of them", "@enter: %s.%s stands twice", target, state)
			s.broken = true
			continue
		}
		s.effects.enter = append(s.effects.enter, e)
	}
}

const rateHint = `write @rate("100/s") or @rate("100/s burst 20"); the units are ms, s, m, h and d`

var rateForm = regexp.MustCompile(`^ *([0-9]{1,10}) */ *([a-zA-Z]+)(?: +burst +([0-9]{1,10}))? *$`)

// readRate reads @rate("N/UNIT burst B"). Without a burst, what a second's
// worth of tokens is may come at once, at least one.
func (s *source) readRate(a syntax.Annotation, findings *diag.List) {
	s.effects.rateAt = a.Pos
	if s.Forbid {
		findings.Errorf(a.Pos, "put it on the permit that admits the message", "@rate on a forbid, which admits nothing")
		return
	}
	wrong := func(at int, fix, format string, args ...any) {
		findings.Errorf(within(a, at), fix, "@rate: "+format, args...)
		s.broken = true
	}
	m := rateForm.FindStringSubmatchIndex(a.Value)
	if m == nil {
		wrong(0, rateHint, "%s is no rate", quote(a.Value))
		return
	}
	part := func(i int) string { return a.Value[m[2*i]:m[2*i+1]] }
	unit, ok := eval.Units[part(2)]
	if !ok {
		wrong(m[4], rateHint, "unknown unit %s", quote(part(2)))
		return
	}
	n, _ := strconv.ParseUint(part(1), 10, 64) // ten digits fit
	if n == 0 || n > unit {
		wrong(m[2], rateHint, "%s tokens in %s: from one in all that time to one a nanosecond are possible", part(1), part(2))
		return
	}
	r := image.Rate{Every: (unit + n - 1) / n} // rounded up: never more than what is written
	burst := max(1, min(eval.Units["s"]/r.Every, image.MaxBurst))
	if m[6] >= 0 {
		burst, _ = strconv.ParseUint(part(3), 10, 64)
		if burst == 0 || burst > image.MaxBurst {
			wrong(m[6], "write a number of tokens that may be taken at once", "a burst of %s: from 1 to %d are possible", part(3), image.MaxBurst)
			return
		}
	}
	r.Burst = uint32(burst)
	if burst*(r.Every>>20) > image.MaxRefill>>20 {
		wrong(0, "write a smaller burst", "the bucket would take more than 36 years to fill")
		return
	}
	s.effects.rate = r
}

// resolveEffects checks @enter and @rate of a policy against its scope and the
// states of the system.
func (c *compiler) resolveEffects(s *source) {
	at := s.effects.enterAt
	if at.Line == 0 {
		at = s.effects.rateAt
	}
	if at.Line == 0 || s.broken {
		return
	}
	for _, a := range s.scope.actions {
		if a.kind == wardOwn {
			c.findings.Errorf(at, `name calls or replies in the scope, as action in ward::Action::"call"`,
				"@enter and @rate are for calls and replies: %s is neither", string(a.uid.Type)+"::"+quote(string(a.uid.ID)))
			s.broken = true
			return
		}
	}
	for i := range s.effects.enter {
		if !c.resolveEntry(&s.effects.enter[i]) {
			s.broken = true
		}
	}
}

// perOfTarget is what has the state that a target of @enter names.
var perOfTarget = map[string]image.Per{"principal": image.PerDomain, "resource": image.PerDomain, "gate": image.PerGate, "system": image.PerSystem}

func (c *compiler) resolveEntry(e *entry) bool {
	st := c.sys.State(e.state)
	if st == nil {
		var names []string
		for i := range c.sys.States {
			names = append(names, c.sys.States[i].Name.Value)
		}
		c.findings.Errorf(e.statePos, didYouMean(e.state, names, "state: declare it under `state` in system.yaml"), "@enter: unknown state %s", quote(e.state))
		return false
	}
	if perNames[st.Per.Value] != perOfTarget[e.target] {
		as := map[string]string{"gate": "gate.", "system": "system.", "domain": "principal. or resource."}[st.Per.Value]
		c.findings.Errorf(e.targetPos, "write "+as+e.state, "@enter: state %s is declared per: %s, so %s has none", e.state, st.Per.Value, e.target)
		return false
	}
	to := st.Value(e.value)
	if to < 0 {
		c.findings.Errorf(e.valuePos, didYouMean(e.value, st.Names(), "value"), "@enter: %s is no value of state %s", quote(e.value), e.state)
		return false
	}
	for i := range c.sys.States {
		if &c.sys.States[i] == st {
			e.index, e.to = uint32(i), uint32(to)
		}
	}
	img := &c.img.States[e.index]
	reach := prove.Reachable(img)
	if !slices.ContainsFunc(img.Moves, func(m image.Move) bool { return m.To == e.to && slices.Contains(reach, m.From) }) {
		c.findings.Errorf(e.valuePos, "declare the move under `moves` of "+e.state+" in system.yaml", "@enter: no declared move leads to %s=%s from its initial value %s",
			e.state, e.value, quote(img.Values[img.Initial]))
		return false
	}
	return true
}

// enters are the cells that a policy's @enter means in one tuple. It reports
// false after a finding.
func (c *compiler) enters(s *source, principal, resource int) ([]image.Enter, bool) {
	var res []image.Enter
	for _, e := range s.effects.enter {
		key := cellKey{e.index, abi.NoDomain}
		if who, ok := map[string]int{"principal": principal, "resource": resource}[e.target]; ok {
			if who == user {
				if !s.broken {
					s.broken = true
					c.findings.Errorf(e.targetPos, "write "+e.target+" is Domain in the scope, or enter state of the gate",
						"@enter: the %s may be a user outside, who has no state", e.target)
				}
				return nil, false
			}
			if c.isBox(who) {
				c.once(s, e.targetPos, "write "+e.target+" is Domain in the scope, or enter state of the principal, the gate or the system",
					"@enter: the %s may be the mailbox %s, which has no state", e.target, c.domains[who].Name.Value)
				return nil, false
			}
			key.domain = abi.DomainID(who)
		}
		res = append(res, image.Enter{Cell: c.cells[key], Value: e.to})
	}
	slices.SortFunc(res, func(a, b image.Enter) int { return cmp.Compare(a.Cell, b.Cell) })
	for i := 1; i < len(res); i++ {
		if res[i].Cell == res[i-1].Cell { // principal and resource are never one domain
			return res[:i], false
		}
	}
	return res, true
}

// addMessage adds the rule of a policy to the decision on a message, with its effects.
func (c *compiler) addMessage(d *image.Decision, s *source, e image.Expr, principal, resource int) {
	enter, ok := c.enters(s, principal, resource)
	if !ok {
		return
	}
	c.add(d, s, e, enter)
	if !s.effects.any() {
		return
	}
	n := 0
	for i := range d.Permit {
		if len(d.Permit[i].Enter) > 0 || (d.Permit[i].Rate != image.Rate{}) {
			n++
		}
	}
	if n > image.MaxEffects {
		c.once(s, s.Pos, "join some of them in one permit, or let them be about fewer methods",
			"more than %d permits with @enter or @rate may be satisfied by one message", image.MaxEffects)
	}
}
