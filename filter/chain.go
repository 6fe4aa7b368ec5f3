package filter

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf/asm"

	"ward/abi"
	"ward/image"
)

// MaxLevels bounds how many policies stand over each other on one gate.
const MaxLevels = 8

// A Chain is image.Chain: several policies that stand over one gate.
type Chain image.Chain

// Limits of a chain's Uses: a bucket without a token for MaxUntil gives none
// back, and its whole depth fits 64 bits of nanoseconds.
const (
	MaxUses  = 1000
	MaxUntil = 30 * 24 * 3600 * 1_000_000_000 // ns from when the gate is made
)

// Sender is how the buckets of a domain are named.
func Sender(id abi.DomainID) string { return fmt.Sprintf("domain %d", id) }

// on reports whether there is a chain.
func (c *Chain) on() bool { return len(c.Levels) > 0 }

// check reports a chain that does not fit a route.
func (c *Chain) check(img *image.Image, route uint32) error {
	if !c.on() {
		return nil
	}
	if len(c.Levels) > MaxLevels {
		return fmt.Errorf("filter: %d policies stand over each other, the limit is %d; create fewer generations of children", len(c.Levels), MaxLevels)
	}
	if c.Levels[0].Route != route || c.Uses > MaxUses {
		return fmt.Errorf("filter: a chain of another route, or of %d uses", c.Uses)
	}
	r := &img.Routes[route]
	for _, l := range c.Levels {
		if int(l.Route) >= len(img.Routes) {
			return fmt.Errorf("filter: route %d of %d", l.Route, len(img.Routes))
		}
		o := &img.Routes[l.Route]
		if o.Server != r.Server || o.Interface != r.Interface || o.Client == abi.NoDomain || len(o.Methods) != len(r.Methods) {
			return fmt.Errorf("filter: route %d does not lead where route %d does", l.Route, route)
		}
	}
	return nil
}

// routes are those that the conditions of a gate stem from: r, and with a
// chain those of its levels.
func (c *Chain) routes(img *image.Image, r *image.Route) []*image.Route {
	if !c.on() {
		return []*image.Route{r}
	}
	var all []*image.Route
	for _, l := range c.Levels {
		all = append(all, &img.Routes[l.Route])
	}
	return all
}

// decisions are those of a method, by level, folded. Without a chain there is one.
func (c *Chain) decisions(img *image.Image, r *image.Route, method int, dir abi.Direction, atoms Atoms) []image.Decision {
	of := func(r *image.Route) image.Decision {
		if dir == abi.Reply {
			return fold(r.Methods[method].Reply, atoms)
		}
		return fold(r.Methods[method].Request, atoms)
	}
	if !c.on() {
		return []image.Decision{of(r)}
	}
	if _, ok := slices.BinarySearch(c.Methods, uint32(method)); !ok {
		return []image.Decision{{}}
	}
	var ds []image.Decision
	for _, l := range c.Levels {
		ds = append(ds, of(&img.Routes[l.Route]))
	}
	if !permitted(ds) {
		return []image.Decision{{}}
	}
	return ds
}

// together is a decision that looks at what all of ds look at, and has all their effects.
func together(ds []image.Decision) image.Decision {
	if len(ds) == 1 {
		return ds[0]
	}
	var d image.Decision
	for i := range ds {
		d.Forbid = append(d.Forbid, ds[i].Forbid...)
		d.Permit = append(d.Permit, ds[i].Permit...)
		d.Silent = d.Silent || ds[i].Silent
	}
	return d
}

// permitted reports whether every level has a permit.
func permitted(ds []image.Decision) bool {
	return !slices.ContainsFunc(ds, func(d image.Decision) bool { return len(d.Permit) == 0 })
}

// rates returns the buckets of a method, and for each permit with a rate, in
// the order in which the code for it is made, which of them is its.
func (c *Chain) rates(img *image.Image, method string, dir abi.Direction, ds []image.Decision) (buckets []Rate, of []int, err error) {
	add := func(r Rate) {
		i := slices.Index(buckets, r)
		if i < 0 {
			i = len(buckets)
			buckets = append(buckets, r)
		}
		of = append(of, i)
	}
	for level := len(ds) - 1; level >= 0; level-- {
		sender := ""
		if c.on() && dir == abi.Request {
			sender = Sender(c.Levels[level].Sender)
		}
		for i := range ds[level].Permit {
			if r := &ds[level].Permit[i]; r.Rate != (image.Rate{}) {
				add(Rate{Sender: sender, Bucket: fmt.Sprintf("%q %s %d", img.Policies[r.Policy].ID, method, dir), Policy: r.Policy, Every: r.Rate.Every, Burst: r.Rate.Burst})
			}
		}
	}
	if c.limited(dir) && c.chained(ds) {
		add(Rate{Sender: Sender(c.Client), Bucket: fmt.Sprintf("uses %d", c.Key), Policy: abi.NoPolicy, Every: MaxUntil, Burst: c.Uses, Once: true})
	}
	if len(buckets) > Rates {
		return nil, nil, fmt.Errorf("%d rates are charged for it, the limit is %d", len(buckets), Rates)
	}
	return buckets, of, nil
}

func (c *Chain) limited(dir abi.Direction) bool { return c.on() && dir == abi.Request && c.Uses > 0 }

// chained reports whether the code of a method is that of a chain.
func (c *Chain) chained(ds []image.Decision) bool {
	return c.on() && len(ds) == len(c.Levels) && permitted(ds)
}

// expired denies requests after the end of the chain. It overwrites R0 to R5.
func (g *gen) expired(until uint64) {
	ok := g.label()
	g.emit(asm.FnKtimeGetBootNs.Call(), asm.LoadImm(asm.R1, int64(until), asm.DWord), asm.JLT.Reg(asm.R0, asm.R1, ok))
	g.result(verdictWord(abi.ReasonExpired, abi.NoPolicy, false))
	g.place(ok)
}

// permitReason is where R9 holds the reason of a verdict: 0 while no permit of
// the level has matched. The bit above asks for a record.
const permitReason = 0xff

// levels decides by all levels, from the root of the tree down: the first that
// denies is the one that is named; who admits is the lowest.
func (g *gen) levels(c *Chain, ds []image.Decision, dir abi.Direction, deny uint64) {
	if dir == abi.Request && c.Until > 0 {
		g.expired(c.Until)
	}
	g.emit(asm.Mov.Imm(asm.R9, 0))
	for level := len(ds) - 1; level >= 0; level-- {
		g.rules(ds[level].Forbid, abi.ReasonForbid)
		g.emit(asm.And.Imm(asm.R9, verdictAudit)) // what the level above it said, but for the record
		for i := range ds[level].Permit {
			g.levelPermit(&ds[level].Permit[i])
		}
		ok := g.label()
		g.emit(asm.JSet.Imm(asm.R9, permitReason, ok))
		g.result(deny)
		g.place(ok)
	}
	if c.limited(dir) {
		g.charge()
	}
	g.chargeQuotas()
	if c.Audit && dir == abi.Request {
		g.emit(asm.Or.Imm(asm.R9, verdictAudit))
	}
	g.emit(asm.Mov.Reg(asm.R0, asm.R9), asm.Return())
}

// levelPermit tries a permit of one level. As in permits, a later one matters
// only if it has an effect.
func (g *gen) levelPermit(r *image.Rule) {
	match, next := g.label(), g.label()
	if !hasEffect(r) {
		g.emit(asm.JSet.Imm(asm.R9, permitReason, next))
	}
	g.cond(&r.When, match, next, match)
	g.place(match)
	known := g.label()
	if hasEffect(r) {
		g.emit(asm.JSet.Imm(asm.R9, permitReason, known))
	}
	g.load(asm.R1, int64(verdictWord(abi.ReasonPermit, r.Policy, false)))
	g.emit(asm.Or.Reg(asm.R9, asm.R1))
	g.place(known)
	if r.Audit {
		g.emit(asm.Or.Imm(asm.R9, verdictAudit))
	}
	if hasEffect(r) {
		g.effect(r)
	}
	g.place(next)
}
