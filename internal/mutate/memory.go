package main

// What a program sees of memory and handles.

const gateMemory = "gate/memory.go"

// memorySuite catches mutations of how the library takes memory from the monitor.
var memorySuite = suite{{"gate", "^(TestMake.*|TestSharedMemory|TestMemory.*|TestHostile.*|TestHandle.*|TestRetract)$"}}

var memoryMutations = []mutation{
	{what: "memory of huge pages, which may run out", file: gateMemory, old: "fs.Type != unix.TMPFS_MAGIC", new: "fs.Type != unix.TMPFS_MAGIC && fs.Type != unix.HUGETLBFS_MAGIC", tests: "memory"},
	{what: "memory that may shrink", file: gateMemory, old: "unix.F_SEAL_SHRINK | unix.F_SEAL_GROW; seals", new: "unix.F_SEAL_GROW; seals", tests: "memory"},
	{what: "memory that may grow", file: gateMemory, old: "unix.F_SEAL_SHRINK | unix.F_SEAL_GROW; seals", new: "unix.F_SEAL_SHRINK; seals", tests: "memory"},
	{what: "memory smaller than it is said to be", file: gateMemory, old: "st.Size < 0 || uint64(st.Size) != size", new: "uint64(st.Size) > size", tests: "memory"},
	{what: "memory of another size than was asked for", file: gateMemory, old: "|| want.size != 0 && a.Size != want.size", new: "", tests: "memory"},
	{what: "memory that others write passes for constant", file: gateMemory, old: "want.constant && seals&unix.F_SEAL_WRITE == 0", new: "want.constant && seals == 0", tests: "memory"},
	{what: "memory with other access than was granted", file: gateMemory, old: "Access(a.Access) != want.access", new: "a.Access == 0", tests: "memory"},
	{what: "a descriptor with other access than it is said to have", file: gateMemory, old: "flags&unix.O_ACCMODE != mode || flags&unix.O_PATH != 0", new: "flags&unix.O_PATH != 0 && mode < 0", tests: "memory"},
	{what: "memory without a reference", file: gateMemory, old: "len(a.fds) != 1 || a.Handle == 0", new: "len(a.fds) != 1", tests: "memory"},
	{what: "two descriptors of memory", file: gateMemory, old: "len(a.fds) != 1 || a.Handle == 0", new: "len(a.fds) == 0 || a.Handle == 0", tests: "memory"},
	{what: "a closed reference stays with the monitor", file: gateMemory, old: "	m.domain.drop(m.reference)\n", new: "", tests: "memory"},
	{what: "memory that was given away to be read stays writable for its maker's library", file: gateMemory, old: "return m.file != nil && m.granted == ReadWrite && !m.constant()", new: "return m.file != nil && m.granted == ReadWrite", tests: "memory"},
	{what: "a handle to be read may be redeemed as anything", file: "gate/handle.go", old: "constant: !h.Write}", new: "constant: false}", tests: "memory"},
	{what: "what nobody waits for stays granted", file: "gate/handle.go", old: "		d.drop(a.Handle)\n", new: "", tests: "memory"},
	{what: "a handle of no kind", file: "gate/handle.go", old: "h.ID == 0 || h.Kind != abi.HandleMemory || h.Size == 0", new: "h.ID == 0 || h.Size == 0", tests: "memory"},
	{what: "an offer without a number", file: "gate/handle.go", old: "len(a.fds) != 0 || a.Handle == 0", new: "len(a.fds) != 0", tests: "memory"},
}
