package cases

import (
	"fmt"
	"slices"
	"strings"

	"ward/abi"
	"ward/diag"
	"ward/image"
	"ward/policy/prove"
)

// A Result is how one test ended.
type Result struct {
	Name     string
	Pos      diag.Pos
	Failures []string // none: it passed. Each is one or more lines.
	Notes    []string // worth knowing of one that passed, as the example of still_works
}

func (r *Result) fail(format string, args ...any) {
	r.Failures = append(r.Failures, fmt.Sprintf(format, args...))
}

// Report is how the tests ended, and what they touched.
type Report struct {
	Results          []Result
	Policies         int      // that people wrote
	PoliciesUntested []string // IDs of those that decided no case
	Methods          int      // that some domain exports
	MethodsUntested  []string
}

// Run judges the tests that match selects (nil: all), in the order of the files.
func (s *Suite) Run(match func(name string) bool) *Report {
	var rep Report
	for _, t := range s.tests {
		if match != nil && !match(t.name) {
			continue
		}
		r := Result{Name: t.name, Pos: t.pos}
		if t.rule != nil {
			t.rule.judge(s.world, &r)
		}
		mem := newMemory(s.world)
		for _, step := range t.steps {
			before := len(r.Failures)
			mem.prepare(step)
			step.judge(s.world, &r, mem)
			if len(t.steps) > 1 {
				for i := before; i < len(r.Failures); i++ {
					r.Failures[i] = fmt.Sprintf("step on line %d: %s", step.pos.Line, r.Failures[i])
				}
			}
			if len(r.Failures) > before && len(mem.cells) > 0 {
				break // the state that the next steps meet is not the one that is meant
			}
		}
		rep.Results = append(rep.Results, r)
	}
	s.coverage(&rep)
	return &rep
}

func (s *Suite) coverage(rep *Report) {
	w := s.world
	for i := range w.img.Policies {
		if p := &w.img.Policies[i]; ownPolicy(p) {
			rep.Policies++
			if !w.policies[uint32(i)] {
				rep.PoliciesUntested = append(rep.PoliciesUntested, p.ID)
			}
		}
	}
	names := slices.IndexFunc(w.img.Domains, func(d image.Domain) bool { return d.Names })
	for i := range w.img.Interfaces {
		servers := w.exporters(uint32(i))
		if len(servers) == 0 || len(servers) == 1 && int(servers[0].domain) == names {
			continue
		}
		for m := range w.img.Interfaces[i].Methods {
			rep.Methods++
			if !w.methods[[2]uint32{uint32(i), uint32(m)}] {
				rep.MethodsUntested = append(rep.MethodsUntested, w.methodName(method{uint32(i), uint32(m)}))
			}
		}
	}
}

// A channel is one way from one end to another: what decides on its messages.
type channel struct {
	client subject
	name   string // both ends, for people
	gate   string // names the gate: client, server, interface
	sender string
	about  string // method and direction
	fixed  *image.Verdict
	why    string // for fixed
	query  prove.Question
	given  []image.Expr // that hold of the client
}

// channel finds what decides on a method's messages between two ends.
func (w *world) channel(client, server subject, m method, reply bool) *channel {
	c := &channel{client: client, name: w.subjectName(client) + " to " + w.subjectName(server)}
	c.gate, c.sender, c.about = fmt.Sprint(c.name, " ", m.iface), w.subjectName(client), fmt.Sprint(m, reply)
	if reply {
		c.name, c.sender = w.subjectName(server)+" to "+w.subjectName(client), w.subjectName(server)
	}
	i := slices.IndexFunc(w.img.Routes, func(r image.Route) bool {
		return r.Client == client.domain && r.Server == server.domain && r.Interface == m.iface
	})
	if i < 0 {
		c.fixed = &image.Verdict{Policy: abi.NoPolicy}
		c.why = fmt.Sprintf("no call of %s can pass, so there is no gate", w.img.Interfaces[m.iface].Name)
		return c
	}
	r := &w.img.Routes[i]
	users := client.isUser() && len(r.ConnectUser.Permit)+len(r.ConnectUser.Forbid) > 0
	if !users && !r.Connect.Allow {
		c.fixed, c.why = &r.Connect, "there is no gate: connecting is denied"
		return c
	}
	d := &r.Methods[m.ordinal].Request
	if reply {
		d = &r.Methods[m.ordinal].Reply
	}
	msg, _ := w.message(m, reply)
	c.query = prove.Question{Image: w.img, Message: msg, Decisions: []*image.Decision{d}}
	c.query.Users, c.query.Groups = w.atoms(client)
	if users {
		c.query.Decisions = []*image.Decision{&r.ConnectUser, d}
	}
	return c
}

// ask asks about the messages of a channel that satisfy given. The client of a
// channel without a gate gets its fixed verdict.
func (w *world) ask(c *channel, given []image.Expr, want func(image.Verdict) bool) (prove.Example, prove.Answer) {
	if c.fixed != nil {
		w.saw(*c.fixed)
		if want(*c.fixed) {
			return prove.Example{Verdict: *c.fixed}, prove.Found
		}
		return prove.Example{}, prove.Never
	}
	q := c.query
	q.Given, q.Want, q.Saw = slices.Concat(c.given, given), want, w.saw
	return prove.Ask(&q)
}

func (w *world) saw(v image.Verdict) {
	if v.Policy != abi.NoPolicy {
		w.policies[v.Policy] = true
	}
}

func (s *step) judge(w *world, r *Result, mem *memory) {
	if s.verb != "call" && s.verb != "reply" {
		s.judgeStatic(w, r)
		return
	}
	w.methods[[2]uint32{s.target.iface, s.target.ordinal}] = true
	before, all := len(r.Failures), s.channels(w)
	var effects [][]stepEffect
	for _, c := range all {
		c.query.Cells = mem.at(c)
		effects = append(effects, s.judgeChannel(w, r, c, mem))
	}
	for i, c := range all {
		mem.commit(c, effects[i], len(all) == 1)
	}
	if n := len(r.Failures) - before; n > 0 && n < len(all) && s.to == nil {
		r.Failures[len(r.Failures)-1] += "\n\twrite `to` to ask about one of several"
	}
}

// channels are those that the step is about: all between which it may happen.
func (s *step) channels(w *world) []*channel {
	others := s.to
	if s.verb == "call" {
		if others == nil {
			others = w.exporters(s.target.iface)
		}
		var res []*channel
		for _, server := range others {
			if server.domain != s.from.domain || len(others) == 1 {
				res = append(res, w.channel(s.from, server, s.target, false))
			}
		}
		return res
	}
	if others == nil {
		others = w.callers(s.from, s.target)
	}
	var res []*channel
	for _, client := range others {
		c := w.channel(client, s.from, s.target, true)
		if s.to == nil && !c.connected() {
			continue // it cannot have called
		}
		res = append(res, c)
	}
	if len(res) == 0 {
		res = []*channel{{name: w.subjectName(s.from) + " to anyone", fixed: &image.Verdict{Policy: abi.NoPolicy}, why: "nobody may call it"}}
	}
	return res
}

// connected narrows a channel of users to those who may connect. It reports
// whether there may be some.
func (c *channel) connected() bool {
	if c.fixed != nil || len(c.query.Decisions) < 2 {
		return c.fixed == nil
	}
	may := image.Expr{Op: image.Or, Args: []image.Expr{never}}
	for _, p := range c.query.Decisions[0].Permit {
		may.Args = append(may.Args, p.When)
	}
	c.given = []image.Expr{may}
	for _, f := range c.query.Decisions[0].Forbid {
		c.given = append(c.given, not(f.When))
	}
	q := c.query
	q.Given, q.Want = c.given, anyVerdict
	_, answer := prove.Ask(&q)
	return answer != prove.Never
}

// callers are those whom some permit lets call a method.
func (w *world) callers(server subject, m method) []subject {
	var res []subject
	for i := range w.img.Routes {
		r := &w.img.Routes[i]
		if r.Server != server.domain || r.Interface != m.iface || len(r.Methods[m.ordinal].Request.Permit) == 0 {
			continue
		}
		if r.Client == abi.NoDomain {
			res = append(res, w.everyUser()...)
		} else {
			res = append(res, subject{domain: r.Client})
		}
	}
	return res
}

// judgeChannel judges the step on one channel. It returns the effects that
// happen, if all is as expected and the message is admitted.
func (s *step) judgeChannel(w *world, r *Result, c *channel, mem *memory) []stepEffect {
	about := fmt.Sprintf("%s %s from %s", s.verb, w.methodName(s.target), c.name)
	wrong := func(got, detail string) {
		r.fail("%s: want %s, got %s%s", about, w.expected(s.want), got, detail)
	}
	if c.fixed != nil {
		if v := *c.fixed; !s.want.is(v) {
			wrong(w.verdict(v), ": "+c.why)
		} else {
			w.saw(v)
		}
		return nil
	}
	if s.misfit || s.want.kind == bySignature {
		if !s.misfit {
			r.fail("%s: want %s, but the arguments fit the signature", about, w.expected(s.want))
		}
		return nil
	}
	reply := s.verb == "reply"
	example, answer := prove.Example{}, prove.Never
	if example, answer = w.ask(c, s.given, anyVerdict); answer == prove.Never {
		if s.want.kind != byBounds {
			wrong("denied: bounds", ": no message within the bounds of the interface has these arguments")
		}
		return nil
	}
	var all []stepEffect
	end := tried{outcome: byPolicy}
	if s.want.admits() {
		all = s.effects(c)
		end = mem.try(c, all)
	}
	if s.want.kind != byBounds || answer == prove.Unknown {
		example, answer = w.ask(c, s.given, func(v image.Verdict) bool { return !s.want.is(v) })
	}
	switch answer {
	case prove.Found:
		wrong(w.verdict(example.Verdict), w.example(&example, s.target, reply))
	case prove.Unknown:
		r.fail("%s: cannot tell whether it is %s for all values of the arguments left out\n\twrite more of the arguments", about, w.expected(s.want))
	}
	if answer != prove.Never || !s.want.admits() {
		return nil
	}
	switch {
	case end.outcome == s.want.kind && end.outcome == byPolicy:
		return all
	case end.outcome == s.want.kind:
	case end.outcome == 0:
		r.fail("%s: cannot tell whether it is %s for all values of the arguments left out: %s\n\twrite more of the arguments", about, w.expected(s.want), end.why)
	case end.outcome == byPolicy:
		wrong("allowed", "")
	default:
		wrong(w.expected(expectation{kind: end.outcome}), ": "+end.why)
	}
	return nil
}

// admits reports whether the policy has to allow the message: what its effects
// meet decides the rest.
func (e expectation) admits() bool {
	return e.kind == byPolicy && e.allow || e.kind == byState || e.kind == byRate
}

// is reports whether a verdict of a policy is the one that is expected.
func (e expectation) is(v image.Verdict) bool {
	switch e.kind {
	case byDefault:
		return !v.Allow && v.Policy == abi.NoPolicy
	case byPolicy:
		return v.Allow == e.allow && v.Policy == e.policy
	case byState, byRate:
		return v.Allow
	}
	return false
}

// judgeStatic judges what was decided when the system was compiled.
func (s *step) judgeStatic(w *world, r *Result) {
	switch {
	case s.declared != nil:
		s.judgeObject(w, r)
		return
	case s.kin():
		s.judgeKin(w, r)
		return
	}
	v, why := image.Verdict{Policy: abi.NoPolicy}, ""
	about := s.verb + " " + s.object
	switch s.verb {
	case "start":
		i := slices.IndexFunc(w.img.Domains, func(d image.Domain) bool { return d.Name == s.object })
		v = w.img.Domains[i].Start
	case "publish":
		about += " from " + w.subjectName(s.from)
		why = ": system.yaml does not export it"
		for _, e := range w.img.Domains[s.from.domain].Exports {
			if w.img.Interfaces[e.Interface].Name == s.object {
				v, why = e.Publish, ""
			}
		}
	default:
		about += " from " + w.subjectName(s.from)
		access := image.Read
		if s.verb == "write" {
			access = image.Write
		}
		d := &w.img.Domains[s.from.domain]
		f := fileOf(d, s.object)
		switch {
		case f == nil && d.Host && access == image.Read:
			r.fail("%s: cannot tell: with `root: host` a domain sees the libraries and programs of the host\n\tlist the path under `files`", about)
			return
		case f == nil:
			why = ": system.yaml does not list it"
		case f.Access&access == 0 && f.Verdict.Allow:
			why = fmt.Sprintf(": %s is listed, but not for that", f.Path)
		default:
			v = f.Verdict
		}
	}
	w.saw(v)
	if !s.want.is(v) {
		r.fail("%s: want %s, got %s%s", about, w.expected(s.want), w.verdict(v), why)
	}
}

// fileOf is the entry of `files` that decides on a path: the longest that
// covers it.
func fileOf(d *image.Domain, p string) *image.File {
	var best *image.File
	for i := range d.Files {
		f := &d.Files[i]
		if covers(f.Path, p) && (best == nil || len(f.Path) > len(best.Path)) {
			best = f
		}
	}
	return best
}

// covers reports whether a path is dir or below it.
func covers(dir, p string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
