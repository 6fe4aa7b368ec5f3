package policy

import (
	"fmt"
	"slices"
	"strings"

	"ward/abi"
	"ward/diag"
	"ward/image"
	"ward/policy/internal/cedar"
	"ward/policy/internal/syntax"
	"ward/system"
)

// Objects that system.yaml declares. Who makes and opens them is decided now,
// with default deny: nothing is implied. A mailbox stands among the domains of
// the compiler and of the image, after those of system.yaml, since messages go
// to it; policies know it as an Object only.

// addMailboxes puts the mailboxes among the servers.
func (w *world) addMailboxes() {
	w.domains = slices.Clip(w.sys.Domains)
	w.boxes = make([]*system.Object, len(w.domains))
	for i := range w.sys.Objects {
		o := &w.sys.Objects[i]
		if o.Kind.Value != system.KindMailbox {
			continue
		}
		w.boxes = append(w.boxes, o)
		w.domains = append(w.domains, &system.Domain{Name: o.Name, Pos: o.Name.Pos,
			Exports: []system.Export{{Interface: o.Interface, Pos: o.Interface.Pos}}})
	}
}

// isBox reports whether an entry of world.domains is a mailbox.
func (w *world) isBox(domain int) bool { return domain >= 0 && w.boxes[domain] != nil }

// box is the entry of a mailbox in world.domains.
func (w *world) box(o *system.Object) int { return slices.Index(w.boxes, o) }

// domainUID is what policies call an entry of world.domains: one in another
// ring by the name of the domain.
func (c *compiler) domainUID(i int) cedar.UID {
	if c.isBox(i) {
		return cedar.NewUID(typeObject, c.domains[i].Name.Value)
	}
	return cedar.NewUID(typeDomain, c.domains[c.plain[i]].Name.Value)
}

// takers are the entity types that take the requests of an interface.
func (w *world) takers(iface int) (types []string, answers bool) {
	domain, box := false, false
	for _, s := range w.servers[iface] {
		domain, box = domain || !w.isBox(s), box || w.isBox(s)
	}
	switch {
	case domain && box:
		return []string{typeDomain, typeObject}, true
	case box:
		return []string{typeObject}, false
	}
	return []string{typeDomain}, true
}

// checkMailbox reports a mailbox whose messages somebody would have to answer.
func (w *world) checkMailbox(o *system.Object, f *image.Interface) {
	for _, m := range f.Methods {
		what, fix := "", "let the mailbox take another service, or a domain export this one"
		switch request := (&image.Image{Messages: w.set.Messages}); {
		case m.ClientStream || m.ServerStream:
			what = "is a stream, and a mailbox takes single messages"
		case len(w.set.Messages[m.Reply].Fields) > 0:
			what = fmt.Sprintf("has a reply with fields (%s), and nobody answers what is written to a mailbox", w.set.Messages[m.Reply].Name)
			fix = "let it return a message without fields; " + fix
		default:
			if _, ok := request.HandleOf(m.Request); !ok {
				continue
			}
			what = "passes a handle on, and who gets what waits in a mailbox is not known when it is sent"
			fix = "pass handles to domains; for a mailbox, declare a service without them"
		}
		w.findings.Errorf(o.Interface.Pos, fix, "the mailbox %s takes %s, whose method %s %s", o.Name.Value, f.Name, m.Name, what)
	}
}

// judges are the models that judge by rings or labels, which objects have not.
var judges = []string{"ward/rings-multics", "ward/rings-x86", "ward/ring-distance", "ward/ring-order", "ward/mls", "ward/biba", "ward/low-water-mark"}

// checkModels refuses mailboxes where a model judges messages by what a
// mailbox does not have: it would say nothing of what is written there.
func (w *world) checkModels() {
	for _, m := range judges {
		u, ok := w.sys.Uses(m)
		if !ok {
			continue
		}
		for _, o := range w.boxes {
			if o != nil {
				w.findings.Errorf(o.Name.Pos, "send the messages to a domain, or leave the model out (line "+fmt.Sprint(u.Model.Pos.Line)+")",
					"the mailbox %s has no ring and no label, by which %s judges messages", o.Name.Value, m)
			}
		}
	}
}

// objectScope refuses an action that an object, which the scope names, does not
// have: the policy could never match.
func (c *compiler) objectScope(s *source) {
	if len(s.Resource.UIDs) != 1 || s.Resource.UIDs[0].Type != typeObject || s.Action.Kind == syntax.All {
		return
	}
	name := s.Resource.UIDs[0].ID
	o := c.sys.Object(name)
	for _, u := range s.Action.UIDs {
		leaves := c.leaves[cedar.NewUID(u.Type, u.ID)]
		var what, fix string
		for _, a := range leaves {
			if what, fix = c.unfit(name, o, a); what == "" {
				break
			}
		}
		if what != "" {
			c.findings.Errorf(u.Pos, fix, "policy can never match: %s", what)
			s.broken = true
		}
	}
}

// unfit says why an object does not have an action; "": it has. o is nil for a
// file or an address.
func (c *compiler) unfit(name string, o *system.Object, a *action) (what, fix string) {
	id := string(a.uid.ID)
	own := a.kind == wardOwn
	switch {
	case o != nil && o.Secret && own && strings.HasPrefix(id, "open."):
		return name + " is secret: only the domain that makes it has it, and reads and writes what it made", "permit create to who needs it, or leave `secret` out and give handles"
	case o == nil && own && id == "create":
		return quote(name) + " is a file or an address, and create is for memory", "name an object of kind memory under `objects`"
	case o == nil || own && id == "open.read":
		return "", ""
	case own && (id == "open.execute" || id == "open.listen" || id == "open.connect"):
		what = name + " is memory"
		if o.Kind.Value == system.KindMailbox {
			what = name + " is a mailbox"
		}
		return id + " is for files and addresses, and " + what, "write open.read or open.write"
	}
	if o.Kind.Value == system.KindMemory {
		switch {
		case !own && o.Secret:
			return name + " is memory, which takes no messages", "send a message to a domain, or declare a mailbox"
		case !own:
			return name + " is memory, which takes no messages", "send a message with a " + image.HandleName + " to a domain, or declare a mailbox"
		case id == "connect":
			return name + " is memory: nobody connects to it", "write open.read or open.write"
		case id == "create" && o.Shared:
			return name + " is shared: there is one instance, which lives as long as the system, and nobody makes another", "permit open.read and open.write"
		}
		return "", ""
	}
	f := c.iface(o.Interface.Value)
	switch {
	case a.kind == replyAction:
		return "nobody answers what is written to the mailbox " + name, "remove it"
	case a.kind == callAction && a.iface != f:
		return "the mailbox " + name + " takes " + o.Interface.Value + ", not " + c.set.Interfaces[a.iface].Name, "name a method of " + o.Interface.Value
	case own && id == "create":
		return "the mailbox " + name + " is there as long as the system, and nobody makes it", "remove it"
	case own && id == "open.write":
		pkg, service := split(o.Interface.Value)
		return "who writes what to the mailbox " + name + " is decided message by message",
			"write action in " + actionType(pkg) + "::" + quote(service) + ", or name methods"
	}
	return "", ""
}

// silentReply finds the mailboxes' interface that a reply action would be of.
func (c *compiler) silentReply(u syntax.UID) (iface string, ok bool) {
	for i, f := range c.set.Interfaces {
		pkg, service := split(f.Name)
		if _, answers := c.takers(i); answers || u.Type != actionType(pkg) {
			continue
		}
		if strings.HasPrefix(u.ID, service+".") && strings.HasSuffix(u.ID, ".reply") || u.ID == service+".reply" {
			return f.Name, true
		}
	}
	return "", false
}

// objects decides on the objects, and lists them in the image. A name server
// that Ward adds has nothing to do with them, whatever a policy for all says,
// nor have children, which are judged as their template.
func (c *compiler) objects() {
	for i := range c.sys.Objects {
		o := &c.sys.Objects[i]
		out := image.Object{Name: o.Name.Value, Kind: image.ObjectMemory, Size: o.Size, Count: o.Count, Shared: o.Shared, Domain: abi.NoDomain}
		mailbox := o.Kind.Value == system.KindMailbox
		switch {
		case mailbox:
			out.Kind, out.Domain = image.ObjectMailbox, clientOf(c.box(o))
		case o.Secret:
			out.Kind = image.ObjectSecret
		}
		for d := range c.domains {
			decide := func(action string, applies bool) image.Verdict {
				if !applies || c.isBox(d) || c.isLowered(d) || c.domains[d].Implicit || c.domains[d].Template && !mailbox {
					return denied
				}
				return c.decided(action, tuple{principal: d, resource: anObject, object: o.Name.Value})
			}
			out.Create = append(out.Create, decide("create", !mailbox && !o.Shared))
			out.Read = append(out.Read, decide("open.read", !o.Secret))
			out.Write = append(out.Write, decide("open.write", !mailbox && !o.Secret))
		}
		c.img.Objects = append(c.img.Objects, out)
		if mailbox {
			c.reader(o, &out)
		}
	}
}

// allowed are the domains that a list of verdicts allows something.
func (c *compiler) allowed(verdicts []image.Verdict) []int {
	var who []int
	for d, v := range verdicts {
		if v.Allow {
			who = append(who, d)
		}
	}
	return who
}

// reader checks that one domain reads a mailbox, and only one.
func (c *compiler) reader(o *system.Object, out *image.Object) {
	who := c.allowed(out.Read)
	const write = `write permit (principal == Domain::"…", action == ward::Action::"open.read", resource == Object::`
	switch {
	case len(who) == 0:
		fix := write + quote(o.Name.Value) + ")"
		for _, v := range out.Read {
			if v != denied {
				fix = "policy " + quote(c.img.Policies[v.Policy].ID) + " forbids it"
			}
		}
		c.findings.Errorf(o.Name.Pos, fix, "nobody may read the mailbox %s: one domain has to", o.Name.Value)
	case len(who) > 1:
		var names []string
		for _, d := range who[:min(len(who), 4)] {
			names = append(names, fmt.Sprintf("%s by %s", c.domains[d].Name.Value, quote(c.img.Policies[out.Read[d].Policy].ID)))
		}
		if len(who) > 4 {
			names = append(names, "…")
		}
		c.findings.Errorf(o.Name.Pos, write+quote(o.Name.Value)+") for one of them, and let no other permit cover it",
			"%d domains may read the mailbox %s (%s): a message is read once, so one domain may", len(who), o.Name.Value, strings.Join(names, ", "))
	case c.domains[who[0]].Template:
		c.findings.Errorf(o.Name.Pos, "let a domain read it that is there once", "the reader of the mailbox %s, %s, is a template", o.Name.Value, c.domains[who[0]].Name.Value)
	}
}

// mailboxEntry is what the image has of a mailbox among its domains: it is in
// its reader's ring, where its messages go.
func (c *compiler) mailboxEntry(i int) image.Domain {
	out := image.Domain{Name: c.domains[i].Name.Value, Mailbox: true, Start: denied, Ring: c.leastTrusted(),
		Exports: []image.Export{{Interface: uint32(c.iface(c.boxes[i].Interface.Value)), Publish: denied}}}
	for j := range c.img.Objects {
		if o := &c.img.Objects[j]; o.Name == out.Name {
			for _, d := range c.allowed(o.Read) {
				out.Ring = c.ring(c.domains[d])
			}
		}
	}
	return out
}

// leastTrusted is the ring that is declared last.
func (c *compiler) leastTrusted() image.Ring {
	r := c.sys.Rings[len(c.sys.Rings)-1]
	return image.Ring{Level: r.Level, Name: r.Name.Value}
}

// readsMailbox reports whether a domain reads one: it then holds ends of gates.
func (c *compiler) readsMailbox(domain int) bool {
	return slices.ContainsFunc(c.img.Objects, func(o image.Object) bool { return o.Kind == image.ObjectMailbox && o.Read[domain].Allow })
}

// handlesFit reports decisions that look at so much that a filter could not
// keep what it needs of the message's handle, too.
func (c *compiler) handlesFit() {
	for i := range c.img.Routes {
		r := &c.img.Routes[i]
		for m, method := range c.img.Interfaces[r.Interface].Methods {
			p := &r.Methods[m]
			c.handleFits(&p.Request, method.Request)
			c.handleFits(&p.Reply, method.Reply)
		}
	}
}

func (c *compiler) handleFits(d *image.Decision, message uint32) {
	handle, ok := c.img.HandleOf(message)
	if !ok || len(d.Permit) == 0 {
		return
	}
	if err := d.FitsWith(handle); err != nil {
		s := c.sourceOf(slices.MaxFunc(d.Permit, func(a, b image.Rule) int { return int(a.Policy) - int(b.Policy) }).Policy)
		c.once(s, s.Pos, "decide on fewer parameters, or state bounds in the interface", "%v; its handle takes %d of them", err, image.HandleFields)
	}
}

// lintObjects warns of objects that are legal but hardly meant.
func (c *compiler) lintObjects() {
	warn := func(at diag.Pos, tag, about, fix, format string, args ...any) {
		c.findings.Warnf(at, fix, format, args...)
		c.findings.Tag(tag, about)
	}
	permit := func(action string, o *system.Object) string {
		return fmt.Sprintf(`permit ward::Action::%s on Object::%s, or leave the object out`, quote(action), quote(o.Name.Value))
	}
	passed := c.passesHandles()
	for i := range c.sys.Objects {
		o, out := &c.sys.Objects[i], &c.img.Objects[i]
		name, at := o.Name.Value, o.Name.Pos
		makers, readers, writers := c.allowed(out.Create), c.allowed(out.Read), c.allowed(out.Write)
		for _, d := range writers {
			if !out.Read[d].Allow {
				who := c.domains[d].Name.Value
				warn(c.sources[out.Write[d].Policy].Pos, "write-without-read", name+":"+who, `permit ward::Action::"open.read", too: writing needs both`,
					"%s may write %s (%s), but not read it, so it gets neither", who, name, quote(c.img.Policies[out.Write[d].Policy].ID))
			}
		}
		switch {
		case out.Kind == image.ObjectMailbox:
			if !slices.ContainsFunc(c.img.Routes, func(r image.Route) bool { return r.Server == out.Domain }) {
				pkg, service := split(o.Interface.Value)
				warn(at, "object-unwritten", name, "permit action in "+actionType(pkg)+"::"+quote(service)+" on Object::"+quote(name)+", or leave the mailbox out",
					"nobody may write to the mailbox %s", name)
			}
		case out.Shared:
			if len(readers) == 0 {
				warn(at, "object-unread", name, permit("open.read", o), "nobody may read the shared memory %s", name)
			} else if len(writers) == 0 {
				warn(at, "object-unwritten", name, permit("open.write", o), "nobody may write the shared memory %s: it stays zero", name)
			}
		case len(makers) == 0:
			warn(at, "object-uncreated", name, permit("create", o), "nobody may make %s", name)
		case out.Kind == image.ObjectSecret: // nobody else is to have it
		case !slices.ContainsFunc(readers, func(d int) bool { return len(makers) > 1 || makers[0] != d }):
			warn(at, "object-unread", name, permit("open.read", o), "nobody may read %s but who makes it", name)
		case !passed:
			warn(at, "object-unpassed", name, "give a message a field of the type "+image.HandleName+` (import "ward/v1/handle.proto")`,
				"%s is passed on by handles, and no message that may pass has one", name)
		}
	}
}

// passesHandles reports whether some message with a handle may pass.
func (c *compiler) passesHandles() bool {
	for i := range c.img.Routes {
		r := &c.img.Routes[i]
		for m, method := range c.img.Interfaces[r.Interface].Methods {
			_, request := c.img.HandleOf(method.Request)
			_, reply := c.img.HandleOf(method.Reply)
			if p := &r.Methods[m]; request && len(p.Request.Permit) > 0 || reply && len(p.Reply.Permit) > 0 {
				return true
			}
		}
	}
	return false
}
