package kernel

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"ward/abi"
	"ward/filter"
	"ward/image"
	"ward/policy/eval"
)

// chainOf makes an image with a route for each decision, all from domains of
// their own to the same server, and the chain of them: the first is domain 0's.
func chainOf(img *image.Image, levels ...image.Decision) filter.Chain {
	base := img.Routes[0]
	img.Routes = img.Routes[:0]
	c := filter.Chain{Client: 0}
	for i, d := range levels {
		r := base
		r.Client = abi.DomainID(10 + i)
		if i == 0 {
			r.Client = 0
		}
		r.Methods = slices.Clone(base.Methods)
		for m := range r.Methods {
			r.Methods[m].Request = d
		}
		img.Routes = append(img.Routes, r)
		c.Levels = append(c.Levels, image.Level{Route: uint32(i), Sender: r.Client})
	}
	for m := range base.Methods {
		c.Methods = append(c.Methods, uint32(m))
	}
	return c
}

// replaceBy puts a chain in force on the gate.
func (g *gateTest) replaceBy(img *image.Image, c filter.Chain) {
	g.t.Helper()
	spec, err := filter.Build(img, 0, filter.Atoms{User: -1, Chain: c})
	if err != nil {
		g.t.Fatal(err)
	}
	if err := g.route.Replace(spec); err != nil {
		g.t.Fatalf("%+v\n%v", err, spec.Programs[0].Decide)
	}
}

func permit(policy uint32, when image.Expr) image.Rule { return image.Rule{Policy: policy, When: when} }

func widthBelow(n int64) image.Expr {
	return image.Expr{Op: image.Less, Left: image.Operand{What: image.Scalar, Path: []uint32{1}}, Right: image.Operand{Value: image.Value{Long: n}}}
}

// What one level admits passes only if all do. The control: with the level
// alone it passes.
func TestChainIsAConjunction(t *testing.T) {
	img := stateImage(make([]image.Rule, 8)...)
	g := stateTest(t, img, FabricConfig{Buckets: 64})
	yes := image.Expr{Op: image.True}
	child := image.Decision{Permit: []image.Rule{permit(0, widthBelow(100))}}
	parent := image.Decision{Forbid: []image.Rule{permit(1, widthIs(7))}, Permit: []image.Rule{permit(2, widthBelow(50))}}
	root := image.Decision{Permit: []image.Rule{permit(3, widthBelow(20)), {Policy: 4, When: widthIs(40), Audit: true}, permit(5, widthIs(60))}}
	var slot uint16
	want := func(width uint64, reason abi.Reason, policy uint32) {
		t.Helper()
		slot++
		got := g.send(abi.Request, unary(slot, 1, width))
		if v := g.verdict(abi.Request, slot); v.Reason() != reason || v.Detail() != policy || (got != nil) != reason.Allowed() {
			t.Errorf("width %d: %v by %d, received %x; want %v by %d", width, v.Reason(), v.Detail(), got, reason, policy)
		}
		slot %= abi.Slots - 1
	}
	g.replaceBy(img, chainOf(img, child))
	want(60, abi.ReasonPermit, 0)
	want(7, abi.ReasonPermit, 0)
	want(100, abi.ReasonDefault, abi.NoPolicy)
	g.open()
	slot = 0
	g.replaceBy(img, chainOf(img, child, parent))
	want(49, abi.ReasonPermit, 0)
	want(60, abi.ReasonDefault, abi.NoPolicy)
	want(7, abi.ReasonForbid, 1)
	g.open()
	slot = 0
	c := chainOf(img, child, parent, root)
	g.replaceBy(img, c)
	want(19, abi.ReasonPermit, 0)
	want(20, abi.ReasonDefault, abi.NoPolicy)
	want(60, abi.ReasonDefault, abi.NoPolicy)
	want(7, abi.ReasonForbid, 1)
	want(40, abi.ReasonPermit, 0)
	if n := len(g.records(abi.Request)); n == 0 {
		t.Error("what the root's policy wants recorded is not")
	}
	// Only the methods that were asked for.
	g.open()
	slot = 0
	c.Methods = []uint32{mUnary}
	g.replaceBy(img, c)
	want(19, abi.ReasonPermit, 0)
	c.Methods = []uint32{mUnary + 1}
	g.replaceBy(img, c)
	want(19, abi.ReasonDefault, abi.NoPolicy)
	// Nothing after the end of its time.
	c.Methods = []uint32{mUnary}
	now, err := bootTime()
	if err != nil {
		t.Fatal(err)
	}
	c.Until = now + hour
	g.replaceBy(img, c)
	want(19, abi.ReasonPermit, 0)
	c.Until = now
	g.replaceBy(img, c)
	want(19, abi.ReasonExpired, abi.NoPolicy)
	// A level that permits nothing takes all away.
	g.replaceBy(img, chainOf(img, child, image.Decision{}, image.Decision{Permit: []image.Rule{permit(0, yes)}}))
	want(19, abi.ReasonDefault, abi.NoPolicy)
}

// records drains the ring of a sender.
func (g *gateTest) records(dir abi.Direction) (all []abi.Record) {
	g.t.Helper()
	g.rings[dir].Drain() // what is there, then an error
	defer g.rings[dir].SetDeadline(time.Time{})
	for {
		r, err := g.rings[dir].Read()
		if err != nil {
			return all
		}
		all = append(all, r)
	}
}

// Every level's bucket gives a token, each its own sender's, or none does.
func TestChainChargesEveryLevel(t *testing.T) {
	img := stateImage(make([]image.Rule, 4)...)
	g := stateTest(t, img, FabricConfig{Buckets: 64})
	yes := image.Expr{Op: image.True}
	level := func(policy, burst uint32) image.Decision {
		return image.Decision{Permit: []image.Rule{{Policy: policy, When: yes, Rate: image.Rate{Every: hour, Burst: burst}}}}
	}
	g.replaceBy(img, chainOf(img, level(0, 5), level(1, 3), level(1, 4)))
	for slot := range uint16(3) {
		g.mustSend(abi.Request, unary(slot, 1, 1))
	}
	g.mustDeny(abi.Request, unary(5, 1, 1), abi.ReasonRate)
	for bucket, sender := range map[string]string{"width 0": "domain 0 ", "width 1": "domain 11 "} {
		if n := g.taken(g.bucketNamed(sender, bucket, "Unary"), hour); n != 3 {
			t.Errorf("%sgave %d tokens of %q, want 3", sender, n, bucket)
		}
	}
	if n := g.taken(g.bucketNamed("domain 12 ", "width 1", "Unary"), hour); n != 3 {
		t.Errorf("the root's bucket gave %d tokens, want 3", n)
	}
}

// State that any level changes is changed with the others, or not at all.
func TestChainChangesState(t *testing.T) {
	img := stateImage(make([]image.Rule, 4)...)
	g := stateTest(t, img, FabricConfig{Buckets: 64})
	yes := image.Expr{Op: image.True}
	enter := func(cell, value uint32) image.Decision {
		return image.Decision{Permit: []image.Rule{{Policy: 1, When: yes, Enter: []image.Enter{{Cell: cell, Value: value}}}}}
	}
	only := image.Decision{Permit: []image.Rule{permit(2, widthIs(1))}}
	c := chainOf(img, enter(cSession, 1), enter(cDoor, 0), only)
	g.replaceBy(img, c)
	g.open()
	g.mustDeny(abi.Request, unary(0, 1, 2), abi.ReasonDefault)
	if v, n := g.value(img, cSession); v != 0 || n != 0 {
		t.Errorf("a message that the root denies has made the session %d", v)
	}
	g.mustSend(abi.Request, unary(1, 1, 1))
	for cell, want := range map[int]uint32{cSession: 1, cDoor: 0} {
		if v, n := g.value(img, cell); v != want || n != 1 {
			t.Errorf("cell %d is %d after %d changes, want %d after one", cell, v, n, want)
		}
	}
	// Two levels that would change two words, or one cell to two values: no message passes.
	g.replaceBy(img, chainOf(img, enter(cSession, 2), enter(cMode, 1)))
	g.mustDeny(abi.Request, unary(2, 1, 1), abi.ReasonState)
	g.replaceBy(img, chainOf(img, enter(cSession, 2), enter(cSession, 1)))
	g.mustDeny(abi.Request, unary(3, 1, 1), abi.ReasonState)
}

// A number of uses is exact, over all gates and swaps, and is freed with its last program.
func TestChainUses(t *testing.T) {
	img := stateImage(make([]image.Rule, 2)...)
	g := stateTest(t, img, FabricConfig{Buckets: 32})
	c := chainOf(img, image.Decision{Permit: []image.Rule{permit(0, widthBelow(100))}})
	c.Uses, c.Key, c.Audit = 3, 77, true
	g.replaceBy(img, c)
	g.mustDeny(abi.Request, unary(0, 1, 100), abi.ReasonDefault) // no use
	g.mustSend(abi.Request, unary(1, 1, 1))
	g.open()
	g.mustSend(abi.Request, unary(2, 1, 1))
	g.replaceBy(img, c)
	g.mustSend(abi.Request, unary(3, 1, 1))
	g.mustDeny(abi.Request, unary(4, 1, 1), abi.ReasonRate)
	g.open()
	g.mustDeny(abi.Request, unary(5, 1, 1), abi.ReasonRate)
	if n := len(g.records(abi.Request)); n != 6 {
		t.Errorf("%d records of six messages: each use is to be recorded", n)
	}
	free := len(g.f.buckets.byName)
	c.Key = 78
	g.replaceBy(img, c)
	if n := len(g.f.buckets.byName); n != free {
		t.Errorf("%d buckets after another delegation came in place of one, want %d", n, free)
	}
	g.mustSend(abi.Request, unary(6, 1, 1))
}

// modelArgs are the parameters that the model of the walk read, for eval.
type modelArgs struct{ m *model }

func (a modelArgs) Has(path []uint32) bool {
	_, ok := a.m.caps[pathName(a.m.img, image.Operand{Path: path})]
	return ok
}

func (a modelArgs) Long(path []uint32, what image.What) int64 {
	switch v := a.m.caps[pathName(a.m.img, image.Operand{What: what, Path: path})].(type) {
	case int64:
		return v
	case uint64:
		return int64(v)
	case string:
		return int64(len(v))
	}
	return 0
}

func (a modelArgs) Text(path []uint32) string {
	s, _ := a.m.caps[pathName(a.m.img, image.Operand{Path: path})].(string)
	return s
}

// Random chains of three policies: the kernel says what eval.JudgeChain says,
// and admits what each policy alone admits, by the oracle of single policies.
func TestChainDifferential(t *testing.T) {
	const chains, messages = 60, 60
	r := rand.New(rand.NewPCG(5, 2026))
	img := allImage()
	img.Interfaces[0].Methods[0].ClientStream = true
	g := newGateTest(t, img, FabricConfig{Gates: 2, Programs: 4})
	g.mustSend(abi.Request, message(abi.Header{Kind: abi.KindCall, Gen: 1}, nil))
	run, err := g.gate.Runner(abi.Request)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	var outcomes [4]int
	for range chains {
		var levels []image.Decision
		for range 3 {
			d := image.Decision{Permit: []image.Rule{permit(uint32(r.IntN(4)), randomExpr(r, 2))}}
			for range 1 + r.IntN(3) {
				rule := permit(uint32(r.IntN(8)), randomExpr(r, 2))
				if r.IntN(4) == 0 {
					d.Forbid = append(d.Forbid, rule)
				} else {
					d.Permit = append(d.Permit, rule)
				}
			}
			levels = append(levels, d)
		}
		c := chainOf(img, levels...)
		spec, err := filter.Build(img, 0, filter.Atoms{User: -1, Chain: c})
		if err != nil {
			if strings.Contains(err.Error(), "the limit is 16") {
				continue // three policies that look at more than a filter remembers: a refusal
			}
			t.Fatal(err)
		}
		if err := g.route.Replace(spec); err != nil {
			t.Fatalf("%+v\n%v", err, spec.Programs[0].Decide)
		}
		for range messages {
			body := randomMessage(r, img, 0, 0)
			m := &model{img: img, caps: map[string]any{}}
			if !m.message(0, body, 0, "") || len(body) > maxTestRun {
				continue
			}
			if _, ok := m.caps[".nested"]; !ok && slices.ContainsFunc(keys(m.caps), func(k string) bool { return strings.HasPrefix(k, ".nested.") }) {
				m.caps[".nested"] = true
			}
			o := eval.JudgeChain(levels, modelArgs{m}, eval.Client{}, nil)
			holds := func(rule image.Rule) bool { return evaluate(&rule.When, m) }
			all := true
			for _, d := range levels {
				all = all && !slices.ContainsFunc(d.Forbid, holds) && slices.ContainsFunc(d.Permit, holds)
			}
			if all != o.Verdict.Allow {
				t.Fatalf("%x: JudgeChain says %+v, policy by policy it is %v\n%+v", body, o, all, levels)
			}
			if _, _, err := run.Run(message(abi.Header{Kind: abi.KindStreamItem, Gen: 1}, body), 1); err != nil {
				t.Fatal(err)
			}
			want := abi.MakeVerdictWord(1, o.Reason, abi.KindStreamItem, o.Verdict.Policy)
			if got := g.verdict(abi.Request, 0); got != want {
				t.Fatalf("%x: verdict %x, JudgeChain says %x\n%+v\n%v", body, got, want, levels, spec.Programs[0].Decide)
			}
			outcomes[o.Reason]++
		}
	}
	t.Logf("%d chains of three: %d permits, %d forbids, %d defaults", chains, outcomes[abi.ReasonPermit], outcomes[abi.ReasonForbid], outcomes[abi.ReasonDefault])
	for _, n := range outcomes[abi.ReasonPermit:] {
		if n < 30 {
			t.Errorf("an outcome hardly occurs: %v", outcomes)
		}
	}
}

// What does not fit a filter is refused when it is made, with a reason.
func TestChainLimits(t *testing.T) {
	img := stateImage(make([]image.Rule, 2)...)
	yes := image.Decision{Permit: []image.Rule{permit(0, image.Expr{Op: image.True})}}
	c := chainOf(img, yes, yes)
	c.Levels = slices.Repeat(c.Levels[:1], filter.MaxLevels+1)
	_, deep := filter.Build(img, 0, filter.Atoms{User: -1, Chain: c})
	c = chainOf(img, yes, yes)
	img.Routes[1].Server = 5
	_, elsewhere := filter.Build(img, 0, filter.Atoms{User: -1, Chain: c})
	c.Levels[1].Route = 9
	_, none := filter.Build(img, 0, filter.Atoms{User: -1, Chain: c})
	for name, err := range map[string]error{"too deep": deep, "to another server": elsewhere, "no such route": none} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
