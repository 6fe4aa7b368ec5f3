package cases

import (
	"fmt"
	"slices"
	"strings"

	"ward/abi"
	"ward/diag"
	"ward/image"
)

// Objects of system.yaml: memory and mailboxes. Who may make and open them was
// decided when the system was compiled; what may be written to a mailbox is
// decided message by message, as for any other server.

func (w *world) objectNames() []string {
	var names []string
	for i := range w.img.Objects {
		names = append(names, w.img.Objects[i].Name)
	}
	return names
}

// objectNamed finds an object by its name; nil: there is none.
func (w *world) objectNamed(name string) *image.Object {
	if i, ok := w.img.ObjectNamed(name); ok {
		return &w.img.Objects[i]
	}
	return nil
}

// right is what was decided on an object. Writing needs reading, too.
func right(o *image.Object, verb string, d abi.DomainID) (v image.Verdict, why string) {
	switch {
	case verb == "create":
		return o.Create[d], ""
	case verb == "read":
		return o.Read[d], ""
	case !o.Write[d].Allow:
		return o.Write[d], ""
	case !o.Read[d].Allow:
		return o.Read[d], ": open.write is permitted, but writing needs open.read, too"
	}
	return o.Write[d], ""
}

func may(o *image.Object, verb string, d abi.DomainID) bool {
	v, _ := right(o, verb, d)
	return v.Allow
}

// readers are the domains that may read an object: of a mailbox one.
func (w *world) readers(o *image.Object) []abi.DomainID {
	var all []abi.DomainID
	for i := range w.img.Domains {
		if d := abi.DomainID(i); may(o, "read", d) {
			all = append(all, d)
		}
	}
	return all
}

// mailbox is the object that a domain of the image stands for; nil: none.
func (w *world) mailbox(d abi.DomainID) *image.Object {
	i := slices.IndexFunc(w.img.Objects, func(o image.Object) bool { return o.Kind == image.ObjectMailbox && o.Domain == d })
	if i < 0 {
		return nil
	}
	return &w.img.Objects[i]
}

// thing reads the object of a step, or its path.
func (r *reader) thing(s *step, v value) bool {
	o := r.objectNamed(s.object)
	switch {
	case o == nil && strings.HasPrefix(s.object, "/") && s.verb == "create":
		r.out.Errorf(v.pos, "ask `write`", "%s: %q is a path: `create` is about objects that system.yaml declares", v.what, short(s.object))
	case o == nil:
		fix := diag.Suggest(s.object, r.objectNames())
		if fix == "" {
			fix = "write an absolute path, or the name of an object of system.yaml"
		}
		r.out.Errorf(v.pos, fix, "%s: there is no object %q", v.what, short(s.object))
	case o.Kind == image.ObjectMailbox && s.verb != "read":
		r.out.Errorf(v.pos, "write `call: pkg.Service/Method` and `to: "+o.Name+"`", "%s: %s is a mailbox: who may write, and what, is decided by each message", v.what, o.Name)
	case o.Kind == image.ObjectSecret && s.verb != "create":
		r.out.Errorf(v.pos, "ask `create`", "%s: %s is secret: nobody opens it, and who makes it has it", v.what, o.Name)
	case o.Shared && s.verb == "create":
		r.out.Errorf(v.pos, "ask `read` or `write`", "%s: %s is shared: there is one instance, which no domain makes", v.what, o.Name)
	default:
		s.declared = o
		return true
	}
	return false
}

// judgeObject judges what was decided on an object.
func (s *step) judgeObject(w *world, r *Result) {
	v, why := right(s.declared, s.verb, s.from.domain)
	w.saw(v)
	if !s.want.is(v) {
		r.fail("%s %s from %s: want %s, got %s%s", s.verb, s.object, w.subjectName(s.from), w.expected(s.want), w.verdict(v), why)
	}
}

// sender reads who does something: a mailbox does nothing.
func (r *reader) sender(v value, any bool) (subject, bool) {
	s, ok := r.subject(v, any)
	if !ok || s.isUser() || !r.img.Domains[s.domain].Mailbox {
		return s, ok
	}
	name := r.subjectName(s)
	fix := "name the domain that reads it"
	if o := r.mailbox(s.domain); o != nil {
		if all := r.readers(o); len(all) > 0 {
			fix = fmt.Sprintf("name the domain that reads it: %s", r.img.Domains[all[0]].Name)
		}
	}
	r.out.Errorf(v.pos, fix, "%s: %s is a mailbox: it sends and answers nothing", v.what, name)
	return subject{}, false
}
