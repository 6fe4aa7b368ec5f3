package main

// What must catch a mutation of children in other rings.
var ringSuite = suite{
	{"image", "^(TestRings.*|TestFamily)$"},
	{"compile", "^(TestLowerRing.*|TestNoLowerRings.*|TestRingsBeside)$"},
	{"policy", "^TestOracle$"},
	{"monitor", "^(TestAttackRing|TestRingDecides|TestReloadOfRings)$"},
	{"system", "^TestLowerRings$"},
}

const (
	ringsGo      = "policy/rings.go"
	imageRings   = "image/rings.go"
	monitorRings = "monitor/spawn_ring.go"
)

var ringMutations = []mutation{
	{what: "children in a ring are judged by their template's", file: ringsGo, old: "d.Pos, d.Ring, d.Template, d.Lower = ring.Pos, ring, true, nil", new: "d.Pos, d.Template, d.Lower = ring.Pos, true, nil", tests: "rings"},
	{what: "policies ask for the template's ring", file: ringsGo, old: `if id := ringed[on.Name]; id != "" {`, new: `if id := ringed[on.Name]; false {`, tests: "rings"},
	{what: "of two in rings the second is asked as the first", file: ringsGo, old: `"resource": f.t.resource}`, new: `"resource": f.t.principal}`, tests: "rings"},
	{what: "what is asked of an if is asked of its first branch", file: ringsGo, old: "attributeOf(n, on.Args[1], ringed), attributeOf(n, on.Args[2], ringed)}", new: "attributeOf(n, on.Args[1], ringed), attributeOf(n, on.Args[1], ringed)}", tests: "rings"},
	{what: "copies of a domain in a ring are made by others", file: "policy/children.go", old: "return c.plain[parent] == c.plain[template]", new: "return true", tests: "rings"},
	{what: "copies of a domain call it", file: "policy/routes.go", old: "client != user && c.plain[client] == server", new: "client == server", tests: "rings"},
	{what: "a ring beside it is a less trusted one", file: "policy/children.go", old: "return !order.Comparable(", new: "return false && !order.Comparable(", tests: "rings"},
	{what: "children in rings have objects", file: "policy/objects.go", old: "c.isBox(d) || c.isLowered(d) || ", new: "c.isBox(d) || ", tests: "rings"},
	{what: "an image has a ring that is as trusted", file: imageRings, old: "level >= d.Ring.Level {", new: "level > d.Ring.Level {", tests: "rings"},
	{what: "an image has a ring under another's name", file: imageRings, old: "if ring != d.Ring.Name {", new: "if false {", tests: "rings"},
	{what: "a child is more trusted than its parent", file: "image/children.go", old: "case t.Ring.Level < parent.Ring.Level:", new: "case false:", tests: "rings"},
	{what: "a ring that there is not is the template's", file: monitorRings, old: "return template, false", new: "return template, true", tests: "rings"},
	{what: "who may make none is told of rings", file: monitorRings, old: "case !v.Allow:", new: "case false:", tests: "rings"},
	{what: "a more trusted ring is listed", file: "system/children.go", old: "case own == other || !order.Trusts(own, other):", new: "case own == other:", tests: "rings"},
}
