package compare

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ward/image"
)

// effects adds what differs in what admitted messages do: the values that they
// enter, and how many may be sent. It is about permits of the same ID, or of the
// same condition; what a new or a lost one admits is a flip, or none.
func (c *comparer) effects(p pair, x Change) {
	if p.old.effects() == p.new.effects() {
		return
	}
	told := false
	var done []*image.Rule
	for i := range p.old.decision.Permit {
		o := &p.old.decision.Permit[i]
		n := p.like(o, done)
		if n != nil {
			done = append(done, n)
		}
		told = c.effect(p, x, o, n) || told
	}
	for i := range p.new.decision.Permit {
		if n := &p.new.decision.Permit[i]; !slices.Contains(done, n) {
			told = c.effect(p, x, nil, n) || told
		}
	}
	if !told {
		x.Change, x.Detail = Open, "what an admitted message enters, or how many may be sent, is not the same: new access could not be excluded"
		c.add(x)
	}
}

// like is the new permit that takes the place of an old one.
func (p pair) like(o *image.Rule, done []*image.Rule) *image.Rule {
	for _, same := range []func(n *image.Rule) bool{
		func(n *image.Rule) bool { return p.new.Policies[n.Policy].ID == p.old.Policies[o.Policy].ID },
		func(n *image.Rule) bool { return p.new.text(&n.When) == p.old.text(&o.When) },
	} {
		for i := range p.new.decision.Permit {
			if n := &p.new.decision.Permit[i]; !slices.Contains(done, n) && same(n) {
				return n
			}
		}
	}
	return nil
}

// effect adds what differs between two permits, of which one may not be there.
func (c *comparer) effect(p pair, x Change, o, n *image.Rule) (told bool) {
	var none image.Rule
	id := ""
	before, after := o, n
	if n == nil {
		after = &none
	} else {
		id = p.new.Policies[n.Policy].ID
	}
	if o == nil {
		before = &none
	} else {
		id = p.old.Policies[o.Policy].ID
	}
	x.Change = Changed
	if before.Rate != after.Rate {
		x := x
		x.Detail = fmt.Sprintf("rate of %q: was %s, now %s", id, rateWords(before.Rate), rateWords(after.Rate))
		// Without a rate, or with more tokens, more may be sent; a permit that is gone admits nothing.
		wider := after.Rate == image.Rate{} || before.Rate != image.Rate{} && (after.Rate.Every < before.Rate.Every || after.Rate.Burst > before.Rate.Burst)
		x.NewAccess = n != nil && o != nil && wider || n == nil && len(p.new.decision.Permit) > 0
		c.add(x)
		told = true
	}
	if was, is := p.old.enters(before), p.new.enters(after); was != is {
		x := x
		x.Detail = fmt.Sprintf("state that %q enters: was %s, now %s", id, was, is)
		// Whatever depends on the state may be reached now: only a forbid could tell, and it is a flip of its own.
		x.NewAccess = true
		c.add(x)
		told = true
	}
	return told
}

func rateWords(r image.Rate) string {
	if r == (image.Rate{}) {
		return "none"
	}
	return fmt.Sprintf("one in %s, burst %d", time.Duration(r.Every), r.Burst)
}

// enters writes the values that a permit enters.
func (s side) enters(r *image.Rule) string {
	var all []string
	for _, e := range r.Enter {
		c := &s.Cells[e.Cell]
		st := &s.States[c.State]
		owner := map[image.Per]string{image.PerGate: "gate", image.PerSystem: "system"}[st.Per]
		if st.Per == image.PerDomain {
			owner = s.Domains[c.Domain].Name
		}
		all = append(all, owner+"."+st.Name+"="+st.Values[e.Value])
	}
	if len(all) == 0 {
		return "none"
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
