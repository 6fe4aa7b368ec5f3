package image

import (
	"fmt"
	"slices"

	"ward/abi"
)

// Controlled objects: what domains share beside messages, or leave messages
// in. Who may make and open them is decided when the system is compiled.

// ObjectKind says what an object is.
type ObjectKind uint8

const (
	ObjectMemory  ObjectKind = iota + 1 // memory that domains share
	ObjectMailbox                       // messages that wait for their reader
	ObjectSecret                        // memory that only its maker has: nobody opens it
)

// An Object is something that system.yaml declares under `objects`. Its verdicts
// are complete: one for each domain of the image, by its number.
type Object struct {
	Name   string // no domain has it, but the entry of a mailbox
	Kind   ObjectKind
	Size   uint64 // memory, secret or not: bytes of an instance at most
	Count  uint32 // memory, secret or not: instances at the same time at most
	Shared bool   // memory: one instance, which is opened by name and lives as long as the system
	// Domain is a mailbox's entry in Image.Domains, so that routes lead to it; of
	// memory it is abi.NoDomain.
	Domain abi.DomainID
	Create []Verdict // who may make instances; nobody of what is not memory, or is shared
	Read   []Verdict // who may open it for reading; a mailbox: its one reader
	Write  []Verdict // who may open it for writing, with Read; of a mailbox, routes say it
}

// Limits of objects.
const (
	MaxObjects     = 256
	MaxObjectSize  = 1 << 30 // bytes of an instance
	MaxObjectCount = 1024    // instances of an object

	MaxSecretSize  = 16 << 20 // bytes of an instance of secret memory, which is never swapped
	MaxSecretCount = 64       // instances of secret memory: a process keeps what it has made, 64 references at most
)

// HandleName is the message that carries a handle.
const HandleName = "ward.v1.Handle"

// Fields of HandleName.
const (
	HandleID    = 1
	HandleKind  = 2
	HandleSize  = 3
	HandleWrite = 4

	HandleFields = 4 // of which a filter keeps all
)

// ObjectNamed returns the index of an object in Image.Objects.
func (img *Image) ObjectNamed(name string) (uint32, bool) {
	i := slices.IndexFunc(img.Objects, func(o Object) bool { return o.Name == name })
	return uint32(max(i, 0)), i >= 0
}

// Secrets lists the secret memory that a domain of the image may make.
func (img *Image) Secrets(id abi.DomainID) (list []*Object) {
	for i := range img.Objects {
		if o := &img.Objects[i]; o.Kind == ObjectSecret && int64(id) < int64(len(o.Create)) && o.Create[id].Allow {
			list = append(list, o)
		}
	}
	return list
}

// HasSecrets names an object of secret memory that somebody may make; "": there is none.
func (img *Image) HasSecrets() string {
	for i := range img.Objects {
		if o := &img.Objects[i]; o.Kind == ObjectSecret && slices.ContainsFunc(o.Create, func(v Verdict) bool { return v.Allow }) {
			return o.Name
		}
	}
	return ""
}

// HandleOf returns where a message has its Handle: the path of field numbers
// from the message down to it. There is at most one.
//
// Preconditions: Check accepted img.
func (img *Image) HandleOf(message uint32) (path []uint32, ok bool) {
	without := map[uint32]bool{} // of messages that were looked into: the same one may be in many places
	var find func(message uint32) []uint32
	find = func(message uint32) []uint32 {
		without[message] = true
		for i := range img.Messages[message].Fields {
			f := &img.Messages[message].Fields[i]
			if f.Type != Nested || without[f.Message] {
				continue
			}
			if img.Messages[f.Message].Name == HandleName {
				return []uint32{f.Number}
			}
			if below := find(f.Message); below != nil {
				return append([]uint32{f.Number}, below...)
			}
		}
		return nil
	}
	path = find(message)
	return path, path != nil
}

// objects is the section of the same name.
func (c *codec) objects(i *Image) {
	for at := range i.Domains {
		c.bool(&i.Domains[at].Mailbox)
	}
	list(c, &i.Objects, func(c *codec, o *Object) {
		c.str(&o.Name)
		small(c, &o.Kind)
		c.u64(&o.Size)
		c.u32(&o.Count)
		c.bool(&o.Shared)
		c.u32((*uint32)(&o.Domain))
		list(c, &o.Create, (*codec).verdict)
		list(c, &o.Read, (*codec).verdict)
		list(c, &o.Write, (*codec).verdict)
	})
}

// objects checks what the image says of objects and mailboxes, and handles in messages.
func (c *checker) objects() error {
	if n := len(c.img.Objects); n > MaxObjects {
		return fmt.Errorf("%d objects: the limit is %d", n, MaxObjects)
	}
	seen, boxes := map[string]bool{}, map[abi.DomainID]bool{}
	for i := range c.img.Objects {
		o := &c.img.Objects[i]
		if !isName(o.Name) || seen[o.Name] {
			return fmt.Errorf("object %q is not a name, or is there twice", clip(o.Name))
		}
		seen[o.Name] = true
		if err := c.object(o); err != nil {
			return fmt.Errorf("object %s: %w", o.Name, err)
		}
		if o.Kind == ObjectMailbox {
			if boxes[o.Domain] {
				return fmt.Errorf("object %s: its entry among the domains is another mailbox's", o.Name)
			}
			boxes[o.Domain] = true
		}
	}
	for i := range c.img.Domains {
		d := &c.img.Domains[i]
		if !d.Mailbox && seen[d.Name] {
			return fmt.Errorf("%s is a domain and an object", d.Name)
		}
		if d.Mailbox && !boxes[abi.DomainID(i)] {
			return fmt.Errorf("domain %s: a mailbox without an object", d.Name)
		}
	}
	return c.handles()
}

func (c *checker) object(o *Object) error {
	n := len(c.img.Domains)
	if len(o.Create) != n || len(o.Read) != n || len(o.Write) != n {
		return fmt.Errorf("decisions on %d, %d and %d domains: there are %d", len(o.Create), len(o.Read), len(o.Write), n)
	}
	creates, reads, writes := 0, 0, 0
	for _, l := range []struct {
		verdicts []Verdict
		allowed  *int
	}{{o.Create, &creates}, {o.Read, &reads}, {o.Write, &writes}} {
		for i, v := range l.verdicts {
			if err := c.verdict(v); err != nil {
				return err
			}
			if v.Allow && c.img.Domains[i].Mailbox {
				return fmt.Errorf("a right of the mailbox %s: mailboxes do nothing", c.img.Domains[i].Name)
			}
			if v.Allow {
				*l.allowed++
			}
		}
	}
	switch o.Kind {
	case ObjectMemory:
		switch {
		case o.Domain != abi.NoDomain:
			return fmt.Errorf("memory with an entry among the domains")
		case o.Size == 0 || o.Size > MaxObjectSize || o.Count == 0 || o.Count > MaxObjectCount || o.Shared && o.Count != 1:
			return fmt.Errorf("%d instances of %d bytes: at most %d of %d are possible, and of shared memory one", o.Count, o.Size, MaxObjectCount, MaxObjectSize)
		case o.Shared && creates > 0:
			return fmt.Errorf("a right to make shared memory: there is one instance")
		}
	case ObjectSecret:
		switch {
		case o.Domain != abi.NoDomain || o.Shared:
			return fmt.Errorf("secret memory that is shared, or has an entry among the domains")
		case o.Size == 0 || o.Size > MaxSecretSize || o.Count == 0 || o.Count > MaxSecretCount:
			return fmt.Errorf("%d instances of %d bytes: of secret memory at most %d of %d are possible", o.Count, o.Size, MaxSecretCount, MaxSecretSize)
		case reads+writes > 0:
			return fmt.Errorf("a right to open secret memory: only its maker has it")
		}
	case ObjectMailbox:
		if int64(o.Domain) >= int64(n) || !c.img.Domains[o.Domain].Mailbox || c.img.Domains[o.Domain].Name != o.Name {
			return fmt.Errorf("a mailbox without its entry among the domains")
		}
		if o.Size != 0 || o.Count != 0 || o.Shared || creates > 0 || writes > 0 || reads > 1 {
			return fmt.Errorf("a mailbox with a size, or rights of memory, or %d readers", reads)
		}
		return c.mailbox(o)
	default:
		return fmt.Errorf("unknown kind %d", o.Kind)
	}
	return nil
}

// mailbox checks what its entry among the domains has, and that nobody would
// have to answer what is written to it.
func (c *checker) mailbox(o *Object) error {
	for i, v := range o.Read {
		if d := &c.img.Domains[i]; v.Allow && d.Template {
			return fmt.Errorf("the reader %s is a template", d.Name)
		}
	}
	d := &c.img.Domains[o.Domain]
	if d.Start.Allow || d.Program != "" || d.Names || d.Template || d.Once || d.Restart != RestartNever || len(d.Files)+len(d.Listen)+len(d.Connect)+len(d.Needs) > 0 || len(d.Exports) > 1 {
		return fmt.Errorf("its entry among the domains has what a mailbox has not")
	}
	for _, e := range d.Exports {
		if e.Socket != "" || e.Publish.Allow {
			return fmt.Errorf("a mailbox is published to nobody, and has no socket")
		}
		for _, m := range c.img.Interfaces[e.Interface].Methods {
			if m.ClientStream || m.ServerStream || len(c.img.Messages[m.Reply].Fields) > 0 {
				return fmt.Errorf("method %s of its interface is a stream, or has a reply with fields: nobody answers", m.Name)
			}
			if _, ok := c.img.HandleOf(m.Request); ok {
				return fmt.Errorf("method %s of its interface passes a handle on: a mailbox has no rights", m.Name)
			}
		}
	}
	for i := range c.img.Routes {
		r := &c.img.Routes[i]
		if r.Client == o.Domain {
			return fmt.Errorf("route %d: a mailbox calls nobody", i)
		}
		if r.Server != o.Domain {
			continue
		}
		if r.Client == abi.NoDomain {
			return fmt.Errorf("route %d: users outside write to a mailbox", i)
		}
		for j := range r.Methods {
			if len(r.Methods[j].Reply.Permit) > 0 {
				return fmt.Errorf("route %d: a reply of a mailbox is permitted", i)
			}
		}
	}
	return nil
}

// handles checks that the message of a handle is the one that filters know, and
// that no message has two.
func (c *checker) handles() error {
	count := make([]int8, len(c.img.Messages)) // of handles below, plus 1; 0: not yet known
	for i := range c.img.Messages {
		if err := c.handle(uint32(i), count); err != nil {
			return err
		}
	}
	for _, f := range c.img.Interfaces {
		for _, m := range f.Methods {
			for _, n := range []uint32{m.Request, m.Reply} {
				if c.img.Messages[n].Name == HandleName {
					return fmt.Errorf("method %s of %s: a message that is a handle itself", m.Name, f.Name)
				}
			}
		}
	}
	return nil
}

// handle counts the handles below message i. The messages contain no cycles.
func (c *checker) handle(i uint32, count []int8) error {
	m := &c.img.Messages[i]
	if count[i] != 0 {
		return nil
	}
	if m.Name == HandleName {
		want := []Field{{Number: HandleID, Type: Uint64}, {Number: HandleKind, Type: Enum}, {Number: HandleSize, Type: Uint64}, {Number: HandleWrite, Type: Bool}}
		same := func(a, b Field) bool { return a.Number == b.Number && a.Type == b.Type && a.Card == b.Card }
		if !slices.EqualFunc(m.Fields, want, same) || !m.Fields[0].Required {
			return fmt.Errorf("message %s is not the one that Ward knows", m.Name)
		}
	}
	n := int8(0)
	for j := range m.Fields {
		f := &m.Fields[j]
		if f.Type != Nested {
			continue
		}
		if err := c.handle(f.Message, count); err != nil {
			return err
		}
		below := count[f.Message] - 1
		if c.img.Messages[f.Message].Name == HandleName {
			below = 1
		}
		if n += below; n > 1 || below > 0 && f.Card == Repeated {
			return fmt.Errorf("message %s, field %s: a second handle; a message has one at most", m.Name, f.Name)
		}
	}
	count[i] = n + 1
	return nil
}

// objects renumbers the rights to objects. An object that both images have
// keeps its index; of one that is gone a remnant stays that nobody has rights to.
func (a *aligner) objects() {
	var before, after []string
	for i := range a.old.Objects {
		before = append(before, a.old.Objects[i].Name)
	}
	for i := range a.new.Objects {
		after = append(after, a.new.Objects[i].Name)
	}
	all, at := merge(before, after)
	a.out.Objects = make([]Object, len(all))
	for i := range a.old.Objects {
		o := a.old.Objects[i]
		o.Create, o.Read, o.Write = a.verdicts(nil), a.verdicts(nil), a.verdicts(nil)
		a.out.Objects[i] = o
		if o.Kind == ObjectMailbox && !slices.Contains(a.domain, uint32(o.Domain)) {
			a.out.Domains[o.Domain].Mailbox = true
		}
	}
	for i, o := range a.new.Objects {
		o.Domain = a.domainOf(o.Domain)
		o.Create, o.Read, o.Write = a.verdicts(o.Create), a.verdicts(o.Read), a.verdicts(o.Write)
		a.out.Objects[at[i]] = o
	}
}

// verdicts are those of the new image by the numbers of the result; of domains
// that it has not, default deny.
func (a *aligner) verdicts(fresh []Verdict) []Verdict {
	all := make([]Verdict, len(a.out.Domains))
	for i := range all {
		all[i].Policy = abi.NoPolicy
	}
	for i, v := range fresh {
		all[a.domain[i]] = a.verdict(v)
	}
	return all
}

// sameObjects reports what an object may not become while the system runs:
// instances, and messages that wait, are what they were made as.
func (img *Image) sameObjects(running *Image) error {
	for i := range running.Objects {
		o, n := &running.Objects[i], &img.Objects[i]
		switch {
		case n.Kind != o.Kind || n.Shared != o.Shared:
			return fmt.Errorf("object %s is of another kind in the new policy, or is no longer shared or secret, or not yet: start the system again", o.Name)
		case o.Shared && n.Size != o.Size:
			return fmt.Errorf("object %s: shared memory keeps its size while the system runs: it has %d bytes, and would have %d; start the system again", o.Name, o.Size, n.Size)
		case o.Kind == ObjectMailbox && (n.Domain != o.Domain || img.otherExport(n.Domain, running)):
			return fmt.Errorf("object %s: a mailbox keeps its interface while the system runs: start the system again", o.Name)
		}
	}
	for i := range running.Domains {
		if d, o := &img.Domains[i], &running.Domains[i]; d.Mailbox != o.Mailbox {
			return fmt.Errorf("%s is a mailbox in one of the running and the new policy, and a domain in the other: start the system again", o.Name)
		}
	}
	return nil
}

// otherExport reports whether a mailbox has another interface than in the
// running image. The remnant of one that nobody wrote to has none.
func (img *Image) otherExport(d abi.DomainID, running *Image) bool {
	for _, e := range img.Domains[d].Exports {
		for _, was := range running.Domains[d].Exports {
			return e.Interface != was.Interface
		}
	}
	return false
}
