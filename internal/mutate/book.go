package main

// Who has what memory, and who is given it: the monitor, and the kernel's part of it.

// bookSuite catches mutations of the book of objects, of who writes it, and of memory.
var bookSuite = suite{
	{"objects", "^Test"},
	{"kernel", "^(TestMemory.*|TestAttackReader)$"},
	{"monitor", "^(TestMemory.*|TestSharedMemory|TestHandle.*|TestAttackHandlesKept|TestObjectsAtLibrary|TestRequestsCount)$"},
}

const (
	bookStore   = "objects/store.go"
	bookRestore = "objects/restore.go"
	bookMemory  = "kernel/memory.go"
	bookObjects = "monitor/objects.go"
	bookGive    = "monitor/objectsgive.go"
	bookKeep    = "monitor/keepobjects.go"
	bookLinger  = "monitor/objectslinger.go"
)

var bookMutations = []mutation{
	// The book.
	{what: "an instance more than there may be", file: bookStore, old: "s.made[object] >= count", new: "s.made[object] > count", tests: "book"},
	{what: "a reference more than there may be", file: bookStore, old: "s.held[o] >= MaxReferences", new: "s.held[o] > MaxReferences", tests: "book"},
	{what: "an offer more than there may be at an end", file: bookStore, old: "s.atEnd[end] >= MaxOffers", new: "s.atEnd[end] > MaxOffers", tests: "book"},
	{what: "an offer more than a domain may have", file: bookStore, old: "s.paid[payer] >= MaxOffersOf", new: "s.paid[payer] > MaxOffersOf", tests: "book"},
	{what: "an offer more than one may have for a receiver", file: bookStore, old: "s.sent[pair{payer, to}] >= MaxOffersTo", new: "s.sent[pair{payer, to}] > MaxOffersTo", tests: "book"},
	{what: "shared memory is given by handles", file: bookStore, old: "	case i.Shared:\n", new: "	case false:\n", tests: "book"},
	{what: "what is sealed is given to be written", file: bookStore, old: "case Writes(access) && i.Sealed:", new: "case false:", tests: "book"},
	{what: "more rights are given on than there are", file: bookStore, old: "case access&^r.Access != 0:", new: "case false:", tests: "book"},
	{what: "sealed while a right to write is on its way", file: bookStore, old: "other.Instance == i.ID && Writes(other.Access)", new: "other.Instance == i.ID && len(s.offers) == 0", tests: "book"},
	{what: "what is given to be read is not sealed", file: bookStore, old: "return !Writes(access) && !i.Sealed", new: "return false", tests: "book"},
	{what: "a handle is redeemed at the end where it was offered", file: bookStore, old: "o.End != end.Other()", new: "o.End.Gate != end.Gate", tests: "book"},
	{what: "an offer is anybody's at the end", file: bookStore, old: "o.End != end || o.Owner != owner", new: "o.End != end", tests: "book"},
	{what: "a shared instance ends", file: bookStore, old: "i.uses > 0 || i.Shared {", new: "i.uses > 0 {", tests: "book"},
	{what: "an offer does not keep its instance", file: bookStore, old: "	s.sent[pair{o.Payer, o.To}]++\n	s.instances[o.Instance].uses++\n", new: "	s.sent[pair{o.Payer, o.To}]++\n", tests: "book"},
	{what: "a number of a reference is used again", file: bookStore, old: "max(s.lastRef[o], s.firstRef) + 1", new: "max(s.firstRef, uint64(s.held[o])) + 1", tests: "book"},
	{what: "the next book gives the same numbers", file: bookRestore, old: "s.firstRef = uint64(epoch) << 32", new: "s.firstRef = 0", tests: "book"},

	// Memory.
	{what: "memory grows", file: bookMemory, old: "seals := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW\n", new: "seals := unix.F_SEAL_SHRINK\n", tests: "book"},
	{what: "memory shrinks", file: bookMemory, old: "seals := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW\n", new: "seals := unix.F_SEAL_GROW\n", tests: "book"},
	{what: "a writer seals shared memory", file: bookMemory, old: "seals |= unix.F_SEAL_SEAL", new: "_ = unix.F_SEAL_SEAL", tests: "book"},
	{what: "everybody opens memory", file: bookMemory, old: "unix.Fchmod(fd, 0o600)", new: "unix.Fchmod(fd, 0o666)", tests: "book"},
	{what: "who may read gets a descriptor for writing", file: bookMemory, old: "	flags := unix.O_RDONLY\n", new: "	flags := unix.O_RDWR\n", tests: "book"},
	{what: "sealing seals something else", file: bookMemory, old: "unix.F_ADD_SEALS, unix.F_SEAL_WRITE)", new: "unix.F_ADD_SEALS, unix.F_SEAL_GROW)", tests: "book"},
	{what: "who has memory to read is not seen", file: bookMemory, old: "unix.F_SETLEASE, unix.F_WRLCK)", new: "unix.F_SETLEASE, unix.F_RDLCK)", tests: "book"},

	// The monitor.
	{what: "who may not make it makes it", file: bookObjects, old: "v = o.Create[d.id]", new: "v = image.Verdict{Allow: true, Policy: o.Create[d.id].Policy}", tests: "book"},
	{what: "instances as large as one likes", file: bookObjects, old: "case size > o.Size:", new: "case false:", tests: "book"},
	{what: "writing takes no right to read", file: bookObjects, old: "case !o.Read[d.id].Allow || !objects.Writes(access):", new: "case !objects.Writes(access):", tests: "book"},
	{what: "who may read opens to write", file: bookObjects, old: "	return o.Write[d.id], access\n", new: "	return o.Read[d.id], access\n", tests: "book"},
	{what: "what is not shared is opened by name", file: bookObjects, old: "case !o.Shared:", new: "case false:", tests: "book"},
	{what: "there are objects at the level library", file: bookObjects, old: "case w.m.Level == abi.LevelLibrary:", new: "case false:", tests: "book"},
	{what: "what a domain has does not end with it", file: bookObjects, old: "range m.book.EndOwner(d.owner())", new: "range []uint32(nil)", tests: "book"},
	{what: "what was admitted ends with its sender", file: bookObjects, old: "err == nil && state == HandleAdmitted {\n			continue", new: "err == nil && state == HandleGone {\n			continue", tests: "book"},
	{what: "what is on its way outlives its gate", file: bookObjects, old: "range m.book.OffersAt(g.Index())", new: "range m.book.OffersAt(g.Index() + 1<<30)", tests: "book"},
	{what: "the memory of what has ended stays open", file: bookLinger, old: "		f.Close()\n		delete(m.book.memory, id)\n", new: "", tests: "book"},
	{what: "what somebody keeps mapped does not count", file: bookLinger, old: "	if m.inUse(id) {\n", new: "	if m.inUse(id) && false {\n", tests: "book"},
	{what: "what cannot be known does not count", file: bookLinger, old: "return used || err != nil", new: "return used", tests: "book"},
	{what: "a request does not look at what lingers", file: bookLinger, old: "	if err == nil {\n		return err\n	}\n	if m.lookAtUnused(", new: "	if true {\n		return err\n	}\n	if m.lookAtUnused(", tests: "book"},
	{what: "always the same are looked at", file: bookLinger, old: "		list = append(list, id)\n", new: "		list = slices.Insert(list, 0, id)\n		k++\n", tests: "book"},
	{what: "a receiver without the right is given it", file: bookGive, old: "	switch {\n	case !v.Allow:\n", new: "	switch {\n	case false:\n", tests: "book"},
	{what: "who lost the right gives it on", file: bookGive, old: "case !mayHave(object, d, c.Access):", new: "case false:", tests: "book"},
	{what: "given to be written while it is sealed", file: bookGive, old: "m.book.sealing[o.instance.ID] > 0:", new: "false:", tests: "book"},
	{what: "given to be written though its maker has sealed it", file: bookGive, old: "		if sealed {\n", new: "		if sealed && err != nil {\n", tests: "book"},
	{what: "what is true no more is not looked at after sealing", file: bookGive, old: "		if o = w.offering(); o == nil {\n			return\n		}\n", new: "", tests: "book"},
	{what: "a right that was lost is redeemed", file: bookGive, old: "if !v.Allow { // since it was offered", new: "if false {", tests: "book"},
	{what: "redeemed before it was admitted", file: bookGive, old: "case state == HandleOffered:\n		w.refuse", new: "case false:\n		w.refuse", tests: "book"},
	{what: "given up before it has come", file: bookGive, old: "case !mine && state == HandleOffered:", new: "case !mine && state == HandleOffered && o == nil:", tests: "book"},
	{what: "what is on its way outlives a revocation", file: "monitor/switch.go", old: "		m.endOffersAt(g)\n", new: "", tests: "book"},
	{what: "retracted in the book only", file: bookGive, old: "	m.endOffer(o, true)\n	m.answer(d", new: "	m.endOffer(o, false)\n	m.answer(d", tests: "book"},
	{what: "a reply carries what was offered for a request", file: bookGive, old: "	if o.at.end == 1 {\n", new: "	if o.at.end == 0 {\n", tests: "book"},

	// What is kept.
	{what: "references are not kept", file: bookKeep, old: "	m.put(referenceKey(r), referenceRecord{*r, toldOf(told)})\n", new: "", tests: "book"},
	{what: "offers are not kept", file: bookKeep, old: "	m.put(offerKey(o.ID), offerRecord{*o, toldOf(told)})\n", new: "", tests: "book"},
	{what: "the next monitor does not know that it is sealed", file: bookKeep, old: "Sealed: sealed})", new: "Sealed: sealed && false})", tests: "book"},
	{what: "a handle is redeemed twice over a death", file: bookKeep, old: "				m.finishRedeeming(d, r)\n", new: "", tests: "book"},
	{what: "what was being made stays for ever", file: bookKeep, old: "range m.book.Unused()", new: "range []uint32(nil)", tests: "book"},
	{what: "who asked is not told", file: bookKeep, old: "		if d.state == stateRunning {\n			m.tellObjects(d)", new: "		if d.state == stateEnded {\n			m.tellObjects(d)", tests: "book"},
	{what: "who was told asks again", file: bookKeep, old: "		d.requests.again(r.Asked)\n", new: "", tests: "book"},
}
