package system

import (
	"slices"

	"ward/diag"
)

// Limits and defaults of objects (image.MaxObjects, MaxObjectSize, MaxObjectCount, MaxSecretSize, MaxSecretCount).
const (
	maxObjects     = 256
	maxObjectSize  = 1 << 30 // bytes
	maxObjectCount = 1024

	defaultObjectSize  = 1 << 20 // bytes
	defaultObjectCount = 16

	maxSecretSize     = 16 << 20 // bytes
	maxSecretCount    = 64
	defaultSecretSize = 4096 // bytes
)

// Values of Object.Kind.
const (
	KindMemory  = "memory"
	KindMailbox = "mailbox"
)

// An Object is an entry of `objects`: what domains share beside messages, or
// leave messages in. The file says that it exists; policies say who may use it.
type Object struct {
	Name      String
	Kind      String // KindMemory or KindMailbox
	Size      uint64 // memory: bytes of an instance at most
	Count     uint32 // memory: instances at the same time at most
	Shared    bool   // memory: one instance, opened by name
	Secret    bool   // memory: of the domain alone that makes it
	Interface String // mailbox: pkg.Service
}

// Object returns the declared object of that name, or nil.
func (s *System) Object(name string) *Object {
	i := slices.IndexFunc(s.Objects, func(o Object) bool { return o.Name.Value == name })
	if i < 0 {
		return nil
	}
	return &s.Objects[i]
}

var objectShape = objectOf("An object that domains share. Who may make, read and write it policies say; nobody may without them.",
	key{"kind", true, oneOf("`memory`: memory that domains map, passed on by handles in messages or opened by name; `mailbox`: messages wait there until they are read.", KindMemory, KindMailbox)},
	key{"size", false, size("Memory: size of an instance at most, in bytes; without it, 1MiB, of secret memory 4KiB. Secret memory has at most 16MiB.", 1, maxObjectSize)},
	key{"count", false, number("Memory: instances at the same time at most; without it, 16. Of secret memory there are at most 64.", 1, maxObjectCount)},
	key{"shared", false, yesNo("Memory: one instance, which is opened by name and lives as long as the system.")},
	key{"secret", false, yesNo("Memory: only the domain that makes an instance has it, and not even the kernel maps it. Nobody can be given it (Linux 6.5, or secretmem.enable=1).")},
	key{"interface", false, str("Mailbox: full name of the service whose requests it takes. Its methods are unary, and their replies have no fields.", interfacePattern, interfaceHint)},
)

// objects reads what domains share. The domains are known.
func (b *builder) objects(v *value) {
	if v == nil {
		return
	}
	for _, p := range v.pairs {
		o := Object{Name: p.key, Kind: p.value.string("kind")}
		if d := b.sys.Domain(o.Name.Value); d != nil {
			if d.Implicit {
				b.out.Errorf(o.Name.Pos, "choose another name", "the object %q has the name of the name server", o.Name.Value)
			} else {
				b.out.Errorf(o.Name.Pos, "choose another name", "%q is an object and a domain, on line %d", o.Name.Value, d.Pos.Line)
			}
			continue
		}
		ok := false
		switch o.Kind.Value {
		case KindMemory:
			ok = b.memory(&o, p.value)
		case KindMailbox:
			ok = b.mailbox(&o, p.value)
		}
		if ok {
			b.sys.Objects = append(b.sys.Objects, o)
		}
	}
}

func (b *builder) memory(o *Object, v *value) bool {
	o.Size, o.Count = defaultObjectSize, defaultObjectCount
	if s := v.get("secret"); s != nil && s.yes {
		o.Secret, o.Size = true, defaultSecretSize
		if !b.secret(o, v) {
			return false
		}
	}
	if n := v.number("size"); n != 0 {
		o.Size = n
	}
	if n := v.number("count"); n != 0 {
		o.Count = uint32(n)
	}
	if s := v.get("shared"); s != nil && s.yes {
		o.Shared = true
		if c := v.get("count"); c != nil && c.num != 1 {
			b.out.Errorf(c.pos, "leave it out, or leave `shared` out", "object %q is shared, so there is one instance, not %d", o.Name.Value, c.num)
			return false
		}
		o.Count = 1
	}
	return b.foreign(o, v, "interface")
}

// secret refuses what secret memory cannot be.
func (b *builder) secret(o *Object, v *value) bool {
	bad := func(at diag.Pos, fix, format string, args ...any) bool {
		b.out.Errorf(at, fix, "object %q is secret: "+format, append([]any{o.Name.Value}, args...)...)
		return false
	}
	if s := v.get("shared"); s != nil && s.yes {
		return bad(s.pos, "leave one of them out", "only its maker has it, so it cannot be shared")
	}
	if s := v.get("size"); s != nil && s.num > maxSecretSize {
		return bad(s.pos, "keep keys there, and what is large in other memory", "an instance has at most 16MiB, since it is never swapped")
	}
	if c := v.get("count"); c != nil && c.num > maxSecretCount {
		return bad(c.pos, "make instances larger", "there are at most %d instances, since a process keeps what it has made", maxSecretCount)
	}
	return true
}

func (b *builder) mailbox(o *Object, v *value) bool {
	o.Interface = v.string("interface")
	if !v.has("interface") {
		b.out.Errorf(o.Kind.Pos, "write `interface: pkg.v1.Service`, the service whose requests it takes", "the mailbox %q has no `interface`", o.Name.Value)
	} else if o.Interface.Value == NamesInterface {
		b.out.Errorf(o.Interface.Pos, "name a service of your own", "the mailbox %q would take %s, which only the name server answers", o.Name.Value, NamesInterface)
		return false
	}
	return b.foreign(o, v, "size", "count", "shared", "secret") && o.Interface.Value != ""
}

// foreign refuses keys that objects of another kind have.
func (b *builder) foreign(o *Object, v *value, keys ...string) bool {
	ok := true
	for _, k := range keys {
		if !v.has(k) {
			continue
		}
		at := o.Name.Pos
		if w := v.get(k); w != nil {
			at = w.pos
		}
		other := map[string]string{KindMemory: KindMailbox, KindMailbox: KindMemory}[o.Kind.Value]
		b.out.Errorf(at, "leave it out, or write `kind: "+other+"`", "object %q is a %s, and `%s` is for a %s", o.Name.Value, thing(o.Kind.Value), k, thing(other))
		ok = false
	}
	return ok
}

// thing names a kind of object.
func thing(kind string) string {
	if kind == KindMemory {
		return "memory object"
	}
	return kind
}
