package main

// What a family, a domain with all that come from it, has: quotas, room for routes and
// turns in loading them, buckets of rates, references, weight. And that an address to
// listen on is one domain's.

// What catches mutations of it.
var (
	quotaSuite = suite{
		{"image", "^(TestAttackDefaultsInFamilies|TestDefault.*|TestFamily.*)$"},
		{"monitor", "^TestAttackGatesByChildren$"},
		{"creator", "^TestAttackDefaultsByChildren$"},
	}
	roomSuite = suite{
		{"monitor", "^(TestLoaderTurns|TestAttackLoadsWithoutEnd|TestEndBeforeLoads|TestAttackRoutesByChildren|TestRoom.*|TestNoMoreRates|TestAttackEndsKept)$"},
	}
	shareSuite = suite{
		{"monitor", "^(TestAttackShareByChildren|TestAttackReferencesByChildren|TestAttackAsksByChildren|TestAttackLoansByChildren)$"},
	}
	kinBucketSuite = suite{{"kernel", "^(TestAttackBucketsByChildren|TestKinBucketsRestored)$"}}
	halvesSuite    = suite{{"kernel", "^TestCgroupHalves$"}, {"creator", "^(TestAttackWeightByReload|TestHalvesAfterADeath)$"}}
	listenSuite    = suite{{"image", "^TestListenConflicts$"}, {"policy", "^TestListens$"}, {"creator", "^TestAttackUDPPort$"}}
)

const (
	childQuota  = "image/childquota.go"
	roomGo      = "monitor/room.go"
	loaderGo    = "monitor/loader.go"
	kinBucketGo = "kernel/fabric_bucket.go"
	halvesGo    = "kernel/cgroup_halves.go"
)

var familyMutations = []mutation{
	// Quotas.
	{what: "what other children have is there for one more", file: childQuota, old: "case v > left:", new: "case v > limit:", tests: "quota"},
	{what: "a child leaves its parent nothing", file: childQuota, old: "left < v+p.least {", new: "left < v {", tests: "quota"},
	{what: "of what is divided the parent has no part", file: childQuota, old: "left/(uint64(room.Children)+1)", new: "left/uint64(room.Children)", tests: "quota"},
	{what: "each child of a domain without a quota has the default", file: childQuota, old: "uint64(stated.Processes), uint64(has.Processes)", new: "uint64(stated.Processes), uint64(stated.Processes)", tests: "quota"},
	{what: "a process of a child has more descriptors than one of its parent", file: childQuota, old: "q.Files = min(own, parent)", new: "q.Files = own", tests: "quota"},
	{what: "who takes over divides anew", file: "image/family.go", old: "	line[0].Ask = def.Quota.asked(ask, &t.Quota)\n", new: "", tests: "quota"},
	{what: "gates of children are their parent's as well", file: "monitor/spawn_quota.go", old: "d.limit-int(q.Gates))", new: "d.limit-0*int(q.Gates))", tests: "quota"},
	{what: "the parent's processes may be as many as without children", file: "creator/childrenquota.go", old: "Processes: left.Processes,", new: "Processes: q.Processes,", tests: "quota"},

	// Room for routes, and turns.
	{what: "one family has the room of all", file: roomGo, old: "case its >= m.room.share:", new: "case its >= m.room.all:", tests: "room"},
	{what: "what is being loaded takes no room", file: roomGo, old: "	for key := range m.loads {\n", new: "	for key := range map[loadKey]*loading(nil) {\n", tests: "room"},
	{what: "a child has routes though there is no room", file: "monitor/making.go", old: `if why := m.noRoom(o, i); why != "" {`, new: `if why := m.noRoom(o, i); why == "-" {`, tests: "room"},
	{what: "what is left of children's routes is not given up", file: roomGo, old: `why != "" && m.giveUpLeft(o); {`, new: `why == "-" && m.giveUpLeft(o); {`, tests: "room"},
	{what: "what is left of the image's routes has no bound", file: roomGo, old: "len(m.stale) < most {", new: "most >= 0 {", tests: "room"},
	{what: "a policy comes into force that has no room", file: "monitor/switch.go", old: "if err := m.roomFor(c.img); err != nil {", new: "if err := m.roomFor(c.img); err != nil && c == nil {", tests: "room"},
	{what: "the next monitor does not count children's routes", file: "monitor/restore.go", old: "		m.takeRoom(made, &opening{client: r.lives[rec.Client]})\n", new: "", tests: "room"},
	{what: "all families have one turn in loading", file: "monitor/load.go", old: "	m.loader.lock(a)\n", new: "	m.loader.lock(asker{})\n", tests: "room"},
	{what: "the end of a delegation waits for what its family loads", file: loaderGo, old: "a := asker{task: taskEnd}", new: "a := asker{}", tests: "room"},
	{what: "who has no bucket of a rate is told to look elsewhere", file: "monitor/load.go", old: "if errors.Is(err, ErrFull) {", new: "if errors.Is(err, errStopping) {", tests: "room"},

	// What is fixed: each child has as much as any domain, and all together as four.
	{what: "each child has a client's share of a server", file: "monitor/share.go", old: "return client.payer() == o.client.payer() && (mailbox", new: "return client == o.client && (mailbox", tests: "share"},
	{what: "references of children are not those of a family", file: "monitor/objectsfamily.go", old: "if k.payer() == d.payer() {", new: "if k == d {", tests: "share"},
	{what: "a family has one reference more", file: "monitor/objectsfamily.go", old: "n >= most {", new: "n > most {", tests: "share"},
	{what: "children ask each for itself", file: "monitor/asking.go", old: "root := abi.DomainID(d.payer())", new: "root := d.id", tests: "share"},
	{what: "children lend each for itself", file: "monitor/asking.go", old: "if l.from.payer() == d.payer() {", new: "if l.from == d {", tests: "share"},

	// Buckets of rates.
	{what: "children have all buckets", file: kinBucketGo, old: "	if t.most > 0 && t.kin >= t.most {\n		if err", new: "	if t.most > 0 && t.kin > t.rows.limit {\n		if err", tests: "kinbuckets"},
	{what: "a delegation's buckets are a domain's", file: kinBucketGo, old: "if strings.HasPrefix(name, onceMark(true)) {\n		return true\n", new: "if strings.HasPrefix(name, onceMark(true)) {\n		return false\n", tests: "kinbuckets"},
	{what: "buckets of children that are given up count on", file: kinBucketGo, old: "	delete(t.byName, name)\n	t.uncount(name)\n", new: "	delete(t.byName, name)\n", tests: "kinbuckets"},
	{what: "the next monitor does not count children's buckets", file: "kernel/fabric_restore.go", old: "if ofKin(b.Name) {", new: "if ofKin(b.Name) && false {", tests: "kinbuckets"},

	// Weight.
	{what: "a domain and its children weigh what it weighs, each", file: halvesGo, old: "		second -= first\n", new: "		second -= 0 * first\n", tests: "halves"},
	{what: "a domain whose last child has ended keeps half", file: "creator/childrenquota.go", old: "		c.weigh(above)\n", new: "", tests: "halves"},
	{what: "what a creator left half done stays", file: "creator/adoptchild.go", old: "	c.weighAgain()\n", new: "", tests: "halves"},
	{what: "a family weighs what its domain does not", file: "creator/childrenweight.go", old: "c.weightOf(k.Parent)", new: "0*c.weightOf(k.Parent)", tests: "halves"},

	// Addresses.
	{what: "* is no address", file: "image/listen.go", old: "	if !r.Prefix.IsValid() || !o.Prefix.IsValid() {\n		return true\n", new: "	if !r.Prefix.IsValid() || !o.Prefix.IsValid() {\n		return false\n", tests: "listen"},
	{what: "0.0.0.0 is one address", file: "image/listen.go", old: "a == b || a.Is4() == b.Is4() && ", new: "a == b || a.Is4() != b.Is4() && ", tests: "listen"},
	{what: "TCP and UDP are one", file: "image/listen.go", old: "key := port{r.UDP, r.Port}", new: "key := port{false, r.Port}", tests: "listen"},
	{what: "two domains listen on an address, says the compiler", file: "policy/compile.go", old: "	c.listens()\n", new: "", tests: "listen"},
	{what: "two domains listen on an address, says an image", file: "image/check.go", old: "if err := c.listens(); err != nil {", new: "if err := c.listens(); err != nil && c == nil {", tests: "listen"},
	{what: "who comes last has the datagrams", file: "kernel/listen_unsafe.go", old: "unix.SO_REUSEADDR, 0)", new: "unix.SO_REUSEADDR, 1)", tests: "listen"},
}
