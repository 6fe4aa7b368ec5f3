package cases

import (
	"path"
	"slices"
	"strings"

	"ward/diag"
	"ward/image"
)

// step reads what is asked for and what has to be decided.
func (r *reader) step(v value, f fields) *step {
	s := &step{pos: v.pos}
	n := 0
	for _, verb := range verbs {
		if _, ok := f[verb]; ok {
			s.verb, n = verb, n+1
		}
	}
	if n != 1 {
		r.out.Errorf(v.pos, "", "%s has to have exactly one of %s", v.what, strings.Join(verbs, ", "))
		return nil
	}
	want, good := r.expectation(v, f)
	s.want = want
	good = r.timed(s, f) && good
	from, hasFrom := f["from"]
	message := s.verb == "call" || s.verb == "reply"
	for _, key := range []string{"to", "args", "groups"} {
		if e, ok := f[key]; ok && !message && !(key == "to" && s.verb == "grant") {
			r.out.Errorf(e.pos, "leave it out", "%s has no %s", s.verb, key)
			good = false
		}
	}
	switch {
	case s.verb == "start" && hasFrom:
		r.out.Errorf(from.pos, "leave it out", "the system starts a domain, no other")
		return nil
	case s.verb == "start":
	case !hasFrom:
		r.out.Errorf(v.pos, "write `from: DOMAIN`", `%s has no "from"`, v.what)
		return nil
	default:
		var ok bool
		if s.from, ok = r.sender(from, false); !ok {
			return nil
		}
		if s.from.isUser() && s.verb != "call" {
			r.out.Errorf(from.pos, "write the name of a domain", "a user can only call")
			return nil
		}
	}
	if !message && (s.want.kind == byState || s.want.kind == byRate) {
		r.out.Errorf(f["deny"].pos, "write what denies it", "%s is decided without state or rate", s.verb)
		return nil
	}
	switch {
	case s.kin():
		return s.orNil(r.readKin(s, f) && good)
	case !message:
		return s.orNil(r.static(s, f[s.verb]) && good)
	}
	var ok bool
	if s.target, ok = r.method(f[s.verb]); !ok {
		return nil
	}
	if g, ok := f["groups"]; ok {
		good = r.groups(s, g) && good
	}
	if to, ok := f["to"]; ok {
		good = r.to(s, to) && good
	} else if s.verb == "call" && len(r.exporters(s.target.iface)) == 0 {
		r.out.Errorf(f[s.verb].pos, "export it in system.yaml", "no domain exports %s", r.img.Interfaces[s.target.iface].Name)
		good = false
	}
	if s.verb == "reply" && !slices.ContainsFunc(r.exporters(s.target.iface), func(e subject) bool { return e.domain == s.from.domain }) {
		r.out.Errorf(from.pos, "the sender of a reply is the server", "%s does not export %s", r.subjectName(s.from), r.img.Interfaces[s.target.iface].Name)
		good = false
	}
	if a, ok := f["args"]; ok {
		b := &arguments{reader: r, opened: r.opened(s.target, s.verb == "reply"), misfits: s.want.kind == bySignature}
		msg, desc := r.message(s.target, s.verb == "reply")
		good = b.message(a, msg, desc, nil) && good
		s.given, s.misfit = b.given, b.misfit
	}
	return s.orNil(good)
}

func (s *step) orNil(good bool) *step {
	if !good {
		return nil
	}
	return s
}

// static reads what a step about no message is about.
func (r *reader) static(s *step, v value) bool {
	name, ok := r.text(v)
	if !ok {
		return false
	}
	s.object = name
	var known []string
	switch s.verb {
	case "start":
		known = r.domainNames()
		if o := r.objectNamed(name); o != nil && o.Kind == image.ObjectMailbox {
			r.out.Errorf(v.pos, "", "%s: %s is a mailbox: nothing runs there", v.what, name)
			return false
		}
	case "publish":
		for _, i := range r.img.Interfaces {
			known = append(known, i.Name)
		}
	default:
		if s.verb == "create" || r.objectNamed(name) != nil || !strings.Contains(name, "/") {
			return r.thing(s, v)
		}
		if !path.IsAbs(name) || path.Clean(name) != name {
			r.out.Errorf(v.pos, "", "%s: %q is not an absolute, clean path", v.what, short(name))
			return false
		}
		return true
	}
	if !slices.Contains(known, name) {
		r.out.Errorf(v.pos, diag.Suggest(name, known), "%s: %q does not exist", v.what, short(name))
		return false
	}
	return true
}

// to reads the other end of a message.
func (r *reader) to(s *step, v value) bool {
	if name, ok := r.text(v); !ok {
		return false
	} else if o := r.objectNamed(name); o != nil && o.Kind != image.ObjectMailbox {
		fix := "name a domain; the message may have a handle of it"
		if o.Kind == image.ObjectSecret {
			fix = "name a domain"
		}
		r.out.Errorf(v.pos, fix, "%s: %s is memory, which takes no messages", v.what, name)
		return false
	}
	to, ok := r.subject(v, false)
	if !ok {
		return false
	}
	exports := slices.ContainsFunc(r.exporters(s.target.iface), func(e subject) bool { return e.domain == to.domain })
	if s.verb == "call" && !exports {
		word := "export"
		if r.img.Domains[to.domain].Mailbox {
			word = "take"
		}
		r.out.Errorf(v.pos, "", "%s does not %s %s", r.subjectName(to), word, r.img.Interfaces[s.target.iface].Name)
		return false
	}
	s.to = []subject{to}
	return true
}

// groups reads the groups that a user is in: all of them.
func (r *reader) groups(s *step, v value) bool {
	if !s.from.isUser() {
		r.out.Errorf(v.pos, "leave it out", "only users are in groups")
		return false
	}
	s.from.groups = []string{}
	for _, g := range r.texts(v) {
		name, ok := r.text(g)
		if !ok {
			return false
		}
		s.from.groups = append(s.from.groups, name)
	}
	return true
}

// atoms says which users and groups of the policies a subject is; groups nil: any.
func (w *world) atoms(s subject) (users, groups map[uint32]bool) {
	users = map[uint32]bool{}
	for i, u := range w.img.Users {
		users[uint32(i)] = s.isUser() && u == s.user
	}
	if s.groups == nil && s.isUser() {
		return users, nil // may be in any
	}
	groups = map[uint32]bool{}
	for i, g := range w.img.Groups {
		groups[uint32(i)] = slices.Contains(s.groups, g)
	}
	return users, groups
}

// everyUser stands for all users outside: those that policies name, and one
// that none does.
func (w *world) everyUser() []subject {
	res := []subject{{domain: anyDomain, user: "*"}}
	for _, u := range w.img.Users {
		res = append(res, subject{domain: anyDomain, user: u})
	}
	return res
}

// message returns the message of a method, one way.
func (w *world) message(m method, reply bool) (*image.Message, descriptor) {
	i := &w.img.Interfaces[m.iface].Methods[m.ordinal]
	at := i.Request
	if reply {
		at = i.Reply
	}
	return &w.img.Messages[at], w.set.MessageTypes[at]
}
