package compare

import (
	"fmt"
	"slices"
	"strings"

	"ward/abi"
	"ward/image"
)

// A side is a decision with the image and the message that it is about.
type side struct {
	*index
	decision *image.Decision
	message  *image.Message // nil: of users who connect, or there is no such method
}

type pair struct{ old, new side }

// decisions adds what flips between two decisions.
func (c *comparer) decisions(p pair, x Change) {
	if len(p.old.decision.Permit)+len(p.new.decision.Permit) == 0 {
		return
	}
	c.effects(p, x)
	if p.old.normal() == p.new.normal() {
		c.report.Equal++
		return
	}
	s, reason := newSearcher(p)
	if reason != "" {
		if reason = c.joined(p, x); reason == "" {
			return
		}
	}
	if reason == "" {
		s.budget = max(min(oneSearch, c.budget), leastSearch)
		c.budget -= s.budget
		s.walk(0)
		c.budget += max(s.budget, 0)
	}
	flips := false
	for dir, change := range []string{Denied, Allowed} {
		x := x
		switch {
		case reason == "" && s.found[dir] != nil:
			f := s.found[dir]
			x.Change, x.Args, x.User, x.Groups = change, f.args, f.user, f.groups
			x.Old, x.New = c.old.side(f.old), c.new.side(f.new)
			c.add(x)
			flips = true
		case reason != "" || s.open[dir]:
			x.Change, x.Detail = Open, reason
			if change == Denied {
				x.Change = Changed
				x.Detail = "less access could not be excluded: " + x.Detail
			}
			if reason == "" {
				x.Detail += fmt.Sprintf("no flip found by search of %d cases, and not all could be tried", s.cases)
			}
			if change == Denied && flips {
				continue
			}
			c.add(x)
			flips = true
		}
	}
	if !flips {
		c.report.Proved++
	}
}

// normal is a decision as a text that does not depend on the order of rules,
// on policies' IDs, or on indexes of the image. Equal texts decide alike.
func (s side) normal() string {
	part := func(rules []image.Rule) string {
		var all []string
		for i := range rules {
			if rules[i].When.Op != image.False {
				all = append(all, s.text(&rules[i].When))
			}
		}
		slices.Sort(all)
		return strings.Join(slices.Compact(all), "|")
	}
	return part(s.decision.Forbid) + "\n" + part(s.decision.Permit)
}

// text writes an expression unambiguously; arguments of And and Or in order.
func (s side) text(e *image.Expr) string {
	var args []string
	for i := range e.Args {
		args = append(args, s.text(&e.Args[i]))
	}
	if e.Op == image.And || e.Op == image.Or {
		slices.Sort(args)
		args = slices.Compact(args)
	}
	name := ""
	switch e.Op {
	case image.User:
		name = s.Users[e.Atom]
	case image.Group:
		name = s.Groups[e.Atom]
	}
	return fmt.Sprintf("%d(%s %v %s %s %+q %q)", e.Op, strings.Join(args, ","), e.Path, s.operandText(e.Left), s.operandText(e.Right), setValues(e.Set), name)
}

func (s side) operandText(o image.Operand) string {
	if o.What == image.CellValue {
		return s.cellText(o.Cell)
	}
	return fmt.Sprintf("%d:%v:%v:%d:%+q", o.What, o.Path, o.Value.IsString, o.Value.Long, o.Value.String)
}

func setValues(set []image.Value) []string {
	var all []string
	for _, v := range set {
		all = append(all, fmt.Sprintf("%v:%d:%s", v.IsString, v.Long, v.String))
	}
	return all
}

// tri is a truth value of which some may not be known yet.
type tri int8

const (
	unknown tri = iota
	yes
	no
)

func known(b bool) tri {
	if b {
		return yes
	}
	return no
}

// decide applies a decision to what is assigned so far. If the result is
// known, every way to assign the rest gives the same verdict; the policy is
// that of the image's order if all is assigned.
func (s *searcher) decide(side *side) (tri, image.Verdict) {
	matched := func(rules []image.Rule) (tri, uint32) {
		all, first := no, uint32(abi.NoPolicy)
		for i := range rules {
			switch s.holds(side, &rules[i].When) {
			case yes:
				if all != yes {
					first = rules[i].Policy
				}
				return yes, first
			case unknown:
				all = unknown
			}
		}
		return all, first
	}
	forbid, by := matched(side.decision.Forbid)
	if forbid == yes {
		return no, image.Verdict{Policy: by}
	}
	permit, by := matched(side.decision.Permit)
	switch {
	case permit == no:
		return no, denied
	case permit == yes && forbid == no:
		return yes, image.Verdict{Allow: true, Policy: by}
	}
	return unknown, denied
}

// holds evaluates a condition on what is assigned so far.
func (s *searcher) holds(side *side, e *image.Expr) tri {
	s.budget--
	switch e.Op {
	case image.True:
		return yes
	case image.False:
		return no
	case image.And, image.Or:
		decisive := no
		if e.Op == image.Or {
			decisive = yes
		}
		result := yes + no - decisive
		for i := range e.Args {
			switch v := s.holds(side, &e.Args[i]); v {
			case decisive:
				return decisive
			case unknown:
				result = unknown
			}
		}
		return result
	case image.Not:
		return [...]tri{unknown, no, yes}[s.holds(side, &e.Args[0])]
	case image.If:
		switch s.holds(side, &e.Args[0]) {
		case yes:
			return s.holds(side, &e.Args[1])
		case no:
			return s.holds(side, &e.Args[2])
		}
		if a := s.holds(side, &e.Args[1]); a == s.holds(side, &e.Args[2]) {
			return a
		}
		return unknown
	}
	l := s.assigned(side.key(e))
	if l == nil {
		return unknown
	}
	switch {
	case e.Op == image.Eq || e.Op == image.Less || e.Op == image.LessEq:
		if e.Right.What == image.Constant && e.Right.Value.IsString {
			break
		}
		a, ok := s.long(e.Left)
		b, ok2 := s.long(e.Right)
		if !ok || !ok2 {
			return unknown
		}
		return known(e.Op == image.Eq && a == b || e.Op == image.Less && a < b || e.Op == image.LessEq && a <= b)
	}
	return known(l.satisfies(e, side))
}

func (s *searcher) long(o image.Operand) (int64, bool) {
	if o.What == image.Constant {
		return o.Value.Long, true
	}
	if c := s.assigned(pathKey(o.Path)); c != nil {
		return c.long, true
	}
	return 0, false
}
