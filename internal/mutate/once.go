package main

// What is recorded, once, whoever dies meanwhile: what is under way at the stop, what the
// creator tells, a state set by hand, a change that is taken back, and who is who for
// the next audit writer.

// What catches mutations of it.
var (
	workSuite     = suite{{"monitor", "^(TestWork.*|TestNothingAfterRun|TestStopsBeforeTheEnd|TestAfterRun|TestUserAfterRun|TestBesideRun)$"}}
	noticeSuite   = suite{{"creator", "^(TestToldAgain|TestToldByTheDead|TestToldByTheDying|TestToldTooMuch|TestNumbersGrow|TestHeardProtocol)$"}, {"monitor", "^(TestToldAgain|TestRecordedOnce)$"}}
	settingSuite  = suite{{"monitor", "^(TestAscertained|TestSettingIsForgotten|TestRecordedOnce)$"}}
	fallbackSuite = suite{{"monitor", "^(TestFallsBack.*|TestDiesFallingBack|TestCannotFallBack)$"}}
	leaveSuite    = suite{{"monitor", "^(TestTakenAway.*|TestGraceOfTheTakenAway|TestGraceLeft|TestKilledUntilEnded|TestHolderHearsOfGrace|TestNotEverywhere|TestNotKilledAfterItsEnd|TestNotSignalledByTheNextCreator|TestGivesBack.*|TestEndingIsShown)$"}, {"audit", "^TestReloadNotEverywhere$"}, {"holder", "^TestLongerGrace$"}, {"image", "^TestAlignGrace$"}}
	knownSuite    = suite{{"audit", "^(TestChildIsKnown.*|TestImageIsKnown.*|TestGuest.*|TestEventsComeBeforeRecords|TestFullBatchWaitsForEvents)$"}}
)

const (
	workGo       = "monitor/work.go"
	noticeGo     = "creator/notice.go"
	noticesGo    = "monitor/notices.go"
	setStateGo   = "monitor/setstate.go"
	fallbackGo   = "monitor/fallback.go"
	takenAwayGo  = "monitor/takenaway.go"
	renewingGo   = "monitor/renewing.go"
	knownGo      = "audit/known.go"
	placesGo     = "audit/places.go"
	guestsGo     = "audit/guests.go"
	auditRunGo   = "audit/run.go"
	auditUpToNow = "audit/uptodate.go"
)

var onceMutations = []mutation{
	// What is under way when the system stops.
	{what: "a request begins while the system stops", file: workGo, old: "return w.enter(working) }", new: "return w.enter(draining) }", tests: "work"},
	{what: "what follows from what is under way does not begin", file: workGo, old: "return w.enter(draining) }", new: "return w.enter(working) }", tests: "work"},
	{what: "something begins after the end", file: workGo, old: "	if w.phase > last {\n", new: "	if w.phase > last && w.phase != drained {\n", tests: "work"},
	{what: "what is under way is not waited for", file: workGo, old: "if w.phase == draining && w.n == 0 {", new: "if w.phase == draining {", tests: "work"},
	{what: "what has not ended in time is not said", file: workGo, old: "	return w.n\n", new: "	return 0\n", tests: "work"},
	{what: "who waits for others is not told that the end is waited for", file: workGo, old: "return w.ctx.Err() != nil }", new: "return w.ctx.Err() != nil && w.phase == drained && w.n > 0 }", tests: "work"},
	{what: "delegations of what has ended end beside the count", file: "monitor/delegate.go", old: `m.work.run(func() { m.endLent(id, d.def.Name+" has ended") })`, new: `go m.endLent(id, d.def.Name+" has ended")`, tests: "work"},
	{what: "users come while the system stops", file: "monitor/outside.go", old: "	if !m.work.asked() {\n", new: "	if m.work.asked(); false {\n", tests: "work"},

	// What the creator tells.
	{what: "the creator forgets what it has told", file: noticeGo, old: "	n.list = append(n.list[max(0, len(n.list)-maxNotices+1):], m)\n", new: "	n.list = n.list[:0]\n", tests: "notices"},
	{what: "the creator keeps without end", file: noticeGo, old: "n.list[max(0, len(n.list)-maxNotices+1):]", new: "n.list[max(0, len(n.list)-2*maxNotices+1):]", tests: "notices"},
	{what: "what was acted on is told again", file: noticeGo, old: "{ return m.text == number })", new: "{ return m.text == number+number })", tests: "notices"},
	{what: "the next is told nothing again", file: noticeGo, old: "	for _, n := range c.notices.list {\n", new: "	for _, n := range c.notices.list[:0] {\n", tests: "notices"},
	{what: "each creator numbers from one", file: noticeGo, old: "n.last = max(n.last+1, now)", new: "n.last = n.last + 1 + 0*now", tests: "notices"},
	{what: "what comes early is taken twice, and in no order", file: noticeGo, old: "if c.again != 0 && numberOf(&m) != 0 {", new: "if c.again != 0 && numberOf(&m) == 1 {", tests: "notices"},
	{what: "what a creator said that has died is lost", file: noticeGo, old: "	if lost {\n", new: "	if lost && len(early) > maxNotices {\n", tests: "notices"},
	{what: "what comes again is done again", file: noticesGo, old: "	if number <= *last {\n", new: "	if number < *last {\n", tests: "notices"},
	{what: "the creator does not hear what was acted on", file: noticesGo, old: "ok && number != 0 {", new: "ok && number == 0 {", tests: "notices"},
	{what: "the next monitor does not know what was acted on", file: "monitor/restore.go", old: "	r.m.heard = r.m.heard.later(n.Heard)\n", new: "", tests: "notices"},

	// A state that is set by hand.
	{what: "a state is set that is not kept before", file: setStateGo, old: "	m.put(keptSetting, &what)\n	if err", new: "	if err", tests: "setting"},
	{what: "what was set is recorded by each monitor", file: setStateGo, old: "	if len(s.Told) > 0 {\n", new: "	if len(s.Told) > 9 {\n", tests: "setting"},
	{what: "what was not set is recorded", file: setStateGo, old: "case now == s.Before && now != s.after(), now", new: "case now == s.Before && now == s.after(), now", tests: "setting"},
	{what: "the counter of changes is not looked at", file: setStateGo, old: "s.Before&^s.Mask | s.Bits + 1<<image.StateBits", new: "s.Before&^s.Mask | s.Bits", tests: "setting"},
	{what: "what is set stays about to be set", file: setStateGo, old: "	m.drop(keptSetting)\n}", new: "}", tests: "setting"},

	// A change that is taken back.
	{what: "what the change would have closed stays open", file: fallbackGo, old: "dies: dies == nil || dies[routes[at]],", new: "dies: dies == nil || dies[routes[at]] && false,", tests: "fallback"},
	{what: "what is not known to die lives", file: fallbackGo, old: "dies: dies == nil || dies[routes[at]],", new: "dies: dies != nil && dies[routes[at]],", tests: "fallback"},
	{what: "who takes over makes the change after all", file: fallbackGo, old: "r.m.fellBack = true", new: "r.m.fellBack = false", tests: "fallback"},
	{what: "the creator goes on with the new policy", file: fallbackGo, old: "if err := m.Creator.Renew(ctx, c.request.sealed); err != nil {", new: "if err := error(nil); err != nil {", tests: "fallback"},
	{what: "the kernel goes on with the new policy", file: fallbackGo, old: "if _, err := c.swap.Commit(); err != nil {", new: "if err := c.swap.Cancel(); err != nil {", tests: "fallback"},
	{what: "a system goes on that cannot enforce a policy", file: fallbackGo, old: "so the system stops: %v\", err)\n		m.Stop()\n", new: "so the system stops: %v\", err)\n", tests: "fallback"},
	{what: "what cannot get its programs goes on with the new ones", file: fallbackGo, old: "		if err != nil {\n			c.dies(i)\n		}\n", new: "", tests: "fallback"},

	// Who is who, for the next audit writer.
	{what: "who a child is is not noted", file: auditRunGo, old: "			w.known.noteChild(e)\n", new: "", tests: "known"},
	{what: "who is at a gate is not noted", file: auditRunGo, old: "		w.known.noteGate(e, w.t.entered(e.Gate))\n", new: "", tests: "known"},
	{what: "a new image is not noted", file: auditRunGo, old: "	w.known.noteImage(encoded, e.Time)\n", new: "", tests: "known"},
	{what: "what an earlier system noted is believed", file: knownGo, old: "	if cfg.Again {\n		k.read(t)\n", new: "	if cfg.Again || cfg.RunDir != \"\" {\n		k.read(t)\n", tests: "known"},
	{what: "of gates the writer before is overwritten", file: knownGo, old: "			k.gate = max(k.gate, e.Number)\n", new: "", tests: "known"},
	{what: "what is torn is read", file: placesGo, old: "if raw := opened(b, 4+int(n)); raw != nil && ", new: "if raw := b[:min(len(b), 4+int(n))]; raw != nil && ", tests: "known"},
	{what: "who was told again comes after who is there", file: guestsGo, old: "if g.since <= last.since || ", new: "if g.since == last.since || ", tests: "known"},
	{what: "who is at a gate is new whenever the monitor says it", file: guestsGo, old: " || e.Kind == event.Known && g.same(last) {", new: " {", tests: "known"},
	{what: "who is known has come when that was said", file: guestsGo, old: "	case e.Kind == event.Known:\n		g.since = 0\n", new: "", tests: "known"},
	{what: "records do not wait for the events before them", file: auditRunGo, old: "			batch = w.upToDate(batch)\n", new: "", tests: "known"},
	{what: "records that come meanwhile are of this batch", file: auditUpToNow, old: "				w.next = append(w.next, i)\n", new: "				batch = append(batch, i)\n", tests: "known"},

	// Domains that a change takes away, and that take their time.
	{what: "that a domain is to end is not kept", file: takenAwayGo, old: "		m.keepNow(d)\n	}\n}\n\n// takeAway notes which", new: "	}\n}\n\n// takeAway notes which", tests: "leave"},
	{what: "the next monitor does not know that a domain is to end", file: "monitor/restore.go", old: "		d.leaves(n.Leaving)\n", new: "", tests: "leave"},
	{what: "the next monitor ends who was to end by a change that is not in force", file: "monitor/restore.go", old: "	if !d.def.Start.Allow { // else", new: "	if true { // else", tests: "leave"},
	{what: "the next monitor waits for nobody's end", file: "monitor/restore.go", old: "			if !d.def.Start.Allow {\n", new: "			if d.def == nil {\n", tests: "leave"},
	{what: "who was asked to end is asked by each monitor", file: takenAwayGo, old: "	if asked {\n", new: "	if asked && m.work == nil {\n", tests: "leave"},
	{what: "who was asked to end is asked again at the stop", file: takenAwayGo, old: "d.leaving == nil || !d.leaving.Asked {", new: "d.leaving == nil || d.leaving != nil {", tests: "leave"},
	{what: "the stop gives who was to end already the time of others", file: takenAwayGo, old: "	case l == nil:\n", new: "	case l == nil || l.Asked:\n", tests: "leave"},
	{what: "the stop gives who was to end already all of its time again", file: takenAwayGo, old: "return time.Duration(l.Until - since)", new: "return time.Duration(l.Until)", tests: "leave"},
	{what: "who has not ended is killed once", file: takenAwayGo, old: "		late.Reset(killWait)\n", new: "", tests: "leave"},
	{what: "who is taken away has the time that the new policy states", file: takenAwayGo, old: "own := c.before.Domains[id].Grace", new: "own := c.img.Domains[id].Grace", tests: "leave"},
	{what: "who may run again is killed all the same", file: "monitor/switch.go", old: "				d.leaves(nil)\n", new: "", tests: "leave"},
	{what: "where the swap fails who may not run goes on", file: "monitor/switch.go", old: "	c.stopDomains(ctx)\n	c.startDomains(ctx)\n", new: "	if err == nil {\n		c.stopDomains(ctx)\n	}\n	c.startDomains(ctx)\n", tests: "leave"},
	{what: "where the swap fails what is new is not started", file: "monitor/switch.go", old: "	c.startDomains(ctx)\n	m.mu.Lock()\n", new: "	if err == nil {\n		c.startDomains(ctx)\n	}\n	m.mu.Lock()\n", tests: "leave"},
	{what: "where the swap fails it is not recorded", file: "monitor/switch.go", old: "	m.tellChanged(done)\n", new: "	if err == nil {\n		m.tellChanged(done)\n	}\n", tests: "leave"},
	{what: "where the swap fails it is recorded as in force everywhere", file: "monitor/switch.go", old: "		e.Reason = abi.ReasonClosed\n", new: "", tests: "leave"},
	{what: "it is not said of a record that it is not in force everywhere", file: "audit/translate.go", old: "	if e.Reason == abi.ReasonClosed {\n		return \"; it is", new: "	if false {\n		return \"; it is", tests: "leave"},
	{what: "who has ended is killed all the same", file: takenAwayGo, old: "		if l.stays.Err() != nil {", new: "		if false {", tests: "leave"},
	{what: "the next creator signals who has ended", file: takenAwayGo, old: "ctx, cancel := context.WithCancel(l.stays)", new: "ctx, cancel := context.WithCancel(context.Background())", tests: "leave"},
	{what: "who is to end is shown as one that runs", file: "monitor/adminserver.go", old: "d.state == stateRunning && d.leaving != nil:", new: "d.state == stateRunning && d.leaving != nil && d.again:", tests: "leave"},
	{what: "the creator keeps the policy of a change that was given up", file: renewingGo, old: "	if ctx.Err() == nil {\n		return err\n	}\n", new: "	if ctx != nil {\n		return err\n	}\n", tests: "leave"},
	{what: "the creator gets the policy before a change after that one", file: renewingGo, old: "	m.giving.stop() //", new: "	//", tests: "leave"},
	{what: "a creator that has the policy in force again gets it once more", file: renewingGo, old: "		default:\n			m.drop(keptRenewing)\n", new: "", tests: "leave"},
	{what: "the holder is not told how long domains may take", file: "monitor/switch.go", old: "	if err := c.tellGrace(); err != nil {\n", new: "	if err := error(nil); err != nil {\n", tests: "leave"},
	{what: "the holder waits less for what it is told", file: "holder/holder.go", old: "max(h.cfg.Grace, link.GraceOf(m.Text))", new: "link.GraceOf(m.Text)", tests: "leave"},
	{what: "the holder takes no note of how long domains may take", file: "holder/holder.go", old: "max(h.cfg.Grace, link.GraceOf(m.Text))", new: "max(h.cfg.Grace, 0)", tests: "leave"},
	{what: "the holder waits as long as it is told", file: "holder/link/messages.go", old: "return min(time.Duration(ns), MaxGrace)", new: "return time.Duration(ns)", tests: "leave"},
	{what: "who is gone has no time of grace", file: "image/align.go", old: "Ring: d.Ring, Grace: d.Grace, Start:", new: "Ring: d.Ring, Start:", tests: "leave"},
}
