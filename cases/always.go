package cases

import (
	"path"
	"strings"

	"ward/abi"
	"ward/diag"
	"ward/image"
	"ward/policy/prove"
)

// ruleKinds are the kinds of an entry of `always`.
var ruleKinds = []string{"only", "never", "no_path", "still_works"}

// always reads one entry of `always`.
func (r *reader) always(v value) *test {
	v.what = "a rule"
	f, ok := r.object(v, append([]string{"name"}, ruleKinds...)...)
	if !ok {
		return nil
	}
	t := &test{pos: v.pos}
	var body value
	n := 0
	for _, kind := range ruleKinds {
		if e, ok := f[kind]; ok {
			body, n = e, n+1
			body.what = kind
		}
	}
	if n != 1 {
		r.out.Errorf(v.pos, "", "a rule has to have exactly one of %s", strings.Join(ruleKinds, ", "))
		return nil
	}
	var words string
	if body.what == "no_path" {
		t.rule, words = r.noPath(body)
	} else {
		t.rule, words = r.about(body)
	}
	if t.rule == nil {
		return nil
	}
	if name, ok := f["name"]; ok {
		if t.name, ok = r.text(name); !ok || !r.unique(t.name, name.pos) {
			return nil
		}
		return t
	}
	t.name = short(body.what + ": " + words)
	return t
}

// messageRule is `only`, `never` or `still_works`: about the messages of one method.
type messageRule struct {
	kind   string
	from   []subject
	to     []subject
	reply  bool
	target method
	given  []image.Expr
}

func (r *reader) about(v value) (rule, string) {
	keys := []string{"from", "to", "call"}
	if v.what != "only" {
		keys = append(keys, "reply", "when")
	}
	f, ok := r.object(v, keys...)
	if !ok {
		return nil, ""
	}
	m := &messageRule{kind: v.what}
	call, isCall := f["call"]
	reply, isReply := f["reply"]
	from, hasFrom := f["from"]
	switch {
	case isCall == isReply:
		r.out.Errorf(v.pos, "write `call: pkg.Service/Method`", "%s has no method, or two", v.what)
		return nil, ""
	case !hasFrom:
		r.out.Errorf(v.pos, "write `from: DOMAIN`", `%s has no "from"`, v.what)
		return nil, ""
	case isReply:
		call, m.reply = reply, true
	}
	if m.target, ok = r.method(call); !ok {
		return nil, ""
	}
	var names []string
	for _, e := range r.texts(from) {
		e.what = v.what + ".from"
		s, ok := r.subject(e, true)
		if !ok || m.reply && s.isUser() {
			if ok {
				r.out.Errorf(e.pos, "write the name of a domain", "a user sends no replies")
			}
			return nil, ""
		}
		m.from = append(m.from, s)
		names = append(names, r.subjectName(s))
	}
	if len(m.from) == 0 && m.kind != "only" {
		r.out.Errorf(from.pos, "name a domain", "%s is about nobody", v.what)
		return nil, ""
	}
	if to, ok := f["to"]; ok {
		s, ok := r.subject(to, false)
		if !ok {
			return nil, ""
		}
		m.to = []subject{s}
	}
	if when, ok := f["when"]; ok {
		a := &arguments{reader: r, opened: r.opened(m.target, m.reply), conditions: true}
		msg, d := r.message(m.target, m.reply)
		if !a.message(when, msg, d, nil) {
			return nil, ""
		}
		m.given = a.given
	}
	return m, strings.Join(names, ", ") + " " + r.methodName(m.target)
}

func (m *messageRule) judge(w *world, r *Result) {
	w.methods[[2]uint32{m.target.iface, m.target.ordinal}] = true
	if m.kind == "only" {
		for _, s := range m.others(w) {
			m.denied(w, r, s)
		}
		return
	}
	for _, from := range m.from {
		all := []subject{from}
		if from.isUser() && from.user == "*" {
			all = w.everyUser()
		}
		for _, s := range all {
			if m.kind == "never" {
				m.denied(w, r, s)
			} else {
				m.works(w, r, s)
			}
		}
	}
}

// others are all that may not call by an `only`.
func (m *messageRule) others(w *world) []subject {
	listed := func(s subject) bool {
		for _, f := range m.from {
			if f.domain == s.domain && (!f.isUser() || f.user == s.user || f.user == "*") {
				return true
			}
		}
		return false
	}
	var res []subject
	for i := range w.img.Domains {
		if s := (subject{domain: abi.DomainID(i)}); !listed(s) {
			res = append(res, s)
		}
	}
	for _, u := range w.everyUser() {
		if !listed(u) {
			res = append(res, u)
		}
	}
	return res
}

func (m *messageRule) channels(w *world, from subject) []*channel {
	s := &step{verb: "call", from: from, to: m.to, target: m.target}
	if m.reply {
		s.verb = "reply"
	}
	return s.channels(w)
}

// denied checks that nothing passes.
func (m *messageRule) denied(w *world, r *Result, from subject) {
	met := false
	for _, c := range m.channels(w, from) {
		e, answer := w.ask(c, m.given, func(v image.Verdict) bool { return v.Allow })
		switch answer {
		case prove.Found:
			r.fail("%s from %s is %s%s", w.methodName(m.target), c.name, w.verdict(e.Verdict), w.example(&e, m.target, m.reply))
		case prove.Unknown:
			r.fail("%s from %s: cannot tell whether it is always denied\n\tnarrow `when`", w.methodName(m.target), c.name)
		}
		if c.fixed != nil || answer != prove.Never {
			met = true
		} else if _, some := w.ask(c, m.given, anyVerdict); some != prove.Never {
			met = true
		}
	}
	if !met && len(m.given) > 0 {
		r.fail("%s from %s: no message within the bounds of the interface satisfies `when`: the rule says nothing", w.methodName(m.target), w.subjectName(from))
	}
}

// works checks that something passes.
func (m *messageRule) works(w *world, r *Result, from subject) {
	unknown := false
	for _, c := range m.channels(w, from) {
		e, answer := w.ask(c, m.given, func(v image.Verdict) bool { return v.Allow })
		if answer == prove.Found {
			w.saw(e.Verdict)
			r.Notes = append(r.Notes, w.verdict(e.Verdict)+": "+c.name+strings.NewReplacer(unreached, "", "\n\t", ", ").Replace(w.example(&e, m.target, m.reply)))
			return
		}
		unknown = unknown || answer == prove.Unknown
	}
	if unknown {
		r.fail("%s from %s: cannot tell whether any is allowed\n\tadd `when` with arguments that are", w.methodName(m.target), w.subjectName(from))
		return
	}
	r.fail("%s from %s is always denied", w.methodName(m.target), w.subjectName(from))
}

// pathRule is `no_path`.
type pathRule struct {
	from   subject
	to     abi.DomainID // or
	object string
	over   map[string]bool
}

// ways are what a path may lead over.
var ways = []string{"calls", "replies", "files"}

func (r *reader) noPath(v value) (rule, string) {
	f, ok := r.object(v, "from", "to", "over")
	if !ok {
		return nil, ""
	}
	from, hasFrom := f["from"]
	to, hasTo := f["to"]
	if !hasFrom || !hasTo {
		r.out.Errorf(v.pos, "write {from: DOMAIN, to: DOMAIN or /path}", "no_path has to have from and to")
		return nil, ""
	}
	p := &pathRule{over: map[string]bool{}}
	if p.from, ok = r.subject(from, true); !ok {
		return nil, ""
	}
	name, ok := r.text(to)
	switch {
	case !ok:
		return nil, ""
	case path.IsAbs(name) && path.Clean(name) == name:
		p.object = name
	default:
		s, ok := r.subject(to, false)
		if !ok || s.isUser() {
			if ok {
				r.out.Errorf(to.pos, "write a domain or an absolute path", "no_path cannot lead to a user")
			}
			return nil, ""
		}
		if p.to = s.domain; p.to == p.from.domain {
			r.out.Errorf(to.pos, "name another domain", "no_path leads from %s to itself", name)
			return nil, ""
		}
	}
	over, ok := f["over"]
	if !ok {
		for _, way := range ways {
			p.over[way] = true
		}
		return p, r.subjectName(p.from) + " to " + name
	}
	for _, e := range r.texts(over) {
		way, ok := r.text(e)
		if !ok {
			return nil, ""
		}
		known := false
		for _, k := range ways {
			known = known || k == way
		}
		if !known {
			r.out.Errorf(e.pos, diag.Suggest(way, ways), "over: %q; it may be %s", short(way), strings.Join(ways, ", "))
			return nil, ""
		}
		p.over[way] = true
	}
	if len(p.over) == 0 {
		r.out.Errorf(over.pos, "leave it out for all", "over is empty")
		return nil, ""
	}
	return p, r.subjectName(p.from) + " to " + name
}

// A hop leads from one end to the next.
type hop struct {
	to   subject
	over string
}

func (p *pathRule) judge(w *world, r *Result) {
	type visit struct {
		at    subject
		trail string
	}
	seen := map[string]bool{w.subjectName(p.from): true}
	for todo := []visit{{p.from, w.subjectName(p.from)}}; len(todo) > 0; todo = todo[1:] {
		v := todo[0]
		if p.object == "" && !v.at.isUser() && v.at.domain == p.to {
			r.fail("there is a path: %s", v.trail)
			return
		}
		if f := p.file(w, v.at); f != "" {
			r.fail("there is a path: %s → %s", v.trail, f)
			return
		}
		for _, h := range p.hops(w, v.at) {
			if name := w.subjectName(h.to); !seen[name] {
				seen[name] = true
				todo = append(todo, visit{h.to, v.trail + " → " + name + " (" + h.over + ")"})
			}
		}
	}
}

// file is an entry of `files` by which a domain gets at the object, or "".
func (p *pathRule) file(w *world, s subject) string {
	if p.object == "" || s.isUser() {
		return ""
	}
	for _, f := range w.img.Domains[s.domain].Files {
		if f.Verdict.Allow && (covers(f.Path, p.object) || covers(p.object, f.Path)) {
			return f.Path
		}
	}
	return ""
}

// hops are the ways on from one end. What cannot be told counts as a way. The
// name server is Ward's own, and no way from one domain to another.
func (p *pathRule) hops(w *world, from subject) []hop {
	var res []hop
	for i := range w.img.Routes {
		r := &w.img.Routes[i]
		if w.img.Domains[r.Server].Names {
			continue
		}
		client, server := subject{domain: r.Client, user: "*"}, subject{domain: r.Server}
		if !client.isUser() {
			client.user = ""
		}
		if p.over["calls"] && r.Client == from.domain {
			if from.isUser() {
				client = from
			}
			if over := w.passes(client, server, r, false); over != "" {
				res = append(res, hop{server, over})
			}
		}
		if p.over["replies"] && r.Server == from.domain {
			if over := w.passes(client, server, r, true); over != "" {
				res = append(res, hop{client, "reply to " + over})
			}
		}
	}
	if p.over["files"] && !from.isUser() {
		res = append(res, w.shared(from)...)
	}
	return res
}

// passes names a method of which some message may pass, or is "".
func (w *world) passes(client, server subject, r *image.Route, reply bool) string {
	clients := []subject{client}
	if client.isUser() && client.user == "*" {
		clients = w.everyUser()
	}
	for m := range r.Methods {
		if len(r.Methods[m].Request.Permit) == 0 {
			continue
		}
		target := method{r.Interface, uint32(m)}
		for _, c := range clients {
			q := w.channel(c, server, target, reply).unsaw()
			if q.fixed != nil && !q.fixed.Allow {
				continue
			}
			if _, answer := prove.Ask(&q.query); answer != prove.Never {
				return w.methodName(target)
			}
		}
	}
	return ""
}

// unsaw makes a channel that asks what passes, without coverage: a path
// touches everything, and tests nothing of it.
func (c *channel) unsaw() *channel {
	c.query.Want = func(v image.Verdict) bool { return v.Allow }
	return c
}

// shared are the domains that may read what a domain may write.
func (w *world) shared(from subject) []hop {
	var res []hop
	for _, f := range w.img.Domains[from.domain].Files {
		if !f.Verdict.Allow || f.Access&image.Write == 0 {
			continue
		}
		for i := range w.img.Domains {
			for _, g := range w.img.Domains[i].Files {
				if abi.DomainID(i) != from.domain && g.Verdict.Allow && (covers(f.Path, g.Path) || covers(g.Path, f.Path)) {
					res = append(res, hop{subject{domain: abi.DomainID(i)}, f.Path})
				}
			}
		}
	}
	return res
}
