package lint

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/abi"
	"ward/diag"
	"ward/image"
	"ward/interfaces"
	"ward/policy"
	"ward/policy/prove"
	"ward/system"
)

// IDs of what this package finds. The compiler has some of its own.
const (
	BlanketPermit = "blanket-permit" // a permit without any constraint
	OutOfBounds   = "out-of-bounds"  // a condition that no message within its bounds satisfies
	Shadowed      = "shadowed"       // a permit that never decides
	Unreachable   = "unreachable"    // a domain that exports, but that nobody may call
	NotExported   = "not-exported"   // an interface that no domain exports
	FloatHidden   = "float-hidden"   // a floating-point parameter, which policies do not see
	StreamOpen    = "stream-open"    // a stream without a bound on its items
)

// A System is what is examined: all of one compilation without errors.
type System struct {
	Image    *image.Image
	System   *system.System
	Set      *interfaces.Set
	Policies []policy.Outline
	// Whole is the image with the rules that others make superfluous
	// (policy.Whole); nil: nothing is said of shadowed policies.
	Whole *image.Image
}

// maxAsked bounds the questions to the prover in one run.
const maxAsked = 20_000

// Find examines a system. The list is sorted.
func Find(s System) diag.List {
	f := &finder{System: s}
	f.blanket()
	f.rules()
	f.domains()
	f.children()
	f.quotas()
	f.listening()
	f.interfaces()
	f.out.Sort()
	return f.out
}

type finder struct {
	System
	out   diag.List
	asked int
}

// blanket finds permits for anybody to do anything to anyone.
func (f *finder) blanket() {
	for _, p := range f.Policies {
		if !p.Forbid && !p.Principal && !p.Action && !p.Resource && p.Conditions == 0 {
			f.out.Warnf(p.Pos, "say at least who, or what, or to whom", "permit %q permits everything to everybody", p.ID)
			f.out.Tag(BlanketPermit, p.ID)
		}
	}
}

// A use is a rule of a policy in a decision.
type use struct {
	decision *image.Decision
	rule     *image.Rule
	message  *image.Message
}

// rules looks at each policy where it is used.
func (f *finder) rules() {
	if f.Whole == nil {
		return
	}
	uses := map[string][]use{}
	img := f.Whole
	for i := range img.Routes {
		r := &img.Routes[i]
		for m := range r.Methods {
			method := &img.Interfaces[r.Interface].Methods[m]
			for _, way := range []struct {
				d *image.Decision
				m uint32
			}{{&r.Methods[m].Request, method.Request}, {&r.Methods[m].Reply, method.Reply}} {
				for _, rules := range [][]image.Rule{way.d.Forbid, way.d.Permit} {
					for n := range rules {
						id := img.Policies[rules[n].Policy].ID
						uses[id] = append(uses[id], use{way.d, &rules[n], &img.Messages[way.m]})
					}
				}
			}
		}
	}
	for _, p := range f.Policies {
		list := uses[p.ID]
		if len(list) == 0 {
			continue // the compiler says so
		}
		if f.never(list) {
			f.out.Warnf(p.Pos, "compare the condition with the bounds of the interface", "%s %q never matches: no message within the bounds of the interface satisfies its condition", effect(p), p.ID)
			f.out.Tag(OutOfBounds, p.ID)
			continue
		}
		if by, yes := f.shadowed(list); yes && !p.Forbid {
			f.out.Warnf(p.Pos, "remove it, or put it before what decides", "permit %q never decides: %s", p.ID, by)
			f.out.Tag(Shadowed, p.ID)
		}
	}
}

func effect(p policy.Outline) string {
	if p.Forbid {
		return "forbid"
	}
	return "permit"
}

// ask asks the prover, if the budget lasts.
func (f *finder) ask(q prove.Question) prove.Answer {
	if f.asked++; f.asked > maxAsked {
		return prove.Unknown
	}
	q.Image = f.Whole
	_, answer := prove.Ask(&q)
	return answer
}

func any(image.Verdict) bool { return true }

// never reports whether no message satisfies the rule anywhere.
func (f *finder) never(list []use) bool {
	for _, u := range list {
		if u.rule.When.Op == image.True || f.ask(prove.Question{Message: u.message, Given: []image.Expr{u.rule.When}, Want: any}) != prove.Never {
			return false
		}
	}
	return true
}

// shadowed reports whether a permit decides nowhere, and what decides instead.
// A permit with effects has them whoever decides.
func (f *finder) shadowed(list []use) (by string, yes bool) {
	deciders := map[uint32]bool{}
	for _, u := range list {
		if len(u.rule.Enter) > 0 || u.rule.Rate != (image.Rate{}) {
			return "", false
		}
		mine := func(v image.Verdict) bool { return v.Policy == u.rule.Policy }
		saw := func(v image.Verdict) { deciders[v.Policy] = true }
		q := prove.Question{Message: u.message, Given: []image.Expr{u.rule.When}, Decisions: []*image.Decision{u.decision}, Want: mine, Saw: saw}
		if f.ask(q) != prove.Never {
			return "", false
		}
	}
	var forbids, permits []string
	for i := range f.Whole.Policies {
		if p := &f.Whole.Policies[i]; deciders[uint32(i)] {
			text := fmt.Sprintf("%q (%s)", p.ID, p.Source)
			if p.Forbid {
				forbids = append(forbids, text)
			} else {
				permits = append(permits, text)
			}
		}
	}
	var parts []string
	if len(forbids) > 0 {
		parts = append(parts, "what it permits is forbidden by "+strings.Join(forbids, ", "))
	}
	if len(permits) > 0 {
		parts = append(parts, "what it permits is permitted by "+strings.Join(permits, ", ")+" already")
	}
	return strings.Join(parts, "; "), len(parts) > 0
}

// domains finds those that export, but that nobody may call.
func (f *finder) domains() {
	img := f.Image
	for i := range img.Domains {
		d := &img.Domains[i]
		if d.Names || len(d.Exports) == 0 {
			continue
		}
		reached := slices.ContainsFunc(img.Routes, func(r image.Route) bool { return r.Server == abi.DomainID(i) })
		at := slices.IndexFunc(f.System.System.Domains, func(x *system.Domain) bool { return x.Name.Value == d.Name })
		if !reached && at >= 0 {
			f.out.Warnf(f.System.System.Domains[at].Name.Pos, "permit a call of what it exports, or leave the domain out", "nobody may call anything of domain %s", d.Name)
			f.out.Tag(Unreachable, d.Name)
		}
	}
}

// interfaces finds what nobody exports, and what of a gRPC service policies
// and filters see less of than its authors may think.
func (f *finder) interfaces() {
	for i := range f.Image.Interfaces {
		iface := &f.Image.Interfaces[i]
		exported := slices.ContainsFunc(f.Image.Domains, func(d image.Domain) bool {
			return slices.ContainsFunc(d.Exports, func(e image.Export) bool { return e.Interface == uint32(i) })
		})
		if pos := f.Set.Pos[protoreflect.FullName(iface.Name)]; !exported && pos.Line > 0 && iface.Name != system.NamesInterface {
			f.out.Notef(pos, "export it in system.yaml, or leave its file out", "no domain exports %s", iface.Name)
			f.out.Tag(NotExported, iface.Name)
		}
		if !exported {
			continue
		}
		for _, m := range iface.Methods {
			name := iface.Name + "/" + m.Name
			if pos := f.Set.Pos[protoreflect.FullName(iface.Name+"."+m.Name)]; (m.ClientStream || m.ServerStream) && pos.Line > 0 {
				f.out.Notef(pos, "bound the items by @rate, or in the programs", "%s is a stream: each item is decided by itself, and their number has no bound", name)
				f.out.Tag(StreamOpen, name)
			}
		}
	}
	for i := range f.Image.Messages {
		m := &f.Image.Messages[i]
		for _, x := range m.Fields {
			name := m.Name + "." + x.Name
			if pos := f.Set.Pos[protoreflect.FullName(name)]; (x.Type == image.Float || x.Type == image.Double) && pos.Line > 0 {
				f.out.Notef(pos, "use an integer, as thousandths, where a policy has to decide on it", "%s is a floating-point number: its bounds hold, but policies do not see it", name)
				f.out.Tag(FloatHidden, name)
			}
		}
	}
}
