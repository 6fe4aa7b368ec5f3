package cases

import (
	"strings"

	"ward/abi"
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
		s, ok := r.sender(e, true)
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
		if s := (subject{domain: abi.DomainID(i)}); !listed(s) && !w.img.Domains[i].Mailbox {
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
