package confine

import (
	"fmt"
	"sort"

	"golang.org/x/sys/unix"
)

// A Call is a system call that a sandboxed process may make: with any
// arguments if When is empty, else if one of When matches.
type Call struct {
	Nr   uintptr
	When []Match
}

// A Match is a conjunction of conditions on arguments.
type Match []Arg

// An Arg compares an argument, after masking it, with a value.
//
// By default only the low 32 bits are compared, and the high ones ignored:
// right where the kernel takes the argument as an int, which ignores them
// too. (A deny-list would have to do the same, or be passed by setting bit 32:
// TIOCSTI.) Wide compares all 64, for pointers.
type Arg struct {
	Index int
	Mask  uint32 // 0: all bits
	Value uint32
	Wide  bool // the high word must be 0
}

// A Table is an allow-list of system calls. What it does not allow fails
// with EPERM; what is in Missing with ENOSYS, so that a C library falls back
// to an older call. Calls of another architecture, 32-bit and x32 calls
// included, kill the process.
type Table struct {
	Allow   []Call
	Missing []uintptr
	// Refuse makes the table a deny-list: these fail with EPERM, and what is in
	// no list is allowed. For processes whose work needs so many calls that an
	// allow-list would say nothing; never for what runs others' code.
	Refuse []uintptr
}

// Verdicts of a filter.
const (
	Allow = unix.SECCOMP_RET_ALLOW
	Kill  = unix.SECCOMP_RET_KILL_PROCESS
	EPERM = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	NoSys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

// X32Bit is set in the numbers of x32 calls on amd64; no call of any other
// architecture has a number as large.
const X32Bit = 0x40000000

// A segment is a range of call numbers, up to the next one's start, that are
// treated alike.
type segment struct {
	start uint32
	ret   uint32
	call  *Call // if its arguments decide
}

// Compile makes the classic BPF program of t. It is deterministic. The
// number is found by bisection: the kernel runs the program once for every
// number when it is installed, to learn which ones need no filter at all.
func Compile(t *Table) ([]unix.SockFilter, error) {
	type entry struct {
		ret  uint32
		call *Call
	}
	table := map[uint32]entry{}
	put := func(nr uintptr, e entry) error {
		if _, dup := table[uint32(nr)]; dup || nr >= X32Bit {
			return fmt.Errorf("seccomp: call %d: twice in the table, or out of range", nr)
		}
		table[uint32(nr)] = e
		return nil
	}
	for i := range t.Allow {
		c := &t.Allow[i]
		e := entry{ret: Allow}
		if len(c.When) > 0 {
			e = entry{ret: EPERM, call: c}
		}
		if err := put(c.Nr, e); err != nil {
			return nil, err
		}
	}
	for _, nr := range t.Missing {
		if err := put(nr, entry{ret: NoSys}); err != nil {
			return nil, err
		}
	}
	rest := uint32(EPERM)
	if len(t.Refuse) > 0 {
		rest = Allow
	}
	for _, nr := range t.Refuse {
		if err := put(nr, entry{ret: EPERM}); err != nil {
			return nil, err
		}
	}
	var order []uint32
	for nr := range table {
		order = append(order, nr)
	}
	sort.Slice(order, func(i, j int) bool { return order[i] < order[j] })
	segs := []segment{{0, rest, nil}}
	push := func(s segment) {
		last := &segs[len(segs)-1]
		switch {
		case last.start == s.start:
			*last = s
		case last.call == nil && s.call == nil && last.ret == s.ret:
		default:
			segs = append(segs, s)
		}
	}
	for _, nr := range order {
		push(segment{nr, table[nr].ret, table[nr].call})
		push(segment{nr + 1, rest, nil})
	}
	push(segment{X32Bit, Kill, nil})

	prog := []unix.SockFilter{
		load(4), // arch
		jump(unix.BPF_JEQ, Arch, 1, 0),
		ret(Kill),
		load(0), // number
	}
	prog = append(prog, bisect(segs)...)
	if len(prog) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("seccomp: %d instructions, the limit is %d", len(prog), unix.BPF_MAXINSNS)
	}
	return prog, nil
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func ret(v uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: v} }

func jump(op uint16, k uint32, jt, jf int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, Jt: uint8(jt), Jf: uint8(jf), K: k}
}

func bisect(segs []segment) []unix.SockFilter {
	if len(segs) == 1 {
		return segs[0].leaf()
	}
	mid := len(segs) / 2
	left, right := bisect(segs[:mid]), bisect(segs[mid:])
	var out []unix.SockFilter
	if len(left) <= 255 {
		out = append(out, jump(unix.BPF_JGE, segs[mid].start, len(left), 0))
	} else {
		out = append(out, jump(unix.BPF_JGE, segs[mid].start, 0, 1),
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(left))})
	}
	return append(append(out, left...), right...)
}

func (s segment) leaf() []unix.SockFilter {
	var out []unix.SockFilter
	if s.call != nil {
		for _, m := range s.call.When {
			out = append(out, m.code()...)
		}
	}
	return append(out, ret(s.ret))
}

// code allows if all of m holds, and else goes on behind itself.
func (m Match) code() []unix.SockFilter {
	type test struct {
		insns []unix.SockFilter // the last one is the jump
	}
	var tests []test
	total := 1 // the return
	for _, a := range m {
		off := uint32(16 + 8*a.Index) // little endian: the low word comes first
		t := test{[]unix.SockFilter{load(off)}}
		if a.Mask != 0 {
			t.insns = append(t.insns, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: a.Mask})
		}
		t.insns = append(t.insns, jump(unix.BPF_JEQ, a.Value, 0, 0))
		tests = append(tests, t)
		total += len(t.insns)
		if a.Wide {
			tests = append(tests, test{[]unix.SockFilter{load(off + 4), jump(unix.BPF_JEQ, 0, 0, 0)}})
			total += 2
		}
	}
	var out []unix.SockFilter
	for _, t := range tests {
		out = append(out, t.insns...)
		out[len(out)-1].Jf = uint8(total - len(out))
	}
	return append(out, ret(Allow))
}
