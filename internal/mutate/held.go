package main

// Programs that are held for routes that are loaded later: by the monitor for the next name
// server, by the holder for the next monitor.

var heldSuite = suite{
	{"kernel", "^Test(HeldIs.*|NothingHeldOfClosed)$"},
	{"monitor", "^TestHeld.*"},
	{"cmd/wardd", "^TestNamesProgramsAreHeld$"},
}

const (
	kernelHeldGo  = "kernel/fabric_held.go"
	monitorHeldGo = "monitor/warm.go"
)

var heldMutations = []mutation{
	{what: "what is held counts as no use of the program", file: kernelHeldGo, old: "	l.uses++\n", new: "", tests: "held"},
	{what: "the program that judges replies is held", file: kernelHeldGo, old: "l := r.programs[abi.Request]", new: "l := r.programs[abi.Reply]", tests: "held"},
	{what: "what is held is given up as often as that is said", file: kernelHeldGo, old: "h.once.Do(func() { h.f.shared.put(h.l, h.f.tables, h.f.buckets) })", new: "h.f.shared.put(h.l, h.f.tables, h.f.buckets)", tests: "held"},
	{what: "what a closed route had is held", file: kernelHeldGo, old: "if r.closed || l == nil || l.program == nil {", new: "if l == nil || l.program == nil {", tests: "held"},
	{what: "what another version held is taken over", file: kernelHeldGo, old: "if s.Made != madeOf() {", new: "if false {", tests: "held"},
	{what: "half a hash tells what a program judges", file: kernelHeldGo, old: "copy(key.content[:], s.Content) != sha256.Size || len(s.Content) != sha256.Size", new: "copy(key.content[:], s.Content) > sha256.Size", tests: "held"},
	{what: "what is held twice is taken over twice", file: kernelHeldGo, old: "	if known {\n", new: "	if false {\n", tests: "held"},
	{what: "any program is the one that is held", file: kernelHeldGo, old: "!r.closed && r.programs[abi.Request] == h.l", new: "!r.closed", tests: "held"},
	{what: "what is taken over is found by nobody", file: kernelHeldGo, old: "	if !known {\n", new: "	if false {\n", tests: "held"},
	{what: "what judges requests to any server is held", file: monitorHeldGo, old: "!ok || !server.def.Names", new: "!ok", tests: "held"},
	{what: "what is held is not kept for the next monitor", file: monitorHeldGo, old: "	m.put(key(keptProgram, client.ringID), state, program)\n", new: "	_ = state\n", tests: "held"},
	{what: "what was held before is not released", file: monitorHeldGo, old: "	m.release(client)\n	client.early.held = held", new: "	client.early.held = held", tests: "held"},
	{what: "what is held is kept when nobody holds it", file: monitorHeldGo, old: "	m.drop(key(keptProgram, client.ringID))\n", new: "", tests: "held"},
	{what: "what is held of who has ended is taken over", file: monitorHeldGo, old: "d.state == stateRunning && d.endpoint != nil", new: "d.endpoint != nil", tests: "held"},
	{what: "what a change of the policy brings is not held", file: monitorHeldGo, old: "client.state == stateRunning {", new: "false && client.state == stateRunning {", tests: "held"},
	{what: "what is held is released never", file: "monitor/domain.go", old: "	m.release(d)\n", new: "", tests: "held"},
}
