package main

// Secret memory: who may have it, who keeps it, and what it is.

// secretSuite catches mutations of it.
var secretSuite = suite{
	{"objects", "^Test"},
	{"policy", "^TestSecret"},
	{"image", "^TestSecret"},
	{"monitor", "^Test(No)?Secret"},
	{"gate", "^Test(MakeSecret|Secret|HostileSecret).*"},
	{"creator", "^TestLocked$"},
}

const (
	secretGo     = "monitor/objectsecret.go"
	secretGate   = "gate/secret.go"
	secretLocked = "creator/locked.go"
)

var secretMutations = []mutation{
	// Nobody else may have it.
	{what: "a policy for all lets others read it", file: objectsGo, old: `decide("open.read", !o.Secret)`, new: `decide("open.read", true)`, tests: "secret"},
	{what: "a policy for all lets others write it", file: objectsGo, old: "!mailbox && !o.Secret)", new: "!mailbox)", tests: "secret"},
	{what: "a policy that gives it to others compiles", file: objectsGo, old: `case o != nil && o.Secret && own && strings.HasPrefix(id, "open."):`, new: "case false:", tests: "secret"},
	{what: "an image gives it to others", file: imageObjects, old: "case reads+writes > 0:", new: "case reads+writes > 9:", tests: "secret"},
	{what: "it is offered", file: bookStore, old: "	case i.Secret:\n", new: "	case false:\n", tests: "secret"},
	{what: "it is made as other memory, and other memory as it", file: bookObjects, old: "case (o.Kind == image.ObjectSecret) != (c.Access == abi.AccessSecret):", new: "case false:", tests: "secret"},

	// Nobody keeps it, and it counts.
	{what: "the monitor keeps a descriptor", file: secretGo, old: "	m.book.memory[i.ID].Close()\n	delete(m.book.memory, i.ID)\n", new: "", tests: "secret"},
	{what: "the holder keeps a descriptor", file: secretGo, old: "	delete(m.book.memory, i.ID)\n	m.keepInstance(i)\n", new: "	delete(m.book.memory, i.ID)\n", tests: "secret"},
	{what: "who was not told is not told again", file: secretGo, old: "if f != nil && d.send(", new: "if f == nil && d.send(", tests: "secret"},
	{what: "the next monitor takes it for other memory", file: secretGo, old: "Size: rec.Size, Secret: true}", new: "Size: rec.Size}", tests: "secret"},
	{what: "what is dropped does not count", file: bookObjects, old: "if err == nil && m.book.Instance(r.Instance).Secret {", new: "if false {", tests: "secret"},
	{what: "it outlives its maker", file: bookLinger, old: "	if m.book.Instance(id).Secret {", new: "	if m.book.Instance(id).Secret { m.book.lingering = append(m.book.lingering, id); return }\n	if false {", tests: "secret"},
	{what: "it starts where there is none", file: secretGo, old: "if err := m.Memories.Secrets(); err != nil {", new: "if err := m.Memories.Secrets(); err != nil && name == \"\" {", tests: "secret"},
	{what: "other domains may lock as much", file: imageObjects, old: "o.Create[id].Allow {", new: "len(o.Create) > 0 {", tests: "secret"},
	{what: "parts of pages are not counted", file: secretLocked, old: "(o.Size + page - 1) / page * page", new: "o.Size / page * page", tests: "secret"},

	// The library.
	{what: "what is not secret is taken for it", file: secretGate, old: "if fs.Type != unix.SECRETMEM_MAGIC {", new: "if false {", tests: "secret"},
	{what: "the size is believed", file: secretGate, old: "uint64(st.Size) != a.Size {", new: "false {", tests: "secret"},
	{what: "the descriptor stays open", file: secretGate, old: "	defer a.close()\n", new: "", tests: "secret"},
	{what: "what is closed is not zero", file: secretGate, old: "		clear(pages)\n", new: "", tests: "secret"},
	{what: "two have one memory", file: secretGate, old: "			d.spare[object] = list[:len(list)-1]\n", new: "", tests: "secret"},
	{what: "what nobody waits for is lost", file: secretGate, old: "if pages, err := mapSecret(a); err == nil {", new: "if pages, err := mapSecret(a); err != nil {", tests: "secret"},
}
