package cases

import (
	"path"
	"slices"
	"strings"

	"ward/abi"
	"ward/diag"
	"ward/image"
	"ward/policy/prove"
)

// pathRule is `no_path`.
type pathRule struct {
	from   subject
	to     abi.DomainID  // or
	path   string        // of a file, or
	object *image.Object // of system.yaml
	over   map[string]bool
}

// ways are what a path may lead over.
var ways = []string{"calls", "replies", "files", "network", "objects", "handles"}

func (r *reader) noPath(v value) (rule, string) {
	f, ok := r.object(v, "from", "to", "over")
	if !ok {
		return nil, ""
	}
	from, hasFrom := f["from"]
	to, hasTo := f["to"]
	if !hasFrom || !hasTo {
		r.out.Errorf(v.pos, "write {from: DOMAIN, to: DOMAIN, OBJECT or /path}", "no_path has to have from and to")
		return nil, ""
	}
	p := &pathRule{over: map[string]bool{}, to: abi.NoDomain}
	if p.from, ok = r.sender(from, true); !ok {
		return nil, ""
	}
	name, ok := r.text(to)
	if !ok {
		return nil, ""
	}
	switch p.object = r.objectNamed(name); {
	case p.object != nil:
	case path.IsAbs(name) && path.Clean(name) == name:
		p.path = name
	case !strings.HasPrefix(name, "user:") && !slices.Contains(r.domainNames(), name):
		fix := diag.Suggest(name, append(r.domainNames(), r.objectNames()...))
		if fix == "" {
			fix = "write a domain, an object or an absolute path"
		}
		r.out.Errorf(to.pos, fix, "%s: there is no domain and no object %q", to.what, short(name))
		return nil, ""
	default:
		s, ok := r.subject(to, false)
		if !ok || s.isUser() {
			if ok {
				r.out.Errorf(to.pos, "write a domain, an object or an absolute path", "no_path cannot lead to a user")
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
		if !v.at.isUser() && v.at.domain == p.to {
			r.fail("there is a path: %s", v.trail)
			return
		}
		if end := p.end(w, v.at); end != "" {
			r.fail("there is a path: %s%s", v.trail, end)
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

// end is how a path ends whose last domain gets at the file or the object that
// the rule is about; "": it does not.
func (p *pathRule) end(w *world, s subject) string {
	switch {
	case s.isUser():
	case p.path != "":
		for _, f := range w.img.Domains[s.domain].Files {
			if f.Verdict.Allow && (covers(f.Path, p.path) || covers(p.path, f.Path)) {
				return " → " + f.Path
			}
		}
	case p.object != nil && p.object.Domain == s.domain:
		return ", a mailbox"
	case p.object != nil:
		if how := w.getsAt(p.object, s.domain); how != "" {
			return " → " + p.object.Name + how
		}
	}
	return ""
}

// getsAt says how a domain gets at an object; "": it does not. Memory that is
// not shared has to be made, or to come with a handle.
func (w *world) getsAt(o *image.Object, d abi.DomainID) string {
	if o.Shared || o.Kind == image.ObjectMailbox {
		if may(o, "read", d) {
			return " (it may open it)"
		}
		return ""
	}
	if o.Kind == image.ObjectSecret {
		if may(o, "create", d) {
			return " (it may make it)"
		}
		return ""
	}
	for _, in := range w.instances() {
		if in.object != o {
			continue
		}
		switch h := in.holder(d); {
		case h != nil && h.over == "":
			return " (it may make it)"
		case h != nil:
			return " (of " + w.img.Domains[in.maker].Name + ", by " + h.over + ")"
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
		s := &w.img.Domains[r.Server]
		if s.Names {
			continue
		}
		client, server := subject{domain: r.Client, user: "*"}, subject{domain: r.Server}
		if !client.isUser() {
			client.user = ""
		}
		if (p.over["calls"] || s.Mailbox && p.over["objects"]) && r.Client == from.domain {
			if from.isUser() {
				client = from
			}
			if over := w.passes(client, server, r, false); over != "" {
				res = append(res, hop{server, over})
			}
		}
		if p.over["replies"] && r.Server == from.domain && !s.Mailbox {
			if over := w.passes(client, server, r, true); over != "" {
				res = append(res, hop{client, "reply to " + over})
			}
		}
	}
	if from.isUser() {
		return res
	}
	if o := w.mailbox(from.domain); o != nil {
		for _, d := range w.readers(o) {
			res = append(res, hop{subject{domain: d}, "it reads " + o.Name})
		}
		return res
	}
	res = append(res, p.lent(w, from.domain)...)
	if p.over["files"] {
		res = append(res, w.shared(from)...)
	}
	if p.over["network"] {
		res = append(res, w.wired(from.domain)...)
	}
	if p.over["objects"] {
		res = append(res, w.boards(from.domain)...)
	}
	if p.over["handles"] {
		res = append(res, w.handed(from.domain)...)
	}
	return res
}

// boards are the ways over shared memory: to all who may read what a domain may write.
func (w *world) boards(from abi.DomainID) []hop {
	var res []hop
	for i := range w.img.Objects {
		o := &w.img.Objects[i]
		if !o.Shared || !may(o, "write", from) {
			continue
		}
		for _, d := range w.readers(o) {
			if d != from {
				res = append(res, hop{subject{domain: d}, o.Name})
			}
		}
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
			if w.passesOne(c, server, target, reply) {
				return w.methodName(target)
			}
		}
	}
	return ""
}

// passesOne reports whether some message of a method may pass.
func (w *world) passesOne(client, server subject, target method, reply bool) bool {
	q := w.channel(client, server, target, reply).unsaw()
	if q.fixed != nil {
		return q.fixed.Allow
	}
	_, answer := prove.Ask(&q.query)
	return answer != prove.Never
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
