package system

import (
	"io/fs"
	"path"
	"strconv"
	"strings"

	"ward/diag"
)

// builder turns values that fit their shapes into the model, and checks what
// shapes cannot say.
type builder struct {
	sys     *System
	out     *diag.List
	sockets map[string]diag.Pos
	byName  map[string]*Domain

	suggested int
}

// maxSuggested is the number of suggestions made: each costs a comparison with
// every domain.
const maxSuggested = 100

func (b *builder) suggest(written string, known []string) string {
	if b.suggested++; b.suggested > maxSuggested {
		return ""
	}
	return diag.Suggest(written, known)
}

func (b *builder) system(v *value) {
	if v == nil {
		return
	}
	s := b.sys
	b.sockets = map[string]diag.Pos{}
	s.Name = v.string("name")
	s.Interfaces = b.inside(v.strings("interfaces"))
	s.Policy = b.inside(v.strings("policy"))
	s.Require = b.unique(v.strings("require"), "mechanism")
	s.AuditAllow = v.get("audit") != nil
	b.use(v.get("use"))
	b.ringOrder(v.get("rings"))
	b.roles(v.get("roles"))
	b.metadata(v.get("metadata"))
	b.states(v.get("state"))
	if d := v.get("domains"); d != nil {
		if len(d.keys) == 0 {
			b.out.Errorf(d.pos, "declare what runs", "there are no domains")
		}
		for _, p := range d.pairs {
			s.Domains = append(s.Domains, b.domain(p.key, p.value))
		}
		b.nameServer(d.pos)
	}
	b.objects(v.get("objects"))
	b.byName = map[string]*Domain{}
	for _, d := range s.Domains {
		b.byName[d.Name.Value] = d
	}
	for _, d := range s.Domains {
		for _, n := range d.Needs {
			if b.byName[n.Value] == nil {
				b.out.Errorf(n.Pos, b.suggest(n.Value, s.domainNames()), "domain %q needs %q, which is not a domain", d.Name.Value, n.Value)
			}
		}
	}
	b.cycles()
}

// inside checks that files are named once, and within the directory.
func (b *builder) inside(names []String) []String {
	var good []String
	for _, n := range b.unique(names, "file") {
		if !fs.ValidPath(n.Value) || strings.Contains(n.Value, `\`) {
			b.out.Errorf(n.Pos, "name a file inside the system directory, without '..' or './'", "%q is not a path inside the directory", n.Value)
			continue
		}
		if strings.HasPrefix(n.Value, "ward/") && strings.HasSuffix(n.Value, ".cedar") {
			b.out.Errorf(n.Pos, "choose another directory", "%q is a name of the standard library of policies", n.Value)
			continue
		}
		good = append(good, n)
	}
	return good
}

// unique drops repeats, with a finding.
func (b *builder) unique(list []String, what string) []String {
	seen := map[string]diag.Pos{}
	var good []String
	for _, s := range list {
		if first, twice := seen[s.Value]; twice {
			b.out.Errorf(s.Pos, "", "the %s %q is there twice, first on line %d", what, s.Value, first.Line)
			continue
		}
		seen[s.Value] = s.Pos
		good = append(good, s)
	}
	return good
}

func (b *builder) metadata(v *value) {
	if v == nil {
		return
	}
	total := uint64(0)
	for _, p := range v.pairs {
		total += p.value.num
		if strings.HasPrefix(p.key.Value, "grpc-") || p.key.Value == "te" || p.key.Value == "content-type" || p.key.Value == "user-agent" {
			b.out.Errorf(p.key.Pos, "choose another key", "metadata key %q is gRPC's own", p.key.Value)
			continue
		}
		known := false
		for i := range b.sys.Metadata {
			if m := &b.sys.Metadata[i]; m.Key.Value == p.key.Value { // the trace context, with another size
				*m, known = Metadata{p.key, uint32(p.value.num)}, true
			}
		}
		if !known {
			b.sys.Metadata = append(b.sys.Metadata, Metadata{p.key, uint32(p.value.num)})
		}
	}
	if len(b.sys.Metadata) > maxMetadata {
		b.out.Errorf(v.pos, "", "metadata has %d keys with those of the trace context; the limit is %d", len(b.sys.Metadata), maxMetadata)
	}
	if total > maxMetadataBytes {
		b.out.Errorf(v.pos, "state smaller values", "metadata may have %d bytes in all; the limit is %d", total, maxMetadataBytes)
	}
}

func (b *builder) domain(name String, v *value) *Domain {
	d := &Domain{
		Name: name, Pos: name.Pos, Names: name.Value == NamesDomain,
		Build: v.string("build"), Program: v.string("program"), Digest: v.string("digest"),
		Args: v.strings("args"), Root: v.string("root"),
		Needs: b.unique(v.strings("needs"), "needed domain"),
		Tmp:   v.number("tmp"), Once: v.get("once") != nil && v.get("once").yes,
	}
	if q := v.get("quota"); q != nil {
		d.Quota = Quota{Processes: uint32(q.number("processes")), Memory: q.number("memory"),
			CPUWeight: uint32(q.number("cpu_weight")), CPU: uint32(q.number("cpu")), Files: uint32(q.number("files")), FileSize: q.number("file_size"), Disk: q.number("disk"),
			Gates: uint32(q.number("gates")), Messages: uint32(q.number("messages"))}
	}
	b.daemon(d, v)
	b.children(d, v)
	b.program(d, v)
	b.environment(d, v.get("env"))
	b.files(d, v.get("files"))
	b.disk(d, v.get("quota").get("disk"))
	b.listen(d, v.get("listen"))
	b.connect(d, v.strings("connect"))
	b.exports(d, v.get("exports"))
	b.ring(d, v)
	b.lowerRings(d, v)
	b.models(d, v)
	return d
}

// program checks that there is one program, and what may be said about it.
func (b *builder) program(d *Domain, v *value) {
	// A finding about the value of either key was reported already.
	build, program := v.has("build"), v.has("program")
	switch {
	case build && program:
		b.out.Errorf(d.Program.at(d.Pos), "leave one out", "domain %q has both `build` and `program`", d.Name.Value)
	case !build && !program && !d.Names:
		b.out.Errorf(d.Pos, "add `program: /path` or `build: ./package`", "domain %q has no program", d.Name.Value)
	}
	if d.Program.Value != "" {
		b.clean(d.Program)
	}
	if d.Digest.Value != "" && !program {
		b.out.Errorf(d.Digest.Pos, "leave it out", "domain %q has a `digest` but no `program`: only an executable that is there already can be pinned", d.Name.Value)
	}
}

// clean checks what the pattern of paths cannot say.
func (b *builder) clean(p String) bool {
	if path.Clean(p.Value) != p.Value {
		b.out.Errorf(p.Pos, "write "+strconv.Quote(path.Clean(p.Value)), "path %q is not clean", short(p.Value))
		return false
	}
	return true
}

func (b *builder) environment(d *Domain, v *value) {
	if v == nil {
		return
	}
	vars := v.list
	for _, p := range v.pairs {
		vars = append(vars, &value{pos: p.key.Pos, text: p.key.Value + "=" + p.value.text})
	}
	seen := map[string]bool{}
	for _, e := range vars {
		name, _, _ := strings.Cut(e.text, "=")
		switch {
		case strings.HasPrefix(name, "WARD_") || strings.HasPrefix(name, "LISTEN_") || name == "NOTIFY_SOCKET":
			b.out.Errorf(e.pos, "choose another name", "the variable %s is set by Ward", short(name))
		case seen[name]:
			b.out.Errorf(e.pos, "", "the variable %s is there twice", short(name))
		}
		seen[name] = true
		d.Env = append(d.Env, String{e.text, e.pos})
	}
}

func (b *builder) files(d *Domain, v *value) {
	if v == nil {
		return
	}
	for _, p := range v.pairs {
		if !b.clean(p.key) {
			continue
		}
		if p.key.Value == "/proc" || strings.HasPrefix(p.key.Value, "/proc/") {
			b.out.Errorf(p.key.Pos, "leave it out", "%s is the kernel's view of processes; a domain never gets the host's", short(p.key.Value))
			continue
		}
		f := File{Path: p.key, Mode: String{p.value.text, p.value.pos}}
		if p.value.shape.kind == object {
			f.Mode, f.As, f.Ring = p.value.string("mode"), p.value.string("as"), b.knownRing(p.value.string("ring"), "the data of "+p.key.Value)
		}
		d.Files = append(d.Files, f)
	}
}

func (b *builder) connect(d *Domain, addresses []String) {
	for _, a := range b.unique(addresses, "address") {
		b.port(a)
		d.Connect = append(d.Connect, a)
	}
}

// port checks the last part of an address.
func (b *builder) port(a String) {
	p := a.Value[strings.LastIndexByte(a.Value, ':')+1:]
	if n, err := strconv.ParseUint(p, 10, 16); p != "*" && (err != nil || n == 0) {
		b.out.Errorf(a.Pos, "write a port from 1 to 65535", "%q has no such port", short(a.Value))
	}
}

// maxSocketPath is the longest path of a Unix socket (unix(7): 108 bytes, of
// which one is NUL).
const maxSocketPath = 107

// socket checks the path of a socket that Ward makes.
func (b *builder) socket(p String) {
	if !b.clean(p) {
		return
	}
	if len(p.Value) > maxSocketPath {
		b.out.Errorf(p.Pos, "choose a shorter path", "the path of a socket has %d bytes; the limit is %d", len(p.Value), maxSocketPath)
	}
	if first, twice := b.sockets[p.Value]; twice {
		b.out.Errorf(p.Pos, "", "the socket %q is there twice, first on line %d", p.Value, first.Line)
		return
	}
	b.sockets[p.Value] = p.Pos
}

func (b *builder) exports(d *Domain, v *value) {
	if v == nil {
		return
	}
	seen := map[string]diag.Pos{}
	for _, e := range v.list {
		x := Export{Interface: String{e.text, e.pos}, Pos: e.pos}
		if e.shape.kind == object {
			x.Interface, x.Socket = e.string("interface"), e.string("socket")
			if x.Interface.Value == "" { // a finding already
				continue
			}
			x.Pos = x.Interface.Pos
			b.rules(&x, e)
		}
		if first, twice := seen[x.Interface.Value]; twice {
			b.out.Errorf(x.Pos, "", "domain %q exports %q twice, first on line %d", d.Name.Value, short(x.Interface.Value), first.Line)
			continue
		}
		seen[x.Interface.Value] = x.Pos
		if x.Interface.Value == NamesInterface && !d.Names {
			b.out.Errorf(x.Pos, "leave it out, or call the domain "+NamesDomain, "domain %q exports %s: only the name server does", d.Name.Value, NamesInterface)
			continue
		}
		if x.Socket.Value != "" {
			b.socket(x.Socket)
		}
		d.Exports = append(d.Exports, x)
	}
}

func (b *builder) ring(d *Domain, v *value) {
	d.Ring = v.string("ring")
	if d.Ring.Value == "" {
		d.Ring = String{b.sys.Rings[len(b.sys.Rings)-1].Name.Value, d.Pos}
		return
	}
	if _, ok := b.sys.Ring(d.Ring.Value); !ok {
		b.out.Errorf(d.Ring.Pos, b.ringFix(d.Ring.Value), "domain %q is in the unknown ring %q", d.Name.Value, d.Ring.Value)
	}
}

// nameServer finds or adds the domain that finds interfaces.
func (b *builder) nameServer(at diag.Pos) {
	s := b.sys
	exports := false
	for _, d := range s.Domains {
		exports = exports || len(d.Exports) > 0
	}
	ns := s.Domain(NamesDomain)
	if ns == nil && !exports {
		return
	}
	if ns == nil {
		// Trusted by all that look a name up, so not below any of them but the kernel's ring.
		ring := s.Rings[min(1, len(s.Rings)-1)].Name.Value
		ns = &Domain{Name: String{NamesDomain, at}, Pos: at, Ring: String{ring, at}, Names: true, Implicit: true}
		s.Domains = append(s.Domains, ns)
	}
	s.NameServer = ns
	for _, e := range ns.Exports {
		if e.Interface.Value == NamesInterface {
			return
		}
	}
	ns.Exports = append(ns.Exports, Export{Interface: String{NamesInterface, ns.Pos}, Pos: ns.Pos})
}

// cycles refuses domains that need each other: none could start first.
func (b *builder) cycles() {
	const (
		new = iota
		open
		done
	)
	state := map[*Domain]int{}
	var visit func(d *Domain)
	visit = func(d *Domain) {
		state[d] = open
		for _, n := range d.Needs {
			switch e := b.byName[n.Value]; {
			case e == nil:
			case state[e] == open:
				b.out.Errorf(n.Pos, "remove one of the needs", "domain %q needs %q, which needs it in turn: neither can start first", d.Name.Value, n.Value)
			case state[e] == new:
				visit(e)
			}
		}
		state[d] = done
	}
	for _, d := range b.sys.Domains {
		if state[d] == new {
			visit(d)
		}
	}
}
