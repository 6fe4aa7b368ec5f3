package kernel

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A step is one raw system call of a child between clone3 and execve. The
// assembly of vforkRun reads it: the layout is fixed.
type step struct {
	nr   uintptr
	args [6]uintptr
	save [2]*uintptr // where the result goes: usually an argument of a later step
	soft uintptr     // not 0: an error does not stop the program
}

// A report is what a child whose step failed leaves for its parent, whose
// memory it shares.
type report struct {
	errno uintptr
	left  uintptr // steps left, the failed one included; 0: no step failed
	pidfd int32   // written by clone3
}

// vforkRun clones a child with args, which must hold CLONE_VM and CLONE_VFORK,
// and lets it run n steps; the last one must be execve or execveat. It returns
// when the child has executed a program or ended: the child's process ID, or
// a negative errno of clone3. All signals are blocked meanwhile, in the child
// too; the steps unblock them.
//
// The child runs no Go code and uses no stack: it shares this thread's, with
// its parent asleep. (No go:noescape: both structs must be in the heap, where
// they do not move.)
func vforkRun(args *cloneArgs, first *step, n uintptr, out *report) int

// cloneArgs is struct clone_args of linux/sched.h, as of Linux 5.7.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// A program is a list of steps with the memory they point to.
type program struct {
	steps []step
	what  []string // what each step does, for errors
	keep  []any
}

// maxSteps bounds a program. The slice of steps must not move once a step's
// result is to be stored in another.
const maxSteps = 1024

func newProgram() *program { return &program{steps: make([]step, 0, maxSteps)} }

// A ref names the result of a step.
type ref int

// do appends a step. An argument is an int, a uint, a uintptr, a uint64, an
// unsafe.Pointer, a string (passed with a 0 byte at its end), or a ref: the
// result of an earlier step, used at most twice.
func (p *program) do(what string, nr uintptr, args ...any) ref {
	if len(p.steps) == maxSteps {
		panic("kernel: spawn program too long")
	}
	p.steps = append(p.steps, step{nr: nr})
	p.what = append(p.what, what)
	s := &p.steps[len(p.steps)-1]
	for i, a := range args {
		switch a := a.(type) {
		case int:
			s.args[i] = uintptr(a)
		case uint:
			s.args[i] = uintptr(a)
		case uint64:
			s.args[i] = uintptr(a)
		case uintptr:
			s.args[i] = a
		case unsafe.Pointer:
			p.keep = append(p.keep, a)
			s.args[i] = uintptr(a)
		case string:
			b := append([]byte(a), 0)
			p.keep = append(p.keep, b)
			s.args[i] = uintptr(unsafe.Pointer(&b[0]))
		case ref:
			p.steps[a].result(&s.args[i])
		default:
			panic("kernel: argument of a spawn step")
		}
	}
	return ref(len(p.steps) - 1)
}

// store writes the result of a step to memory as well.
func (p *program) store(r ref, to *uintptr) {
	p.keep = append(p.keep, to)
	p.steps[r].result(to)
}

// result adds a place for the result of s.
func (s *step) result(to *uintptr) {
	switch {
	case s.save[0] == nil:
		s.save[0] = to
	case s.save[1] == nil:
		s.save[1] = to
	default:
		panic("kernel: result of a spawn step used three times")
	}
}

// try appends a step whose failure is ignored.
func (p *program) try(what string, nr uintptr, args ...any) {
	p.do(what, nr, args...)
	p.steps[len(p.steps)-1].soft = 1
}

// vector makes a NULL-terminated array of strings.
func (p *program) vector(list []string) unsafe.Pointer {
	v := make([]*byte, len(list)+1)
	for i, s := range list {
		b := append([]byte(s), 0)
		v[i] = &b[0]
	}
	p.keep = append(p.keep, v)
	return unsafe.Pointer(&v[0])
}

// run makes the child. On success it returns its process ID in the caller's
// namespace and a descriptor of it. A stepError says which step failed; the
// child is reaped then.
func (p *program) run(flags uint64, cgroup int) (pid, pidfd int, err error) {
	out := new(report)
	args := &cloneArgs{
		flags:      flags | unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND,
		pidfd:      uint64(uintptr(unsafe.Pointer(&out.pidfd))),
		exitSignal: uint64(unix.SIGCHLD),
	}
	if cgroup >= 0 {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(cgroup)
	}
	r := vforkRun(args, &p.steps[0], uintptr(len(p.steps)), out)
	runtime.KeepAlive(p)
	runtime.KeepAlive(out)
	if r < 0 {
		return 0, -1, &stepError{"clone3", unix.Errno(-r)}
	}
	if out.left != 0 {
		reap(int(out.pidfd))
		unix.Close(int(out.pidfd))
		return 0, -1, &stepError{p.what[len(p.steps)-int(out.left)], unix.Errno(out.errno)}
	}
	return r, int(out.pidfd), nil
}

// reap waits for a child that has ended or is about to.
func reap(pidfd int) {
	for unix.Waitid(unix.P_PIDFD, pidfd, nil, unix.WEXITED, nil) == unix.EINTR {
	}
}

// A stepError is the failure of one step of setting a process up.
type stepError struct {
	what  string
	errno unix.Errno
}

func (e *stepError) Error() string { return e.what + ": " + e.errno.Error() }
func (e *stepError) Unwrap() error { return e.errno }
