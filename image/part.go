package image

import (
	"fmt"
	"slices"

	"ward/abi"
)

// Part returns an image with nothing but what the two ends of a gate of a
// route need to check its messages: its interface, the messages that this
// consists of, the metadata keys, and the decisions. Policies keep their
// numbers; those that do not decide on this route lose their names. What the
// domains consist of, and what others may do, is not in it.
//
// Preconditions: img passes its Check, route is an index of Image.Routes, and
// its decisions do not look at state (Unprivileged).
func (img *Image) Part(route uint32) *Image {
	r := &img.Routes[route]
	p := parter{from: img, to: &Image{Name: img.Name, Metadata: img.Metadata, Users: img.Users, Groups: img.Groups}, moved: map[uint32]uint32{}}
	named := map[uint32]bool{}
	for i := range r.Methods {
		m := &r.Methods[i]
		for _, rules := range [][]Rule{m.Request.Forbid, m.Request.Permit, m.Reply.Forbid, m.Reply.Permit} {
			for _, rule := range rules {
				named[rule.Policy] = true
			}
		}
	}
	for i, policy := range img.Policies {
		policy.Source = ""
		if !named[uint32(i)] {
			policy.ID = "-"
		}
		p.to.Policies = append(p.to.Policies, policy)
	}
	f := img.Interfaces[r.Interface]
	f.Methods = slices.Clone(f.Methods)
	for i := range f.Methods {
		f.Methods[i].Request, f.Methods[i].Reply = p.message(f.Methods[i].Request), p.message(f.Methods[i].Reply)
	}
	p.to.Interfaces = []Interface{f}
	none := Verdict{Policy: abi.NoPolicy}
	server := Domain{Name: img.Domains[r.Server].Name, Ring: img.Domains[r.Server].Ring, Start: none, Exports: []Export{{Publish: none}}}
	to := Route{Connect: none, Lookup: none, Methods: slices.Clone(r.Methods)}
	switch r.Client {
	case abi.NoDomain:
		to.Client = abi.NoDomain
	case r.Server:
	default:
		client := Domain{Name: img.Domains[r.Client].Name, Ring: img.Domains[r.Client].Ring, Start: none}
		p.to.Domains, to.Server = append(p.to.Domains, client), 1
	}
	p.to.Domains = append(p.to.Domains, server)
	p.to.Routes = []Route{to}
	return p.to
}

type parter struct {
	from, to *Image
	moved    map[uint32]uint32
}

// message copies a message and what it contains, and returns its new number:
// above those of the messages that it contains.
func (p *parter) message(i uint32) uint32 {
	if n, ok := p.moved[i]; ok {
		return n
	}
	m := p.from.Messages[i]
	m.Fields = slices.Clone(m.Fields)
	for j := range m.Fields {
		if m.Fields[j].Type == Nested {
			m.Fields[j].Message = p.message(m.Fields[j].Message)
		}
	}
	n := uint32(len(p.to.Messages))
	p.to.Messages = append(p.to.Messages, m)
	p.moved[i] = n
	return n
}

// MaxStatus is the largest body of an error, in bytes: a ward.v1.Status with a
// message of 1,024 bytes and 8 details of 256 and 4,096 bytes, each with tag
// and length.
const MaxStatus = 11 + (3 + 1024) + 8*(4+(3+256)+(3+4096))

// MaxSection is the largest metadata section with its length in front, in bytes.
func (img *Image) MaxSection() uint32 {
	sum := uint32(2)
	for i, k := range img.Metadata {
		sum += uint32(len(appendVarint(nil, uint64(i+1)<<3|2))+len(appendVarint(nil, uint64(k.Max)))) + k.Max
	}
	return sum
}

func appendVarint(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b, v = append(b, byte(v)|0x80), v>>7
	}
	return append(b, byte(v))
}

// maxCode is the largest body of an error that is its code: a tag, and a code
// of at most 16.
const maxCode = 2

// Payload says of a kind of message whether it may travel in a direction of a
// route for a method, and how many bytes may follow its header: without a
// metadata section, and with one (0: it has none). terse: the method's errors are
// their code. It is what the kernel checks where it cannot look into a body: of a
// method that no policy permits at all, nothing passes, and beside what is
// declared to carry nothing, nothing either.
func (img *Image) Payload(r *Route, method uint32, dir abi.Direction, kind abi.Kind, terse bool) (plain, section uint32, ok bool) {
	f := &img.Interfaces[r.Interface]
	if int64(method) >= int64(len(f.Methods)) || len(r.Methods[method].Request.Permit) == 0 {
		return 0, 0, false
	}
	m := &f.Methods[method]
	sends, receives, root := m.ClientStream, m.ServerStream, m.Request
	if dir == abi.Reply {
		sends, receives, root = m.ServerStream, m.ClientStream, m.Reply
	}
	carries := !r.Methods[method].Request.Silent // metadata
	if dir == abi.Reply {
		carries = !r.Methods[method].Reply.Silent
	}
	switch {
	case kind == abi.KindCall && dir == abi.Request, kind == abi.KindReply && dir == abi.Reply && !sends:
		if dir == abi.Reply || !sends {
			plain = img.MaxBody(root)
		}
	case kind == abi.KindStreamItem && sends:
		plain = img.MaxBody(root)
	case kind == abi.KindStreamEnd && sends:
		carries = carries && (dir == abi.Request || !terse)
	case kind == abi.KindError && dir == abi.Reply && terse:
		plain, carries = maxCode, false
	case kind == abi.KindError && dir == abi.Reply:
		plain = MaxStatus
	case kind == abi.KindCancel && dir == abi.Request, kind == abi.KindCredit && receives:
		carries = false
	default:
		return 0, 0, false
	}
	plain = min(plain, abi.MaxMessage-abi.HeaderSize)
	if carries {
		section = min(plain+img.MaxSection(), abi.MaxMessage-abi.HeaderSize)
	}
	return plain, section, true
}

// An Obstacle is something of a system that needs root or the kernel's own check
// of parameters, so that the system cannot run without both.
type Obstacle struct {
	Domain string // "": of the system
	Key    string // of system.yaml, or "policy"
	Index  int    // of the list of that key
	Source string // of a policy: file:line
	Text   string // what, and why not
}

func (o *Obstacle) Error() string {
	at := ""
	if o.Source != "" {
		at = o.Source + ": "
	}
	if o.Domain != "" {
		at += "domain " + o.Domain + ": "
	}
	return at + o.Text
}

// RequireKernel, in Image.Require, asks for parameters that are checked in the kernel.
const RequireKernel = "kernel-parameters"

// Unprivileged lists what keeps a system from running at the level `library`:
// started by an ordinary user, with the method set and sizes checked in the
// kernel and parameters by the receiver's library. Sockets of exports are no
// obstacle: they are not made (docs/unprivileged.md).
func (img *Image) Unprivileged() []Obstacle {
	var all []Obstacle
	add := func(o Obstacle, format string, args ...any) {
		o.Text = fmt.Sprintf(format, args...)
		all = append(all, o)
	}
	for i, r := range img.Require {
		if r == RequireKernel {
			add(Obstacle{Key: "require", Index: i}, "require: %s: parameters are checked by the receiver's library here", r)
		}
	}
	for i := range img.Domains {
		d := &img.Domains[i]
		if _, ring := Ringed(d.Name); ring != "" {
			continue // what it is named after says it
		}
		of := func(key string, index int) Obstacle { return Obstacle{Domain: d.Name, Key: key, Index: index} }
		for j, f := range d.Files {
			if f.AsRoot {
				add(of("files", j), "%s as: root: only root can make ID-mapped mounts", f.Path)
			}
		}
		for j, l := range d.Listen {
			add(of("listen", j), "listen %s: sockets that Ward makes for a domain need root", l.Address)
		}
		for j, c := range d.Connect {
			add(of("connect", j), "connect %s: the filter of addresses needs root", c)
		}
		if d.Quota.Memory != 0 || d.Quota.CPUWeight != 0 || d.Quota.CPU != 0 {
			add(of("quota", 0), "a quota of memory or CPU needs root: the cgroups of the host are its")
		}
		if d.Quota.Disk != 0 {
			add(of("quota", 0), "a quota of disk needs root: projects of file systems are the host's")
		}
		if d.Quota.Messages != 0 {
			add(of("quota", 0), "a quota of messages needs root: the kernel counts them with eBPF only")
		}
		if d.Template {
			add(of("template", 0), "a template: making domains while the system runs needs root")
		} else if d.Children.Number > 0 {
			add(of("children", 0), "children: making domains while the system runs needs root")
		}
	}
	for i := range img.Objects {
		if o := &img.Objects[i]; o.Kind == ObjectMailbox {
			add(Obstacle{Key: "objects", Index: i}, "the mailbox %s: what waits there is checked in the kernel with eBPF only", o.Name)
		} else {
			add(Obstacle{Key: "objects", Index: i}, "the object %s: handles in messages are checked in the kernel with eBPF only", o.Name)
		}
	}
	rules := map[uint32]bool{}
	for i := range img.Grants {
		if v := img.Grants[i].Verdict; v.Allow && int(v.Policy) < len(img.Policies) && !rules[v.Policy] {
			rules[v.Policy] = true
			p := img.Policies[v.Policy]
			add(Obstacle{Key: "policy", Source: p.Source}, "policy %q lets domains lend entry points, whose uses the kernel counts with eBPF only", p.ID)
		}
	}
	for i := range img.Routes {
		for j := range img.Routes[i].Methods {
			m := &img.Routes[i].Methods[j]
			for _, rs := range [][]Rule{m.Request.Forbid, m.Request.Permit, m.Reply.Forbid, m.Reply.Permit} {
				for k := range rs {
					if why := rs[k].held(); why != "" && !rules[rs[k].Policy] {
						rules[rs[k].Policy] = true
						p := img.Policies[rs[k].Policy]
						add(Obstacle{Key: "policy", Source: p.Source}, "policy %q %s, which the kernel keeps with eBPF only", p.ID, why)
					}
				}
			}
		}
	}
	return all
}

// held says what a rule needs that the kernel holds.
func (r *Rule) held() string {
	switch {
	case len(r.Enter) > 0:
		return "changes state"
	case r.Rate != Rate{}:
		return "has a rate"
	case r.When.readsState():
		return "looks at state"
	}
	return ""
}

func (e *Expr) readsState() bool {
	return e.Left.What == CellValue || e.Right.What == CellValue ||
		slices.ContainsFunc(e.Args, func(a Expr) bool { return a.readsState() })
}

// AuditAll marks every permit, so that what it admits is recorded.
func (img *Image) AuditAll() {
	for i := range img.Routes {
		for j := range img.Routes[i].Methods {
			m := &img.Routes[i].Methods[j]
			for _, d := range []*Decision{&m.Request, &m.Reply} {
				d.Permit = slices.Clone(d.Permit)
				for k := range d.Permit {
					d.Permit[k].Audit = true
				}
			}
		}
	}
}
