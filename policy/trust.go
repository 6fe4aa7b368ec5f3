package policy

import (
	"fmt"
	"slices"
	"strings"

	"ward/image"
	"ward/system"
)

// Trust-scaled checking: where an export says `trust: within-ring`, callers in
// the server's ring or a more trusted one are spared the conditions that
// permits put on parameters. What is never spared: that there is a permit for
// this caller, method and server; conditions on who calls, on users and on
// state; forbids, which say what must not happen whoever asks; the signature
// and the bounds of the interface; permits with @enter or @rate, whose effects
// belong to the messages that they describe. Replies are checked in full.

// trustedID begins the ID of the policy that a spared permit becomes.
const trustedID = "ward/trust: "

// spared returns the policy and what is left of it for a call, with the
// conditions on parameters left out if the call is trusted.
func (c *compiler) spared(s *source, a *action, client, server int, e image.Expr) (*source, image.Expr) {
	if s.Forbid || s.effects.any() || client == user {
		return s, e
	}
	at, ok := c.trusts(server, a)
	order := c.sys.Order
	if !ok || !order.Trusts(order.Find(c.domains[client].Ring.Value), order.Find(c.domains[server].Ring.Value)) {
		return s, e
	}
	if !asks(&e) {
		return s, e
	}
	left := spare(&e, true)
	s.matched = true
	t := *s
	id := trustedID + s.id
	if len(id) > maxID {
		id = id[:maxID]
	}
	t.index = c.makePolicy(id, fmt.Sprintf("%s:%d", system.FileName, at))
	return &t, left
}

// sourceOf is the policy, as written, that a rule comes from.
func (c *compiler) sourceOf(policy uint32) *source {
	if int(policy) < len(c.sources) {
		return c.sources[policy]
	}
	id := strings.TrimPrefix(c.img.Policies[policy].ID, trustedID)
	i := slices.IndexFunc(c.sources, func(s *source) bool { return strings.HasPrefix(s.id, id) })
	return c.sources[max(i, 0)]
}

// trusts reports whether the export of a method says so, and on which line.
func (c *compiler) trusts(server int, a *action) (line int, ok bool) {
	f := &c.set.Interfaces[a.iface]
	for _, e := range c.domains[server].Exports {
		if e.Interface.Value != f.Name {
			continue
		}
		for _, m := range e.Methods {
			if m.Name.Value == f.Methods[a.method].Name && m.Trust.Value != "" {
				return m.Trust.Pos.Line, true
			}
		}
		return e.Trust.Pos.Line, e.Trust.Value != ""
	}
	return 0, false
}

// spare is e with every test of a parameter taken as the one that makes e true
// (positive), or false: what e asks of callers and of state stays.
func spare(e *image.Expr, positive bool) image.Expr {
	switch e.Op {
	case image.True, image.False, image.User, image.Group:
		return *e
	case image.Not:
		return not(spare(&e.Args[0], !positive))
	case image.And, image.Or:
		var args []image.Expr
		for i := range e.Args {
			args = append(args, spare(&e.Args[i], positive))
		}
		if e.Op == image.And {
			return all(args...)
		}
		return some(args...)
	case image.If:
		c, a, b := &e.Args[0], spare(&e.Args[1], positive), spare(&e.Args[2], positive)
		return some(all(spare(c, positive), a), all(not(spare(c, !positive)), b))
	}
	if e.Left.What == image.CellValue || e.Right.What == image.CellValue {
		return *e
	}
	return constExpr(positive)
}

// asks reports whether e tests a parameter.
func asks(e *image.Expr) bool {
	switch e.Op {
	case image.True, image.False, image.User, image.Group:
		return false
	case image.Not, image.And, image.Or, image.If:
		for i := range e.Args {
			if asks(&e.Args[i]) {
				return true
			}
		}
		return false
	}
	return e.Left.What != image.CellValue && e.Right.What != image.CellValue
}
