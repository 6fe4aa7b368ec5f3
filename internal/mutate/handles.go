package main

// Handles in messages, and messages that nobody answers.

const (
	handlesH      = "filter/bpf/handles.h"
	handlesGo     = "filter/handles.go"
	kernelHandles = "kernel/fabric_handles.go"
)

// handleSuite catches mutations of what only messages with handles, and to mailboxes, have.
var handleSuite = suite{
	{"filter", "^(TestHandleSlots|TestProgramsWithoutObjects|TestMailboxPrograms)$"},
	{"kernel", "^(Test.*Handle.*|TestPost.*|TestForgetWaitsForFilter)$"},
}

var handleMutations = []mutation{
	// In the filter.
	{what: "a handle that was admitted goes again", file: handlesH, old: "(word & HANDLE_STATE) != HANDLE_OFFERED || ", new: "", tests: "handles"},
	{what: "another gate's handle", file: handlesH, old: "word >> HANDLE_INCARNATION != g->incarnation ||", new: "", tests: "handles"},
	{what: "a reply's handle in a request", file: handlesH, old: "(word >> HANDLE_DIRECTION & 1) != K_DIR || ", new: "", tests: "handles"},
	{what: "any generation of a handle", file: handlesH, old: "(word >> HANDLE_GENERATION & HANDLE_GENERATIONS) != id >> HANDLE_ROWS", new: "0", tests: "handles"},
	{what: "of a handle's id the upper bits do not count", file: handlesH, old: "!= id >> HANDLE_ROWS)", new: "!= (id >> HANDLE_ROWS & HANDLE_GENERATIONS))", tests: "handles"},
	{what: "any kind of handle", file: handlesH, old: "if ((word >> HANDLE_KIND & HANDLE_KINDS) != w->cap[(slot + 1) & (CAPTURES - 1)])", new: "if (0)", tests: "handles"},
	{what: "any size of a handle", file: handlesH, old: "if (*(volatile __u64 *)&h->size != w->cap[(slot + 2) & (CAPTURES - 1)])", new: "if (0)", tests: "handles"},
	{what: "of a handle's size 32 bits count", file: handlesH, old: "if (*(volatile __u64 *)&h->size != w->cap[", new: "if (*(volatile __u32 *)&h->size != (__u32)w->cap[", tests: "handles"},
	{what: "a handle for reading is one for writing", file: handlesH, old: "if ((word >> HANDLE_WRITE & 1) != w->cap[(slot + 3) & (CAPTURES - 1)])", new: "if (0)", tests: "handles"},
	{what: "a handle is taken by a plain store", file: handlesH, old: "__sync_val_compare_and_swap(&h->word, w->e.handle, w->e.handle + HANDLE_RESERVED - HANDLE_OFFERED) != w->e.handle)", new: "(*(volatile __u64 *)&h->word = w->e.handle + HANDLE_RESERVED - HANDLE_OFFERED, 0))", tests: "handles"},
	{what: "a handle is not taken", file: effectsH, old: "if (objects && !take(w))", new: "if (objects && 0)", tests: "handles"},
	{what: "a message that is denied after all keeps its handle", file: handlesH, old: "= w->reason == REASON_PERMIT ? w->e.handle + HANDLE_ADMITTED - HANDLE_OFFERED : w->e.handle;", new: "= w->e.handle + HANDLE_ADMITTED - HANDLE_OFFERED;", tests: "handles"},
	{what: "an admitted handle is an offer again", file: handlesH, old: "= w->reason == REASON_PERMIT ? w->e.handle + HANDLE_ADMITTED - HANDLE_OFFERED : w->e.handle;", new: "= w->e.handle;", tests: "handles"},
	{what: "an admitted handle stays reserved", file: messageH, old: "\thand_over(w);\n", new: "", tests: "handles"},
	{what: "a post takes its slot", file: effectsH, old: "(w->phase & M_POST) ? (__u32)word : word;", new: "(w->phase & M_POST) ? word : word;", tests: "handles"},

	// The generator.
	{what: "a handle's claims are looked for one slot off", file: handlesGo, old: ".value) << methodHandle", new: ".value+1) << methodHandle", tests: "handles"},
	{what: "handles are not looked up", file: handlesGo, old: "if !permitted(ds) {", new: "if len(ds) > 0 {", tests: "handles"},
	{what: "handles in the template without them", file: handlesGo, old: "case p.Objects():", new: "case p.Uses == 0 && p.Objects():", tests: "handles"},
	{what: "every call is a post", file: "filter/spec.go", old: "if posts && dir == abi.Request {", new: "if dir == abi.Request {", tests: "handles"},
	{what: "a mailbox answers", file: "filter/spec.go", old: "if posts && dir == abi.Reply {", new: "if posts && dir > abi.Reply {", tests: "handles"},

	// Their table.
	{what: "a handle is offered for both directions' requests", file: "abi/handle.go", old: "HandleWord(d&1)<<HandleDirectionAt", new: "HandleWord(d&0)<<HandleDirectionAt", tests: "handles"},
	{what: "a row's handles have one number", file: kernelHandles, old: "o.Dir, old.Next(), incarnation)", new: "o.Dir, max(old.Generation(), 1), incarnation)", tests: "handles"},
	{what: "a number of another generation is as good", file: kernelHandles, old: "abi.HandleID(uint16(row), w.Generation()) == id, err", new: "row < t.limit, err", tests: "handles"},
	{what: "a handle is taken that was only offered", file: kernelHandles, old: "w.State() != abi.HandleAdmitted {", new: "w.State() == abi.HandleFree {", tests: "handles"},
	{what: "a handle ends while a filter has it", file: kernelHandles, old: "if w.State() == abi.HandleReserved {", new: "if w.State() > abi.HandleAdmitted {", tests: "handles"},
	{what: "handles outlive their gate", file: "kernel/fabric_gate.go", old: ", g.r.f.handles.release(g.incarnation))", new: ")", tests: "handles"},
	{what: "handles of gates that are not restored stay", file: kernelHandles, old: "errs = append(errs, t.release(incarnation))", new: "", tests: "handles"},
	{what: "rows that were in use are free after a restart", file: kernelHandles, old: "case w.State() == abi.HandleFree:", new: "case w.State() != abi.HandleAdmitted:", tests: "handles"},
	{what: "handles of a gate that was restored end", file: "kernel/fabric_restore.go", old: "f.handles.adopt(s.Incarnation)", new: "", tests: "handles"},
}
