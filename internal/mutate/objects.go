package main

// What must catch a mutation of what the compiler and the image say of objects.
var objectSuite = suite{
	{"policy", "^(TestObjects.*|TestMailbox.*|TestHandleFits)$"},
	{"image", "^Test"},
	{"interfaces", "^(TestBad|TestHandle)$"},
	{"policy", "^TestOracle$"},
}

const (
	objectsGo    = "policy/objects.go"
	routesGo     = "policy/routes.go"
	imageObjects = "image/objects.go"
	fieldsGo     = "interfaces/handles.go"
)

var objectMutations = []mutation{
	// The compiler.
	{what: "two domains read a mailbox", file: objectsGo, old: "case len(who) > 1:", new: "case len(who) > 2:", tests: "objects"},
	{what: "nobody reads a mailbox", file: objectsGo, old: "case len(who) == 0:", new: "case len(who) < 0:", tests: "objects"},
	{what: "a template reads a mailbox", file: objectsGo, old: "case c.domains[who[0]].Template:", new: "case false:", tests: "objects"},
	{what: "the name server gets objects", file: objectsGo, old: " || c.domains[d].Implicit || ", new: " || ", tests: "objects"},
	{what: "shared memory is made", file: objectsGo, old: `decide("create", !mailbox && !o.Shared)`, new: `decide("create", !mailbox)`, tests: "objects"},
	{what: "a mailbox is opened for writing", file: objectsGo, old: `decide("open.write", !mailbox && !o.Secret)`, new: `decide("open.write", !o.Secret)`, tests: "objects"},
	{what: "who may read may write", file: objectsGo, old: `decide("open.write", !mailbox && !o.Secret)`, new: `decide("open.read", !mailbox && !o.Secret)`, tests: "objects"},
	{what: "a handle is written to a mailbox", file: objectsGo, old: "if _, ok := request.HandleOf(m.Request); !ok {", new: "if _, ok := request.HandleOf(m.Request); !ok || ok {", tests: "objects"},
	{what: "a mailbox is judged by labels", file: objectsGo, old: "if o != nil {\n\t\t\t\tw.findings", new: "if false {\n\t\t\t\tw.findings", tests: "objects"},
	{what: "an action that an object has not", file: objectsGo, old: "\t\t\ts.broken = true\n", new: "", tests: "objects"},
	{what: "the places of a handle are not counted", file: objectsGo, old: "d.FitsWith(handle); err != nil", new: "d.FitsWith(nil); err != nil && handle != nil", tests: "objects"},
	{what: "a mailbox calls", file: routesGo, old: "if !c.isBox(i) && sub.matches(", new: "if sub.matches(", tests: "objects"},
	{what: "replies of a mailbox are implied", file: routesGo, old: " && !c.isBox(r.server) {\n", new: " {\n", tests: "objects"},
	{what: "policies let a mailbox answer", file: routesGo, old: "c.isBox(r.server) || !s.scope", new: "!s.scope", tests: "objects"},

	// The image.
	{what: "of an object that is gone the rights stay", file: imageObjects, old: "= a.verdicts(nil), a.verdicts(nil), a.verdicts(nil)", new: "= a.verdicts(nil), append(o.Read[:len(o.Read):len(o.Read)], a.verdicts(nil)[len(o.Read):]...), a.verdicts(nil)", tests: "objects"},
	{what: "rights go to domains of other numbers", file: imageObjects, old: "all[a.domain[i]] = a.verdict(v)", new: "all[i] = a.verdict(v)", tests: "objects"},
	{what: "an image lets two domains read a mailbox", file: imageObjects, old: "|| reads > 1 {", new: "|| reads > 2 {", tests: "objects"},
	{what: "an image lets a mailbox answer", file: imageObjects, old: "if len(r.Methods[j].Reply.Permit) > 0 {", new: "if len(r.Methods[j].Reply.Permit) > 9 {", tests: "objects"},
	{what: "an image has messages with many handles", file: imageObjects, old: "\t\t\tbelow = 1\n", new: "\t\t\tbelow = 0\n", tests: "objects"},
	{what: "memory becomes a mailbox while it runs", file: imageObjects, old: "case n.Kind != o.Kind || n.Shared != o.Shared:", new: "case n.Shared != o.Shared:", tests: "objects"},

	// The interfaces.
	{what: "a second handle in a message", file: fieldsGo, old: "case e.handle:", new: "case false:", tests: "objects"},
	{what: "handles that repeat", file: fieldsGo, old: "case f.Card == image.Repeated:", new: "case f.Card > image.Repeated:", tests: "objects"},
}
